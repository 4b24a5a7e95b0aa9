/* How a caller waits: suspended in a task, or blocked while it steps the loop itself. Invariant: a wait that was handed
 * to larvak_await is freed on every path, also when a debug hook raises in it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "await.h"

#include <lauxlib.h>

#include "attached.h"
#include "bell.h"
#include "closing.h"
#include "guard.h"
#include "interrupt.h"
#include "misuse.h"
#include "outcome.h"
#include "ready.h"
#include "step.h"
#include "work.h"

larvak_waiting larvak_await_check(lua_State *L, larvak_state *state, const char *method) {
  larvak_interrupt_check(L, state);
  if (state->hooks.depth > 0) larvak_misuse(L, "%s: a hook must not wait", method);
  larvak_task *task = state->tasks.current;
  if (!task) {
    if (state->step.is_running) larvak_misuse(L, "%s: cannot wait here, inside a step of the loop", method);
    if (larvak_is_closing(L, state)) return WAITING_NOT;
    return larvak_attached_is_inside(L, state, method) ? WAITING_ATTACHED : WAITING_BLOCKED;
  }
  if (L != task->innermost)
    larvak_misuse(L, "%s: cannot wait in a coroutine inside a task; make it with arvak.wrap(fn), "
                     "a coroutine.wrap that passes waits through", method);
  if (!lua_isyieldable(L))
    larvak_misuse(L, "%s: cannot wait here: the task is inside a C function that cannot be suspended "
                     "(such as table.sort, string.gsub or a finalizer)", method);
  return larvak_is_closing(L, state) ? WAITING_NOT : WAITING_SUSPENDED;
}

/* ---- blocked ---- */

typedef struct blocked {
  larvak_wait *wait;
  int mask_before;
} blocked;

/* Protected, so that the wait is let go of when a debug hook raises. */
static int block(lua_State *L) {
  blocked *b = lua_touserdata(L, 1);
  larvak_state *state = b->wait->state;
  while (b->wait->at == WAIT_PENDING) {
    if (larvak_is_idle(state)) {
      lua_pushliteral(L, "deadlock: waiting for something that nothing in flight can bring");
      return lua_error(L);
    }
    larvak_step(L, state, arvak_now_ns() + larvak_step_air_ns(state));
    larvak_step_breathe(L, state, b->mask_before);
  }
  return 0;
}

/* (lightuserdata state) */
static int hand_over(lua_State *L) {
  larvak_work_hand_over(L, lua_touserdata(L, 1));
  return 0;
}

/* Whatever became of the wait, others learn what its steps have left. */
static int leave(lua_State *L, larvak_state *state, int status) {
  if (!state->work.users) return status;
  lua_pushcfunction(L, hand_over);
  lua_pushlightuserdata(L, state);
  int own_status = lua_pcall(L, 1, 0, 0);
  return status == LUA_OK ? own_status : status;
}

static int await_blocking(lua_State *L, larvak_wait *wait) {
  blocked b = {wait, lua_gethookmask(wait->state->main)};
  lua_pushcfunction(L, block);
  lua_pushlightuserdata(L, &b);
  int status = leave(L, wait->state, lua_pcall(L, 1, 0, 0));
  if (status != LUA_OK) {
    larvak_outcome_drop_interrupted(L, wait);
    return lua_error(L);
  }
  return larvak_outcome_finish(L, wait);
}

/* ---- suspended ---- */

/* Somebody else may resume the coroutine: he gets nothing, and it waits on for its task's turn. */
static int on_resume(lua_State *L, int status, lua_KContext ticket) {
  (void)status;
  larvak_state *state = larvak_state_get(L);
  larvak_wait *wait = larvak_wait_find(state, (lua_Integer)ticket);
  if (!wait) return luaL_error(L, "this wait is over: its task was closed");
  if (wait->at == WAIT_PENDING || state->tasks.current != wait->task) return lua_yieldk(L, 0, ticket, on_resume);
  return larvak_outcome_finish(L, wait);
}

/* In a canceled task a wait takes one turn of the loop, so that a task that tries again and again holds up nobody. */
int larvak_await(lua_State *L, larvak_wait *wait, larvak_waiting waiting) {
  if (waiting == WAITING_NOT) {
    larvak_wait_end(wait, REASON_CLOSING);
    return larvak_outcome_finish(L, wait);
  }
  if (waiting == WAITING_ATTACHED) return larvak_attached_await(L, wait);
  if (waiting == WAITING_BLOCKED) return await_blocking(L, wait);
  larvak_task *task = wait->state->tasks.current;
  if (L != task->co) larvak_guard_push(L, wait); /* a coroutine of arvak.wrap, which the task does not end with */
  larvak_wait_suspend(wait, task);
  return lua_yieldk(L, 0, (lua_KContext)larvak_wait_ticket(wait), on_resume);
}

/* ---- for the Lua layer ---- */

/* unpark(ticket): ends the wait, if it is not over already. A ticket is a number that a program might make up, so no
 * other wait ends by it. */
static int await_unpark(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  larvak_wait *wait = larvak_wait_find(state, luaL_checkinteger(L, 1));
  if (!wait || !wait->can_be_woken) return 0;
  larvak_work_watch(L, state);
  larvak_wait_end(wait, REASON_DONE);
  return 0;
}

/* start_timer(seconds): a ticket, whose end is reported as call_end(ticket). */
static int await_start_timer(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  larvak_loop_get(L, state);
  double seconds = luaL_checknumber(L, 1);
  larvak_work_watch(L, state);
  larvak_wait *wait = larvak_wait_new(L, state);
  wait->waiter = WAITER_LAYER;
  larvak_wait_start_timer(L, wait, seconds);
  lua_pushinteger(L, larvak_wait_ticket(wait));
  return 1;
}

static void start_bell(lua_State *L, larvak_state *state, larvak_bell *bell) {
  arvak_loop *loop = larvak_loop_get(L, state);
  larvak_work_watch(L, state);
  larvak_wait *wait = larvak_wait_new(L, state);
  wait->waiter = WAITER_LAYER;
  larvak_bell_await(bell, loop, larvak_wait_ticket(wait));
  larvak_work_changed(state);
}

/* await_bell(bell): a ticket, whose end is reported as call_end(ticket) once the bell rings; the same until then, for a
 * caller who had no memory to note it. */
static int await_bell(lua_State *L) {
  larvak_bell *bell = larvak_bell_check(L, 1);
  if (larvak_bell_ticket(bell) == 0) start_bell(L, larvak_state_get(L), bell);
  lua_pushinteger(L, larvak_bell_ticket(bell));
  return 1;
}

/* stop_timer(ticket): the end of that timer is reported in the next step. */
static int await_stop_timer(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  larvak_wait *wait = larvak_wait_find(state, luaL_checkinteger(L, 1));
  if (wait && wait->waiter == WAITER_LAYER && !wait->call) larvak_wait_end(wait, REASON_DONE);
  return 0;
}

/* park(method, seconds | nil, tickets | nil): waits for the time to be over, or for an unpark of the ticket that it
 * puts into the table. True when unparked, false when the time is over, and the ticket; nil, an error and the ticket
 * when canceled. */
static int await_park(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  larvak_waiting waiting = larvak_await_check(L, state, luaL_checkstring(L, 1));
  larvak_loop_get(L, state);
  luaL_checkstack(L, 10, NULL);
  larvak_wait *wait = larvak_wait_new(L, state);
  larvak_wait_note_ticket(L, wait, 3);
  if (!lua_isnoneornil(L, 2)) larvak_wait_start_timer(L, wait, lua_tonumber(L, 2));
  return larvak_await(L, wait, waiting);
}

static int await_check(lua_State *L) {
  larvak_await_check(L, larvak_state_get(L), luaL_checkstring(L, 1));
  return 0;
}

void larvak_await_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"unpark", await_unpark},
                                       {"park", await_park},
                                       {"start_timer", await_start_timer},
                                       {"stop_timer", await_stop_timer},
                                       {"await_bell", await_bell},
                                       {"check_wait", await_check},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
