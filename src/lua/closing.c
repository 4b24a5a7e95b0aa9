/* Invariant: this room answers as the other modules of the library do.
 * SPDX-License-Identifier: Apache-2.0 */
#include "closing.h"

#include "../closing/closing.h"
#include "misuse.h"

bool larvak_closing(lua_State *L) { return arvak__closing(L); }

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
  arvak__closing_open(L);
  lua_pushcfunction(L, is_closing);
  lua_setfield(L, -2, "is_closing");
}
