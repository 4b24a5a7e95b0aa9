/* luaopen_arvak: the whole library in one file. The Lua layer is embedded, its modules find each other through a
 * private table, and nothing here needs package, io or os.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "embedded.h"
#include "larvak.h"

/* In the registry: the functions of the Lua layer that are told of ends. */
static const char upcall_keys[UPCALL_COUNT];
/* In the registry: the module, so that opening the library again gives the same one. */
static const char module_key = 0;

void larvak_push_upcall(lua_State *L, larvak_upcall upcall) { lua_rawgetp(L, LUA_REGISTRYINDEX, &upcall_keys[upcall]); }

/* set_upcall(name, fn) */
static int set_upcall(lua_State *L) {
  static const char *const names[] = {"call_end", "task_end", "adopt", "policy_event", "running",
                                      "suspend",  "woken",    "busy",  NULL};
  int upcall = luaL_checkoption(L, 1, NULL, names);
  lua_settop(L, 2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &upcall_keys[upcall]);
  return 0;
}

static const larvak_source *find_source(const char *name) {
  for (const larvak_source *source = larvak_sources; source->name; source++)
    if (strcmp(source->name, name) == 0) return source;
  return NULL;
}

/* What is not ours comes from the program's own require, which a bare Lua state may lack. */
static int require_outside(lua_State *L, const char *name) {
  if (lua_getglobal(L, "require") == LUA_TNIL)
    return luaL_error(L, "module '%s' not found: this Lua state has no require", name);
  lua_pushvalue(L, 1);
  lua_call(L, 1, 1);
  return 1;
}

/* The require of the Lua layer: runs an embedded module once, as a function of this very require. Upvalue 1: the table
 * of loaded modules. */
static int require_inside(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  if (lua_getfield(L, lua_upvalueindex(1), name) != LUA_TNIL) return 1;
  const larvak_source *source = find_source(name);
  if (!source) return require_outside(L, name);
  lua_pushfstring(L, "=%s", source->chunk);
  if (luaL_loadbufferx(L, source->text, source->size, lua_tostring(L, -1), "t") != LUA_OK) return lua_error(L);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushcclosure(L, require_inside, 1);
  lua_call(L, 1, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, lua_upvalueindex(1), name);
  return 1;
}

void larvak_open(lua_State *L) {
  luaL_checkversion(L);
  luaL_checkstack(L, 10, "opening arvak");
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &module_key) != LUA_TNIL) return;
  lua_pop(L, 1);
  lua_newtable(L); /* loaded */
  lua_newtable(L); /* core */
  larvak_open_state(L);
  larvak_open_wait(L);
  larvak_open_task(L);
  larvak_open_foreign(L);
  larvak_open_record(L);
  larvak_open_hooks(L);
  larvak_open_policy(L);
  larvak_open_client(L);
  larvak_open_rpc(L);
  larvak_open_stream(L);
  larvak_open_sha256(L);
  lua_pushcfunction(L, set_upcall);
  lua_setfield(L, -2, "set_upcall");
  lua_pushstring(L, ARVAK_VERSION);
  lua_setfield(L, -2, "version");
  lua_setfield(L, -2, "arvak.core");
  lua_pushcclosure(L, require_inside, 1);
  lua_pushliteral(L, "arvak");
  lua_call(L, 1, 1);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &module_key);
}

__attribute__((visibility("default"))) int luaopen_arvak(lua_State *L) {
  larvak_open(L);
  return 1;
}
