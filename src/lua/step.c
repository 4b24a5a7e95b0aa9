/* One step of the loop, and what it delivers: headers for calls that ask for theirs, the ends of calls, the ends of
 * tasks, and a turn for each task that is ready.
 * Invariant: steps do not nest; an error in what is delivered goes to whoever steps, and the rest waits for the next.
 * SPDX-License-Identifier: Apache-2.0 */
#include "step.h"

#include <lauxlib.h>
#include <string.h>

#include "bell.h"
#include "closing.h"
#include "errors.h"
#include "handle.h"
#include "headers.h"
#include "hooks.h"
#include "interrupt.h"
#include "misuse.h"
#include "outcome.h"
#include "task.h"
#include "wait.h"
#include "work.h"

static int deliver(lua_State *L) {
  larvak_state *state = lua_touserdata(L, 1);
  if (arvak_loop_next_asking(state->loop)) larvak_headers_give(L, state);
  larvak_outcomes_report(L, state);
  if (state->tasks.unreported) larvak_tasks_report(L, state);
  larvak_tasks_run(L, state);
  if (state->tasks.unreported) larvak_tasks_report(L, state);
  if (state->hooks.events || state->hooks.dead) larvak_hooks_tell(L, state); /* of calls that tasks made */
  return 0;
}

static void answer_bells(larvak_state *state) {
  for (lua_Integer ticket; (ticket = larvak_bells_take_rung(state)) != 0;) {
    larvak_wait *wait = larvak_wait_find(state, ticket);
    if (wait) larvak_wait_end(wait, REASON_DONE);
  }
}

static void raise_forked(lua_State *L, larvak_state *state) {
  state->step.is_running = false;
  larvak_error_push_forked(L);
  lua_error(L);
}

bool larvak_step(lua_State *L, larvak_state *state, int64_t until_ns) {
  arvak_loop *loop = state->loop;
  luaL_checkstack(L, 4, "stepping");
  state->step.is_running = true;
  bool has_news = larvak_has_ready(state);
  int64_t interrupt_ns = larvak_interrupt_due_ns(state);
  int64_t start = arvak_now_ns();
  int ran = arvak_loop_step(loop, has_news ? 0 : interrupt_ns < until_ns ? interrupt_ns : until_ns);
  if (ran == ARVAK_EFORKED) raise_forked(L, state);
  int64_t waiting_ns = arvak_loop_now_ns(loop) - start;
  if (state->bells.first) answer_bells(state);
  if (larvak_interrupt_is_set(state)) larvak_waits_interrupt(state);
  larvak_handle_count(state->handle, &(arvak_lua_stats){.waiting_ns = waiting_ns});
  lua_pushcfunction(L, deliver);
  lua_pushlightuserdata(L, state);
  int status = lua_pcall(L, 1, 0, 0);
  state->step.is_running = false;
  if (status == LUA_OK) return has_news || ran > 0;
  larvak_work_changed(state); /* what is left of it */
  return lua_error(L) != 0;
}

void larvak_step_check(lua_State *L, larvak_state *state) {
  if (state->tasks.current || state->step.is_running) larvak_misuse(L, "the loop is already being stepped");
  if (state->hooks.depth > 0) larvak_misuse(L, "a hook must not step the loop");
}

static int noop(lua_State *L) {
  (void)L;
  return 0;
}

/* A debug hook, called as Lua calls it, but for its stack; its caller here is the C function that waits. */
static int call_hook(lua_State *L) {
  lua_Debug ar;
  memset(&ar, 0, sizeof ar);
  lua_getstack(L, 0, &ar);
  ar.event = LUA_HOOKCOUNT;
  ar.currentline = -1;
  lua_gethook(L)(L, &ar);
  return 0;
}

static void run_count_hook(lua_State *L, larvak_state *state) {
  int64_t interval = state->interrupt.hook_interval_ns;
  if (interval == 0 || !(lua_gethookmask(L) & LUA_MASKCOUNT)) return;
  int64_t now = arvak_now_ns();
  if (now - state->interrupt.hooked_ns < interval) return;
  state->interrupt.hooked_ns = now;
  lua_pushcfunction(L, call_hook);
  if (lua_pcall(L, 0, 0, 0) == LUA_OK) return;
  larvak_set_interrupt(L, -1);
  lua_error(L);
}

int64_t larvak_step_air_ns(const larvak_state *state) {
  int64_t interval = state->interrupt.hook_interval_ns;
  return interval > 0 && interval < LARVAK_AIR_NS ? interval : LARVAK_AIR_NS;
}

/* As lua.c answers Ctrl-C: a hook for whatever comes next. Any other by count may be a limit, which stays where it is,
 * unless it came in the wait. */
static bool is_to_stop(lua_State *main, int mask_before) {
  int mask = lua_gethookmask(main);
  if (!(mask & LUA_MASKCOUNT)) return false;
  if (!(mask_before & LUA_MASKCOUNT)) return true;
  return mask == (LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT) && lua_gethookcount(main) == 1;
}

void larvak_step_breathe(lua_State *L, larvak_state *state, int mask_before) {
  larvak_interrupt_check(L, state);
  luaL_checkstack(L, 4, NULL);
  lua_State *main = state->main;
  if (L != main && is_to_stop(main, mask_before)) {
    lua_sethook(L, lua_gethook(main), lua_gethookmask(main), lua_gethookcount(main));
    lua_sethook(main, NULL, 0, 0);
  }
  lua_pushcfunction(L, noop);
  lua_call(L, 0, 0);
  run_count_hook(L, state);
}

/* ---- for the Lua layer ---- */

/* step(seconds): one step of the loop, which ends when something has happened or its driver has something to do. */
static int step_once(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  larvak_step_check(L, state);
  if (larvak_is_closing(L, state)) return 0;
  double seconds = luaL_checknumber(L, 1);
  larvak_loop_get(L, state);
  bool may_wait = seconds > 0 && !larvak_driver_is_wanted(state);
  int64_t until = may_wait ? arvak_now_ns() + (int64_t)(seconds * 1e9) : 0;
  int mask_before = lua_gethookmask(state->main);
  bool has_news;
  do {
    int64_t air = arvak_now_ns() + larvak_step_air_ns(state);
    has_news = larvak_step(L, state, until < air ? until : air);
    larvak_step_breathe(L, state, mask_before);
  } while (!has_news && !larvak_driver_is_wanted(state) && arvak_now_ns() < until);
  larvak_work_hand_over(L, state);
  return 0;
}

/* drive(): steps until a task ends, nothing is left that could happen, or a tenth of a second is over. In a state that
 * is interrupted it waits for nothing: the step is for those who are resumed to raise. */
static int step_drive(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  larvak_step_check(L, state);
  if (larvak_is_closing(L, state)) larvak_misuse(L, "the Lua state is closing");
  int64_t until = arvak_now_ns() + (larvak_interrupt_is_set(state) ? 0 : larvak_step_air_ns(state));
  uint64_t ends = state->tasks.end_count;
  arvak_loop *loop = larvak_loop_get(L, state);
  do larvak_step(L, state, until);
  while (state->tasks.end_count == ends && !state->interrupt.is_carried_out && !larvak_is_idle(state) &&
         arvak_loop_now_ns(loop) < until);
  larvak_step_breathe(L, state, state->step.drive_mask);
  state->step.drive_mask = lua_gethookmask(state->main);
  return 0;
}

void larvak_step_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"step", step_once}, {"drive", step_drive}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
