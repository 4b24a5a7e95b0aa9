/* client:stats().
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_STATS_H
#define LARVAK_STATS_H

#include <lua.h>

void larvak_stats_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
