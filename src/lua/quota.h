/* larvak_quota: what a host lets a plugin do with a client, and what the plugin does now. One for the handle that was
 * pushed and its views; a client that no host has pushed has none. Counted; of one state.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_QUOTA_H
#define LARVAK_QUOTA_H

#include <lua.h>
#include <stdbool.h>

#include "arvak.h"
#include "arvak_lua.h"
#include "state.h"

typedef struct larvak_quota {
  int refs;
  arvak_lua_limits most;
  char *names; /* owned: the protected names, each with its NUL, and a NUL at the end */
  arvak_share *share;
  larvak_state *state;
  int calls, streams, futures;        /* under way; futures: calls without a caller */
  size_t request_bytes, answer_bytes; /* held now */
  int64_t submit_ns;     /* when the next job would be due, at the rate of the plugin's own and without a burst */
  arvak_lua_stats stats; /* of the handle and its views */
} larvak_quota;

/* most: NULL, no limits. Owned, with a share of core; raises when out of memory. */
larvak_quota *larvak_quota_new(lua_State *L, larvak_state *state, arvak_client *core, const arvak_lua_limits *most);
larvak_quota *larvak_quota_ref(larvak_quota *limits);
void larvak_quota_unref(larvak_quota *limits); /* NULL is fine */

/* ---- options ---- */

/* A time that the program has given, 0: none; standard: what counts then. What counts, or raises. */
int64_t larvak_quota_time(lua_State *L, const char *option, int64_t given_ns, int64_t standard_ns, int64_t most_ns);
/* Raises for a header that the plugin must not set. */
void larvak_quota_headers(lua_State *L, const larvak_quota *limits, arvak_client *core, const arvak_header *headers,
                          size_t count);
void larvak_quota_policies(lua_State *L, const larvak_quota *limits, const char *option); /* raises, where it may not */

/* ---- what is under way ---- */

/* What a request is about. */
typedef struct larvak_load {
  arvak_rpc rpc;
  const char *backend_id;
  int jobs;
  uint64_t shots;
  size_t bytes, other_bytes; /* of its circuits; of its id and headers */
} larvak_load;

/* NULL: a call may begin, at *not_before_ns, 0: at once. Else why not: to be copied at once. latest_ns: when it has to
 * begin. Asks the host about a submit. */
const char *larvak_quota_admit(larvak_quota *limits, const larvak_load *load, bool is_future, int64_t latest_ns,
                                int64_t *not_before_ns);
/* nil and the error of what was refused for this reason; returns 2. */
int larvak_quota_push_refusal(lua_State *L, arvak_rpc rpc, const char *reason);
void larvak_quota_count(larvak_quota *limits, const arvak_lua_stats *more); /* in its figures and the state's */

/* What a call holds of its limits; embedded in its wait. Zero: nothing. */
typedef struct larvak_charge {
  larvak_quota *limits; /* shared */
  size_t request_bytes, answer_bytes;
  bool is_future;
} larvak_charge;

void larvak_quota_begin(larvak_quota *limits, larvak_charge *charge, const larvak_load *load, bool is_future);
bool larvak_quota_hold(larvak_charge *charge, size_t size); /* an answer that has come; false: it is too much */
void larvak_quota_end(larvak_charge *charge);               /* gives all of it back; limits is NULL then */

/* Jobs that this state has submitted, where it may cancel no others. May raise for want of memory. */
void larvak_quota_note_job(lua_State *L, larvak_quota *limits, const char *job_id);
bool larvak_quota_may_cancel(lua_State *L, const larvak_quota *limits, const char *job_id);

void larvak_quota_open(lua_State *L); /* a table in the registry */

#endif
