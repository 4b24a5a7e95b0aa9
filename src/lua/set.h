/* Fields of the table on top of the stack, which stays there. Each may raise for want of memory.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_SET_H
#define LARVAK_SET_H

#include <lua.h>
#include <stdint.h>

void larvak_set_string(lua_State *L, const char *name, const char *value); /* nil for NULL */
void larvak_set_integer(lua_State *L, const char *name, lua_Integer value);
void larvak_set_seconds(lua_State *L, const char *name, int64_t ns); /* a number, in seconds */

#endif
