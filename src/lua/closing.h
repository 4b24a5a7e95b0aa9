/* Whether a Lua state is closing. Lua never finalizes the objects that are made then, so whatever holds something
 * outside of Lua's heap is not made.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_CLOSING_H
#define LARVAK_CLOSING_H

#include <lua.h>
#include <stdbool.h>

#include "state.h"

/* In a finalizer that lua_close has called, or in what that one calls. */
bool larvak_closing(lua_State *L);
/* Whether this is a finalizer below which nothing runs: the Lua state closes, or its host collects between two calls.
 * Nothing waits there. */
bool larvak_is_closing(lua_State *L, const larvak_state *state);
/* Raises then. what: a word for the message. */
void larvak_closing_check(lua_State *L, const char *what);
void larvak_closing_open(lua_State *L); /* is_closing, into the table on top */

#endif
