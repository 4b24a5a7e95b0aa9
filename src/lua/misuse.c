/* Misuse is raised at the line of the caller, however deep inside the library it is noticed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "misuse.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

/* Chunks of the Lua layer are named after their files. */
static bool is_ours(const lua_Debug *ar) {
  return *ar->what == 'C' || strncmp(ar->source, "=lua/arvak", 10) == 0;
}

static void push_position(lua_State *L) {
  lua_Debug ar;
  for (int level = 0; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "Sl", &ar);
    if (is_ours(&ar)) continue;
    if (ar.currentline > 0) lua_pushfstring(L, "%s:%d: ", ar.short_src, ar.currentline);
    else lua_pushliteral(L, "");
    return;
  }
  lua_pushliteral(L, "");
}

int larvak_misuse(lua_State *L, const char *format, ...) {
  luaL_checkstack(L, 4, NULL);
  push_position(L);
  va_list arguments;
  va_start(arguments, format);
  lua_pushvfstring(L, format, arguments);
  va_end(arguments);
  lua_concat(L, 2);
  return lua_error(L);
}

/* lua_error knows the message of Lua's own error, which is a string that every state holds. */
int larvak_no_memory(lua_State *L) {
  lua_pushliteral(L, "not enough memory");
  return lua_error(L);
}

const char *larvak_describe_type(lua_State *L, int index) {
  if (lua_type(L, index) == LUA_TSTRING) lua_pushfstring(L, "a string of %d bytes", (int)lua_rawlen(L, index));
  else larvak_describe(L, index);
  return lua_tostring(L, -1);
}

const char *larvak_describe(lua_State *L, int index) {
  index = lua_absindex(L, index);
  switch (lua_type(L, index)) {
    case LUA_TNONE: case LUA_TNIL: lua_pushliteral(L, "nil"); break;
    case LUA_TNUMBER: case LUA_TBOOLEAN: luaL_tolstring(L, index, NULL); break;
    case LUA_TSTRING: {
      size_t size;
      const char *text = lua_tolstring(L, index, &size);
      if (size > 40 || memchr(text, '\0', size)) lua_pushfstring(L, "a string of %d bytes", (int)size);
      else lua_pushfstring(L, "\"%s\"", text);
      break;
    }
    default: lua_pushfstring(L, "a %s", luaL_typename(L, index));
  }
  return lua_tostring(L, -1);
}

/* ---- for the Lua layer ---- */

static int misuse_raise(lua_State *L) { return larvak_misuse(L, "%s", luaL_checkstring(L, 1)); }

static int misuse_describe(lua_State *L) {
  larvak_describe(L, 1);
  return 1;
}

static int misuse_describe_type(lua_State *L) {
  larvak_describe_type(L, 1);
  return 1;
}

void larvak_misuse_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"misuse", misuse_raise},
                                       {"describe", misuse_describe},
                                       {"describe_type", misuse_describe_type},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
