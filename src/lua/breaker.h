/* Circuit breakers as Lua objects: userdata of the class LARVAK_BREAKER that hold a reference. Many calls share one,
 * and it changes with them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_BREAKER_H
#define LARVAK_BREAKER_H

#include <lua.h>

#include "arvak.h"

/* The breaker that the value at index means: a breaker's options, one made before, true, or false and nil for none.
 * Pushes what holds it, and returns it borrowed from there, or NULL. what: its name in errors. */
arvak_breaker *larvak_breaker_read(lua_State *L, int index, const char *what);
/* Shares it; nil for NULL. is_fixed: a program can only look at it. */
void larvak_breaker_push(lua_State *L, arvak_breaker *breaker, bool is_fixed);
void larvak_breaker_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
