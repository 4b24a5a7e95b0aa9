/* A guard stands in the frame that is suspended on a wait, and lets go of the wait when its coroutine is closed or
 * collected instead of going on.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_GUARD_H
#define LARVAK_GUARD_H

#include <lua.h>

#include "wait.h"

/* Pushes a guard of the wait, to be closed with the frame. Raises, and frees the wait, when out of memory. */
void larvak_guard_push(lua_State *L, larvak_wait *wait);
void larvak_guard_open(lua_State *L); /* its metatable */

#endif
