/* Lock files, for journals.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_LOCKFILE_H
#define LARVAK_LOCKFILE_H

#include <lua.h>

void larvak_lockfile_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
