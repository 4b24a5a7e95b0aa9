/* Invariant: the loop is there until larvak_handle_set_loop has taken it away, under mu, so a wake never meets one that
 * is closed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "handle.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct arvak_lua_handle {
  atomic_int refs; /* the state's, and the host's */
  atomic_bool is_interrupted;
  atomic_int_fast64_t deadline_ns; /* ARVAK_NEVER: none */
  pthread_mutex_t mu;
  arvak_loop *loop; /* mu; borrowed, or NULL */
  char *reason;     /* mu; owned, or NULL */
  arvak_lua_stats stats; /* mu */
};

arvak_lua_handle *larvak_handle_new(void) {
  arvak_lua_handle *handle = calloc(1, sizeof *handle);
  if (!handle) return NULL;
  atomic_init(&handle->refs, 1);
  atomic_init(&handle->deadline_ns, ARVAK_NEVER);
  pthread_mutex_init(&handle->mu, NULL);
  return handle;
}

arvak_lua_handle *arvak_lua_handle_ref(arvak_lua_handle *handle) {
  atomic_fetch_add_explicit(&handle->refs, 1, memory_order_relaxed);
  return handle;
}

void arvak_lua_handle_unref(arvak_lua_handle *handle) {
  if (!handle || atomic_fetch_sub_explicit(&handle->refs, 1, memory_order_acq_rel) != 1) return;
  pthread_mutex_destroy(&handle->mu);
  free(handle->reason);
  free(handle);
}

void larvak_handle_set_loop(arvak_lua_handle *handle, arvak_loop *loop) {
  pthread_mutex_lock(&handle->mu);
  handle->loop = loop;
  pthread_mutex_unlock(&handle->mu);
}

/* ---- interrupts ---- */

static void wake(arvak_lua_handle *handle) {
  pthread_mutex_lock(&handle->mu);
  if (handle->loop) arvak_loop_wake(handle->loop);
  pthread_mutex_unlock(&handle->mu);
}

void arvak_lua_interrupt(arvak_lua_handle *handle, const char *reason) {
  char *copy = reason ? strdup(reason) : NULL;
  pthread_mutex_lock(&handle->mu);
  char *old = handle->reason;
  handle->reason = copy;
  atomic_store(&handle->is_interrupted, true);
  pthread_mutex_unlock(&handle->mu);
  free(old);
  wake(handle);
}

void arvak_lua_set_deadline(arvak_lua_handle *handle, int64_t deadline_ns) {
  atomic_store(&handle->deadline_ns, deadline_ns);
  wake(handle); /* whoever waits has another time to wake up at */
}

bool arvak_lua_interrupted(const arvak_lua_handle *handle) {
  if (atomic_load(&handle->is_interrupted)) return true;
  int64_t deadline = atomic_load(&handle->deadline_ns);
  return deadline != ARVAK_NEVER && arvak_now_ns() >= deadline;
}

int64_t larvak_handle_due_ns(const arvak_lua_handle *handle) {
  return atomic_load(&handle->is_interrupted) ? 0 : atomic_load(&handle->deadline_ns);
}

void larvak_handle_get_reason(arvak_lua_handle *handle, char *reason, size_t size) {
  pthread_mutex_lock(&handle->mu);
  const char *standard = atomic_load(&handle->is_interrupted) ? "the host has interrupted this Lua state"
                                                              : "the deadline of this Lua state has passed";
  snprintf(reason, size, "%s", handle->reason ? handle->reason : standard);
  pthread_mutex_unlock(&handle->mu);
}

void larvak_handle_clear(arvak_lua_handle *handle) {
  pthread_mutex_lock(&handle->mu);
  char *old = handle->reason;
  handle->reason = NULL;
  atomic_store(&handle->is_interrupted, false);
  atomic_store(&handle->deadline_ns, ARVAK_NEVER);
  pthread_mutex_unlock(&handle->mu);
  free(old);
}

/* ---- figures ---- */

void larvak_stats_add(arvak_lua_stats *stats, const arvak_lua_stats *more) {
  stats->calls += more->calls;
  stats->failures += more->failures;
  stats->refused += more->refused;
  stats->jobs += more->jobs;
  stats->bytes_sent += more->bytes_sent;
  stats->bytes_received += more->bytes_received;
  stats->waiting_ns += more->waiting_ns;
}

void larvak_handle_count(arvak_lua_handle *handle, const arvak_lua_stats *more) {
  pthread_mutex_lock(&handle->mu);
  larvak_stats_add(&handle->stats, more);
  pthread_mutex_unlock(&handle->mu);
}

void arvak_lua_get_stats(arvak_lua_handle *handle, arvak_lua_stats *out) {
  pthread_mutex_lock(&handle->mu);
  *out = handle->stats;
  pthread_mutex_unlock(&handle->mu);
}
