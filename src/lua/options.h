/* Options: arguments and fields of tables, checked as they are read.
 * Each raises misuse that names the field, the value and what was expected.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_OPTIONS_H
#define LARVAK_OPTIONS_H

#include <lua.h>

#include "arvak.h"

/* Checks that every key of the table at index is one of names (NULL-terminated). */
void larvak_options_check(lua_State *L, int index, const char *what, const char *const *names);
/* The integer at index, described as name in errors; nil: standard. */
lua_Integer larvak_option_integer(lua_State *L, int index, const char *name, lua_Integer standard, lua_Integer low,
                                  lua_Integer high);
/* Seconds at index as nanoseconds; nil: 0. */
int64_t larvak_option_seconds(lua_State *L, int index, const char *name);
/* A string that may be sent as a protobuf field; borrowed from the stack. */
const char *larvak_option_text(lua_State *L, int index, const char *name);
/* The headers in the table at index (nil: none), as a userdata pushed on the stack with room for extra more. What was
 * taken from the table, names and values, is on the stack below it, and borrowed from there. */
arvak_header *larvak_option_headers(lua_State *L, int index, size_t extra, size_t *count);
void larvak_options_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
