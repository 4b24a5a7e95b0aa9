/* Other people's event loops: descriptors to wait on, and callers whose coroutine belongs to an attached loop.
 * Invariant: while a loop is attached and something is in flight, the Lua layer watches the descriptor in it; and the
 * descriptor is made readable whenever something is due earlier than the loop was told.
 * SPDX-License-Identifier: Apache-2.0 */
#include "larvak.h"

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
  if (g->state->fd_users > 0 && g->state->loop) arvak_loop_wake(g->state->loop);
  return 0;
}

/* (lightuserdata wait): the guard; the loop watches from now on. To be called protected. */
static int prepare(lua_State *L) {
  larvak_wait *wait = lua_touserdata(L, 1);
  larvak_attend(L, wait->state);
  guard *g = lua_newuserdatauv(L, sizeof *g, 0);
  g->state = wait->state;
  g->ticket = larvak_ticket(wait);
  luaL_setmetatable(L, GUARD);
  return 1;
}

/* ---- who waits ---- */

bool larvak_is_foreign(lua_State *L, larvak_state *state, const char *method) {
  if (!state->is_attached) return false;
  larvak_push_upcall(L, UPCALL_RUNNING);
  lua_call(L, 0, 1);
  bool is_inside = !lua_isnil(L, -1), can_suspend = lua_toboolean(L, -1) != 0;
  lua_pop(L, 1);
  if (!is_inside) return false;
  if (!can_suspend || state->generator_depth > 0)
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
    if (wait->is_told) return larvak_finish(L, wait);
    larvak_push_upcall(L, UPCALL_SUSPEND);
    lua_pushinteger(L, (lua_Integer)ticket);
    lua_callk(L, 1, 0, ticket, go_on);
  }
}

int larvak_await_foreign(lua_State *L, larvak_wait *wait) {
  luaL_checkstack(L, 6, NULL);
  wait->is_foreign = true;
  wait->is_told = wait->reason != REASON_PENDING; /* nobody else will be */
  lua_pushcfunction(L, prepare);
  lua_pushlightuserdata(L, wait);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
    larvak_wait_free(wait);
    return lua_error(L);
  }
  larvak_notice(wait->state);
  return go_on(L, LUA_OK, (lua_KContext)larvak_ticket(wait));
}

/* ---- what the loop is told ---- */

static int64_t due_ns(const larvak_state *state) {
  if (state->ready || state->ended || state->unreported || state->events) return 0;
  return state->loop ? arvak_loop_due_ns(state->loop) : ARVAK_NEVER;
}

void larvak_attend(lua_State *L, larvak_state *state) {
  if (!state->has_watcher || state->is_watched || state->is_stepping) return;
  larvak_push_upcall(L, UPCALL_BUSY);
  lua_call(L, 0, 0);
  state->is_watched = true;
}

void larvak_notice(larvak_state *state) {
  if (state->fd_users == 0 || state->is_stepping || !state->loop) return;
  int64_t due = due_ns(state);
  bool is_earlier = due < state->told_ns;
  if (is_earlier) state->told_ns = due;
  if (is_earlier || (state->is_watched && larvak_is_idle(state))) arvak_loop_wake(state->loop);
}

void larvak_rouse(lua_State *L, larvak_state *state, int pumping) {
  if (state->fd_users == 0 || state->is_stepping || !state->loop) return;
  if (state->fd_users > pumping && (pumping == 0 || state->has_news)) arvak_loop_wake(state->loop);
  if (!larvak_is_idle(state)) larvak_attend(L, state);
}

/* ---- for the Lua layer ---- */

/* open_fd(): the descriptor of this state's loop. */
static int foreign_open_fd(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  int fd = arvak_loop_open_fd(larvak_loop_get(L, state));
  if (fd == ARVAK_ELIMIT) return luaL_error(L, "the system has no descriptor or thread left for an event loop");
  if (fd == ARVAK_ENOMEM) return luaL_error(L, "not enough memory");
  if (fd < 0) {
    larvak_push_forked(L);
    return lua_error(L);
  }
  state->fd_users++;
  state->told_ns = ARVAK_NEVER;
  lua_pushinteger(L, fd);
  return 1;
}

static int foreign_close_fd(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  if (!state->loop || state->fd_users == 0) return 0; /* the Lua state is closing */
  state->fd_users--;
  arvak_loop_close_fd(state->loop);
  return 0;
}

/* due(): seconds until the next step has something to do, or nil; the loop is told by it. */
static int foreign_due(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  state->told_ns = due_ns(state);
  if (state->told_ns == ARVAK_NEVER) return 0;
  int64_t left = state->told_ns - arvak_now_ns();
  lua_pushnumber(L, left > 0 ? (lua_Number)left * 1e-9 : 0.0);
  return 1;
}

/* pump(): one step without waiting, by a loop that asks for due() afterwards. */
static int foreign_pump(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  larvak_check_step(L, state);
  state->told_ns = state->fd_users > 1 ? ARVAK_NEVER : 0; /* others will not ask */
  larvak_step(L, state, 0);
  larvak_rouse(L, state, 1);
  return 0;
}

/* kick(): makes the descriptor readable. */
static int foreign_kick(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  if (state->loop) arvak_loop_wake(state->loop);
  return 0;
}

/* rouse(pumping): see larvak_rouse. */
static int foreign_rouse(lua_State *L) {
  larvak_rouse(L, larvak_state_get(L), (int)luaL_checkinteger(L, 1));
  return 0;
}

/* is_waiting(ticket): whether the wait is not over, or has not been fetched. */
static int foreign_is_waiting(lua_State *L) {
  lua_pushboolean(L, larvak_wait_find(larvak_state_get(L), luaL_checkinteger(L, 1)) != NULL);
  return 1;
}

/* set_attached(is_attached, has_watcher), set_watched(is_watched) */
static int foreign_set_attached(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  state->is_attached = lua_toboolean(L, 1) != 0;
  state->has_watcher = lua_toboolean(L, 2) != 0;
  return 0;
}

static int foreign_set_watched(lua_State *L) {
  larvak_state_get(L)->is_watched = lua_toboolean(L, 1) != 0;
  return 0;
}

/* is_foreign(method): whether the caller's coroutine belongs to the attached loop. */
static int foreign_is_foreign(lua_State *L) {
  lua_pushboolean(L, larvak_is_foreign(L, larvak_state_get(L), luaL_checkstring(L, 1)));
  return 1;
}

int larvak_open_foreign(lua_State *L) {
  static const luaL_Reg functions[] = {{"open_fd", foreign_open_fd},           {"close_fd", foreign_close_fd},
                                       {"due", foreign_due},                   {"pump", foreign_pump},
                                       {"kick", foreign_kick},                 {"rouse", foreign_rouse},
                                       {"set_attached", foreign_set_attached}, {"set_watched", foreign_set_watched},
                                       {"is_foreign", foreign_is_foreign},     {"is_waiting", foreign_is_waiting},
                                       {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", guard_gc}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  luaL_newmetatable(L, GUARD);
  luaL_setfuncs(L, meta, 0);
  lua_pop(L, 1);
  return 0;
}
