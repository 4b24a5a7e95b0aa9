/* Fields of the tables that configure policies, checked. Invariant: the value that is wrong is at index -2 and its name
 * above it when misuse is raised.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fields.h"

#include <lauxlib.h>
#include <stdio.h>

#include "misuse.h"
#include "options.h"
#include "taken.h"

bool larvak_field_is_table(lua_State *L, int index, const char *what, bool *is_wanted) {
  *is_wanted = lua_toboolean(L, index) != 0;
  if (lua_istable(L, index)) return true;
  if (!lua_isnoneornil(L, index) && !lua_isboolean(L, index))
    larvak_misuse(L, "%s: got %s, expected a table of options, true or false", what, larvak_describe(L, index));
  return false;
}

const char *larvak_field_get(lua_State *L, int options, const char *what, const char *field) {
  larvak_taken_field(L, options, field);
  return lua_pushfstring(L, "%s.%s", what, field);
}

int larvak_field_integer(lua_State *L, int options, const char *what, const char *field, lua_Integer high) {
  const char *name = larvak_field_get(L, options, what, field);
  int value = (int)larvak_option_integer(L, -2, name, 0, 1, high);
  lua_pop(L, 2);
  return value;
}

int64_t larvak_field_seconds(lua_State *L, int options, const char *what, const char *field) {
  const char *name = larvak_field_get(L, options, what, field);
  int64_t value = larvak_option_seconds(L, -2, name);
  lua_pop(L, 2);
  return value > 1 ? value - 1 : value; /* rounded up there; a bound must not be */
}

double larvak_field_number(lua_State *L, int options, const char *what, const char *field, double standard, double low,
                           double high) {
  const char *name = larvak_field_get(L, options, what, field);
  double value = standard;
  if (!lua_isnil(L, -2)) {
    value = lua_type(L, -2) == LUA_TNUMBER ? lua_tonumber(L, -2) : low - 1;
    if (!(value >= low && value <= high)) {
      char range[64];
      snprintf(range, sizeof range, "%g to %g", low, high);
      larvak_misuse(L, "%s: got %s, expected a number from %s", name, larvak_describe(L, -2), range);
    }
  }
  lua_pop(L, 2);
  return value;
}

bool larvak_field_boolean(lua_State *L, int options, const char *what, const char *field, bool standard) {
  const char *name = larvak_field_get(L, options, what, field);
  if (!lua_isnil(L, -2) && !lua_isboolean(L, -2))
    larvak_misuse(L, "%s: got %s, expected true or false", name, larvak_describe(L, -2));
  bool value = lua_isnil(L, -2) ? standard : lua_toboolean(L, -2) != 0;
  lua_pop(L, 2);
  return value;
}

int larvak_field_choice(lua_State *L, int options, const char *what, const char *field, const char *const *names,
                        const char *expected) {
  const char *name = larvak_field_get(L, options, what, field);
  int place = lua_isnil(L, -2) ? 0 : -1;
  for (int i = 0; place < 0 && names[i]; i++)
    if (larvak_taken_is(L, -2, names[i])) place = i;
  if (place < 0) larvak_misuse(L, "%s: got %s, expected %s", name, larvak_describe(L, -2), expected);
  lua_pop(L, 2);
  return place;
}

static bool is_callable(lua_State *L, int index) {
  if (lua_isfunction(L, index)) return true;
  if (luaL_getmetafield(L, index, "__call") == LUA_TNIL) return false;
  lua_pop(L, 1);
  return true;
}

larvak_hook *larvak_field_hook(lua_State *L, int options, const char *what, const char *field) {
  const char *name = larvak_field_get(L, options, what, field);
  larvak_hook *hook = NULL;
  if (!lua_isnil(L, -2)) {
    if (!is_callable(L, -2))
      larvak_misuse(L, "%s: got %s, expected a function", name, larvak_describe(L, -2));
    hook = larvak_hook_new(L, -2);
  }
  lua_pop(L, 2);
  return hook;
}
