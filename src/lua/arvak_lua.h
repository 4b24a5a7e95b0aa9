/* arvak_lua: the Lua library, linked into a host, and one client for all the Lua states of that host.
 *
 * Link libarvak.a (pkg-config arvak) and open the library in each state with
 *     luaL_requiref(L, "arvak", luaopen_arvak, 0);
 * which needs Lua's base, coroutine, string, table and math libraries, and makes its own copies of what it needs of
 * them, so that nothing that a plugin does to its own changes what the library does. `require "arvak"` in that state
 * then gives this library and not another copy of it. A state belongs to one thread at a time; any number of states and
 * threads may use one client.
 *
 * Do not give a client that one copy of this library made to another copy. The module arvak.so, which `require` loads,
 * exports luaopen_arvak and luaopen_arvak_circuit alone, so that its functions and those of libarvak.a do not mix.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_LUA_H
#define ARVAK_LUA_H

#include "arvak.h"

#ifdef __cplusplus
extern "C" {
#endif

struct lua_State;

/* Opens the library in L, once, and pushes it: a lua_CFunction. Raises when out of memory. */
int luaopen_arvak(struct lua_State *L);

/* Opens the library if it is not open yet, and pushes arvak.circuit: what `require "arvak.circuit"` calls first. */
int luaopen_arvak_circuit(struct lua_State *L);

/* Pushes a handle on client, which it shares. Closing the handle, or the state, ends the calls and futures that were
 * made through it; the others keep the client. Opens the library in L if it is not open yet, without a global or an
 * entry in package.loaded: a state that gets nothing but this handle can reach no other server. Raises when out of
 * memory, and an error of kind "forked" in a fork of a process whose gRPC is running. The plugin can look at the
 * client's breaker and cannot move it, and cannot set the headers that the host has given to the client. */
void arvak_lua_pushclient(struct lua_State *L, arvak_client *client);

/* ---- limits ----------------------------------------------------------------------------------------------------- */

/* What a plugin can do with the breaker that the host gave to its client. Its calls go through it in any case. */
typedef enum arvak_lua_breaker_use {
  ARVAK_LUA_BREAKER_SEE,  /* its state, by client:breaker() and client:stats() */
  ARVAK_LUA_BREAKER_MOVE, /* and force, reset and record */
  ARVAK_LUA_BREAKER_NONE  /* nothing */
} arvak_lua_breaker_use;

/* A submit that a plugin is about to make; strings are borrowed for the call. */
typedef struct arvak_lua_submit {
  arvak_rpc rpc;
  const char *backend_id;
  int jobs;
  uint64_t shots; /* of all of them */
  size_t bytes;   /* of their circuits */
} arvak_lua_submit;
/* The host's own check, in the thread that has the state, before each submit and each job written to a stream; must not
 * use the state. NULL: let through; else a message, copied at once: the submit ends with it. */
typedef const char *(*arvak_lua_submit_fn)(const arvak_lua_submit *submit, void *ud);

/* The limits of a plugin. Zero means no limit of its own. They belong to the handle that is pushed and to its views;
 * what says "the state" holds for all of the Lua state, and of several pushes the lowest counts. What is in flight
 * beyond a limit waits; what waits or is held beyond one is refused: the call gives nil and an error of kind
 * "resource_exhausted" and scope "plugin" without a code, which no policy of the client sees. A time that is longer
 * than the longest raises; where the plugin gives none, the longest takes the place of a longer default. */
typedef struct arvak_lua_limits {
  int max_in_flight;         /* calls with gRPC; the others wait */
  int max_queued;            /* calls that wait besides; the others are refused; needs max_in_flight */
  size_t max_request_bytes;  /* of the circuits, ids and headers of calls that wait or are in flight */
  size_t max_answer_bytes;   /* of answers that have come and that the plugin has not taken yet */
  int max_streams;           /* open at once */
  int max_futures;           /* calls and job futures under way that nobody is suspended on */
  int max_tasks;             /* of the state, not ended; arvak.spawn gives a future that has failed */
  int64_t max_timeout_ns;       /* the longest timeout and attempt_timeout of a call */
  int64_t max_queue_timeout_ns; /* the longest queue_timeout */
  int64_t max_wait_ns;          /* the longest max_wait for a job, and timeout of a stream */
  int64_t max_sleep_ns;         /* of the state: the longest arvak.sleep */
  double submit_rate;           /* jobs submitted in a second; submits wait for their turn, and streams that submit are
                                   refused */
  int submit_burst;             /* jobs that may be submitted at once after a pause; 1 */
  const char *const *protected_headers; /* lower-case names that the plugin must not set, besides the host's; copied */
  size_t protected_header_count;
  bool may_replace_headers;   /* those that the host has given to its client */
  bool has_no_policies;       /* brings no retry and no breaker of its own, and turns none off */
  bool has_own_stats;         /* client:stats() tells of this handle and its views alone */
  bool cancels_own_jobs_only; /* those that this state has submitted, through handles with this limit */
  bool has_no_connect;        /* of the state: arvak.connect raises, so that no other client escapes these limits */
  arvak_lua_breaker_use breaker;
  arvak_lua_submit_fn on_submit; /* NULL: none */
  void *ud;
} arvak_lua_limits;

/* As arvak_lua_pushclient, with limits, which are copied; NULL: none, as there. */
void arvak_lua_pushlimited(struct lua_State *L, arvak_client *client, const arvak_lua_limits *limits);

/* ---- interrupts ------------------------------------------------------------------------------------------------- */

/* What a host keeps of a Lua state, in order to stop it. Counted; every function that takes one is thread-safe; it
 * outlives its state, and then they have no effect. */
typedef struct arvak_lua_handle arvak_lua_handle;

/* The handle of L's state, always the same: owned, arvak_lua_handle_unref. Opens the library if it is not open yet, but
 * names it nowhere. Like all functions that take a lua_State, only for the thread that has the state. Raises when out
 * of memory, and in a finalizer while the state closes. */
arvak_lua_handle *arvak_lua_get_handle(struct lua_State *L);
arvak_lua_handle *arvak_lua_handle_ref(arvak_lua_handle *handle); /* shared */
void arvak_lua_handle_unref(arvak_lua_handle *handle);            /* NULL is fine */

/* Interrupts the state until arvak_lua_clear_interrupt. Whatever waits in it, and whatever begins to wait, raises an
 * error of kind "interrupted" with this reason as its message (copied; NULL: a text of the library's). Suspended tasks
 * and coroutines of attached loops are resumed to raise it. From then on a count hook in the coroutine that raised, and
 * in the main one, raises the error again at every instruction of the plugin, so that no pcall goes on. What computes
 * without waiting, and coroutines that the plugin resumes itself, are for the host's own hook: see arvak_lua_check. */
void arvak_lua_interrupt(arvak_lua_handle *handle, const char *reason);
/* The same from this time on, of arvak_now_ns; ARVAK_NEVER: no deadline. A later deadline takes the place of one that
 * has passed. */
void arvak_lua_set_deadline(arvak_lua_handle *handle, int64_t deadline_ns);
bool arvak_lua_interrupted(const arvak_lua_handle *handle); /* also by its deadline */
/* Takes back the interrupt and the deadline, and restores the debug hooks that were there before. */
void arvak_lua_clear_interrupt(struct lua_State *L);
/* For a debug hook of the host's, in C: raises if the state is interrupted, and does so again at every instruction of
 * this coroutine. Does not need the library to be open. */
void arvak_lua_check(struct lua_State *L);
/* Replaces coroutine.resume and coroutine.wrap in L's state by ones that do the same, and then what arvak_lua_check
 * does: without that, each coroutine that a plugin starts anew in a loop has all of the count of your hook before it is
 * stopped. To be called before the plugin runs, with Lua's coroutine library open. */
void arvak_lua_guard_coroutines(struct lua_State *L);
/* While something blocks in L's state, its count hook runs about this often, in milliseconds; 0, as at first: waiting
 * fires no count hook, so that a limit on instructions does not hit a plugin that only waits. */
void arvak_lua_set_hook_interval(struct lua_State *L, int interval_ms);

/* ---- accounting ------------------------------------------------------------------------------------------------- */

/* What a state has done so far. */
typedef struct arvak_lua_stats {
  uint64_t calls, failures;            /* calls ended; those of them without OK */
  uint64_t refused;                    /* by its limits, or by on_submit */
  uint64_t jobs;                       /* submitted and accepted */
  uint64_t bytes_sent, bytes_received; /* of circuits, in each attempt and on streams; and of answers, as decoded */
  int64_t waiting_ns;                  /* that its thread has spent waiting, in steps of the loop */
} arvak_lua_stats;

void arvak_lua_get_stats(arvak_lua_handle *handle, arvak_lua_stats *out); /* also when the state is closed */

#ifdef __cplusplus
}
#endif

#endif
