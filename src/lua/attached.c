/* Callers whose coroutine belongs to an attached loop.
 * Invariant: a wait of such a coroutine is freed by the coroutine, or by its guard when the coroutine has died; never
 * before its loop has been told that it is over.
 * SPDX-License-Identifier: Apache-2.0 */
#include "attached.h"

#include <lauxlib.h>

#include "guard.h"
#include "misuse.h"
#include "outcome.h"
#include "upcall.h"
#include "work.h"

/* (lightuserdata state): the loop watches from now on. To be called protected. */
static int watch(lua_State *L) {
  larvak_work_watch(L, lua_touserdata(L, 1));
  return 0;
}

/* ---- who waits ---- */

bool larvak_attached_is_inside(lua_State *L, larvak_state *state, const char *method) {
  if (!state->work.is_attached) return false;
  larvak_upcall_push(L, UPCALL_RUNNING);
  lua_call(L, 0, 1);
  bool is_inside = !lua_isnil(L, -1), can_suspend = lua_toboolean(L, -1) != 0;
  lua_pop(L, 1);
  if (!is_inside) return false;
  if (!can_suspend || state->tasks.generator_depth > 0)
    larvak_misuse(L, "%s: cannot wait in a coroutine inside one of the attached loop's", method);
  if (!lua_isyieldable(L))
    larvak_misuse(L, "%s: cannot wait here: the coroutine is inside a C function that cannot be suspended "
                     "(such as table.sort, string.gsub or a finalizer)", method);
  return true;
}

/* Somebody may resume the coroutine for reasons of its own: until its loop has been told that the wait is over, it is
 * suspended again. */
static int go_on(lua_State *L, int status, lua_KContext ticket) {
  (void)status;
  for (;;) {
    larvak_wait *wait = larvak_wait_find(larvak_state_get(L), (lua_Integer)ticket);
    if (!wait) return luaL_error(L, "this wait is over: its Lua state is closing");
    if (wait->at == WAIT_TOLD) return larvak_outcome_finish(L, wait);
    larvak_upcall_push(L, UPCALL_SUSPEND);
    lua_pushinteger(L, (lua_Integer)ticket);
    lua_callk(L, 1, 0, ticket, go_on);
  }
}

int larvak_attached_await(lua_State *L, larvak_wait *wait) {
  luaL_checkstack(L, 6, NULL);
  lua_pushcfunction(L, watch);
  lua_pushlightuserdata(L, wait->state);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
    larvak_wait_free(wait);
    return lua_error(L);
  }
  larvak_guard_push(L, wait);
  wait->waiter = WAITER_FOREIGN;
  if (wait->at == WAIT_OVER) wait->at = WAIT_TOLD; /* nobody else will tell it */
  larvak_work_changed(wait->state); /* of the call */
  return go_on(L, LUA_OK, (lua_KContext)larvak_wait_ticket(wait));
}

/* ---- for the Lua layer ---- */

/* next_woken(): the ticket of the first wait that is over and whose loop has not been told; it is told from now on.
 * nil: there is none, or its coroutine has died. */
static int attached_next_woken(lua_State *L) {
  larvak_wait *wait = larvak_waits_pop_woken(larvak_state_get(L));
  if (!wait) return 0;
  lua_pushinteger(L, larvak_wait_ticket(wait));
  return 1;
}

/* woken_count(): how many there are. */
static int attached_woken_count(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)larvak_state_get(L)->waits.woken_count);
  return 1;
}

/* is_foreign(method): whether the caller's coroutine belongs to the attached loop. */
static int attached_is_foreign(lua_State *L) {
  lua_pushboolean(L, larvak_attached_is_inside(L, larvak_state_get(L), luaL_checkstring(L, 1)));
  return 1;
}

void larvak_attached_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"is_foreign", attached_is_foreign},
                                       {"next_woken", attached_next_woken},
                                       {"woken_count", attached_woken_count},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
