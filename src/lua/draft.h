/* Files that are written as a whole, for exports.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_DRAFT_H
#define LARVAK_DRAFT_H

#include <lua.h>

void larvak_draft_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
