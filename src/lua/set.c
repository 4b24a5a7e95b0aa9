/* See set.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "set.h"

void larvak_set_string(lua_State *L, const char *name, const char *value) {
  lua_pushstring(L, value);
  lua_setfield(L, -2, name);
}

void larvak_set_integer(lua_State *L, const char *name, lua_Integer value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

void larvak_set_seconds(lua_State *L, const char *name, int64_t ns) {
  lua_pushnumber(L, (lua_Number)ns * 1e-9);
  lua_setfield(L, -2, name);
}
