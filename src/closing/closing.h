/* Whether a Lua state is closing, and until when what ends with it may wait: one moment for all modules of the library,
 * so that lua_close waits for a hundred stores and servers no longer than for one. The modules share this and nothing
 * else, so it is a header alone. Invariant: outside of finalizers the first question costs one call, since lua_gc
 * refuses everything in a finalizer alone.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_CLOSING_H
#define ARVAK_CLOSING_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

/* The moment, in the registry: a userdata, since a finalizer must not need memory. */
#define ARVAK_CLOSING_KEY "arvak.closing"

/* The longest that all waits of a closing state take together: 50 ms are promised, the rest is for computing. After the
 * latter time the moment is of another end: finalizers may compute for as long as they like, and the answer below is
 * sometimes wrong. */
#define ARVAK_CLOSING_NS INT64_C(40000000)
#define ARVAK_CLOSING_OVER_NS INT64_C(1000000000)

/* What called the finalizer is the outermost function of the main thread then. So it is when a host that runs no
 * function uses the state and the collector runs; whoever asks must leave the state as it would be needed then. */
static inline bool arvak__closing(lua_State *L) {
  if (lua_gc(L, LUA_GCCOUNT, 0) >= 0) return false;
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  lua_State *main = lua_tothread(L, -1);
  lua_pop(L, 1);
  lua_Debug ar;
  int low = 0, high = 1;
  if (!lua_getstack(main, 0, &ar)) return false;
  while (lua_getstack(main, high, &ar)) {
    low = high;
    high *= 2;
  }
  while (low + 1 < high) {
    int middle = low + (high - low) / 2;
    if (lua_getstack(main, middle, &ar)) low = middle;
    else high = middle;
  }
  lua_getstack(main, low, &ar);
  return lua_getinfo(main, "n", &ar) && ar.name && strcmp(ar.name, "__gc") == 0;
}

/* For whoever opens a module that waits there; may be repeated. */
static inline void arvak__closing_open(lua_State *L) {
  if (lua_getfield(L, LUA_REGISTRYINDEX, ARVAK_CLOSING_KEY) == LUA_TNIL) {
    int64_t *until_ns = lua_newuserdatauv(L, sizeof *until_ns, 0);
    *until_ns = 0;
    lua_setfield(L, LUA_REGISTRYINDEX, ARVAK_CLOSING_KEY);
  }
  lua_pop(L, 1);
}

/* Until when a finalizer of a state that is closing may wait, of CLOCK_MONOTONIC. */
static inline int64_t arvak__closing_until_ns(lua_State *L) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  int64_t now_ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
  lua_getfield(L, LUA_REGISTRYINDEX, ARVAK_CLOSING_KEY);
  int64_t *until_ns = lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (*until_ns + ARVAK_CLOSING_OVER_NS < now_ns) *until_ns = now_ns + ARVAK_CLOSING_NS;
  return *until_ns;
}

/* What begins now has a moment of its own: the one before was of no state's end. */
static inline void arvak__closing_forget(lua_State *L) {
  if (arvak__closing(L)) return;
  lua_getfield(L, LUA_REGISTRYINDEX, ARVAK_CLOSING_KEY);
  *(int64_t *)lua_touserdata(L, -1) = 0;
  lua_pop(L, 1);
}

#endif
