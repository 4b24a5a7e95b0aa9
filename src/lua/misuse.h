/* Misuse: an error in how the library is called, raised at the line of the call.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_MISUSE_H
#define LARVAK_MISUSE_H

#include <lua.h>

/* Raises a message with the position of the nearest caller outside this library. */
int larvak_misuse(lua_State *L, const char *format, ...);
/* Names an unexpected value: "-1", "a table", "\"text\"". Pushes the text. */
const char *larvak_describe(lua_State *L, int index);
/* The same, without the text of a string: where a secret may have been put by mistake. */
const char *larvak_describe_type(lua_State *L, int index);
void larvak_misuse_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
