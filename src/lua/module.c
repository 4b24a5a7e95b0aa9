/* luaopen_arvak: the whole library in one file. The Lua layer is embedded, its modules find each other through a
 * private table, and nothing here needs package, io or os.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "embedded.h"
#include "larvak.h"

/* In the registry: the table of hooks that the Lua layer fills. */
static const char hooks_key = 0;
/* In the registry: the module, so that opening the library again gives the same one. */
static const char module_key = 0;

void larvak_hook(lua_State *L, const char *name, int n) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &hooks_key);
  lua_pushstring(L, name);
  lua_rawget(L, -2);
  lua_remove(L, -2);
  lua_insert(L, -n - 1);
  /* The layer's own hooks do not raise but for memory; there is nobody here to tell. */
  if (lua_pcall(L, n, 0, 0) != LUA_OK) lua_pop(L, 1);
}

/* Upvalues: 1 the table of loaded modules, 2 core. Loads an embedded module once. */
static int require_embedded(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  if (lua_getfield(L, lua_upvalueindex(1), name) != LUA_TNIL) return 1;
  const larvak_source *source = larvak_sources;
  while (source->name && strcmp(source->name, name) != 0) source++;
  if (!source->name) return luaL_error(L, "no module %s in this library", name);
  lua_pushfstring(L, "=%s", source->chunk);
  if (luaL_loadbufferx(L, source->text, source->size, lua_tostring(L, -1), "t") != LUA_OK) return lua_error(L);
  /* Each module is called as (core, require). */
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_pushcclosure(L, require_embedded, 2);
  lua_call(L, 2, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, lua_upvalueindex(1), name);
  return 1;
}

__attribute__((visibility("default"))) int luaopen_arvak(lua_State *L);

int luaopen_arvak(lua_State *L) {
  luaL_checkversion(L);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &module_key) != LUA_TNIL) return 1;
  lua_newtable(L); /* loaded */
  lua_newtable(L); /* core */
  larvak_open_state(L);
  larvak_open_task(L);
  larvak_open_record(L);
  larvak_open_client(L);
  larvak_open_rpc(L);
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &hooks_key);
  lua_setfield(L, -2, "hooks");
  lua_pushstring(L, ARVAK_VERSION);
  lua_setfield(L, -2, "version");
  lua_pushcclosure(L, require_embedded, 2);
  lua_pushliteral(L, "arvak");
  lua_call(L, 1, 1);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &module_key);
  return 1;
}
