/* What a plugin may do with a client, and what it does. Invariant: whatever was charged is given back once, when the
 * call's wait is freed, or the stream has ended.
 * SPDX-License-Identifier: Apache-2.0 */
#include "quota.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "errors.h"
#include "handle.h"
#include "misuse.h"

#define SECOND 1e9

/* In the registry: the set of ids of the jobs that this state has submitted. */
static const char jobs_key = 0;

/* ---- life ---- */

static bool copy_names(larvak_quota *limits, const arvak_lua_limits *most) {
  size_t size = 1;
  for (size_t i = 0; i < most->protected_header_count; i++) size += strlen(most->protected_headers[i]) + 1;
  char *end = limits->names = calloc(1, size);
  if (!end) return false;
  for (size_t i = 0; i < most->protected_header_count; i++) {
    size_t length = strlen(most->protected_headers[i]) + 1;
    memcpy(end, most->protected_headers[i], length);
    end += length;
  }
  return true;
}

larvak_quota *larvak_quota_new(lua_State *L, larvak_state *state, arvak_client *core, const arvak_lua_limits *most) {
  arvak_loop *loop = larvak_loop_get(L, state);
  larvak_quota *limits = calloc(1, sizeof *limits);
  if (!limits) larvak_no_memory(L);
  limits->refs = 1;
  limits->state = state;
  if (most) limits->most = *most;
  bool is_whole = copy_names(limits, &limits->most) &&
                  arvak_share_new(core, loop, limits->most.max_in_flight, &limits->share) == ARVAK_OK;
  limits->most.protected_headers = NULL;
  if (is_whole) return limits;
  larvak_quota_unref(limits);
  larvak_no_memory(L);
  return NULL;
}

larvak_quota *larvak_quota_ref(larvak_quota *limits) {
  limits->refs++;
  return limits;
}

void larvak_quota_unref(larvak_quota *limits) {
  if (!limits || --limits->refs > 0) return;
  arvak_share_unref(limits->share);
  free(limits->names);
  free(limits);
}

/* ---- options ---- */

int64_t larvak_quota_time(lua_State *L, const char *option, int64_t given_ns, int64_t standard_ns, int64_t most_ns) {
  if (most_ns <= 0) return given_ns;
  if (given_ns == 0) return standard_ns > 0 && standard_ns <= most_ns ? 0 : most_ns;
  if (given_ns <= most_ns + 1) return given_ns; /* what was read from Lua is rounded up */
  const char *given = larvak_number_push(L, (double)given_ns / SECOND);
  larvak_misuse(L, "%s: got %s, but the host gives this plugin %s s at most", option, given,
                larvak_number_push(L, (double)most_ns / SECOND));
  return 0;
}

static bool is_protected(const larvak_quota *limits, arvak_client *core, const char *name) {
  if (!limits->most.may_replace_headers && arvak_client_has_header(core, name)) return true;
  for (const char *one = limits->names; *one; one += strlen(one) + 1)
    if (strcmp(one, name) == 0) return true;
  return false;
}

void larvak_quota_headers(lua_State *L, const larvak_quota *limits, arvak_client *core, const arvak_header *headers,
                          size_t count) {
  for (size_t i = 0; i < count; i++)
    if (is_protected(limits, core, headers[i].name))
      larvak_misuse(L, "metadata[\"%s\"]: this header belongs to the host, not to a plugin", headers[i].name);
}

void larvak_quota_policies(lua_State *L, const larvak_quota *limits, const char *option) {
  if (limits->most.has_no_policies)
    larvak_misuse(L, "%s: the host lets this plugin have no policies of its own", option);
}

/* ---- what is under way ---- */

static const char *ask_host(const larvak_quota *limits, const larvak_load *load) {
  if (load->jobs == 0 || !limits->most.on_submit) return NULL;
  arvak_lua_submit submit = {load->rpc, load->backend_id, load->jobs, load->shots, load->bytes};
  return limits->most.on_submit(&submit, limits->most.ud);
}

/* No rate is so low that sums with it wrap around. */
static int64_t to_ns(double ns) {
  const double most = 4e18;
  return ns < most ? (int64_t)ns : (int64_t)most;
}

/* At the plugin's own rate: when these jobs may be submitted, 0: now. ARVAK_NEVER: not until latest_ns. The rate is
 * kept as the time at which the next job would be due without a burst. */
static int64_t take_turn(larvak_quota *limits, int jobs, int64_t latest_ns) {
  if (!(limits->most.submit_rate > 0) || jobs == 0) return 0;
  int64_t now = arvak_now_ns();
  double interval = SECOND / limits->most.submit_rate, slack = interval * (limits->most.submit_burst - 1);
  int64_t due = limits->submit_ns > now ? limits->submit_ns : now;
  int64_t at = slack > 0 ? due - to_ns(slack) : due;
  if (at > latest_ns) return ARVAK_NEVER;
  limits->submit_ns = due + to_ns(interval * jobs);
  return at > now ? at : 0;
}

static const char *find_excess(const larvak_quota *limits, const larvak_load *load, bool is_future) {
  const arvak_lua_limits *most = &limits->most;
  if (most->max_in_flight > 0 && most->max_queued > 0 && limits->calls - most->max_in_flight >= most->max_queued)
    return "as many of this plugin's calls wait as the host allows";
  if (most->max_request_bytes > 0 && load->bytes + load->other_bytes > most->max_request_bytes - limits->request_bytes)
    return "the requests of this plugin's calls are as large together as the host allows";
  if (is_future && most->max_futures > 0 && limits->futures >= most->max_futures)
    return "as many of this plugin's futures are under way as the host allows";
  return NULL;
}

const char *larvak_quota_admit(larvak_quota *limits, const larvak_load *load, bool is_future, int64_t latest_ns,
                                int64_t *not_before_ns) {
  *not_before_ns = 0;
  const char *reason = find_excess(limits, load, is_future);
  if (!reason) reason = ask_host(limits, load);
  if (!reason) *not_before_ns = take_turn(limits, load->jobs, latest_ns);
  if (*not_before_ns == ARVAK_NEVER) reason = "this plugin's rate of submits has no place for it within queue_timeout";
  if (!reason) return NULL;
  arvak_lua_stats more = {.refused = 1};
  larvak_quota_count(limits, &more);
  return reason;
}

int larvak_quota_push_refusal(lua_State *L, arvak_rpc rpc, const char *reason) {
  lua_pushnil(L);
  lua_pushstring(L, reason); /* the host's may not last */
  larvak_error_push(L, ARVAK_KIND_RESOURCE_EXHAUSTED, -1, lua_tostring(L, -1));
  lua_remove(L, -2);
  lua_pushliteral(L, "plugin");
  lua_setfield(L, -2, "scope");
  lua_pushstring(L, arvak_rpc_name(rpc));
  lua_setfield(L, -2, "rpc");
  lua_pushinteger(L, 0);
  lua_setfield(L, -2, "attempts");
  return 2;
}

void larvak_quota_count(larvak_quota *limits, const arvak_lua_stats *more) {
  larvak_stats_add(&limits->stats, more);
  if (limits->state->handle) larvak_handle_count(limits->state->handle, more);
}

void larvak_quota_begin(larvak_quota *limits, larvak_charge *charge, const larvak_load *load, bool is_future) {
  size_t bytes = load->bytes + load->other_bytes;
  *charge = (larvak_charge){larvak_quota_ref(limits), bytes, 0, is_future};
  limits->calls++;
  limits->request_bytes += bytes;
  limits->futures += is_future;
}

bool larvak_quota_hold(larvak_charge *charge, size_t size) {
  larvak_quota *limits = charge->limits;
  size_t most = limits->most.max_answer_bytes;
  if (most > 0 && (size > most || limits->answer_bytes > most - size)) return false;
  limits->answer_bytes += size;
  charge->answer_bytes = size;
  return true;
}

void larvak_quota_end(larvak_charge *charge) {
  larvak_quota *limits = charge->limits;
  limits->calls--;
  limits->request_bytes -= charge->request_bytes;
  limits->answer_bytes -= charge->answer_bytes;
  limits->futures -= charge->is_future;
  charge->limits = NULL;
  larvak_quota_unref(limits);
}

/* ---- jobs of the plugin's own ---- */

void larvak_quota_note_job(lua_State *L, larvak_quota *limits, const char *job_id) {
  if (!limits->most.cancels_own_jobs_only) return;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &jobs_key);
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, job_id);
  lua_pop(L, 1);
}

bool larvak_quota_may_cancel(lua_State *L, const larvak_quota *limits, const char *job_id) {
  if (!limits->most.cancels_own_jobs_only) return true;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &jobs_key);
  bool is_own = lua_getfield(L, -1, job_id) != LUA_TNIL;
  lua_pop(L, 2);
  return is_own;
}

void larvak_quota_open(lua_State *L) {
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &jobs_key);
}
