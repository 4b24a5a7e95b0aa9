/* Functions that policies tell of what happens: on_retry and on_state_change. The core speaks from within its loop,
 * where no Lua may run, so what it says is kept and told before the call that caused it returns.
 * Invariant: a hook belongs to one Lua state, which alone drives the calls that use it; its function is held until the
 * policy is gone and what it had to say is told.
 * SPDX-License-Identifier: Apache-2.0 */
#include "hooks.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "errors.h"
#include "misuse.h"
#include "names.h"
#include "upcall.h"
#include "work.h"

/* In the registry: the functions, by the address of their hook. */
static const char functions_key = 0;

struct larvak_hook {
  larvak_state *state;
  larvak_hook *next_dead;
};

struct larvak_event {
  larvak_event *next;
  larvak_hook *hook;
  bool is_retry;
  arvak_breaker_state from, to;
  arvak_retry_event retry; /* its strings follow the event */
  arvak_outcome outcome;
};

/* ---- life ---- */

larvak_hook *larvak_hook_new(lua_State *L, int function) {
  larvak_state *state = larvak_state_get(L);
  function = lua_absindex(L, function);
  larvak_hook *hook = malloc(sizeof *hook);
  if (!hook) larvak_no_memory(L);
  *hook = (larvak_hook){.state = state, .next_dead = state->hooks.dead};
  state->hooks.dead = hook; /* until its function is noted */
  lua_rawgetp(L, LUA_REGISTRYINDEX, &functions_key);
  lua_pushvalue(L, function);
  lua_rawsetp(L, -2, hook);
  lua_pop(L, 1);
  state->hooks.dead = hook->next_dead;
  return hook;
}

void larvak_hook_release(void *ud) {
  larvak_hook *hook = ud;
  larvak_state *state = hook->state;
  if (state->is_closed) {
    free(hook); /* its function goes with the registry */
    return;
  }
  hook->next_dead = state->hooks.dead;
  state->hooks.dead = hook;
}

void larvak_hooks_free(larvak_state *state) {
  while (state->hooks.events) {
    larvak_event *event = state->hooks.events;
    state->hooks.events = event->next;
    free(event);
  }
  state->hooks.events_end = &state->hooks.events;
  while (state->hooks.dead) {
    larvak_hook *hook = state->hooks.dead;
    state->hooks.dead = hook->next_dead;
    free(hook);
  }
}

/* Setting a field that exists to nil allocates nothing. */
static void bury(lua_State *L, larvak_state *state) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &functions_key);
  while (state->hooks.dead) {
    larvak_hook *hook = state->hooks.dead;
    state->hooks.dead = hook->next_dead;
    lua_pushnil(L);
    lua_rawsetp(L, -2, hook);
    free(hook);
  }
  lua_pop(L, 1);
}

/* ---- what the core says ---- */

static void keep(larvak_hook *hook, larvak_event *event) {
  larvak_state *state = hook->state;
  if (state->is_closed) {
    free(event);
    return;
  }
  event->hook = hook;
  event->next = NULL;
  *state->hooks.events_end = event;
  state->hooks.events_end = &event->next;
  larvak_work_changed(state);
}

void larvak_hook_on_retry(const arvak_retry_event *retry, void *ud) {
  size_t message = strlen(retry->outcome->message) + 1, address = strlen(retry->address) + 1;
  larvak_event *event = calloc(1, sizeof *event + message + address);
  if (!event) return; /* the retry matters more than who hears of it */
  char *text = (char *)(event + 1);
  event->is_retry = true;
  event->retry = *retry;
  event->outcome = *retry->outcome;
  event->outcome.message = memcpy(text, retry->outcome->message, message);
  event->retry.address = memcpy(text + message, retry->address, address);
  keep(ud, event);
}

void larvak_hook_on_breaker_change(arvak_breaker_state from, arvak_breaker_state to, void *ud) {
  larvak_event *event = calloc(1, sizeof *event);
  if (!event) return;
  event->from = from;
  event->to = to;
  keep(ud, event);
}

/* ---- telling ---- */

static int push_retry(lua_State *L, const larvak_event *event) {
  lua_createtable(L, 0, 4);
  lua_pushstring(L, arvak_rpc_name(event->retry.rpc));
  lua_setfield(L, -2, "rpc");
  lua_pushinteger(L, event->retry.attempt);
  lua_setfield(L, -2, "attempt");
  lua_pushnumber(L, (lua_Number)event->retry.delay_ns * 1e-9);
  lua_setfield(L, -2, "delay");
  larvak_error_push_failure(L, event->retry.rpc, event->retry.address, &event->outcome);
  lua_setfield(L, -2, "err");
  return 1;
}

/* (lightuserdata event): policy_event(function, values…). */
static int tell(lua_State *L) {
  const larvak_event *event = lua_touserdata(L, 1);
  larvak_upcall_push(L, UPCALL_POLICY_EVENT);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &functions_key);
  lua_rawgetp(L, -1, event->hook);
  lua_remove(L, -2);
  int count = 1;
  if (event->is_retry) {
    count += push_retry(L, event);
  } else {
    lua_pushstring(L, larvak_breaker_state_name(event->from));
    lua_pushstring(L, larvak_breaker_state_name(event->to));
    count += 2;
  }
  lua_call(L, count, 0);
  return 0;
}

void larvak_hook_tell(lua_State *L, const larvak_hook *hook) {
  larvak_upcall_push(L, UPCALL_POLICY_EVENT);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &functions_key);
  lua_rawgetp(L, -1, hook);
  lua_remove(L, -2);
  lua_rotate(L, -3, 2);
  lua_call(L, 2, 0);
}

void larvak_hooks_tell(lua_State *L, larvak_state *state) {
  if (state->hooks.is_telling) return;
  luaL_checkstack(L, 4, "hooks");
  while (state->hooks.events) {
    larvak_event *event = state->hooks.events;
    state->hooks.is_telling = true;
    lua_pushcfunction(L, tell);
    lua_pushlightuserdata(L, event);
    int status = lua_pcall(L, 1, 0, 0);
    state->hooks.is_telling = false;
    if (status == LUA_ERRMEM) lua_error(L); /* it stays first in line */
    state->hooks.events = event->next;
    if (!state->hooks.events) state->hooks.events_end = &state->hooks.events;
    free(event);
    if (status != LUA_OK) lua_error(L);
  }
  if (state->hooks.dead) bury(L, state);
}

/* ---- functions that must not wait ---- */

int larvak_hook_pcall(lua_State *L, larvak_state *state, int arguments, int results, int handler) {
  state->hooks.depth++;
  int status = lua_pcall(L, arguments, results, handler);
  state->hooks.depth--;
  return status;
}

/* Message handler: a table gets a field traceback, any other value becomes text with it. */
static int add_traceback(lua_State *L) {
  luaL_traceback(L, L, NULL, 1);
  if (lua_istable(L, 1)) {
    lua_pushliteral(L, "traceback");
    if (lua_rawget(L, 1) == LUA_TNIL) {
      lua_pushliteral(L, "traceback");
      lua_pushvalue(L, 2);
      lua_rawset(L, 1);
    }
  } else {
    lua_pushfstring(L, "%s\n%s", luaL_tolstring(L, 1, NULL), lua_tostring(L, 2));
    lua_replace(L, 1);
  }
  lua_settop(L, 1);
  return 1;
}

/* hook(fn, ...): calls a user's function that must not wait, protected; results as pcall's, an error with its
 * traceback. */
static int hook_call(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  lua_pushcfunction(L, add_traceback);
  lua_insert(L, 1);
  int status = larvak_hook_pcall(L, state, lua_gettop(L) - 2, LUA_MULTRET, 1);
  lua_pushboolean(L, status == LUA_OK);
  lua_replace(L, 1);
  return lua_gettop(L);
}

void larvak_hooks_open(lua_State *L) {
  lua_pushcfunction(L, hook_call);
  lua_setfield(L, -2, "hook");
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &functions_key);
}
