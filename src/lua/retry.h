/* Retry policies as Lua objects: userdata of the class LARVAK_RETRY that hold a reference. A policy never changes.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_RETRY_H
#define LARVAK_RETRY_H

#include <lua.h>

#include "arvak.h"

/* The policy that the value at index means: a policy's options, one made before, true, or false and nil for none.
 * Pushes what holds it, and returns it borrowed from there, or NULL. what: its name in errors; address: as in
 * arvak_retry_new. */
arvak_retry *larvak_retry_read(lua_State *L, int index, const char *what, const char *address);
void larvak_retry_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
