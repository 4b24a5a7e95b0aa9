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
/* The table of headers at index (nil: none), as a userdata pushed on the stack with room for extra more. Names and
 * values are borrowed from the table. */
arvak_header *larvak_option_headers(lua_State *L, int index, size_t extra, size_t *count);

#endif
