#!/bin/sh
# Installs the Debian packages that a target needs and this machine lacks; says which and why.
# Usage: tools/setup.sh build|test|check|fuzz|format|docs. When nothing is missing, apt is not called at all.
# SPDX-License-Identifier: Apache-2.0
set -eu

# level, package, why.
table() {
  cat <<'END'
build gcc                 C compiler
build libc6-dev           headers of the C library
build make                runs the build
build pkg-config          finds the libraries
build libgrpc-dev         gRPC C core, the transport
build libprotobuf-c-dev   protobuf-c, the message encoding
build libssl-dev         SHA-256 for journals; gRPC needs it too
build libsqlite3-dev      SQLite: journals and ledgers in a file
build libpq-dev           PostgreSQL: journals that machines share
build protobuf-c-compiler generates C from proto/arvak.proto
build lua5.4              the interpreter; also embeds the Lua sources at build time
build liblua5.4-dev       headers of Lua
build lua-cjson           JSON: metadata, topology
build lua-argparse        the command's arguments
test  lua-busted          runs spec/*_spec.lua
test  lua-cqueues         an event loop to live in
test  lua-luv             another
test  lua-socket          socket.select, for a scheduler of our own
test  curl                tries examples/web.lua
test  libcmocka-dev       runs the tests in C
test  g++                 a host in C++ links the installed library
test  libzstd-dev         pkg-config --static names it since Debian 13, for libcrypto
test  protobuf-compiler   protocol test: a second opinion on proto/arvak.proto
test  libprotobuf-dev     protocol test: descriptor.proto
test  lua-sql-sqlite3     another handle on a journal, in the same process
test  sqlite3            reads a journal as people do
test  postgresql          a database of the tests' own
test  openssl             certificates for the TLS tests
test  lua-term            terminal test of the progress bar
test  luarocks            tests the rock
test  python3             reads what the command writes
test  locales             a locale whose numbers have commas
check lua-check           lint of Lua
check valgrind            memory checks
fuzz  clang               C compiler with a fuzzer
fuzz  libclang-rt-dev     the fuzzer's runtime
format clang-format       layout of C
docs  pandoc              turns the documents into HTML
END
}

case "${1-}" in
  build) levels='build' ;;
  test) levels='build test' ;;
  check) levels='build test check' ;;
  fuzz) levels='build fuzz' ;;
  format) levels='format' ;;
  docs) levels='docs' ;;
  *) echo "usage: $0 build|test|check|fuzz|format|docs" >&2; exit 2 ;;
esac

wanted=$(table | while read -r level package _; do
  case " $levels " in *" $level "*) echo "$package" ;; esac
done)

if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
  echo "arvak: not a Debian system, so nothing is installed. The build needs what these packages hold:" $wanted >&2
  exit 0
fi

# dpkg-query complains about packages it has never heard of: those are missing too.
installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null | sed -n 's/^installed //p') || true
missing=
for package in $wanted; do
  echo "$installed" | grep -qx -- "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "arvak: installing the Debian packages that are missing here:"
table | while read -r _ package why; do
  case " $missing " in *" $package "*) printf '  %-20s %s\n' "$package" "$why" ;; esac
done

as_root=
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null 2>&1; then
    echo "arvak: neither root nor sudo. As root: apt-get update && apt-get install$missing" >&2
    exit 1
  fi
  as_root=sudo
fi

apt() {
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" </dev/null >"$log" 2>&1 && return
  cat "$log" >&2
  return 1
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# A list that cannot be refreshed may still be good enough for the install.
apt update || echo "arvak: apt-get update failed, going on with the lists at hand" >&2
apt install -y --no-install-recommends $missing || {
  echo "arvak: the install failed. To do it by hand: apt-get install$missing" >&2
  exit 1
}
