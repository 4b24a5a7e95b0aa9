/* The users of the descriptor of a Lua state's loop, who wait for the loop from outside: pollables, and attached loops.
 * Each remembers for himself when he means to step; work.c tells him when that is too late.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_DESCRIPTOR_H
#define LARVAK_DESCRIPTOR_H

#include <lua.h>

void larvak_descriptor_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
