/* The classes of the library, of which the Lua layer fills most: it finds their metatables by name in core.metatables.
 * Invariant: a class is in that table before any file adds to its metatable, and no metatable of ours can be had from
 * an object: it holds the finalizer, and says of a value that it is ours.
 * SPDX-License-Identifier: Apache-2.0 */
#include "names.h"

#include <lauxlib.h>

const char *larvak_breaker_state_name(arvak_breaker_state state) {
  static const char *const names[] = {"closed", "open", "half_open"};
  return names[state];
}

void larvak_names_protect(lua_State *L) {
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
}

/* metatable_of(value): the metatable itself, whatever __metatable says; nil for none. */
static int names_metatable_of(lua_State *L) {
  luaL_checkany(L, 1);
  return lua_getmetatable(L, 1);
}

void larvak_names_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"metatable_of", names_metatable_of}, {NULL, NULL}};
  static const char *const classes[] = {LARVAK_ERROR,  LARVAK_JOB,    LARVAK_RESULT, LARVAK_BACKEND,
                                        LARVAK_CLIENT, LARVAK_FUTURE, LARVAK_STREAM,
                                        LARVAK_RETRY,  LARVAK_BREAKER, LARVAK_POLLABLE, LARVAK_ATTACHMENT,
                                        "arvak.batch_manager", "arvak.batch_result", "arvak.journal", "arvak.ledger",
                                        "arvak.circuit", "arvak.lowered", "arvak.parameter"};
  luaL_setfuncs(L, functions, 0);
  lua_newtable(L);
  for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
    luaL_newmetatable(L, classes[i]);
    larvak_names_protect(L);
    lua_setfield(L, -2, classes[i]);
  }
  lua_setfield(L, -2, "metatables"); /* by name, for the Lua layer to fill */
}
