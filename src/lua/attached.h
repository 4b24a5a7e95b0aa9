/* Waits in coroutines of an attached loop, which are suspended there instead of blocking.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_ATTACHED_H
#define LARVAK_ATTACHED_H

#include <lua.h>

#include "state.h"
#include "wait.h"

/* Whether the caller's coroutine belongs to an attached loop; raises where it cannot be suspended. */
bool larvak_attached_is_inside(lua_State *L, larvak_state *state, const char *method);
/* Takes the wait, on every path; suspends until it ends, then pushes its results. The caller returns what this
 * returns. */
int larvak_attached_await(lua_State *L, larvak_wait *wait);
void larvak_attached_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
