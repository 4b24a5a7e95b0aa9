#!/bin/sh
# Runs each example against a dev server on a free port; an example that exits non-zero or hangs is a failure.
# Usage: tools/examples.sh [WORD]: only those with WORD in their path.
# SPDX-License-Identifier: Apache-2.0
set -eu

word=${1-}
build=${ARVAK_BUILD:-build}
server_log=$(mktemp) log=$(mktemp)
"$build/bin/arvak-devserver" --address 127.0.0.1:0 --rate-limit 0 --max-concurrent-jobs 0 --max-queued-jobs 0 \
  >"$server_log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null; rm -f "$server_log" "$log"' EXIT

for _ in $(seq 100); do
  ARVAK_ADDRESS=$(sed -n 's/.*\(127\.0\.0\.1:[1-9][0-9]*\).*/\1/p' "$server_log" | head -n 1)
  [ -z "$ARVAK_ADDRESS" ] || break
  sleep 0.1
done
[ -n "$ARVAK_ADDRESS" ] || { echo "the dev server did not say its address:" >&2; cat "$server_log" >&2; exit 1; }
export ARVAK_ADDRESS

passed=0 failed=0
run() { # name, command
  name=$1
  shift
  case $name in *"$word"*) ;; *) return ;; esac
  if timeout -k 5 60 "$@" >"$log" 2>&1 </dev/null; then
    passed=$((passed + 1))
    echo "ok      $name"
  else
    failed=$((failed + 1))
    echo "not ok  $name"
    cat "$log"
  fi
}

# examples/web.lua serves until it is killed; spec/docs/web_spec.lua tries it.
for example in $(ls examples/*.lua | grep -v /web.lua); do run "$example" "${LUA:-lua5.4}" "$example"; done
run examples/embed "$build/examples/embed" examples/embed/plugin.lua
[ ! -x "$build/examples/embed++" ] ||
  run examples/embed++ "$build/examples/embed++" examples/embed/small.lua examples/embed/small.lua
echo "examples: $passed ok, $failed not ok"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
