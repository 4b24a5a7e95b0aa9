/* A plugin in a thread of its own, which the test's thread stops or waits for.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_TEST_PLUGIN_H
#define ARVAK_TEST_PLUGIN_H

#include <pthread.h>
#include <stdatomic.h>

#include "hosting.h"

typedef struct plugin {
  lua_State *L;
  const char *source;
  pthread_t thread;
  atomic_bool is_over;
  bool has_raised; /* the next two once it is over */
  int64_t ended_ns;
} plugin;

static inline void *run_plugin(void *ud) {
  plugin *p = ud;
  p->has_raised = !runs(p->L, p->source);
  p->ended_ns = arvak_now_ns();
  p->is_over = true;
  return NULL;
}

/* From then on its state is its thread's, until await_plugin. */
static inline void start_plugin(plugin *p) {
  if (pthread_create(&p->thread, NULL, run_plugin, p) != 0) abort();
}

static inline void await_plugin(plugin *p) { pthread_join(p->thread, NULL); }

/* The two ways in which a host stops a plugin. */
typedef void (*stop_fn)(arvak_lua_handle *handle);

static inline void by_hand(arvak_lua_handle *handle) { arvak_lua_interrupt(handle, "enough"); }

static inline void by_deadline(arvak_lua_handle *handle) { arvak_lua_set_deadline(handle, arvak_now_ns()); }

/* Stops it, waits for its end, and returns how long that took. */
static inline int64_t stop_plugin(plugin *p, arvak_lua_handle *handle, stop_fn stop) {
  int64_t start = arvak_now_ns();
  stop(handle);
  await_plugin(p);
  return p->ended_ns - start;
}

#endif
