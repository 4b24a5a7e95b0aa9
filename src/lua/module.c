/* luaopen_arvak: the whole library in one file. The Lua layer is embedded, its modules find each other through a
 * private table, and nothing here needs package, io or os. This file alone knows all the others: it opens them, and
 * closes what they hold with the Lua state.
 * SPDX-License-Identifier: Apache-2.0 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <string.h>

#include "arvak_lua.h"
#include "attached.h"
#include "await.h"
#include "bell.h"
#include "breaker.h"
#include "call_policies.h"
#include "causes.h"
#include "client.h"
#include "closing.h"
#include "connect.h"
#include "descriptor.h"
#include "draft.h"
#include "embedded.h"
#include "entry.h"
#include "errors.h"
#include "files.h"
#include "guard.h"
#include "headers.h"
#include "hooks.h"
#include "interrupt.h"
#include "quota.h"
#include "lockfile.h"
#include "method.h"
#include "misuse.h"
#include "names.h"
#include "options.h"
#include "record.h"
#include "retry.h"
#include "sha256.h"
#include "state.h"
#include "stats.h"
#include "step.h"
#include "stream.h"
#include "task.h"
#include "unary.h"
#include "upcall.h"
#include "wait.h"
#include "work.h"

/* In the registry: the module, so that opening the library again gives the same one. */
static const char module_key = 0;

/* ---- the Lua layer ---- */

static const larvak_source *find_source(const char *name) {
  for (const larvak_source *source = larvak_sources + 1; source->name; source++)
    if (strcmp(source->name, name) == 0) return source;
  return NULL;
}

static int finish_require(lua_State *L, int status, lua_KContext context) {
  (void)L, (void)status, (void)context;
  return 1;
}

/* What is not ours, and not loaded yet, comes from the program's own require, which a bare Lua state may lack, and
 * which may wait. */
static int require_outside(lua_State *L, const char *name) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, name) != LUA_TNIL && lua_toboolean(L, -1)) return 1;
  if (lua_getglobal(L, "require") == LUA_TNIL)
    return luaL_error(L, "module '%s' not found: this Lua state has no require", name);
  lua_pushvalue(L, 1);
  lua_callk(L, 1, 1, 0, finish_require);
  return finish_require(L, LUA_OK, 0);
}

/* ---- compiled or not ---- */

/* What of the probe's code has not been compared yet; NULL: it differs. */
typedef struct comparison {
  const char *rest;
  size_t left;
} comparison;

static int compare(lua_State *L, const void *bytes, size_t size, void *ud) {
  (void)L;
  comparison *c = ud;
  bool is_same = c->rest && size <= c->left && memcmp(c->rest, bytes, size) == 0;
  c->rest = is_same ? c->rest + size : NULL;
  c->left -= is_same ? size : 0;
  return 0;
}

/* Whether this Lua compiles as the one did that built the module: then it may load what that one compiled. */
static bool is_same_lua(lua_State *L) {
  const larvak_source *probe = &larvak_sources[0];
  comparison c = {probe->code, probe->code_size};
  lua_pushfstring(L, "=%s", probe->chunk);
  if (luaL_loadbufferx(L, probe->text, probe->size, lua_tostring(L, -1), "t") != LUA_OK) lua_error(L);
  lua_dump(L, compare, &c, 0);
  lua_pop(L, 2);
  return c.rest && c.left == 0;
}

/* Pushes the module as a function. Upvalue 3 of the running function: whether the compiled ones may be loaded. */
static void load_source(lua_State *L, const larvak_source *source) {
  bool is_compiled = lua_toboolean(L, lua_upvalueindex(3));
  lua_pushfstring(L, "=%s", source->chunk);
  int status = is_compiled ? luaL_loadbufferx(L, source->code, source->code_size, lua_tostring(L, -1), "b")
                           : luaL_loadbufferx(L, source->text, source->size, lua_tostring(L, -1), "t");
  if (status != LUA_OK) lua_error(L);
}

/* Puts a copy in the place of the table on top, and false in the place of nil, so that nobody can bring in what is not
 * there. */
static void copy_library(lua_State *L) {
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_pushboolean(L, 0);
  }
  if (!lua_istable(L, -1)) return;
  lua_newtable(L);
  for (lua_pushnil(L); lua_next(L, -3);) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, -4);
  }
  lua_remove(L, -2);
}

/* find_global(globals, name): what the Lua layer has no copy of. io and os are there where the state was given these
 * libraries and still has them: they say that it may use files, and any table of a plugin's could bear these names. */
static int find_global(lua_State *L) {
  const char *name = lua_tostring(L, 2);
  bool is_guarded = strcmp(name, LUA_IOLIBNAME) == 0 || strcmp(name, LUA_OSLIBNAME) == 0;
  lua_pushglobaltable(L);
  lua_pushvalue(L, 2);
  if (!is_guarded) {
    lua_gettable(L, -2);
    return 1;
  }
  lua_rawget(L, -2);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, -1, name);
  return lua_rawequal(L, -1, -3) ? 1 : 0;
}

/* What the Lua layer finds as its globals: Lua's functions and the libraries that only compute, as they were when the
 * library was opened, so that nothing that a plugin does to its own changes what the library does; the others as they
 * are. For the same reason the Lua layer calls no methods of strings, which are found through a metatable that is the
 * plugin's as well. */
static void push_globals(lua_State *L) {
  static const char *const names[] = {"assert", "collectgarbage", "error", "getmetatable", "ipairs", "next", "pairs",
                                      "pcall", "rawequal", "rawget", "rawlen", "rawset", "select", "setmetatable",
                                      "tonumber", "tostring", "type", "xpcall", "math", "string", "table", "utf8",
                                      NULL};
  lua_newtable(L);
  for (const char *const *name = names; *name; name++) {
    lua_getglobal(L, *name);
    copy_library(L);
    lua_setfield(L, -2, *name);
  }
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, find_global);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
}

/* The require of the Lua layer: runs an embedded module once, as a function of this very require. Upvalue 1: the table
 * of loaded modules, 2: their globals, 3: whether the compiled ones may be loaded. */
static int require_inside(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  if (lua_getfield(L, lua_upvalueindex(1), name) != LUA_TNIL) return 1;
  const larvak_source *source = find_source(name);
  if (!source) return require_outside(L, name);
  load_source(L, source);
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_setupvalue(L, -2, 1);
  for (int i = 1; i <= 3; i++) lua_pushvalue(L, lua_upvalueindex(i));
  lua_pushcclosure(L, require_inside, 3);
  lua_call(L, 1, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, lua_upvalueindex(1), name);
  return 1;
}

/* ---- opening and closing ---- */

/* The state's finalizer. */
static int close_state(lua_State *L) {
  larvak_state *state = lua_touserdata(L, 1);
  if (!state->is_closed) larvak_waits_settle(state);
  larvak_bells_close(state);
  if (!larvak_state_close(state)) return 0;
  larvak_waits_close(state);
  larvak_hooks_free(state);
  return 0;
}

/* Pushes the table core. */
static void push_core(lua_State *L) {
  static void (*const units[])(lua_State *) = {
      larvak_names_open, larvak_misuse_open, larvak_closing_open, larvak_method_open, larvak_options_open,
      larvak_errors_open, larvak_upcall_open, larvak_state_open, larvak_bell_open, larvak_interrupt_open,
      larvak_quota_open,
      larvak_work_open, larvak_hooks_open, larvak_task_open, larvak_step_open,
      larvak_descriptor_open, larvak_guard_open, larvak_await_open, larvak_attached_open, larvak_record_open,
      larvak_retry_open, larvak_breaker_open, larvak_client_open, larvak_causes_open, larvak_headers_open,
      larvak_call_policies_open, larvak_connect_open, larvak_stats_open, larvak_entry_open, larvak_unary_open,
      larvak_stream_open, larvak_sha256_open, larvak_files_open, larvak_lockfile_open, larvak_draft_open};
  lua_newtable(L);
  for (size_t i = 0; i < sizeof units / sizeof *units; i++) units[i](L);
  lua_pushstring(L, ARVAK_VERSION);
  lua_setfield(L, -2, "version");
}

/* A loader for the program's own require. Upvalue 1: the require of the Lua layer. */
static int load_circuit(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushliteral(L, "arvak.circuit");
  lua_call(L, 1, 1);
  return 1;
}

/* Has the program's require find arvak.circuit in here, with the require of the Lua layer on top. */
static void preload_circuit(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, load_circuit, 1);
  lua_setfield(L, -2, "arvak.circuit");
  lua_pop(L, 1);
}

/* The Lua layer would fail somewhere inside without these. The others are looked for where they are used. */
static void check_libraries(lua_State *L) {
  static const char *const names[] = {"string", "table", "math"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (lua_getglobal(L, names[i]) != LUA_TTABLE)
      luaL_error(L, "arvak needs Lua's library '%s', which this Lua state lacks: open it before arvak", names[i]);
    lua_pop(L, 1);
  }
}

/* Opens the library if it is not, and pushes it. */
static void open_library(lua_State *L) {
  luaL_checkversion(L);
  luaL_checkstack(L, 10, "opening arvak");
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &module_key) != LUA_TNIL) return;
  lua_pop(L, 1);
  check_libraries(L);
  larvak_state_new(L, close_state);
  lua_newtable(L); /* loaded */
  push_core(L);
  lua_setfield(L, -2, "arvak.core");
  push_globals(L);
  lua_pushboolean(L, is_same_lua(L));
  lua_pushcclosure(L, require_inside, 3);
  preload_circuit(L);
  lua_pushliteral(L, "arvak");
  lua_call(L, 1, 1);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &module_key);
}

__attribute__((visibility("default"))) int luaopen_arvak(lua_State *L) {
  open_library(L);
  return 1;
}

/* What require "arvak.circuit" finds when nobody has opened arvak yet. */
__attribute__((visibility("default"))) int luaopen_arvak_circuit(lua_State *L) {
  open_library(L);
  lua_getfield(L, -1, "circuit");
  return 1;
}

void arvak_lua_pushlimited(lua_State *L, arvak_client *client, const arvak_lua_limits *limits) {
  if (!client) luaL_error(L, "arvak_lua_pushclient: got NULL, expected a client");
  open_library(L);
  lua_pop(L, 1);
  larvak_client_adopt(L, client, limits);
}

void arvak_lua_pushclient(lua_State *L, arvak_client *client) { arvak_lua_pushlimited(L, client, NULL); }

arvak_lua_handle *arvak_lua_get_handle(lua_State *L) {
  open_library(L);
  lua_pop(L, 1);
  const larvak_state *state = larvak_state_get(L);
  if (!state->handle) luaL_error(L, "arvak_lua_get_handle: the Lua state is closing");
  return arvak_lua_handle_ref(state->handle);
}

void arvak_lua_set_hook_interval(lua_State *L, int interval_ms) {
  open_library(L);
  lua_pop(L, 1);
  larvak_interrupt_set_hook_interval(larvak_state_get(L), interval_ms);
}

/* Whoever is suspended and has not been resumed since raises when he is. */
void arvak_lua_clear_interrupt(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  if (!state || !state->handle) return;
  if (larvak_interrupt_is_set(state)) larvak_waits_interrupt(state);
  larvak_interrupt_clear(L, state);
}
