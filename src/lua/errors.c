/* From outcomes to error objects. Invariant: every one has kind, message, retryable and maybe_executed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "errors.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

#include "misuse.h"
#include "names.h"
#include "set.h"

void larvak_error_push(lua_State *L, arvak_kind kind, int code, const char *message) {
  lua_createtable(L, 0, 12);
  larvak_set_string(L, "kind", arvak_kind_name(kind));
  larvak_set_string(L, "message", message);
  if (code >= 0) {
    larvak_set_integer(L, "code", code);
    const char *name = arvak_code_name(code);
    lua_pushstring(L, name ? name : lua_pushfstring(L, "CODE_%d", code));
    lua_setfield(L, name ? -2 : -3, "name");
    if (!name) lua_pop(L, 1);
  }
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "retryable");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "maybe_executed");
  luaL_setmetatable(L, LARVAK_ERROR);
}

void larvak_error_push_forked(lua_State *L) {
  larvak_error_push(L, ARVAK_KIND_FORKED, -1,
                    "this process is a fork of the one that runs gRPC, and gRPC cannot follow: fork before the first "
                    "connect, or start a new program");
}

int larvak_error_push_closed(lua_State *L) {
  lua_pushnil(L);
  larvak_error_push(L, ARVAK_KIND_CLOSED, 1, "the client was closed");
  return 2;
}

void larvak_error_push_failure(lua_State *L, arvak_rpc rpc, const char *target, const arvak_outcome *outcome) {
  static const char *const scopes[] = {NULL, "queue", "call"};
  larvak_error_push(L, outcome->kind, outcome->code, outcome->message);
  larvak_set_string(L, "rpc", arvak_rpc_name(rpc));
  larvak_set_string(L, "target", target);
  larvak_set_integer(L, "attempts", outcome->attempts);
  lua_pushboolean(L, outcome->retryable);
  lua_setfield(L, -2, "retryable");
  lua_pushboolean(L, outcome->maybe_executed);
  lua_setfield(L, -2, "maybe_executed");
  lua_pushnumber(L, (lua_Number)outcome->elapsed_ns * 1e-9);
  lua_setfield(L, -2, "elapsed");
  if (outcome->scope != ARVAK_SCOPE_NONE) larvak_set_string(L, "scope", scopes[outcome->scope]);
  if (!outcome->has_retry_after) return;
  lua_pushnumber(L, (lua_Number)outcome->retry_after_ns * 1e-9);
  lua_setfield(L, -2, "retry_after");
}

/* ---- the place where one was raised ---- */

/* Whether the function at a level is one in C that C has called. */
static bool is_called_by_c(lua_State *L, int level) {
  lua_Debug where;
  return lua_getstack(L, level, &where) && lua_getinfo(L, "Sn", &where) && *where.what == 'C' &&
         *where.namewhat == '\0';
}

/* Whether the function at a level is in C, and raises: pcall does not. Upvalues 1 and 2: pcall and xpcall. */
static bool is_raising(lua_State *L, int level) {
  lua_Debug where;
  if (!lua_getstack(L, level, &where) || !lua_getinfo(L, "Sf", &where)) return false;
  bool is_other = *where.what == 'C' && !lua_rawequal(L, -1, lua_upvalueindex(1)) &&
                  !lua_rawequal(L, -1, lua_upvalueindex(2));
  lua_pop(L, 1);
  return is_other;
}

/* raised_at(), for __tostring: "script.lua:12: " when a message handler in C, such as the interpreter's, makes the text
 * of an error that nobody has caught; else "". Nobody else could name the line: handlers add one to strings alone. */
static int errors_raised_at(lua_State *L) {
  enum { HANDLER = 2, RAISER }; /* levels: this function is at 0, __tostring at 1 */
  if (is_called_by_c(L, HANDLER) && is_raising(L, RAISER)) larvak_misuse_push_line(L, RAISER);
  else lua_pushliteral(L, "");
  return 1;
}

/* ---- interrupts ---- */

enum { HOOK_LEVELS = 16 };

/* In the registry: what a debug hook has raised last (the interpreter's for Ctrl-C, or a host's limit), or false. */
static const char interrupt_key = 0;

/* In a message handler: whether a hook has raised. A hook in C has called the handler itself; one in Lua is a few
 * levels above, under the functions that it has called. */
static bool is_in_hook(lua_State *L) {
  lua_Debug where;
  for (int level = 0; level < HOOK_LEVELS && lua_getstack(L, level, &where); level++)
    if (lua_getinfo(L, "n", &where) && strcmp(where.namewhat, "hook") == 0) return true;
  return false;
}

void larvak_set_interrupt(lua_State *L, int err) {
  lua_pushvalue(L, err);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &interrupt_key); /* allocates nothing: the key is there */
}

int larvak_note_interrupt(lua_State *L) {
  if (is_in_hook(L)) larvak_set_interrupt(L, 1);
  return 1;
}

bool larvak_is_interrupt(lua_State *L, int err) {
  err = lua_absindex(L, err);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &interrupt_key);
  bool is_same = lua_toboolean(L, -1) && lua_rawequal(L, -1, err);
  lua_pop(L, 1);
  return is_same;
}

/* is_interrupt(err), in a message handler: whether a debug hook has raised this, and not what ran. */
static int errors_is_interrupt(lua_State *L) {
  luaL_checkany(L, 1);
  if (is_in_hook(L)) larvak_set_interrupt(L, 1);
  lua_pushboolean(L, larvak_is_interrupt(L, 1));
  return 1;
}

/* What protect gives: true and the results, which stand above true and the message handler, or false and the error. */
static int finish_protect(lua_State *L, int status, lua_KContext context) {
  (void)context;
  if (status == LUA_OK || status == LUA_YIELD) return lua_gettop(L) - 1;
  if (status == LUA_ERRMEM || larvak_is_interrupt(L, -1)) return lua_error(L);
  lua_pushboolean(L, 0);
  lua_insert(L, -2);
  return 2;
}

/* protect(fn, ...): as pcall, fn may yield; but a lack of memory is raised, since what failed for that reason is to be
 * tried again, and an interrupt, which is for the program and not for what it met. */
static int errors_protect(lua_State *L) {
  luaL_checkany(L, 1);
  lua_pushboolean(L, 1);
  lua_insert(L, 1);
  lua_pushcfunction(L, larvak_note_interrupt);
  lua_insert(L, 1);
  return finish_protect(L, lua_pcallk(L, lua_gettop(L) - 3, LUA_MULTRET, 1, 0, finish_protect), 0);
}

void larvak_errors_open(lua_State *L) {
  lua_pushboolean(L, 0);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &interrupt_key);
  lua_getglobal(L, "pcall");
  lua_getglobal(L, "xpcall");
  lua_pushcclosure(L, errors_raised_at, 2);
  lua_setfield(L, -2, "raised_at");
  lua_pushcfunction(L, errors_protect);
  lua_setfield(L, -2, "protect");
  lua_pushcfunction(L, errors_is_interrupt);
  lua_setfield(L, -2, "is_interrupt");
}
