/* Headers that functions give: a client's api_key and metadata may be functions, called before each attempt.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_HEADERS_H
#define LARVAK_HEADERS_H

#include <lua.h>

#include "arvak.h"
#include "client.h"

/* Adds what the functions given as metadata and api_key give to the headers of a call; what it makes stays on the
 * stack. False: pushed nil and an error. The client is at index 1. */
bool larvak_headers_add(lua_State *L, larvak_client *client, arvak_rpc rpc, const arvak_header **headers,
                        size_t *count);
/* Makes a client with functions for headers findable for larvak_headers_give. */
void larvak_headers_note_client(lua_State *L, int index);
/* Calls the functions again, for calls that are about to make another attempt and ask for their headers. */
void larvak_headers_give(lua_State *L, larvak_state *state);
/* What a function called by larvak_headers_give raised, for the error of this call: sets the field cause of the table
 * on top. */
void larvak_headers_set_cause(lua_State *L, const arvak_call *call);
void larvak_headers_open(lua_State *L); /* tables in the registry */

#endif
