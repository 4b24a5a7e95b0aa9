/* How a caller waits: suspended in a task, or blocked while it steps the loop itself. Invariant: a wait that was handed
 * to larvak_await is freed on every path, also when a hook raises in it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "larvak.h"

/* A canceled task that has had so many waits refused and still waits on has the error raised. */
enum { CANCELED_WAITS = 1000 };

/* ---- waiting ---- */

bool larvak_check_wait(lua_State *L, larvak_state *state, const char *method) {
  if (state->hook_depth > 0) larvak_misuse(L, "%s: a hook must not wait", method);
  larvak_task *task = state->current;
  if (!task) {
    if (state->is_stepping) larvak_misuse(L, "%s: cannot wait here, inside a step of the loop", method);
    return larvak_is_foreign(L, state, method);
  }
  if (L != task->innermost)
    larvak_misuse(L, "%s: cannot wait in a coroutine inside a task; make it with arvak.wrap(fn), "
                     "a coroutine.wrap that passes waits through", method);
  if (!lua_isyieldable(L))
    larvak_misuse(L, "%s: cannot wait here: the task is inside a C function that cannot be suspended "
                     "(such as table.sort, string.gsub or a finalizer)", method);
  return false;
}

static int noop(lua_State *L) {
  (void)L;
  return 0;
}

void larvak_breathe(lua_State *L, larvak_state *state, int mask_before) {
  int mask = lua_gethookmask(state->main);
  if (L != state->main && (mask & LUA_MASKCOUNT) && !(mask_before & LUA_MASKCOUNT)) {
    lua_sethook(L, lua_gethook(state->main), mask, lua_gethookcount(state->main));
    lua_sethook(state->main, NULL, 0, 0);
  }
  lua_pushcfunction(L, noop);
  lua_call(L, 0, 0);
}

typedef struct blocked {
  larvak_wait *wait;
  int mask_before;
} blocked;

/* Protected, so that the wait is let go of when a hook raises. */
static int block(lua_State *L) {
  blocked *b = lua_touserdata(L, 1);
  larvak_state *state = b->wait->state;
  while (b->wait->reason == REASON_PENDING) {
    if (larvak_is_idle(state)) {
      lua_pushliteral(L, "deadlock: waiting for something that nothing in flight can bring");
      return lua_error(L);
    }
    larvak_step(L, state, arvak_now_ns() + LARVAK_AIR_NS);
    larvak_breathe(L, state, b->mask_before);
  }
  return 0;
}

/* (lightuserdata state) */
static int rouse_protected(lua_State *L) {
  larvak_rouse(L, lua_touserdata(L, 1), 0);
  return 0;
}

static int rouse(lua_State *L, larvak_state *state) {
  if (state->fd_users == 0) return LUA_OK;
  lua_pushcfunction(L, rouse_protected);
  lua_pushlightuserdata(L, state);
  return lua_pcall(L, 1, 0, 0);
}

static int await_blocking(lua_State *L, larvak_wait *wait) {
  blocked b = {wait, lua_gethookmask(wait->state->main)};
  lua_pushcfunction(L, block);
  lua_pushlightuserdata(L, &b);
  int status = lua_pcall(L, 1, 0, 0);
  if (status == LUA_OK) status = rouse(L, wait->state);
  if (status != LUA_OK) {
    larvak_wait_free(wait);
    return lua_error(L);
  }
  return larvak_finish(L, wait);
}

static int on_resume(lua_State *L, int status, lua_KContext ticket) {
  (void)status;
  larvak_wait *wait = larvak_wait_find(larvak_state_get(L), (lua_Integer)ticket);
  if (!wait) return luaL_error(L, "this wait is over: its task was closed");
  /* A stray resume: whoever sent it gets nothing, and we wait on. */
  if (wait->reason == REASON_PENDING) return lua_yieldk(L, 0, ticket, on_resume);
  return larvak_finish(L, wait);
}

/* In a canceled task a wait takes one turn of the loop, so that a task that tries again and again holds up nobody. */
int larvak_await(lua_State *L, larvak_wait *wait, bool is_foreign) {
  if (is_foreign) return larvak_await_foreign(L, wait);
  larvak_task *task = wait->state->current;
  if (!task) return await_blocking(L, wait);
  if (task->is_canceled && wait->reason == REASON_PENDING) wait->reason = REASON_CANCELED;
  wait->task = task;
  task->wait = wait;
  if (wait->reason != REASON_PENDING) larvak_task_ready(wait->state, task);
  return lua_yieldk(L, 0, (lua_KContext)larvak_ticket(wait), on_resume);
}

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
  lua_Integer ticket = larvak_ticket(wait);
  int rpc = wait->rpc;
  larvak_task *task = wait->task;
  larvak_wait_free(wait);
  lua_pushnil(L);
  larvak_push_error(L, ARVAK_KIND_CANCELED, 1, "the task was canceled");
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

/* Pushes the results of a wait that is over, and frees it. Protected where it allocates before it frees. */
int larvak_finish(lua_State *L, larvak_wait *wait) {
  if (wait->reason == REASON_CANCELED) return finish_canceled(L, wait);
  if (!wait->call) {
    lua_pushboolean(L, wait->reason == REASON_DONE);
    lua_pushinteger(L, larvak_ticket(wait));
    larvak_wait_free(wait);
    return 2;
  }
  luaL_checkstack(L, 6, NULL);
  lua_pushcfunction(L, larvak_push_outcome);
  lua_pushlightuserdata(L, wait->call);
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

static void on_park_timeout(arvak_timer *timer, void *ud) {
  (void)timer;
  larvak_wait *wait = ud;
  wait->state->parked_timers--;
  larvak_wait_end(wait, REASON_TIMEOUT);
}

/* unpark(ticket): ends the wait, if it is not over already. */
static int wait_unpark(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  larvak_wait *wait = larvak_wait_find(state, luaL_checkinteger(L, 1));
  if (!wait) return 0;
  larvak_attend(L, state);
  larvak_wait_end(wait, REASON_DONE);
  larvak_notice(state);
  return 0;
}

void larvak_start_timer(lua_State *L, larvak_wait *wait, double seconds) {
  wait->timer.fn = on_park_timeout;
  wait->timer.ud = wait;
  int64_t delay = seconds < 3e9 ? (int64_t)(seconds * 1e9) : (int64_t)3000000000 * 1000000000;
  if (arvak_loop_set_timer(wait->state->loop, &wait->timer, arvak_now_ns() + delay) != ARVAK_OK) {
    larvak_wait_free(wait);
    luaL_error(L, "not enough memory");
  }
  wait->state->parked_timers++;
}

/* start_timer(seconds): a ticket, whose end is reported as call_end(ticket). */
static int wait_start_timer(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  larvak_loop_get(L, state);
  double seconds = luaL_checknumber(L, 1);
  larvak_attend(L, state);
  larvak_wait *wait = larvak_wait_new(L, state);
  wait->is_detached = true;
  larvak_start_timer(L, wait, seconds);
  larvak_notice(state);
  lua_pushinteger(L, larvak_ticket(wait));
  return 1;
}

/* (table, ticket): table[ticket] = true. */
static int note_ticket(lua_State *L) {
  lua_pushboolean(L, 1);
  lua_rawset(L, 1);
  return 0;
}

void larvak_note_ticket(lua_State *L, larvak_wait *wait, int index) {
  if (!lua_istable(L, index)) return;
  lua_pushcfunction(L, note_ticket);
  lua_pushvalue(L, index);
  lua_pushinteger(L, larvak_ticket(wait));
  if (lua_pcall(L, 2, 0, 0) == LUA_OK) return;
  larvak_wait_free(wait);
  lua_error(L);
}

/* park(method, seconds | nil, tickets | nil): waits for the time to be over, or for an unpark of the ticket that it
 * puts into the table. True when unparked, false when the time is over, and the ticket; nil, an error and the ticket
 * when canceled. */
static int wait_park(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  bool is_foreign = larvak_check_wait(L, state, luaL_checkstring(L, 1));
  larvak_loop_get(L, state);
  luaL_checkstack(L, 10, NULL);
  larvak_wait *wait = larvak_wait_new(L, state);
  larvak_note_ticket(L, wait, 3);
  if (!lua_isnoneornil(L, 2)) larvak_start_timer(L, wait, lua_tonumber(L, 2));
  return larvak_await(L, wait, is_foreign);
}

static int wait_check(lua_State *L) {
  larvak_check_wait(L, larvak_state_get(L), luaL_checkstring(L, 1));
  return 0;
}

int larvak_open_wait(lua_State *L) {
  static const luaL_Reg functions[] = {{"unpark", wait_unpark},
                                       {"park", wait_park},
                                       {"start_timer", wait_start_timer},
                                       {"check_wait", wait_check},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  return 0;
}
