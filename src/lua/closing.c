/* Invariant: outside of finalizers the answer costs one call, since lua_gc refuses everything in a finalizer alone.
 * SPDX-License-Identifier: Apache-2.0 */
#include "closing.h"

#include <string.h>

#include "misuse.h"

/* What called the finalizer is the outermost function of the main thread then. */
bool larvak_closing(lua_State *L) {
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

bool larvak_is_closing(lua_State *L, const larvak_state *state) { return state->is_closed || larvak_closing(L); }

void larvak_closing_check(lua_State *L, const char *what) {
  if (larvak_closing(L)) larvak_misuse(L, "%s: the Lua state is closing", what);
}

/* ---- for the Lua layer ---- */

static int is_closing(lua_State *L) {
  lua_pushboolean(L, larvak_closing(L));
  return 1;
}

void larvak_closing_open(lua_State *L) {
  lua_pushcfunction(L, is_closing);
  lua_setfield(L, -2, "is_closing");
}
