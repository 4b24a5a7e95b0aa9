/* larvak_client: a handle on a client of the core, a userdata of the class LARVAK_CLIENT.
 * core is NULL from the moment the handle is closed; its calls then end as closed.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_CLIENT_H
#define LARVAK_CLIENT_H

#include <lua.h>

#include "arvak.h"
#include "quota.h"
#include "state.h"

typedef struct larvak_client {
  arvak_client *core; /* shared; NULL when closed */
  larvak_state *state;
  bool is_counted;
  bool has_functions; /* api_key or metadata is a function */
  bool is_shared;     /* pushed by a host: others use the same client */
  larvak_quota *limits; /* shared with its views; NULL of a client that no host has pushed */
  arvak_retry *retry; /* shared, or NULL; what calls get that name no other, as the next */
  arvak_breaker *breaker;
} larvak_client;

/* Its user values: the table client.async, the functions given as api_key and metadata, or nil, and who keeps notes of
 * its jobs, or nil. */
enum { LARVAK_CLIENT_ASYNC = 1, LARVAK_CLIENT_API_KEY, LARVAK_CLIENT_METADATA, LARVAK_CLIENT_KEEPER };

larvak_client *larvak_client_push(lua_State *L); /* borrowed from the stack; closed, for the caller to fill */
larvak_client *larvak_client_check(lua_State *L, int index, const char *method); /* raises when closed */
int larvak_client_refuse(lua_State *L, int index, const char *method); /* raises: it is closed, or no client */
void larvak_client_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
