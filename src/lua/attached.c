/* Callers whose coroutine belongs to an attached loop, and the step that such a loop makes.
 * Invariant: a wait of such a coroutine is freed by the coroutine, or by its guard when the coroutine has died; never
 * before its loop has been told that it is over.
 * SPDX-License-Identifier: Apache-2.0 */
#include "attached.h"

#include <lauxlib.h>

#include "descriptor.h"
#include "misuse.h"
#include "outcome.h"
#include "step.h"
#include "upcall.h"

/* Lets go of a wait whose coroutine has died or was collected, instead of going on after it. */
#define GUARD "arvak.guard"

typedef struct guard {
  larvak_state *state;
  lua_Integer ticket;
} guard;

static int guard_gc(lua_State *L) {
  guard *g = luaL_checkudata(L, 1, GUARD);
  larvak_wait *wait = larvak_wait_find(g->state, g->ticket);
  if (!wait) return 0;
  if (wait->is_told) {
    larvak_wait_free(wait);
    return 0;
  }
  wait->is_orphan = true;
  larvak_wait_end(wait, REASON_CANCELED);
  larvak_descriptor_wake(g->state);
  return 0;
}

/* (lightuserdata wait): the guard; the loop watches from now on. To be called protected. */
static int prepare(lua_State *L) {
  larvak_wait *wait = lua_touserdata(L, 1);
  larvak_descriptor_attend(L, wait->state);
  guard *g = lua_newuserdatauv(L, sizeof *g, 0);
  g->state = wait->state;
  g->ticket = larvak_wait_ticket(wait);
  luaL_setmetatable(L, GUARD);
  return 1;
}

/* ---- who waits ---- */

bool larvak_attached_is_inside(lua_State *L, larvak_state *state, const char *method) {
  if (!state->descriptor.is_attached) return false;
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
    if (wait->is_told) return larvak_outcome_finish(L, wait);
    larvak_upcall_push(L, UPCALL_SUSPEND);
    lua_pushinteger(L, (lua_Integer)ticket);
    lua_callk(L, 1, 0, ticket, go_on);
  }
}

int larvak_attached_await(lua_State *L, larvak_wait *wait) {
  luaL_checkstack(L, 6, NULL);
  wait->is_foreign = true;
  wait->is_told = wait->reason != REASON_PENDING; /* nobody else will be */
  lua_pushcfunction(L, prepare);
  lua_pushlightuserdata(L, wait);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
    larvak_wait_free(wait);
    return lua_error(L);
  }
  larvak_descriptor_notice(wait->state);
  return go_on(L, LUA_OK, (lua_KContext)larvak_wait_ticket(wait));
}

/* ---- for the Lua layer ---- */

/* pump(): one step without waiting, by a loop that calls due() afterwards. */
static int attached_pump(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  larvak_step_check(L, state);
  larvak_descriptor_enter_pump(state);
  larvak_step(L, state, 0);
  larvak_descriptor_rouse(L, state, 1);
  return 0;
}

/* is_waiting(ticket): whether the wait is not over, or has not been fetched. */
static int attached_is_waiting(lua_State *L) {
  lua_pushboolean(L, larvak_wait_find(larvak_state_get(L), luaL_checkinteger(L, 1)) != NULL);
  return 1;
}

/* is_foreign(method): whether the caller's coroutine belongs to the attached loop. */
static int attached_is_foreign(lua_State *L) {
  lua_pushboolean(L, larvak_attached_is_inside(L, larvak_state_get(L), luaL_checkstring(L, 1)));
  return 1;
}

void larvak_attached_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"pump", attached_pump},
                                       {"is_foreign", attached_is_foreign},
                                       {"is_waiting", attached_is_waiting},
                                       {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", guard_gc}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  luaL_newmetatable(L, GUARD);
  luaL_setfuncs(L, meta, 0);
  lua_pop(L, 1);
}
