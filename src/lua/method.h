/* Methods of the Lua layer as a program gets them: each checks its object and the number of its arguments, then runs.
 * Being a C function it stays on the stack when a program tail-calls it, and with it the line of the call.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_METHOD_H
#define LARVAK_METHOD_H

#include <lua.h>

void larvak_method_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
