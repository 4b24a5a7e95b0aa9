/* The seven unary methods, for the Lua layer.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_UNARY_H
#define LARVAK_UNARY_H

#include <lua.h>

void larvak_unary_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
