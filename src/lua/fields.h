/* Fields of the tables that configure policies: options[field], which errors name what.field.
 * Each function but larvak_field_get leaves the stack as it was; each raises misuse.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_FIELDS_H
#define LARVAK_FIELDS_H

#include <lua.h>

#include "arvak.h"
#include "hooks.h"

/* Whether the value at index wants a policy: nil and false want none, true the defaults.
 * True: it is a table to read. */
bool larvak_field_is_table(lua_State *L, int index, const char *what, bool *is_wanted);
/* Pushes options[field], and on top of it its name in errors, which it returns. */
const char *larvak_field_get(lua_State *L, int options, const char *what, const char *field);
/* From 1 to high; nil: 0. */
int larvak_field_integer(lua_State *L, int options, const char *what, const char *field, lua_Integer high);
int64_t larvak_field_seconds(lua_State *L, int options, const char *what, const char *field); /* ns; nil: 0 */
/* nil: standard. */
double larvak_field_number(lua_State *L, int options, const char *what, const char *field, double standard, double low,
                           double high);
bool larvak_field_boolean(lua_State *L, int options, const char *what, const char *field, bool standard);
/* One of names (NULL-terminated): its place; nil: 0. */
int larvak_field_choice(lua_State *L, int options, const char *what, const char *field, const char *const *names,
                        const char *expected);
/* The function in options[field] as a hook, owned, or NULL. */
larvak_hook *larvak_field_hook(lua_State *L, int options, const char *what, const char *field);

#endif
