/* Log-linear buckets. Invariant: the buckets' sum is count.
 * SPDX-License-Identifier: Apache-2.0 */
#include "policy/histogram.h"

enum { UNIT_BITS = 8, STEP_BITS = 4, MAX_BITS = 42 };

static int bucket_of(int64_t ns) {
  if (ns < 0) ns = 0;
  if (ns >> MAX_BITS) ns = (INT64_C(1) << MAX_BITS) - 1;
  uint64_t units = (uint64_t)ns >> UNIT_BITS;
  if (units < ARVAK__STEPS) return (int)units;
  int octave = 63 - __builtin_clzll(units);
  return (octave - STEP_BITS + 1) * ARVAK__STEPS + (int)(units >> (octave - STEP_BITS)) % ARVAK__STEPS;
}

/* Where a bucket ends. */
static int64_t end_of(int bucket) {
  int octave = bucket / ARVAK__STEPS, step = bucket % ARVAK__STEPS;
  if (octave == 0) return (int64_t)(step + 1) << UNIT_BITS;
  return (int64_t)(ARVAK__STEPS + step + 1) << (octave - 1 + UNIT_BITS);
}

void arvak__histogram_add(arvak__histogram *histogram, int64_t ns) {
  histogram->count++;
  if (ns > histogram->max_ns) histogram->max_ns = ns;
  histogram->buckets[bucket_of(ns)]++;
}

int64_t arvak__histogram_quantile(const arvak__histogram *histogram, double share) {
  double wanted = share * (double)histogram->count;
  uint64_t sum = 0;
  for (int i = 0; i < ARVAK__HISTOGRAM_SIZE; i++) {
    sum += histogram->buckets[i];
    if (sum == 0 || (double)sum < wanted) continue;
    int64_t end = end_of(i);
    return end < histogram->max_ns ? end : histogram->max_ns;
  }
  return 0;
}
