/* Counts of durations, in buckets 1/16 of an octave wide. Pure; adding is a few instructions, so it can be done for
 * every call. Durations from 2^42 ns (73 minutes) on count as that long.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_HISTOGRAM_H
#define ARVAK_HISTOGRAM_H

#include <stdint.h>

enum { ARVAK__STEPS = 16, ARVAK__HISTOGRAM_SIZE = 31 * ARVAK__STEPS };

typedef struct arvak__histogram {
  uint64_t count;
  int64_t max_ns;
  uint32_t buckets[ARVAK__HISTOGRAM_SIZE];
} arvak__histogram;

void arvak__histogram_add(arvak__histogram *histogram, int64_t ns);
/* The duration that this share (from 0 to 1) of all does not exceed; 0 when there is none. */
int64_t arvak__histogram_quantile(const arvak__histogram *histogram, double share);

#endif
