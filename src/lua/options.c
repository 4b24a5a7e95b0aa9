/* Arguments and option tables, checked: every error names the field, the value and what was expected.
 * SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <lauxlib.h>
#include <math.h>
#include <string.h>

#include "misuse.h"

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

static bool is_among(const char *key, const char *const *names) {
  for (size_t i = 0; names[i]; i++)
    if (strcmp(key, names[i]) == 0) return true;
  return false;
}

void larvak_options_check(lua_State *L, int index, const char *what, const char *const *names) {
  index = lua_absindex(L, index);
  lua_pushnil(L);
  while (lua_next(L, index)) {
    if (lua_type(L, -2) != LUA_TSTRING || !is_among(lua_tostring(L, -2), names)) {
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
    larvak_misuse(L, "%s: got %s, expected a number of seconds above 0", name, larvak_describe_type(L, index));
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
    larvak_misuse(L, "%s: expected UTF-8 text without NUL bytes, but byte %d breaks that", name, (int)bad + 1);
  return text;
}

static size_t count_pairs(lua_State *L, int index) {
  size_t n = 0;
  lua_pushnil(L);
  while (lua_next(L, index)) {
    lua_pop(L, 1);
    n++;
  }
  return n;
}

/* Values are secrets: errors name the header alone. */
static void read_header(lua_State *L, arvak_header *header) {
  if (lua_type(L, -2) != LUA_TSTRING)
    larvak_misuse(L, "metadata: got %s as a name, expected a string", larvak_describe(L, -2));
  if (lua_type(L, -1) != LUA_TSTRING)
    larvak_misuse(L, "metadata[\"%s\"]: got a %s, expected a string", lua_tostring(L, -2), luaL_typename(L, -1));
  header->name = lua_tostring(L, -2);
  header->value.data = lua_tolstring(L, -1, &header->value.size);
  const char *reason = arvak_header_check(header->name, header->value);
  if (reason) larvak_misuse(L, "metadata[\"%s\"]: %s", header->name, reason);
}

arvak_header *larvak_option_headers(lua_State *L, int index, size_t extra, size_t *count) {
  *count = 0;
  index = lua_absindex(L, index);
  bool is_table = !lua_isnoneornil(L, index);
  if (is_table && !lua_istable(L, index))
    larvak_misuse(L, "metadata: got %s, expected a table of strings", larvak_describe_type(L, index));
  size_t n = (is_table ? count_pairs(L, index) : 0) + extra;
  arvak_header *headers = lua_newuserdatauv(L, (n + 1) * sizeof *headers, 0);
  if (!is_table) return headers;
  lua_pushnil(L);
  while (lua_next(L, index)) {
    read_header(L, &headers[(*count)++]);
    lua_pop(L, 1);
  }
  return headers;
}
