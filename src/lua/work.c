/* One notion of work. Invariant: while a step would find something to do earlier than a user of the descriptor means to
 * step, the descriptor is readable; and while a loop is attached and something is in flight, that loop watches it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "work.h"

#include <lauxlib.h>

#include "bell.h"
#include "interrupt.h"
#include "upcall.h"

bool larvak_has_ready(const larvak_state *state) {
  return state->ready.first || state->waits.ended.first || state->tasks.unreported || state->hooks.events ||
         (state->bells.first && larvak_bells_have_rung(state));
}

int64_t larvak_due_ns(const larvak_state *state) {
  if (larvak_has_ready(state)) return 0;
  return state->loop ? arvak_loop_due_ns(state->loop) : ARVAK_NEVER;
}

bool larvak_driver_is_wanted(const larvak_state *state) { return state->waits.woken.first || state->work.has_strays; }

/* An interrupt of the host's is work while somebody waits. */
int64_t larvak_driver_due_ns(larvak_state *state) {
  if (larvak_driver_is_wanted(state)) return 0;
  int64_t due = larvak_due_ns(state);
  int64_t interrupt = larvak_is_idle(state) ? ARVAK_NEVER : larvak_interrupt_due_ns(state);
  return interrupt < due ? interrupt : due;
}

bool larvak_is_idle(const larvak_state *state) {
  return (!state->loop || arvak_loop_call_count(state->loop) == 0) && larvak_due_ns(state) == ARVAK_NEVER &&
         !larvak_bells_are_awaited(state);
}

/* A user who has nothing to wait for any more has to learn that, too: an attached loop may end then. */
static bool must_look(larvak_state *state) {
  int64_t due = larvak_driver_due_ns(state);
  for (const larvak_user *user = state->work.users; user; user = user->next)
    if (due < user->told_ns) return true;
  return state->work.is_watched && larvak_is_idle(state);
}

void larvak_work_changed(larvak_state *state) {
  if (!state->work.users || state->step.is_running || !state->loop) return;
  if (must_look(state)) arvak_loop_wake(state->loop);
}

void larvak_work_watch(lua_State *L, larvak_state *state) {
  if (!state->work.has_watcher || state->work.is_watched || state->step.is_running) return;
  larvak_upcall_push(L, UPCALL_BUSY);
  lua_call(L, 0, 1);
  state->work.is_watched = lua_toboolean(L, -1) != 0;
  lua_pop(L, 1);
}

void larvak_work_hand_over(lua_State *L, larvak_state *state) {
  if (!state->work.users) return;
  larvak_work_changed(state);
  if (!larvak_is_idle(state) || state->waits.woken.first) larvak_work_watch(L, state);
}

/* ---- for the Lua layer ---- */

static int work_is_idle(lua_State *L) {
  lua_pushboolean(L, larvak_is_idle(larvak_state_get(L)));
  return 1;
}

/* hand_over(): see larvak_work_hand_over. */
static int work_hand_over(lua_State *L) {
  larvak_work_hand_over(L, larvak_state_get(L));
  return 0;
}

/* set_strays(has_strays): whether there are errors that nobody has read. */
static int work_set_strays(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  state->work.has_strays = lua_toboolean(L, 1) != 0;
  larvak_work_changed(state);
  return 0;
}

/* set_attached(is_attached, has_watcher), set_watched(is_watched) */
static int work_set_attached(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  state->work.is_attached = lua_toboolean(L, 1) != 0;
  state->work.has_watcher = lua_toboolean(L, 2) != 0;
  return 0;
}

static int work_set_watched(lua_State *L) {
  larvak_state_get(L)->work.is_watched = lua_toboolean(L, 1) != 0;
  return 0;
}

void larvak_work_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"is_idle", work_is_idle},           {"hand_over", work_hand_over},
                                       {"set_strays", work_set_strays},     {"set_attached", work_set_attached},
                                       {"set_watched", work_set_watched},   {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
