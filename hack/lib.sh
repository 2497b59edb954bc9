# Sourced by the scripts under hack/: messages, the cache, packages. Bash only; changes nothing when sourced.
# shellcheck shell=bash

HACK=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(dirname "$HACK")
CACHE=${ASSETPLATFORM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/assetplatform}
export HACK REPO CACHE

# Elapsed time counts from the first script of a chain: one that calls another hands its start down.
export AP_STARTED=${AP_STARTED:-$EPOCHREALTIME}

elapsed() { # seconds since the start, as 12.3
  local now=${EPOCHREALTIME/[.,]/} then=${AP_STARTED/[.,]/}
  local tenths=$(((now - then) / 100000))
  echo "$((tenths / 10)).$((tenths % 10))"
}

# Progress goes to stderr, so that a command's result (a path) is all that it prints on stdout.
say() { printf '[%6ss] %s\n' "$(elapsed)" "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

hash_of() { sha256sum | cut -c1-16; } # stdin → the short name of what is made from it

# hash_files FILE...: contents and names relative to hack/, so that a clone elsewhere finds the same cache entries.
# What comes out of the cache itself has its hash in its name.
hash_files() {
  local f
  for f in "$@"; do
    case $f in
      "$CACHE"/*) echo "${f#"$CACHE"/}" ;;
      *) echo "${f#"$HACK"/} $(sha256sum <"$f")" ;;
    esac
  done
}

# still_making WHAT: says every half minute that it goes on, until it is ended.
still_making() {
  local pause=''
  trap 'kill ${pause:-} 2>/dev/null; exit' TERM
  while :; do
    sleep 30 &
    pause=$!
    wait $pause
    say "still making $1"
  done
}

# make_once PATH FUNCTION ARGS...: PATH carries the hash of what it is made from, so existing means right.
# FUNCTION is called with ARGS and a temporary path to make. Locked: a second caller waits and finds it made;
# renamed at the end: an interrupted build leaves nothing that looks whole.
# Never call it as a condition (if, ||, &&): bash would then ignore every error inside.
make_once() {
  local path=$1 lock rc=0 progress
  shift
  [[ ! -e $path ]] || return 0
  mkdir -p "$(dirname "$path")" "$CACHE/locks"
  exec {lock}>"$CACHE/locks/$(basename "$path")"
  flock -n "$lock" || {
    say "waiting for another process that is making $(basename "$path")"
    flock "$lock"
  }
  if [[ ! -e $path ]]; then
    rm -rf "$path.tmp"
    still_making "$(basename "$path")" {lock}>&- >/dev/null &
    progress=$!
    set +e
    (
      exec {lock}>&- # what the build starts must not keep the lock
      set -euo pipefail
      "$@" "$path.tmp"
    )
    rc=$?
    kill "$progress"
    wait "$progress"
    set -e
    [[ $rc != 0 ]] || mv "$path.tmp" "$path"
  fi
  exec {lock}>&-
  [[ $rc = 0 ]] || die "could not make $(basename "$path")"
}

# keep_newest N PATH: PATH ends in a hash; all but the N last used of its kind are removed. PATH counts as used now.
keep_newest() {
  local n=$1 path=$2 old
  touch "$path"
  # shellcheck disable=SC2012 # our own names: no blanks, no newlines
  ls -1dt "${path%-*}"-????????????????"${path#"${path%-*}"-????????????????}" 2>/dev/null | tail -n +$((n + 1)) | while read -r old; do rm -rf "$old"; done
}

# The hermetic part of every Go build: no C, no paths of this machine, no workspace of the user's. Nor tables for debuggers: they
# take a sixth of the time, and -s drops them in the end. The Makefile has the same flags for tests and lint, so that all
# share one build cache.
go_build() {
  CGO_ENABLED=0 GOWORK=off GOFLAGS='-trimpath -gcflags=all=-dwarf=false' go "$@"
}

need_go() {
  command -v go >/dev/null || die "Go is needed (1.26 or newer): install it and put it on the PATH"
}
