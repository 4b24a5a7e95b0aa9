/* Invariant: a call that is gone has no cause, so that another one at its address has none.
 * SPDX-License-Identifier: Apache-2.0 */
#include "causes.h"

static const char causes_key = 0; /* in the registry */

void larvak_cause_note(lua_State *L, const void *call) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &causes_key);
  lua_insert(L, -2);
  lua_rawsetp(L, -2, call);
  lua_pop(L, 1);
}

void larvak_cause_push(lua_State *L, const void *call) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &causes_key);
  lua_rawgetp(L, -1, call);
  lua_remove(L, -2);
}

void larvak_cause_drop(lua_State *L, const void *call) {
  if (!lua_checkstack(L, 3)) return;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &causes_key);
  if (lua_rawgetp(L, -1, call) != LUA_TNIL) {
    lua_pushnil(L);
    lua_rawsetp(L, -3, call);
  }
  lua_pop(L, 2);
}

void larvak_causes_open(lua_State *L) {
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &causes_key);
}
