#!/bin/sh
# Runs each test file TIMES times (20), JOBS at once (3 for each core), so that the runs are each other's load: a test
# that depends on a quiet machine fails here. Usage: tools/repeat.sh FILE... The outputs of failures stay in
# $ARVAK_BUILD/repeat. Fails if any run failed.
# SPDX-License-Identifier: Apache-2.0
set -u

times=${TIMES:-20}
export REPEAT_DIR="${ARVAK_BUILD:-build}/repeat"
rm -rf "$REPEAT_DIR"
mkdir -p "$REPEAT_DIR"

run=0
while [ $run -lt "$times" ]; do
  run=$((run + 1))
  for file in "$@"; do echo "$run $file"; done
done | xargs -P "${JOBS:-$((3 * $(nproc)))}" -L 1 sh -c '
  output="$REPEAT_DIR/$1-$(echo "$2" | tr / _).log"
  if JOBS=1 tools/test.sh "$2" >"$output" 2>&1; then rm "$output"; else echo "run $1 failed: $2 (see $output)"; fi' repeat

failed=$(ls "$REPEAT_DIR" | wc -l)
echo "$# files, $times runs each, $failed runs failed"
[ "$failed" -eq 0 ]
