/* What tests of hosts share: bare Lua states with a plugin in them, and a dev server in a Lua state of its own.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_TEST_HOSTING_H
#define ARVAK_TEST_HOSTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "arvak.h"
#include "arvak_lua.h"

#define MS 1000000LL

/* A state such as a careful host gives to a plugin. */
static inline lua_State *open_bare(void) {
  static const luaL_Reg libraries[] = {{"_G", luaopen_base},          {"coroutine", luaopen_coroutine},
                                       {"string", luaopen_string},    {"table", luaopen_table},
                                       {"math", luaopen_math},        {NULL, NULL}};
  lua_State *L = luaL_newstate();
  if (!L) abort();
  for (const luaL_Reg *library = libraries; library->name; library++) {
    luaL_requiref(L, library->name, library->func, 1);
    lua_pop(L, 1);
  }
  lua_pushliteral(L, "OPENQASM 3.0; qubit[2] q; h q[0]; cx q[0], q[1];");
  lua_setglobal(L, "bell");
  return L;
}

/* Runs a chunk; what it raised is on the stack when this is false. For any thread. */
static inline bool runs(lua_State *L, const char *source) {
  lua_settop(L, 0);
  return luaL_dostring(L, source) == LUA_OK;
}

/* For the test's own thread. */
static inline void must(lua_State *L, const char *source) {
  if (!runs(L, source)) fail_msg("%s", luaL_tolstring(L, -1, NULL));
  lua_settop(L, 0);
}

/* The field kind of the error on top, "" if it is none of ours. */
static inline const char *kind_on_top(lua_State *L) {
  if (!lua_istable(L, -1)) return "";
  lua_getfield(L, -1, "kind");
  return lua_tostring(L, -1) ? lua_tostring(L, -1) : "";
}

static inline void pause_ms(int ms) {
  nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * MS}, NULL);
}

/* Starts a server with these options, a Lua table, and copies its address, 64 bytes. Owned: lua_close ends it. */
static inline lua_State *start_devserver(const char *options, char *address) {
  lua_State *L = luaL_newstate();
  if (!L) abort();
  luaL_openlibs(L);
  lua_pushfstring(L, "server = require('arvak.devserver').start(%s) return server.address", options);
  if (luaL_dostring(L, lua_tostring(L, -1)) != LUA_OK) {
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    exit(1);
  }
  snprintf(address, 64, "%s", lua_tostring(L, -1));
  return L;
}

#endif
