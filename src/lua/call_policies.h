/* Policies of one call: those that its options name; where they name none, those of the client as the call starts.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_CALL_POLICIES_H
#define LARVAK_CALL_POLICIES_H

#include <lua.h>

#include "arvak.h"
#include "client.h"

typedef struct larvak_call_policies {
  bool has_retry, has_breaker; /* of its own; else those that the client has when the call starts */
  arvak_retry *retry;          /* borrowed from the stack; as the next */
  arvak_breaker *breaker;
} larvak_call_policies;

/* The keys retry and breaker of the options at index; what holds them stays on the stack. */
void larvak_call_policies_read(lua_State *L, int index, const larvak_client *client, larvak_call_policies *out);
/* Those of the call, or the client's where it names none. */
void larvak_call_policies_set(const larvak_call_policies *policies, const larvak_client *client,
                              arvak_call_options *out);
void larvak_call_policies_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
