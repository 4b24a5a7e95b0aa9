/* What a thread does with its time: it computes, it is ready while another thread has its processor, or it waits.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_TEST_SPENT_H
#define ARVAK_TEST_SPENT_H

#include <stdint.h>
#include <stdio.h>
#include <time.h>

typedef struct spent {
  int64_t wall_ns, computed_ns, ready_ns; /* of the calling thread; ready: without a processor */
} spent;

static inline int64_t spent_clock_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static inline spent spent_now(void) {
  long long ran = 0, ready = 0;
  FILE *file = fopen("/proc/thread-self/schedstat", "r");
  if (file && fscanf(file, "%lld %lld", &ran, &ready) != 2) ready = 0;
  if (file) fclose(file);
  return (spent){spent_clock_ns(CLOCK_MONOTONIC), spent_clock_ns(CLOCK_THREAD_CPUTIME_ID), ready};
}

static inline spent spent_since(const spent *before) {
  spent now = spent_now();
  return (spent){now.wall_ns - before->wall_ns, now.computed_ns - before->computed_ns,
                 now.ready_ns - before->ready_ns};
}

static inline int64_t spent_waiting_ns(const spent *s) {
  int64_t waited = s->wall_ns - s->computed_ns - s->ready_ns;
  return waited > 0 ? waited : 0;
}

#endif
