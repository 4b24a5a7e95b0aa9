#!/bin/sh
# Runs C tests (cmocka) and specs (busted), each file in a process of its own, so that a crash or a hang costs one file.
# Usage: tools/test.sh FILE... The last line says `N passed, N failed`; fails if any failed or none ran.
# WRAP: a command to run each file under. FILE_TIMEOUT: seconds for one file.
# A spec that needs an environment of its own names it in its head: `-- environment: NAME=value`.
# SPDX-License-Identifier: Apache-2.0
set -u

passed=0 failed=0 pending=0
output=$(mktemp)
trap 'rm -f "$output"' EXIT
export CMOCKA_MESSAGE_OUTPUT=TAP

# Prints "passed failed pending" of one run's output, whichever of the two formats it has.
count() {
  awk '
    /^not ok [0-9]+ # SKIP/ { pending++; next }
    /^ok [0-9]+/ { passed++ }
    /^not ok [0-9]+/ { failed++ }
    /^[0-9]+ success[a-z]* \/ [0-9]+ failures? \/ [0-9]+ errors? \/ [0-9]+ pending/ {
      passed += $1; failed += $4 + $7; pending += $10
    }
    END { print passed + 0, failed + 0, pending + 0 }' "$output"
}

for file in "$@"; do
  environment=
  case $file in
    *.lua)
      command="${LUA:-lua5.4} tools/busted.lua --output=plainTerminal $file"
      environment=$(awk '!/^--/ { exit } sub(/^-- environment: /, "")' "$file")
      ;;
    *) command=$file ;;
  esac
  start=$(date +%s)
  timeout -k 10 "${FILE_TIMEOUT:-300}" env $environment ${WRAP-} $command >"$output" 2>&1 </dev/null
  status=$?
  set -- $(count)
  [ $status -eq 0 ] || [ "$2" -gt 0 ] || set -- "$1" 1 "$3"
  printf '%4d ok %4d not ok %3d s  %s\n' "$1" "$2" $(($(date +%s) - start)) "$file"
  if [ "$2" -gt 0 ]; then
    cat "$output"
    case $status in
      124 | 137) echo "$file: stopped after ${FILE_TIMEOUT:-300} s" ;;
      *) echo "$file: exit status $status" ;;
    esac
  fi
  passed=$((passed + $1)) failed=$((failed + $2)) pending=$((pending + $3))
done

[ $pending -eq 0 ] || echo "$pending pending"
[ $((passed + failed)) -gt 0 ] || echo "no test was run"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
