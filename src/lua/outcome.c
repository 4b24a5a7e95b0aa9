/* From ended calls and waits to values: a record, or nil and an error. The caller that waited fetches them itself; the
 * end of a wait without a caller is reported to the Lua layer.
 * Invariant: a wait is freed by whoever gives its outcome, on every path; one that cannot be reported for want of
 * memory stays first in line.
 * SPDX-License-Identifier: Apache-2.0 */
#include "outcome.h"

#include <lauxlib.h>

#include "errors.h"
#include "headers.h"
#include "hooks.h"
#include "interrupt.h"
#include "misuse.h"
#include "names.h"
#include "quota.h"
#include "ready.h"
#include "record.h"
#include "upcall.h"

/* A canceled task that has had so many waits refused and still waits on has the error raised. */
enum { CANCELED_WAITS = 1000 };

static const char answer_refused[] = "the answers that this plugin holds are as large together as the host allows";

/* ---- of a call ---- */

/* Stack: 1 call, 2 job id or nil. */
static void push_failure(lua_State *L, const arvak_call *call, const arvak_outcome *outcome) {
  larvak_error_push_failure(L, arvak_call_rpc(call), arvak_call_address(call), outcome);
  larvak_headers_set_cause(L, call);
  lua_pushvalue(L, 2);
  lua_setfield(L, -2, "job_id");
  /* A batch that came back short: the ids that did come must not be lost. */
  const arvak_response *response = arvak_call_response(call);
  if (!response || response->rpc != ARVAK_SUBMIT_BATCH) return;
  larvak_record_push_ids(L, response);
  lua_setfield(L, -2, "job_ids");
}

/* A refused cancel is OK on the wire (contract 2.6). */
static bool is_refusal(const arvak_response *response) {
  return response->rpc == ARVAK_CANCEL_JOB && !response->as.cancel.success;
}

static void push_refusal(lua_State *L, const arvak_call *call, const arvak_response *response) {
  arvak_outcome outcome = *arvak_call_outcome(call);
  outcome.kind = ARVAK_KIND_NOT_CANCELABLE;
  outcome.message = response->as.cancel.message;
  push_failure(L, call, &outcome);
}

/* So that the plugin may cancel them. */
static void note_jobs(lua_State *L, larvak_quota *limits, const arvak_response *response) {
  if (response->rpc == ARVAK_SUBMIT_JOB) larvak_quota_note_job(L, limits, response->as.job_id);
  if (response->rpc != ARVAK_SUBMIT_BATCH) return;
  for (size_t i = 0; i < response->as.jobs.size; i++) larvak_quota_note_job(L, limits, response->as.jobs.ids[i]);
}

/* Tells whoever keeps notes of jobs: count values are on top, the answer. */
static int tell_keeper(lua_State *L, const larvak_wait *wait, int count) {
  if (!wait->is_noted) return count;
  larvak_upcall_push(L, UPCALL_JOB_ANSWERED);
  lua_pushinteger(L, larvak_wait_ticket(wait));
  for (int i = 0; i < count; i++) lua_pushvalue(L, -2 - count);
  lua_call(L, 1 + count, 0);
  return count;
}

/* (lightuserdata wait, job id or nil): value, or nil and error. To be called protected. */
static int push_outcome(lua_State *L) {
  larvak_wait *wait = lua_touserdata(L, 1);
  arvak_call *call = wait->call;
  const arvak_outcome *outcome = arvak_call_outcome(call);
  arvak_response *response = arvak_call_response(call);
  if (wait->charge.limits && response) note_jobs(L, wait->charge.limits, response);
  if (outcome->kind != ARVAK_KIND_NONE) {
    lua_pushnil(L);
    push_failure(L, call, outcome);
    return tell_keeper(L, wait, 2);
  }
  if (is_refusal(response)) {
    lua_pushnil(L);
    push_refusal(L, call, response);
    return tell_keeper(L, wait, 2);
  }
  larvak_record_push_response(L, response);
  return tell_keeper(L, wait, 1);
}

/* ---- for the caller that waited ---- */

static bool is_about_job(arvak_rpc rpc) {
  return rpc == ARVAK_GET_JOB_STATUS || rpc == ARVAK_GET_JOB_RESULT || rpc == ARVAK_CANCEL_JOB;
}

/* The frame is that of the method, in a continuation too: its second argument names the job. */
static void push_job_id(lua_State *L, int rpc) {
  if (is_about_job((arvak_rpc)rpc) && lua_type(L, 2) == LUA_TSTRING) lua_pushvalue(L, 2);
  else lua_pushnil(L);
}

/* nil and an error; the ticket too, of a park. */
static int finish_canceled(lua_State *L, larvak_wait *wait) {
  bool was_in_flight = wait->was_in_flight;
  lua_Integer ticket = larvak_wait_ticket(wait);
  int rpc = wait->rpc;
  larvak_task *task = wait->task;
  larvak_wait_free(wait);
  lua_pushnil(L);
  larvak_error_push(L, ARVAK_KIND_CANCELED, 1, "the task was canceled");
  if (task && ++task->canceled_waits > CANCELED_WAITS) return lua_error(L);
  lua_pushboolean(L, was_in_flight);
  lua_setfield(L, -2, "maybe_executed");
  lua_pushinteger(L, ticket);
  if (rpc == ARVAK_RPC_COUNT) return 3;
  lua_pop(L, 1);
  lua_pushstring(L, arvak_rpc_name((arvak_rpc)rpc));
  lua_setfield(L, -2, "rpc");
  push_job_id(L, rpc);
  lua_setfield(L, -2, "job_id");
  return 2;
}

void larvak_outcome_drop_interrupted(lua_State *L, larvak_wait *wait) {
  bool is_sent = wait->was_in_flight || (wait->call && arvak_call_is_sent(wait->call));
  larvak_wait_drop(wait); /* first: for the rest there may be no memory */
  if (!is_sent || !larvak_is_interrupt(L, -1) || !lua_istable(L, -1) || !lua_getmetatable(L, -1)) return;
  luaL_getmetatable(L, LARVAK_ERROR);
  bool is_ours = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  if (!is_ours) return;
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, "maybe_executed");
}

static int raise_interrupted(lua_State *L) {
  return larvak_interrupt_raise(L, lua_touserdata(L, 1));
}

static int finish_interrupted(lua_State *L, larvak_wait *wait) {
  larvak_state *state = wait->state;
  if (!lua_checkstack(L, 4)) {
    larvak_wait_drop(wait);
    return larvak_no_memory(L);
  }
  lua_pushcfunction(L, raise_interrupted);
  lua_pushlightuserdata(L, state);
  lua_pcall(L, 1, 0, 0);
  larvak_outcome_drop_interrupted(L, wait);
  larvak_interrupt_arm(L, state);
  return lua_error(L);
}

/* nil and an error; the ticket too, of a park. */
static int finish_closing(lua_State *L, larvak_wait *wait) {
  lua_Integer ticket = larvak_wait_ticket(wait);
  bool is_park = wait->rpc == ARVAK_RPC_COUNT;
  larvak_wait_drop(wait);
  lua_pushnil(L);
  larvak_error_push(L, ARVAK_KIND_CLOSED, 1, "the Lua state is closing");
  lua_pushinteger(L, ticket);
  return is_park ? 3 : (lua_pop(L, 1), 2);
}

static int finish_refused(lua_State *L, larvak_wait *wait) {
  arvak_rpc rpc = (arvak_rpc)wait->rpc;
  larvak_wait_free(wait);
  larvak_quota_push_refusal(L, rpc, answer_refused);
  push_job_id(L, rpc);
  lua_setfield(L, -2, "job_id");
  return 2;
}

int larvak_outcome_finish(lua_State *L, larvak_wait *wait) {
  if (wait->reason == REASON_INTERRUPTED) return finish_interrupted(L, wait);
  if (wait->reason == REASON_CLOSING) return finish_closing(L, wait);
  if (wait->reason == REASON_CANCELED) return finish_canceled(L, wait);
  if (wait->reason == REASON_REFUSED) return finish_refused(L, wait);
  if (!wait->call) {
    lua_pushboolean(L, wait->reason == REASON_DONE);
    lua_pushinteger(L, larvak_wait_ticket(wait));
    larvak_wait_free(wait);
    return 2;
  }
  luaL_checkstack(L, 6, NULL);
  lua_pushcfunction(L, push_outcome);
  lua_pushlightuserdata(L, wait);
  push_job_id(L, wait->rpc);
  int status = lua_pcall(L, 2, 2, 0);
  larvak_wait_free(wait);
  if (status != LUA_OK) return lua_error(L);
  if (!lua_isnil(L, -2)) {
    lua_pop(L, 1);
    return 1;
  }
  return 2;
}

/* ---- for the Lua layer ---- */

/* (lightuserdata wait): call_end(ticket, value | nil, err) of a call, call_end(ticket) of a timer. */
static int report(lua_State *L) {
  larvak_wait *wait = lua_touserdata(L, 1);
  larvak_upcall_push(L, UPCALL_CALL_END);
  lua_pushinteger(L, larvak_wait_ticket(wait));
  int count = 1;
  if (wait->call) {
    lua_pushcfunction(L, push_outcome);
    lua_pushlightuserdata(L, wait);
    lua_pushnil(L);
    lua_call(L, 2, 2);
    count = 3;
  } else if (wait->reason == REASON_REFUSED) {
    count += larvak_quota_push_refusal(L, (arvak_rpc)wait->rpc, answer_refused);
  }
  lua_call(L, count, 0);
  return 0;
}

/* An end that cannot be told for want of memory is told again; any other error there goes to whoever drives the loop.
 * Not reentrant: a finalizer that runs meanwhile and comes here leaves its own to the loop below it. */
void larvak_outcomes_report(lua_State *L, larvak_state *state) {
  if (state->hooks.events || state->hooks.dead) larvak_hooks_tell(L, state); /* before the calls that caused it end */
  while (state->waits.ended.first && !state->is_reporting) {
    larvak_wait *wait = larvak_waits_pop_ended(state);
    state->is_reporting = true;
    lua_pushcfunction(L, report);
    lua_pushlightuserdata(L, wait);
    int status = lua_pcall(L, 1, 0, 0);
    state->is_reporting = false;
    if (status == LUA_ERRMEM) larvak_waits_push_back(state, wait);
    else larvak_wait_free(wait);
    if (status != LUA_OK) lua_error(L);
  }
}
