/* A driver as a Lua module: stores, transactions and outcomes as Lua values. Knows no kind of database.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_STORE_BINDING_H
#define ARVAK_STORE_BINDING_H

#include <lua.h>

#include "driver.h"

/* Pushes the module of this driver, which is static: what its luaopen returns. */
int arvak__db_open_module(lua_State *L, const arvak__db_driver *driver);

#endif
