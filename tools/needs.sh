#!/bin/sh
# Checks that what the build needs is there, and names the Debian package of each thing that is not.
# Takes CC, PKG_CONFIG, PROTOC_C, LUA and LUA_CFLAGS (pkg-config is asked for Lua only without it) from the environment.
# SPDX-License-Identifier: Apache-2.0
set -u

missing=
need() { # what, package, command that succeeds if it is there
  what=$1 package=$2
  shift 2
  "$@" >/dev/null 2>&1 && return
  echo "arvak needs $what: apt-get install $package" >&2
  missing="$missing $package"
}

compiles() { echo "#include <$1>" | $CC $LUA_CFLAGS -E -; }

need 'a C compiler' gcc command -v ${CC%% *}
need 'the C library headers' libc6-dev compiles stdlib.h
need pkg-config pkg-config command -v $PKG_CONFIG
if command -v $PKG_CONFIG >/dev/null 2>&1; then
  need grpc libgrpc-dev $PKG_CONFIG --exists grpc
  need protobuf-c libprotobuf-c-dev $PKG_CONFIG --exists libprotobuf-c
  need libcrypto libssl-dev $PKG_CONFIG --exists libcrypto
fi
need 'the protobuf-c compiler' protobuf-c-compiler command -v $PROTOC_C
need 'Lua 5.4' lua5.4 command -v $LUA
need 'the Lua 5.4 headers' liblua5.4-dev compiles lua.h

# What a program can do without.
want() { # what it would be for, pkg-config's name, package
  $PKG_CONFIG --exists "$2" 2>/dev/null ||
    echo "arvak: built without $1, which needs $2: apt-get install $3" >&2
}

[ -n "$missing" ] || want 'arvak.store.sqlite (journals and ledgers in a file)' sqlite3 libsqlite3-dev
[ -n "$missing" ] || want 'arvak.store.postgres (journals that machines share)' libpq libpq-dev
[ -z "$missing" ] || { echo "arvak: to install all that is missing: apt-get install$missing" >&2; exit 1; }
