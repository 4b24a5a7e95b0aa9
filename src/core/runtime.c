/* gRPC's own life and the clock. Invariant: gRPC is initialised while any client or loop of ours exists.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "arvak.h"
#include "compat.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static atomic_uint generation;
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static int refs;                  /* mu: clients and loops */
static unsigned owner_generation; /* mu: of the process that gRPC runs in, while refs > 0 */

static void count_fork(void) { atomic_fetch_add_explicit(&generation, 1, memory_order_relaxed); }

/* The last words of gRPC before it aborts, as GPR_ASSERT and gpr_unreachable_code write them. The level does not tell
 * them from the rest: what peers do wrong, and certificates that cannot be read, are errors as well. */
static const char *const last_words[] = {"assertion failed", "UNREACHABLE CODE"};

static void log_fatal(grpc_compat_log_args *args) {
  for (size_t i = 0; i < sizeof last_words / sizeof *last_words; i++)
    if (strncasecmp(args->message, last_words[i], strlen(last_words[i])) == 0)
      fprintf(stderr, "gRPC: %s:%d: %s\n", args->file, args->line, args->message);
}

/* gRPC writes to stderr what our errors say anyway. Silent, then, but for what ends the process; unless the environment
 * sets a level, or the process uses gRPC otherwise and may want to hear all of it. */
static void prepare_process(void) {
  pthread_atfork(NULL, NULL, count_fork);
  if (!getenv("GRPC_VERBOSITY") && !grpc_is_initialized()) grpc_compat_set_log_function(log_fatal);
}

bool arvak__grpc_ref(void) {
  pthread_once(&once, prepare_process);
  pthread_mutex_lock(&mu);
  bool is_ours = refs == 0 || owner_generation == arvak__fork_generation();
  if (is_ours) {
    refs++;
    owner_generation = arvak__fork_generation();
  }
  pthread_mutex_unlock(&mu);
  if (is_ours) grpc_init();
  return is_ours;
}

void arvak__grpc_unref(void) {
  pthread_mutex_lock(&mu);
  refs--;
  pthread_mutex_unlock(&mu);
  grpc_shutdown();
}

unsigned arvak__fork_generation(void) { return atomic_load_explicit(&generation, memory_order_relaxed); }

int64_t arvak_now_ns(void) {
  return grpc_compat_now_ns();
}
