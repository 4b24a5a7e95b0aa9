/* gRPC's own life and the clock. Invariant: gRPC is initialised while any client or loop of ours exists.
 * SPDX-License-Identifier: Apache-2.0 */
#include <time.h>

#include "internal.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static atomic_uint generation;

static void count_fork(void) { atomic_fetch_add_explicit(&generation, 1, memory_order_relaxed); }

static void watch_forks(void) { pthread_atfork(NULL, NULL, count_fork); }

void arvak__grpc_ref(void) {
  pthread_once(&once, watch_forks);
  grpc_init();
}

void arvak__grpc_unref(void) { grpc_shutdown(); }

unsigned arvak__fork_generation(void) { return atomic_load_explicit(&generation, memory_order_relaxed); }

int64_t arvak_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
