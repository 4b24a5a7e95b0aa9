/* Sums of times. A deadline is a time plus a duration, and a duration may be any number: a host that means "never"
 * writes ARVAK_NEVER, or something close to it. Invariant: no sum wraps around; one past the end of time is
 * ARVAK_NEVER. Pure. Every deadline in the core is computed by these functions.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_CLOCK_H
#define ARVAK_CLOCK_H

#include "arvak.h"

/* The time that is so long after at_ns; a negative duration leads back, at most to INT64_MIN. */
static inline int64_t arvak__after_ns(int64_t at_ns, int64_t duration_ns) {
  if (duration_ns > 0 && at_ns > INT64_MAX - duration_ns) return ARVAK_NEVER;
  if (duration_ns < 0 && at_ns < INT64_MIN - duration_ns) return INT64_MIN;
  return at_ns + duration_ns;
}

/* How long it is from one time to another; negative when to_ns is the earlier. The wait for ARVAK_NEVER is ARVAK_NEVER,
 * whatever the time is. */
static inline int64_t arvak__until_ns(int64_t to_ns, int64_t from_ns) {
  if (to_ns == ARVAK_NEVER) return ARVAK_NEVER;
  if (from_ns < 0 && to_ns > INT64_MAX + from_ns) return INT64_MAX;
  if (from_ns > 0 && to_ns < INT64_MIN + from_ns) return INT64_MIN;
  return to_ns - from_ns;
}

/* count times the duration; neither is negative. */
static inline int64_t arvak__times_ns(int64_t duration_ns, int64_t count) {
  return count > 0 && duration_ns > ARVAK_NEVER / count ? ARVAK_NEVER : duration_ns * count;
}

/* A computed duration as a whole number: 0 for one below 0 and for one that is no number. */
static inline int64_t arvak__to_ns(double duration_ns) {
  if (!(duration_ns > 0)) return 0;
  return duration_ns < 0x1p63 ? (int64_t)duration_ns : ARVAK_NEVER;
}

#endif
