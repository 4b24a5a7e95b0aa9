/* Users of the descriptor, as userdata: nothing that a program can write decides about the descriptor.
 * Invariant: a user is in the list of the state from open_fd until close_fd or his end.
 * SPDX-License-Identifier: Apache-2.0 */
#include "descriptor.h"

#include <lauxlib.h>

#include "closing.h"
#include "errors.h"
#include "misuse.h"
#include "state.h"
#include "step.h"
#include "work.h"

#define USER "arvak.user"

static larvak_user *check(lua_State *L) {
  larvak_user *user = luaL_checkudata(L, 1, USER);
  if (!user->is_open) larvak_misuse(L, "the descriptor is closed");
  return user;
}

/* Who is left looks again: what the descriptor said may have been for him. */
static void close_user(larvak_user *user) {
  larvak_state *state = user->state;
  if (!user->is_open) return;
  user->is_open = false;
  larvak_user **place = &state->work.users;
  while (*place != user) place = &(*place)->next;
  *place = user->next;
  if (!state->loop) return; /* the Lua state is closing */
  arvak_loop_close_fd(state->loop);
  if (state->work.users) arvak_loop_wake(state->loop);
}

/* ---- for the Lua layer ---- */

static int raise_refusal(lua_State *L, int status) {
  if (status == ARVAK_ELIMIT) return luaL_error(L, "the system has no descriptor or thread left for an event loop");
  if (status == ARVAK_ENOMEM) return larvak_no_memory(L);
  larvak_error_push_forked(L);
  return lua_error(L);
}

/* open_fd(): a user of the descriptor of this state's loop. */
static int descriptor_open_fd(lua_State *L) {
  larvak_closing_check(L, "pollable");
  larvak_state *state = larvak_state_get(L);
  arvak_loop *loop = larvak_loop_get(L, state);
  larvak_user *user = lua_newuserdatauv(L, sizeof *user, 0);
  *user = (larvak_user){.state = state, .told_ns = ARVAK_NEVER};
  luaL_setmetatable(L, USER);
  user->fd = arvak_loop_open_fd(loop);
  if (user->fd < 0) return raise_refusal(L, user->fd);
  user->is_open = true;
  user->next = state->work.users;
  state->work.users = user;
  return 1;
}

/* close_fd(user): idempotent. */
static int descriptor_close_fd(lua_State *L) {
  close_user(luaL_checkudata(L, 1, USER));
  return 0;
}

/* fd_of(user): the descriptor; nil of one that is closed, and of any other value. */
static int descriptor_fd_of(lua_State *L) {
  larvak_user *user = luaL_testudata(L, 1, USER);
  if (!user || !user->is_open) return 0;
  lua_pushinteger(L, user->fd);
  return 1;
}

/* due(user): seconds until the next step has something to do, or nil; the user means to step by then. */
static int descriptor_due(lua_State *L) {
  larvak_user *user = check(L);
  user->told_ns = larvak_driver_due_ns(user->state);
  if (user->told_ns == ARVAK_NEVER) return 0;
  int64_t left = user->told_ns - arvak_now_ns();
  lua_pushnumber(L, left > 0 ? (lua_Number)left * 1e-9 : 0.0);
  return 1;
}

/* pump(user): one step without waiting, by a user who calls due(user) before he waits again, and so needs to be told
 * nothing until then. What the descriptor said may have been for the others. Nothing while the state closes. */
static int descriptor_pump(lua_State *L) {
  larvak_user *user = check(L);
  larvak_state *state = user->state;
  larvak_step_check(L, state);
  if (larvak_is_closing(L, state)) return 0;
  user->told_ns = 0;
  if (larvak_step(L, state, 0)) larvak_work_changed(state);
  return 0;
}

/* kick(user): makes the descriptor readable, on which alone the user relies from now on. Somebody else's step may take
 * what it says, so the user is told again of whatever comes. */
static int descriptor_kick(lua_State *L) {
  larvak_user *user = luaL_checkudata(L, 1, USER);
  user->told_ns = ARVAK_NEVER;
  if (user->is_open && user->state->loop) arvak_loop_wake(user->state->loop);
  return 0;
}

void larvak_descriptor_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"open_fd", descriptor_open_fd}, {"close_fd", descriptor_close_fd},
                                       {"fd_of", descriptor_fd_of},     {"due", descriptor_due},
                                       {"pump", descriptor_pump},       {"kick", descriptor_kick},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  luaL_newmetatable(L, USER);
  lua_pushcfunction(L, descriptor_close_fd);
  lua_setfield(L, -2, "__gc");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}
