/* The functions of the Lua layer that C calls, for ends of calls and tasks, events of policies, a host's client and the
 * attached loop. They are in the registry, so that calling one allocates nothing.
 * SPDX-License-Identifier: Apache-2.0 */
#include "upcall.h"

#include <lauxlib.h>

/* In the registry: the functions, by the addresses of these. */
static const char upcall_keys[UPCALL_COUNT];

void larvak_upcall_push(lua_State *L, larvak_upcall upcall) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &upcall_keys[upcall]);
}

/* set_upcall(name, fn) */
static int set_upcall(lua_State *L) {
  static const char *const names[] = {"call_end", "task_end", "adopt", "policy_event", "running",
                                      "suspend",  "gone",     "busy",  "job_begun",    "job_answered", NULL};
  int upcall = luaL_checkoption(L, 1, NULL, names);
  lua_settop(L, 2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &upcall_keys[upcall]);
  return 0;
}

void larvak_upcall_open(lua_State *L) {
  lua_pushcfunction(L, set_upcall);
  lua_setfield(L, -2, "set_upcall");
}
