/* What C takes from Lua: read once, raw, and then held by the stack of the running C function.
 * A finalizer can run at any allocation, and a metamethod or a function of the user's wherever one is called; each can
 * change every table. So C reads a table before it computes anything from it, and never goes back to it: what it has
 * read is in stack slots, where no Lua code can reach it.
 * Invariant: a pointer into a Lua string is used only while that string is in a slot of the running function.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_TAKEN_H
#define LARVAK_TAKEN_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

/* The first three raise when there is no table at index. */

/* Pushes key, value, key, value… of the table at index, in the order of next: how many pairs. Raises when they are more
 * than a stack can hold. */
size_t larvak_taken_pairs(lua_State *L, int index);
/* Pushes the elements 1 to count of the list at index; nil for those that are not there. */
void larvak_taken_list(lua_State *L, int index, size_t count);
/* Pushes the field, without its metamethods: its type. */
int larvak_taken_field(lua_State *L, int index, const char *name);
/* The string in this slot, borrowed from there. NULL: not a string, or one with a NUL byte, at which C would cut it. */
const char *larvak_taken_text(lua_State *L, int index);
/* Whether the value in this slot is exactly this word. */
bool larvak_taken_is(lua_State *L, int index, const char *word);

#endif
