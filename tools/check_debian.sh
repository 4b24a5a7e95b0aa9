#!/bin/sh
# Runs `make demo` and `make test` on Debian systems that have nothing but git, make and apt: as root, then as a user
# who finds the packages that root has installed. Each system is a chroot made anew, with a clone of the last commit.
# Usage: tools/check_debian.sh [RELEASE...], bookworm and trixie unless named. Needs root, mmdebstrap and the network.
# WORK: where the systems and logs are (build/debian). MIRROR: of Debian; the one that apt uses here unless given.
# What is mounted is mounted in a namespace that ends with its processes, so nothing has to be unmounted.
# SPDX-License-Identifier: Apache-2.0
set -eu
cd "$(dirname "$0")/.."

[ $# -gt 0 ] || set -- bookworm trixie
work=${WORK:-build/debian}
mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)}
[ "$(id -u)" -eq 0 ] || { echo "check-debian: needs root" >&2; exit 1; }
command -v mmdebstrap >/dev/null || { echo "check-debian: needs mmdebstrap: apt-get install mmdebstrap" >&2; exit 1; }
mkdir -p "$work"

failed=0

# in_chroot ROOT USER COMMAND. Without /sys a first connection may fail: docs/internals/grpc.md, "Without /sys".
in_chroot() {
  unshare --mount --pid --fork --kill-child sh -eu -c '
    mount -t proc proc "$1/proc"
    mount -t sysfs -o ro sysfs "$1/sys"
    mount -t tmpfs tmpfs "$1/dev/shm"
    exec chroot "$1" runuser -l "$2" -c "$3"' sh "$@" </dev/null
}

# try RELEASE USER: both commands, in a clone in the home of the user.
try() {
  root=$work/$1 log=$work/$1-$2.log
  for target in demo test; do
    start=$(date +%s)
    state=ok
    in_chroot "$root" "$2" "git clone -q /srv/arvak.bundle arvak-$target && cd arvak-$target && make $target" \
      >"$log" 2>&1 || state=failed
    [ $state = ok ] || { failed=1; grep -E ' [1-9][0-9]* not ok ' "$log" || tail -n 20 "$log"; }
    last=$(grep -E '^[0-9]+ passed' "$log" || tail -n 1 "$log")
    printf '%s, %s: make %s: %s, %d s: %s\n' "$1" "$2" $target $state $(($(date +%s) - start)) "$last"
    mv "$log" "$work/$1-$2-$target.log"
  done
}

for release in "$@"; do
  rm -rf --one-file-system "${work:?}/$release"
  mmdebstrap --quiet --variant=apt --include=git,make,ca-certificates "$release" "$work/$release" "$mirror" \
    >"$work/$release.log" 2>&1 || { cat "$work/$release.log" >&2; exit 1; }
  git bundle create -q "$work/$release/srv/arvak.bundle" HEAD
  printf '%s localhost\n' 127.0.0.1 ::1 >"$work/$release/etc/hosts" # as every installer writes it
  echo 'arvak:x:1000:1000::/home/arvak:/bin/sh' >>"$work/$release/etc/passwd" # there is no useradd yet
  install -d -o 1000 -g 1000 "$work/$release/home/arvak"
  try "$release" root
  try "$release" arvak
done
exit $failed
