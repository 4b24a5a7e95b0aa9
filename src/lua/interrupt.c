/* How an interrupt reaches what runs in a Lua state. Invariant: a thread whose hook is on_instruction has the hook that
 * it had before in the table of the registry, or has inherited on_instruction from such a thread.
 *
 * The hook does not raise in chunks of this library, so that these keep their own books: their next wait raises in any
 * case. A chunk of a plugin's may bear such a name, so there is an allowance of instructions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "interrupt.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

#include "errors.h"
#include "handle.h"
#include "misuse.h"

/* In the registry: thread → its hook before, weak keys. */
static const char hooks_key = 0;

enum { ALLOWANCE = 100000, REASON_SIZE = 512 };

typedef struct saved_hook {
  lua_Hook fn;
  int mask, count;
} saved_hook;

bool larvak_interrupt_is_set(larvak_state *state) {
  bool is_set = state->handle && arvak_lua_interrupted(state->handle);
  if (!is_set) {
    state->interrupt.is_carried_out = false;
    state->interrupt.allowance = ALLOWANCE;
  }
  return is_set;
}

int64_t larvak_interrupt_due_ns(larvak_state *state) {
  if (!state->handle) return ARVAK_NEVER;
  if (state->interrupt.is_carried_out && larvak_interrupt_is_set(state)) return ARVAK_NEVER;
  return larvak_handle_due_ns(state->handle);
}

/* ---- the hook ---- */

static void on_instruction(lua_State *L, lua_Debug *ar);

/* The table of hooks, and this thread, which is L or the main one. */
static void push_key(lua_State *L, lua_State *thread) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &hooks_key);
  if (thread == L) lua_pushthread(L);
  else lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
}

/* Arms L, or the main thread. */
static void arm(lua_State *L, lua_State *thread) {
  if (lua_gethook(thread) == on_instruction) return;
  luaL_checkstack(L, 5, NULL);
  push_key(L, thread);
  saved_hook *saved = lua_newuserdatauv(L, sizeof *saved, 0);
  *saved = (saved_hook){lua_gethook(thread), lua_gethookmask(thread), lua_gethookcount(thread)};
  lua_rawset(L, -3);
  lua_pop(L, 1);
  lua_sethook(thread, on_instruction, LUA_MASKCOUNT, 1);
}

void larvak_interrupt_arm(lua_State *L, larvak_state *state) {
  if (!larvak_interrupt_is_set(state)) return;
  arm(L, L);
  if (L != state->main) arm(L, state->main);
}

static void put_back(lua_State *thread, const saved_hook *saved) {
  if (lua_gethook(thread) == on_instruction) lua_sethook(thread, saved->fn, saved->mask, saved->count);
}

/* What this thread had before; false: it has no entry. */
static bool get_saved(lua_State *L, lua_State *thread, saved_hook *out) {
  push_key(L, thread);
  lua_rawget(L, -2);
  const saved_hook *saved = lua_touserdata(L, -1);
  if (saved) *out = *saved;
  lua_pop(L, 2);
  return saved != NULL;
}

/* A thread without an entry was made by one that had this hook; it gets what the main thread has, or had. */
static void restore(lua_State *L, larvak_state *state) {
  saved_hook saved;
  lua_State *main = state->main;
  if (!get_saved(L, L, &saved) && (lua_gethook(main) != on_instruction || !get_saved(L, main, &saved)))
    saved = (saved_hook){lua_gethook(main), lua_gethookmask(main), lua_gethookcount(main)};
  if (saved.fn == on_instruction) saved = (saved_hook){NULL, 0, 0};
  put_back(L, &saved);
}

static bool ends_in(const char *text, const char *end) {
  size_t length = strlen(text), size = strlen(end);
  return length >= size && strcmp(text + length - size, end) == 0;
}

/* Those that are installed as files are called by loops that may make an error in a callback the end of the process. */
static bool is_ours(lua_State *L, lua_Debug *ar) {
  lua_getinfo(L, "S", ar);
  return strncmp(ar->source, "=lua/arvak", 10) == 0 || ends_in(ar->source, "/arvak/luv.lua") ||
         ends_in(ar->source, "/arvak/cqueues.lua");
}

static void on_instruction(lua_State *L, lua_Debug *ar) {
  larvak_state *state = larvak_state_get(L);
  if (!larvak_interrupt_is_set(state)) {
    restore(L, state);
    return;
  }
  if (state->interrupt.allowance > 0 && is_ours(L, ar)) {
    state->interrupt.allowance--;
    return;
  }
  larvak_interrupt_raise(L, state);
}

/* ---- raising ---- */

/* It is the interrupt whatever catches it: who sees it on its way raises it again. */
int larvak_interrupt_raise(lua_State *L, larvak_state *state) {
  char reason[REASON_SIZE] = "the host has interrupted this Lua state";
  luaL_checkstack(L, 8, NULL);
  larvak_interrupt_arm(L, state);
  if (state->handle) larvak_handle_get_reason(state->handle, reason, sizeof reason);
  larvak_error_push(L, ARVAK_KIND_INTERRUPTED, -1, reason);
  larvak_set_interrupt(L, -1);
  return lua_error(L);
}

void larvak_interrupt_check(lua_State *L, larvak_state *state) {
  if (larvak_interrupt_is_set(state)) larvak_interrupt_raise(L, state);
}

/* ---- for hosts ---- */

void arvak_lua_check(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  if (state) larvak_interrupt_check(L, state);
}

/* Upvalue 1: coroutine.resume, or a function made by coroutine.wrap. Who resumed a coroutine is known to Lua alone, so
 * he looks for himself. */
static int resume_and_look(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  int status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
  arvak_lua_check(L);
  return status == LUA_OK ? lua_gettop(L) : lua_error(L);
}

/* Upvalue 1: coroutine.wrap. */
static int wrap_and_look(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, 1);
  lua_pushcclosure(L, resume_and_look, 1);
  return 1;
}

void arvak_lua_guard_coroutines(lua_State *L) {
  luaL_checkstack(L, 3, NULL);
  if (lua_getglobal(L, LUA_COLIBNAME) != LUA_TTABLE)
    luaL_error(L, "arvak_lua_guard_coroutines: Lua's coroutine library is not open");
  lua_getfield(L, -1, "resume");
  lua_pushcclosure(L, resume_and_look, 1);
  lua_setfield(L, -2, "resume");
  lua_getfield(L, -1, "wrap");
  lua_pushcclosure(L, wrap_and_look, 1);
  lua_setfield(L, -2, "wrap");
  lua_pop(L, 1);
}

/* Of every thread at once: one that is never resumed keeps none of ours. */
void larvak_interrupt_clear(lua_State *L, larvak_state *state) {
  larvak_handle_clear(state->handle);
  larvak_interrupt_is_set(state);
  luaL_checkstack(L, 6, NULL);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &hooks_key);
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) put_back(lua_tothread(L, -2), lua_touserdata(L, -1));
  lua_pop(L, 1);
}

void larvak_interrupt_set_hook_interval(larvak_state *state, int interval_ms) {
  state->interrupt.hook_interval_ns = (int64_t)(interval_ms > 0 ? interval_ms : 0) * 1000000;
}

void larvak_interrupt_open(lua_State *L) {
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &hooks_key);
}
