/* Invariant: a guard whose frame has gone on finds no wait under its ticket any more, and does nothing.
 * SPDX-License-Identifier: Apache-2.0 */
#include "guard.h"

#include <lauxlib.h>

#include "upcall.h"

#define GUARD "arvak.guard"

typedef struct guard {
  larvak_state *state;
  lua_Integer ticket;
} guard;

/* Its __close and its __gc. The loop of a coroutine forgets it before the wait is gone. */
static int guard_close(lua_State *L) {
  guard *g = luaL_checkudata(L, 1, GUARD);
  larvak_wait *wait = larvak_wait_find(g->state, g->ticket);
  if (!wait) return 0;
  if (wait->waiter == WAITER_FOREIGN && wait->at != WAIT_TOLD) {
    larvak_upcall_push(L, UPCALL_GONE);
    lua_pushinteger(L, g->ticket);
    lua_pcall(L, 1, 0, 0);
    wait = larvak_wait_find(g->state, g->ticket); /* its loop's functions may have done anything */
  }
  if (wait) larvak_wait_abandon(wait);
  return 0;
}

/* (lightuserdata wait): the guard. To be called protected. */
static int new_guard(lua_State *L) {
  const larvak_wait *wait = lua_touserdata(L, 1);
  guard *g = lua_newuserdatauv(L, sizeof *g, 0);
  g->state = wait->state;
  g->ticket = larvak_wait_ticket(wait);
  luaL_setmetatable(L, GUARD);
  return 1;
}

void larvak_guard_push(lua_State *L, larvak_wait *wait) {
  lua_pushcfunction(L, new_guard);
  lua_pushlightuserdata(L, wait);
  if (lua_pcall(L, 1, 1, 0) == LUA_OK) {
    lua_toclose(L, -1);
    return;
  }
  larvak_wait_free(wait);
  lua_error(L);
}

void larvak_guard_open(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", guard_close}, {"__close", guard_close}, {NULL, NULL}};
  luaL_newmetatable(L, GUARD);
  luaL_setfuncs(L, meta, 0);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}
