/* Facts about files that io and os do not tell, for journals and what stands beside them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_FILES_H
#define LARVAK_FILES_H

#include <lua.h>
#include <stdbool.h>
#include <sys/stat.h>

/* Pushes nil and the text of an errno; returns 2. */
int larvak_files_push_error(lua_State *L, int code);
/* Whether both describe the same file. */
bool larvak_files_are_same(const struct stat *a, const struct stat *b);
void larvak_files_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
