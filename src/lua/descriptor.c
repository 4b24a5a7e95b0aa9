/* Who waits for the loop from outside, and what they are told. Invariant: while a loop is attached and something is in
 * flight, the Lua layer watches the descriptor in it; and the descriptor is made readable whenever something is due
 * earlier than the loop was told.
 * SPDX-License-Identifier: Apache-2.0 */
#include "descriptor.h"

#include <lauxlib.h>

#include "errors.h"
#include "misuse.h"
#include "upcall.h"

static int64_t due_ns(const larvak_state *state) {
  if (larvak_state_has_work(state)) return 0;
  return state->loop ? arvak_loop_due_ns(state->loop) : ARVAK_NEVER;
}

void larvak_descriptor_attend(lua_State *L, larvak_state *state) {
  if (!state->descriptor.has_watcher || state->descriptor.is_watched || state->step.is_running) return;
  larvak_upcall_push(L, UPCALL_BUSY);
  lua_call(L, 0, 0);
  state->descriptor.is_watched = true;
}

void larvak_descriptor_notice(larvak_state *state) {
  if (state->descriptor.users == 0 || state->step.is_running || !state->loop) return;
  int64_t due = due_ns(state);
  bool is_earlier = due < state->descriptor.told_ns;
  if (is_earlier) state->descriptor.told_ns = due;
  if (is_earlier || (state->descriptor.is_watched && larvak_state_is_idle(state))) arvak_loop_wake(state->loop);
}

void larvak_descriptor_rouse(lua_State *L, larvak_state *state, int pumping) {
  if (state->descriptor.users == 0 || state->step.is_running || !state->loop) return;
  if (state->descriptor.users > pumping && (pumping == 0 || state->step.has_news)) arvak_loop_wake(state->loop);
  if (!larvak_state_is_idle(state)) larvak_descriptor_attend(L, state);
}

void larvak_descriptor_wake(larvak_state *state) {
  if (state->descriptor.users > 0 && state->loop) arvak_loop_wake(state->loop);
}

void larvak_descriptor_enter_pump(larvak_state *state) {
  state->descriptor.told_ns = state->descriptor.users > 1 ? ARVAK_NEVER : 0; /* others will not look */
}

/* ---- for the Lua layer ---- */

/* open_fd(): the descriptor of this state's loop. */
static int descriptor_open_fd(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  int fd = arvak_loop_open_fd(larvak_loop_get(L, state));
  if (fd == ARVAK_ELIMIT) return luaL_error(L, "the system has no descriptor or thread left for an event loop");
  if (fd == ARVAK_ENOMEM) return larvak_no_memory(L);
  if (fd < 0) {
    larvak_error_push_forked(L);
    return lua_error(L);
  }
  state->descriptor.users++;
  state->descriptor.told_ns = ARVAK_NEVER;
  lua_pushinteger(L, fd);
  return 1;
}

static int descriptor_close_fd(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  if (!state->loop || state->descriptor.users == 0) return 0; /* the Lua state is closing */
  state->descriptor.users--;
  arvak_loop_close_fd(state->loop);
  return 0;
}

/* due(): seconds until the next step has something to do, or nil; the caller means to step by then. */
static int descriptor_due(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  state->descriptor.told_ns = due_ns(state);
  if (state->descriptor.told_ns == ARVAK_NEVER) return 0;
  int64_t left = state->descriptor.told_ns - arvak_now_ns();
  lua_pushnumber(L, left > 0 ? (lua_Number)left * 1e-9 : 0.0);
  return 1;
}

/* kick(): makes the descriptor readable. */
static int descriptor_kick(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  if (state->loop) arvak_loop_wake(state->loop);
  return 0;
}

/* rouse(pumping): see larvak_descriptor_rouse. */
static int descriptor_rouse(lua_State *L) {
  larvak_descriptor_rouse(L, larvak_state_get(L), (int)luaL_checkinteger(L, 1));
  return 0;
}

/* set_attached(is_attached, has_watcher), set_watched(is_watched) */
static int descriptor_set_attached(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  state->descriptor.is_attached = lua_toboolean(L, 1) != 0;
  state->descriptor.has_watcher = lua_toboolean(L, 2) != 0;
  return 0;
}

static int descriptor_set_watched(lua_State *L) {
  larvak_state_get(L)->descriptor.is_watched = lua_toboolean(L, 1) != 0;
  return 0;
}

void larvak_descriptor_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"open_fd", descriptor_open_fd},
                                       {"close_fd", descriptor_close_fd},
                                       {"due", descriptor_due},
                                       {"kick", descriptor_kick},
                                       {"rouse", descriptor_rouse},
                                       {"set_attached", descriptor_set_attached},
                                       {"set_watched", descriptor_set_watched},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
