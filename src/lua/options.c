/* Arguments and option tables, checked: every error names the field, the value and what was expected.
 * SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <lauxlib.h>
#include <math.h>
#include <string.h>

#include "misuse.h"
#include "taken.h"

/* Pushes "a, b, c". */
static const char *push_names(lua_State *L, const char *const *names) {
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  for (size_t i = 0; names[i]; i++) {
    if (i > 0) luaL_addstring(&buffer, ", ");
    luaL_addstring(&buffer, names[i]);
  }
  luaL_pushresult(&buffer);
  return lua_tostring(L, -1);
}

static bool is_among(lua_State *L, int index, const char *const *names) {
  const char *key = larvak_taken_text(L, index);
  for (size_t i = 0; key && names[i]; i++)
    if (strcmp(key, names[i]) == 0) return true;
  return false;
}

void larvak_options_check(lua_State *L, int index, const char *what, const char *const *names) {
  index = lua_absindex(L, index);
  lua_pushnil(L);
  while (lua_next(L, index)) {
    if (!is_among(L, -2, names)) {
      const char *key = larvak_describe(L, -2);
      larvak_misuse(L, "%s: unknown option %s, expected one of %s", what, key, push_names(L, names));
    }
    lua_pop(L, 1);
  }
}

lua_Integer larvak_option_integer(lua_State *L, int index, const char *name, lua_Integer standard, lua_Integer low,
                                  lua_Integer high) {
  if (lua_isnoneornil(L, index)) return standard;
  int is_integer = 0;
  lua_Integer value = lua_type(L, index) == LUA_TNUMBER ? lua_tointegerx(L, index, &is_integer) : 0;
  if (!is_integer || value < low || value > high)
    larvak_misuse(L, "%s: got %s, expected an integer from %I to %I", name, larvak_describe(L, index),
                  (LUAI_UACINT)low, (LUAI_UACINT)high);
  return value;
}

int64_t larvak_option_seconds(lua_State *L, int index, const char *name) {
  if (lua_isnoneornil(L, index)) return 0;
  double seconds = lua_type(L, index) == LUA_TNUMBER ? lua_tonumber(L, index) : -1.0;
  if (!(seconds > 0) || isnan(seconds))
    larvak_misuse(L, "%s: got %s, expected a number of seconds above 0", name, larvak_describe(L, index));
  /* A hundred years and infinity are the same thing, and fit. */
  return seconds < 3e9 ? (int64_t)(seconds * 1e9) + 1 : (int64_t)3000000000 * 1000000000;
}

const char *larvak_option_text(lua_State *L, int index, const char *name) {
  if (lua_type(L, index) != LUA_TSTRING)
    larvak_misuse(L, "%s: got %s, expected a string", name, larvak_describe(L, index));
  size_t size;
  const char *text = lua_tolstring(L, index, &size);
  size_t bad = arvak_text_check(text, size);
  if (bad < size)
    larvak_misuse(L, "%s: got %s, expected UTF-8 text without NUL bytes, but byte %I breaks that", name,
                  larvak_describe(L, index), (LUAI_UACINT)bad + 1);
  return text;
}

/* Name and value at key and the index after it. Values are secrets: errors name the header alone. */
static void read_header(lua_State *L, int key, arvak_header *header) {
  if (lua_type(L, key) != LUA_TSTRING)
    larvak_misuse(L, "metadata: got %s as a name, expected a string", larvak_describe(L, key));
  header->name = larvak_taken_text(L, key);
  if (!header->name)
    larvak_misuse(L, "metadata[%s]: expected the name of a header without NUL bytes", larvak_describe(L, key));
  if (lua_type(L, key + 1) != LUA_TSTRING)
    larvak_misuse(L, "metadata[\"%s\"]: got a %s, expected a string", header->name, luaL_typename(L, key + 1));
  header->value.data = lua_tolstring(L, key + 1, &header->value.size);
  const char *reason = arvak_header_check(header->name, header->value);
  if (reason) larvak_misuse(L, "metadata[%s]: %s", larvak_describe(L, key), reason);
}

arvak_header *larvak_option_headers(lua_State *L, int index, size_t extra, size_t *count) {
  bool is_table = !lua_isnoneornil(L, index);
  if (is_table && !lua_istable(L, index))
    larvak_misuse(L, "metadata: got %s, expected a table of strings", larvak_describe_type(L, index));
  int first = lua_gettop(L) + 1;
  *count = is_table ? larvak_taken_pairs(L, index) : 0;
  arvak_header *headers = lua_newuserdatauv(L, (*count + extra + 1) * sizeof *headers, 0);
  for (size_t i = 0; i < *count; i++) read_header(L, first + 2 * (int)i, &headers[i]);
  return headers;
}

/* ---- for the Lua layer ---- */

/* check_text(value, name): the value. */
static int option_check_text(lua_State *L) {
  larvak_option_text(L, 1, luaL_checkstring(L, 2));
  lua_settop(L, 1);
  return 1;
}

void larvak_options_open(lua_State *L) {
  lua_pushcfunction(L, option_check_text);
  lua_setfield(L, -2, "check_text");
}
