#!/bin/sh
# Runs C tests (cmocka) and specs (busted), each file in a process of its own, so that a crash or a hang costs one file.
# Usage: tools/test.sh FILE... The last line says `N passed, N failed`; fails if any failed or none ran.
# JOBS: how many files run at once (as many as there are cores; most files wait more than they compute).
# WRAP: a command to run each file under. FILE_TIMEOUT: seconds for one file.
# A spec that needs an environment of its own names it in its head: `-- environment: NAME=value`.
# Each file has a folder of its own for what it makes ($TMPDIR), which goes with the file, however that ends.
# SPDX-License-Identifier: Apache-2.0
set -u

# Prints "passed failed pending" of one run's output, whichever of the two formats it has.
count() {
  awk '
    /^not ok [0-9]+ # SKIP/ { pending++; next }
    /^ok [0-9]+/ { passed++ }
    /^not ok [0-9]+/ { failed++ }
    /^[0-9]+ success[a-z]* \/ [0-9]+ failures? \/ [0-9]+ errors? \/ [0-9]+ pending/ {
      passed += $1; failed += $4 + $7; pending += $10
    }
    END { print passed + 0, failed + 0, pending + 0 }' "$1"
}

# Runs one file; its figures go to a file of their own in $TEST_RESULTS, its report, in one write, to the output.
run_file() {
  file=$1
  output=$(mktemp "$TEST_RESULTS/output-XXXXXX")
  folder=$(mktemp -d "$TEST_RESULTS/XXXXXX")
  chmod 1777 "$folder" # a server that runs as another user has files there
  environment=
  case $file in
    *.lua)
      command="${LUA:-lua5.4} tools/busted.lua --output=plainTerminal $file"
      environment=$(awk '!/^--/ { exit } sub(/^-- environment: /, "")' "$file")
      ;;
    *) command=$file ;;
  esac
  start=$(date +%s)
  TMPDIR=$folder timeout -k 10 "${FILE_TIMEOUT:-600}" env $environment ${WRAP-} $command >"$output" 2>&1 </dev/null
  status=$?
  rm -rf "$folder" 2>/dev/null || { chmod -R u+rwx "$folder" && rm -rf "$folder"; }
  set -- $(count "$output")
  [ $status -eq 0 ] || [ "$2" -gt 0 ] || set -- "$1" 1 "$3"
  echo "$@" >"$output.figures"
  {
    printf '%4d ok %4d not ok %3d s  %s\n' "$1" "$2" $(($(date +%s) - start)) "$file"
    if [ "$2" -gt 0 ]; then
      cat "$output"
      case $status in
        124 | 137) echo "$file: stopped after ${FILE_TIMEOUT:-600} s" ;;
        *) echo "$file: exit status $status" ;;
      esac
    fi
  } >"$output.report"
  cat "$output.report"
}

if [ "${1-}" = --file ]; then
  run_file "$2"
  exit 0
fi

# A cluster that was killed while it was frozen is found by the next one, of another file or another run.
export TEST_CLUSTERS="${TEST_CLUSTERS:-${TMPDIR:-/tmp}}"
TEST_RESULTS=$(mktemp -d)
chmod 711 "$TEST_RESULTS"
export TEST_RESULTS CMOCKA_MESSAGE_OUTPUT=TAP
trap 'rm -rf "$TEST_RESULTS"' EXIT
trap 'exit 130' INT TERM

[ $# -eq 0 ] || printf '%s\0' "$@" | xargs -0 -r -n 1 -P "${JOBS:-$(nproc 2>/dev/null || echo 1)}" "$0" --file

lost=$(($# - $(find "$TEST_RESULTS" -name '*.figures' | wc -l)))
[ $lost -eq 0 ] || echo "$lost files did not come to an end"
set -- $(cat "$TEST_RESULTS"/*.figures 2>/dev/null | awk '{ p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0 }')
[ "$3" -eq 0 ] || echo "$3 pending"
[ $(($1 + $2)) -gt 0 ] || echo "no test was run"
echo "$1 passed, $(($2 + lost)) failed"
[ $lost -eq 0 ] && [ "$2" -eq 0 ] && [ "$1" -gt 0 ]
