/* The keys retry and breaker among the options of a call or a stream.
 * SPDX-License-Identifier: Apache-2.0 */
#include "call_policies.h"

#include <lauxlib.h>

#include "breaker.h"
#include "misuse.h"
#include "names.h"
#include "retry.h"
#include "taken.h"

/* A breaker is what many calls share, so one call can name another or none, but not make one. */
static void read_breaker(lua_State *L, int index, larvak_call_policies *out) {
  if (larvak_taken_field(L, index, "breaker") == LUA_TNIL) return;
  bool is_off = lua_isboolean(L, -1) && !lua_toboolean(L, -1);
  if (!is_off && !luaL_testudata(L, -1, LARVAK_BREAKER))
    larvak_misuse(L, "breaker: got %s, expected false or a breaker made by arvak.circuit_breaker",
                  larvak_describe(L, -1));
  out->breaker = larvak_breaker_read(L, -1, "breaker");
  out->has_breaker = true;
}

void larvak_call_policies_read(lua_State *L, int index, const larvak_client *client, larvak_call_policies *out) {
  read_breaker(L, index, out);
  if (out->has_breaker && client->limits) larvak_quota_policies(L, client->limits, "breaker");
  out->has_retry = larvak_taken_field(L, index, "retry") != LUA_TNIL;
  if (out->has_retry && client->limits) larvak_quota_policies(L, client->limits, "retry");
  if (out->has_retry)
    out->retry = larvak_retry_read(L, -1, "retry", client->core ? arvak_client_address(client->core) : NULL);
}

void larvak_call_policies_set(const larvak_call_policies *policies, const larvak_client *client,
                              arvak_call_options *out) {
  out->retry = policies->has_retry ? policies->retry : client->retry;
  out->breaker = policies->has_breaker ? policies->breaker : client->breaker;
}

/* check_policies(options): raises what is wrong with the keys retry and breaker. */
static int policies_check(lua_State *L) {
  larvak_call_policies policies = {0};
  lua_settop(L, 1);
  read_breaker(L, 1, &policies);
  larvak_taken_field(L, 1, "retry");
  larvak_retry_read(L, -1, "retry", NULL);
  return 0;
}

void larvak_call_policies_open(lua_State *L) {
  lua_pushcfunction(L, policies_check);
  lua_setfield(L, -2, "check_policies");
}
