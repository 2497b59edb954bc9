# Sourced by cluster: what this machine must offer, and its cgroups.
# shellcheck shell=bash

# check_machine says in plain words what is missing, all of it at once.
check_machine() {
  local missing=()
  [[ $(uname -s) = Linux ]] || die "the local cluster needs Linux (this is $(uname -s)): use CLUSTER=kind or CLUSTER=current"
  [[ $EUID = 0 ]] || die "the local cluster needs root, to make namespaces, cgroups and a network link: run it as root, or use CLUSTER=kind or CLUSTER=current"

  local ctl
  CGROUP_VERSION=1
  [[ $(stat -fc %T /sys/fs/cgroup 2>/dev/null) != cgroup2fs ]] || CGROUP_VERSION=2
  if [[ $CGROUP_VERSION = 2 ]]; then
    for ctl in cpu memory pids; do
      grep -qw $ctl /sys/fs/cgroup/cgroup.controllers || missing+=("the cgroup controller $ctl (see /sys/fs/cgroup/cgroup.controllers)")
    done
  else
    for ctl in cpu cpuset memory pids devices freezer; do
      [[ -d /sys/fs/cgroup/$ctl ]] || missing+=("the cgroup controller $ctl under /sys/fs/cgroup")
    done
  fi

  local bits cap
  bits=$((16#$(awk '/^CapEff/ {print $2}' /proc/self/status)))
  for cap in 5:KILL 12:NET_ADMIN 13:NET_RAW 18:SYS_CHROOT 19:SYS_PTRACE 21:SYS_ADMIN 27:MKNOD; do
    ((bits >> ${cap%%:*} & 1)) || missing+=("the capability CAP_${cap#*:} (a container has it when it runs privileged)")
  done
  if [[ ${#missing[@]} = 0 ]]; then
    unshare --mount --pid --net --uts --ipc --cgroup --fork true 2>/dev/null || missing+=("leave to make namespaces (unshare fails; a seccomp filter?)")
  fi
  grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null || missing+=("the overlay file system in the kernel")

  local dir
  for dir in /var/lib /var/log /opt /run; do
    [[ $CACHE/ != $dir/* ]] || missing+=("a cache outside $dir, which the node hides behind its own (set XDG_CACHE_HOME; now $CACHE)")
  done
  local free_mb memory_mb
  if [[ ${#missing[@]} = 0 ]]; then # nothing is made on a machine that cannot do
    mkdir -p "$CACHE"
    free_mb=$(df -Pm "$CACHE" | awk 'NR==2 {print $4}')
    [[ $free_mb -ge 4000 ]] || missing+=("4 GB of disk for $CACHE ($free_mb MB are free)")
  fi
  memory_mb=$(awk '/^MemAvailable/ {print int($2 / 1024)}' /proc/meminfo)
  [[ $memory_mb -ge 1500 ]] || missing+=("1.5 GB of free memory ($memory_mb MB are available)")

  [[ ${#missing[@]} = 0 ]] || {
    echo "error: the local cluster cannot run on this machine. It needs" >&2
    printf '  - %s\n' "${missing[@]}" >&2
    echo "Where that cannot be had: CLUSTER=kind (with Docker) or CLUSTER=current (any cluster that kubectl reaches)." >&2
    exit 1
  }
}

# --- cgroups: one child of our own cgroup in each hierarchy, so that limits set on us hold for the cluster as well

cgroup_name() { # a dot is in no cluster's name
  if [[ $NODE = node1 ]]; then echo "assetplatform-$NAME"; else echo "assetplatform-$NAME.$NODE"; fi
}

make_cgroups() {
  : >"$STATE/cgroups"
  if [[ $CGROUP_VERSION = 2 ]]; then make_cgroup2; else make_cgroups1; fi
}

make_cgroups1() {
  local line ctl path mount dir
  while IFS= read -r line; do
    path=${line#*:*:} ctl=${line#*:} ctl=${ctl%%:*}
    case $ctl in
      '') mount=/sys/fs/cgroup/unified ;;
      name=systemd) mount=/sys/fs/cgroup/systemd ;;
      *) mount=/sys/fs/cgroup/$ctl ;;
    esac
    [[ -d $mount${path%/} ]] || continue
    dir=$mount${path%/}/$(cgroup_name)
    mkdir -p "$dir"
    if [[ $ctl = cpuset ]]; then # a new cpuset is empty, and nothing can join it then
      cat "$mount$path/cpuset.cpus" >"$dir/cpuset.cpus"
      cat "$mount$path/cpuset.mems" >"$dir/cpuset.mems"
      echo 1 >"$dir/cgroup.clone_children"
    fi
    [[ $ctl != memory ]] || echo 1 >"$dir/memory.use_hierarchy" 2>/dev/null || true
    echo "$dir" >>"$STATE/cgroups"
  done </proc/self/cgroup
}

# cgroup v2 alone: controllers can only be handed down from a group without processes, so go up from our own to the
# first that hands them down already (on a machine with systemd that is a slice or the root). Never run on such a machine yet.
make_cgroup2() {
  local dir
  dir=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
  dir=${dir%/} # "/" in a container
  until grep -qw memory "$dir/cgroup.subtree_control" && grep -qw cpu "$dir/cgroup.subtree_control" && grep -qw pids "$dir/cgroup.subtree_control"; do
    [[ $dir != /sys/fs/cgroup ]] || {
      echo '+cpu +memory +pids' >/sys/fs/cgroup/cgroup.subtree_control || die "cgroup v2: cannot hand cpu, memory and pids down from the root group (in a container its processes are in the way: move them to a child group first)"
      break
    }
    dir=$(dirname "$dir")
  done
  dir+=/$(cgroup_name)
  mkdir -p "$dir"
  echo "$dir" >"$STATE/cgroups"
}

# The parent of the node's process 1 is in the group's root as well, where node-init cannot see it (see mount_own_cgroup2).
leave_cgroup2_root() { # PID
  [[ $CGROUP_VERSION = 2 ]] || return 0
  local dir
  dir=$(<"$STATE/cgroups")
  mkdir -p "$dir/init"
  echo "$1" >"$dir/init/cgroup.procs"
}

# join_cgroups counts the calling shell among the node's processes; nsenter -C changes only what is seen.
join_cgroups() {
  local dir
  while read -r dir; do
    [[ ! -d $dir/init ]] || dir=$dir/init # cgroup v2: the root of the group holds no processes
    echo "$BASHPID" >"$dir/cgroup.procs"
  done <"$STATE/cgroups"
}

remaining_cgroups() {
  local dir
  [[ -f $STATE/cgroups ]] || return 0
  while read -r dir; do [[ ! -d $dir ]] || echo "$dir"; done <"$STATE/cgroups"
}

# A cgroup can be removed once it is empty; the last processes leave it some moments after they were killed.
remove_cgroups() {
  local dir
  for _ in $(seq 30); do
    [[ -n $(remaining_cgroups) ]] || break
    remaining_cgroups | while read -r dir; do find "$dir" -depth -type d -exec rmdir {} + 2>/dev/null || true; done
    sleep 0.1
  done
  [[ -n $(remaining_cgroups) ]] || rm -f "$STATE/cgroups"
}
