/* See method.h. Invariant: the function runs with the arguments as they were given, and may wait.
 * SPDX-License-Identifier: Apache-2.0 */
#include "method.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

#include "misuse.h"

/* Upvalues of a method. */
enum { FUNCTION = 1, NAME, CLASS, MAX, UPVALUES = MAX };

/* Pushes what errors call an object of the class: its field word, or what follows the first dot of its name. */
static const char *push_word(lua_State *L) {
  if (lua_getfield(L, lua_upvalueindex(CLASS), "word") == LUA_TSTRING) return lua_tostring(L, -1);
  lua_getfield(L, lua_upvalueindex(CLASS), "__name");
  return strchr(lua_tostring(L, -1), '.') + 1;
}

static void check_object(lua_State *L, const char *name) {
  if (lua_getmetatable(L, 1)) {
    bool is_ours = lua_rawequal(L, -1, lua_upvalueindex(CLASS));
    lua_pop(L, 1);
    if (is_ours) return;
  }
  const char *value = larvak_describe(L, 1), *word = push_word(L);
  larvak_misuse(L, "%s: got %s as the %s, expected %s:%s(...)", name, value, word, word, name);
}

/* Pushes "qasm, backend_id": the parameters of the function from first on. */
static const char *push_parameters(lua_State *L, int first, int max) {
  luaL_Buffer names;
  luaL_buffinit(L, &names);
  for (int i = first; i <= max; i++) {
    if (i > first) luaL_addstring(&names, ", ");
    lua_pushvalue(L, lua_upvalueindex(FUNCTION));
    const char *name = lua_getlocal(L, NULL, i);
    luaL_addstring(&names, name ? name : "?");
  }
  luaL_pushresult(&names);
  return lua_tostring(L, -1);
}

static void check_count(lua_State *L, const char *name, int count, int first, int max) {
  larvak_misuse_check_count(L, name, count, first, max, push_parameters(L, first, max));
  lua_settop(L, count);
}

static int finish(lua_State *L, int status, lua_KContext context) {
  (void)status, (void)context;
  return lua_gettop(L);
}

static int method_call(lua_State *L) {
  int count = lua_gettop(L), max = (int)lua_tointeger(L, lua_upvalueindex(MAX));
  const char *name = lua_tostring(L, lua_upvalueindex(NAME));
  bool has_object = lua_toboolean(L, lua_upvalueindex(CLASS)) != 0;
  if (has_object) check_object(L, name);
  if (count > max) check_count(L, name, count, has_object ? 2 : 1, max);
  lua_pushvalue(L, lua_upvalueindex(FUNCTION));
  lua_insert(L, 1);
  lua_callk(L, count, LUA_MULTRET, 0, finish);
  return lua_gettop(L);
}

/* method(function, name, metatable | nil): the function with its checks. Without a metatable it takes no object. One
 * of C checks by itself, and comes back as it is. */
static int method_new(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  luaL_checkstring(L, 2);
  lua_settop(L, 3);
  lua_Debug ar;
  lua_pushvalue(L, 1);
  lua_getinfo(L, ">Su", &ar);
  if (*ar.what == 'C') {
    lua_settop(L, 1);
    return 1;
  }
  lua_pushinteger(L, ar.isvararg ? LUAI_MAXSTACK : ar.nparams);
  lua_pushcclosure(L, method_call, UPVALUES);
  return 1;
}

void larvak_method_open(lua_State *L) {
  lua_pushcfunction(L, method_new);
  lua_setfield(L, -2, "method");
}
