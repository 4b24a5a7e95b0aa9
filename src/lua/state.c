/* The one loop of a Lua state, and what is known about it. Invariant: the loop is there from larvak_loop_get until
 * larvak_state_close, and nothing can be started after that.
 * SPDX-License-Identifier: Apache-2.0 */
#include "state.h"

#include <lauxlib.h>
#include <string.h>

#include "errors.h"
#include "handle.h"
#include "misuse.h"
#include "set.h"

static const char state_key = 0; /* in the registry */

void larvak_state_new(lua_State *L, lua_CFunction finalizer) {
  if (larvak_state_get(L)) return;
  larvak_state *state = lua_newuserdatauv(L, sizeof *state, 0);
  memset(state, 0, sizeof *state);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  state->main = lua_tothread(L, -1);
  lua_pop(L, 1);
  state->ready.end = &state->ready.first;
  state->tasks.unreported_end = &state->tasks.unreported;
  state->waits.ended.end = &state->waits.ended.first;
  state->waits.woken.end = &state->waits.woken.first;
  state->hooks.events_end = &state->hooks.events;
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, finalizer);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  state->handle = larvak_handle_new();
  if (!state->handle) larvak_no_memory(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &state_key);
}

larvak_state *larvak_state_get(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key);
  larvak_state *state = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return state;
}

bool larvak_state_close(larvak_state *state) {
  if (state->is_closed) return false;
  state->is_closed = true;
  if (state->handle) larvak_handle_set_loop(state->handle, NULL);
  if (state->loop) arvak_loop_close(state->loop);
  state->loop = NULL;
  arvak_lua_handle_unref(state->handle);
  state->handle = NULL;
  return true;
}

arvak_loop *larvak_loop_get(lua_State *L, larvak_state *state) {
  if (state->loop) return state->loop;
  if (state->is_closed) larvak_misuse(L, "the Lua state is closing");
  int status = arvak_loop_new(&state->loop);
  if (status == ARVAK_EFORKED) {
    larvak_error_push_forked(L);
    lua_error(L);
  }
  if (status != ARVAK_OK) larvak_no_memory(L);
  larvak_handle_set_loop(state->handle, state->loop);
  return state->loop;
}

/* ---- for the Lua layer ---- */

/* counts(): what is alive in this Lua state, for tests. */
static int state_counts(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  lua_createtable(L, 0, 4);
  larvak_set_integer(L, "calls", (lua_Integer)(state->loop ? arvak_loop_call_count(state->loop) : 0));
  larvak_set_integer(L, "tasks", (lua_Integer)state->tasks.count);
  larvak_set_integer(L, "waits", (lua_Integer)state->waits.count);
  larvak_set_integer(L, "clients", (lua_Integer)state->client_count);
  return 1;
}

static int state_now(lua_State *L) {
  lua_pushnumber(L, (lua_Number)arvak_now_ns() * 1e-9);
  return 1;
}

void larvak_state_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"counts", state_counts}, {"now", state_now}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
