/* See taken.h. Nothing in here allocates between two reads of one table, but for the stack, whose growth runs no Lua.
 * SPDX-License-Identifier: Apache-2.0 */
#include "taken.h"

#include <lauxlib.h>
#include <string.h>

/* For what the caller pushes beside what was taken: a message, a name. */
enum { SPARE = 8 };

/* The options of a stream, say, are in a field of an object that a program can write to. Raw reads do not look. */
static int check_table(lua_State *L, int index) {
  luaL_checktype(L, index, LUA_TTABLE);
  return lua_absindex(L, index);
}

size_t larvak_taken_pairs(lua_State *L, int index) {
  index = check_table(L, index);
  size_t count = 0;
  luaL_checkstack(L, SPARE, "too many fields of a table");
  lua_pushnil(L);
  while (lua_next(L, index)) {
    luaL_checkstack(L, SPARE, "too many fields of a table");
    lua_pushvalue(L, -2);
    count++;
  }
  return count;
}

void larvak_taken_list(lua_State *L, int index, size_t count) {
  index = check_table(L, index);
  luaL_checkstack(L, (int)count + SPARE, "too many elements of a list");
  for (size_t i = 1; i <= count; i++) lua_rawgeti(L, index, (lua_Integer)i);
}

int larvak_taken_field(lua_State *L, int index, const char *name) {
  index = check_table(L, index);
  lua_pushstring(L, name);
  return lua_rawget(L, index);
}

const char *larvak_taken_text(lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TSTRING) return NULL;
  size_t size;
  const char *text = lua_tolstring(L, index, &size);
  return memchr(text, '\0', size) ? NULL : text;
}

bool larvak_taken_is(lua_State *L, int index, const char *word) {
  const char *text = larvak_taken_text(L, index);
  return text && strcmp(text, word) == 0;
}
