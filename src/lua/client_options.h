/* The options of arvak.connect.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_CLIENT_OPTIONS_H
#define LARVAK_CLIENT_OPTIONS_H

#include <lua.h>

#include "arvak.h"

/* Reads the table at index options, but for the policies, into *out; its strings stay on the stack. Functions given as
 * api_key and metadata go to the user values of the handle at index client, which must be on top. */
void larvak_client_options_read(lua_State *L, int options, int client, arvak_client_options *out);

#endif
