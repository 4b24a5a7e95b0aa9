/* Records which functions of ours a Lua task enters, in their order: C functions by the hooks that
 * -finstrument-functions makes the compiler call, Lua functions by a debug hook. Loaded with LD_PRELOAD, since both the
 * libraries and the Lua module must find it; bench/follow.lua counts and prints. Only the thread that called start is
 * recorded, so the dev server's threads do not disturb.
 * SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define QUIET __attribute__((no_instrument_function))
#define SHOWN __attribute__((visibility("default"), no_instrument_function))

enum { MOST = 1 << 20, NAME_SIZE = LUA_IDSIZE };

/* A C function has an address; a Lua function a file and a line. */
typedef struct entry {
  void *address;
  char source[NAME_SIZE];
  int line;
} entry;

static entry entries[MOST];
static int count;
static _Thread_local int is_on;

SHOWN void __cyg_profile_func_enter(void *fn, void *caller);
SHOWN void __cyg_profile_func_enter(void *fn, void *caller) {
  (void)caller;
  if (is_on && count < MOST) entries[count++] = (entry){.address = fn};
}

SHOWN void __cyg_profile_func_exit(void *fn, void *caller);
SHOWN void __cyg_profile_func_exit(void *fn, void *caller) {
  (void)fn;
  (void)caller;
}

QUIET static void on_call(lua_State *L, lua_Debug *ar) {
  if (!is_on || count == MOST || !lua_getinfo(L, "S", ar) || *ar->what == 'C') return;
  entry *new = &entries[count++];
  new->address = NULL;
  new->line = ar->linedefined;
  snprintf(new->source, sizeof new->source, "%s", ar->short_src);
}

/* watch(thread): records the Lua functions that are called in a coroutine. */
QUIET static int watch(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTHREAD);
  lua_sethook(lua_tothread(L, 1), on_call, LUA_MASKCALL, 0);
  return 0;
}

QUIET static int start(lua_State *L) {
  (void)L;
  count = 0;
  is_on = 1;
  return 0;
}

QUIET static int stop(lua_State *L) {
  (void)L;
  is_on = 0;
  return 0;
}

/* entries(): a list of "object offset" for C and "source:line" for Lua. */
QUIET static int list(lua_State *L) {
  lua_createtable(L, count, 0);
  for (int i = 0; i < count; i++) {
    Dl_info info;
    if (!entries[i].address) {
      lua_pushfstring(L, "%s:%d", entries[i].source, entries[i].line);
    } else if (dladdr(entries[i].address, &info) && info.dli_fname) {
      char offset[32];
      snprintf(offset, sizeof offset, "%#jx", (uintmax_t)((char *)entries[i].address - (char *)info.dli_fbase));
      lua_pushfstring(L, "%s %s", info.dli_fname, offset);
    } else {
      lua_pushliteral(L, "?:0");
    }
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

SHOWN int luaopen_follow(lua_State *L);
SHOWN int luaopen_follow(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"watch", watch}, {"start", start}, {"stop", stop}, {"entries", list}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
