/* How handles of clients come to be, and the policies that they hold.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_CONNECT_H
#define LARVAK_CONNECT_H

#include <lua.h>

#include "arvak.h"
#include "arvak_lua.h"

/* Pushes a handle on a host's client, which it shares. limits: NULL, none. */
void larvak_client_adopt(lua_State *L, arvak_client *core, const arvak_lua_limits *limits);
void larvak_connect_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
