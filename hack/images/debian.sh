# Sourced by images/build: layers made from Debian packages. The first is a minimal Debian (debootstrap); each further
# one is what a script of steps/ changes on top of others, recorded by an overlay mount in private namespaces.
# shellcheck shell=bash

SUITE=bookworm # the one that has postgresql-15 and redis 7.0

# The mirrors are the ones that apt is set to on this machine, with the suite's updates and security fixes where it has them.
mirror_lines() {
  local lines
  if [[ -n ${MIRROR:-} ]]; then
    lines="deb $MIRROR $SUITE main"
  else
    # shellcheck disable=SC2016 # apt fills these in
    lines=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(CREATED_BY)' 2>/dev/null |
      awk -v s=$SUITE '$4 == "Packages" && $3 == "main" && ($2 == s || $2 == s "-updates" || $2 == s "-security") {print "deb", $1, $2, $3}' | sort -u)
  fi
  grep -q " $SUITE main" <<<"$lines" || die "the images are made from Debian $SUITE, and apt on this machine is not set to it: set MIRROR to the address of a Debian mirror"
  echo "$lines"
}

# debian_layer: prints the path of the base layer.
debian_layer() {
  local path
  path=$CACHE/layers/debian-$({
    echo "$SUITE"
    hash_files "$IMAGES"/{in-chroot,steps/debian}
  } | hash_of)
  [[ -e $path ]] || say "making the Debian base layer (about a minute)"
  make_once "$path" fill_debian_layer
  keep_newest 2 "$path"
  echo "$path"
}

fill_debian_layer() { # DIR
  need_root
  "$HACK/deps" images
  local dir=$1 mirror
  mkdir -p "$dir"
  mirror=$(mirror_lines | awk -v s=$SUITE '$3 == s {print $2; exit}')
  private debootstrap --variant=minbase "$SUITE" "$dir/root" "$mirror" >"$dir/debootstrap.log" 2>&1 ||
    die "debootstrap: $(tail -n3 "$dir/debootstrap.log")"
  build_files "$dir/build"
  private "$IMAGES/in-chroot" "$dir/root" "$dir/build" "$IMAGES/steps/debian"
  tar_of -C "$dir/root" -cf "$dir/layer.tar" .
  rm -rf --one-file-system "$dir/root" "$dir/build"
  seal_layer "$dir"
}

# step_layer STEP PARENT...: prints the path of the layer that the script steps/STEP makes on top of its parents.
step_layer() {
  local step=$1 path
  shift
  path=$CACHE/layers/$step-$({
    hash_files "$IMAGES"/in-chroot "$IMAGES/steps/$step"
    cat "${@/%//digest}"
  } | hash_of)
  [[ -e $path ]] || say "making the layer $step"
  make_once "$path" fill_step_layer "$step" "$@"
  keep_newest 2 "$path"
  echo "$path"
}

fill_step_layer() { # STEP PARENT... DIR
  need_root
  local step=$1 dir=${*: -1} parent
  mkdir -p "$dir"/{lower,upper,work,merged}
  for parent in "${@:2:$#-2}"; do tar -C "$dir/lower" --numeric-owner -xpf "$parent/layer.tar"; done
  build_files "$dir/build"
  OVERLAY="$dir" private "$IMAGES/in-chroot" "$dir/merged" "$dir/build" "$IMAGES/steps/$step"
  tar_of -C "$dir/upper" -cf "$dir/layer.tar" .
  rm -rf --one-file-system "$dir"/{lower,upper,work,merged,build}
  seal_layer "$dir"
}

# What apt needs inside the chroot and no image may keep: mirrors, proxy and certificates of this machine.
build_files() { # DIR
  mkdir -p "$1"
  mirror_lines >"$1/sources.list"
  apt-config dump | grep -Ei '^Acquire::https?::([^ ]*::)?Proxy' >"$1/apt.conf" || true
  cat >>"$1/apt.conf" <<'A'
Dir::Etc::sourcelist "/tmp/build/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "/tmp/build/lists";
Dir::Cache "/tmp/build/cache";
Dir::Log "/tmp/build";
APT::Install-Recommends "0";
APT::Sandbox::User "root";
Acquire::Languages "none";
Dpkg::Options { "--force-confold"; "--log=/dev/null"; };
A
  if [[ -r /etc/ssl/certs/ca-certificates.crt ]]; then
    cp /etc/ssl/certs/ca-certificates.crt "$1/ca.crt"
    echo 'Acquire::https::CAInfo "/tmp/build/ca.crt";' >>"$1/apt.conf"
  fi
}

# Namespaces of their own: no mount and no process outlives a step.
private() { unshare --mount --pid --uts --ipc --fork --mount-proc --kill-child "$@"; }

need_root() { [[ $EUID = 0 ]] || die "building this image needs root (chroot and overlay mounts)"; }
