/* core.sha256.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_SHA256_H
#define LARVAK_SHA256_H

#include <lua.h>

void larvak_sha256_open(lua_State *L); /* the function, into the table on top */

#endif
