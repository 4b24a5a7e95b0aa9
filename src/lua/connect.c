/* How handles of clients come to be: by connect, as a view of another, or pushed by a host; and the policies that they
 * hold. Invariant: a handle is closed until everything about it is in place, so that an error on the way leaks nothing.
 * SPDX-License-Identifier: Apache-2.0 */
#include "connect.h"

#include <lauxlib.h>
#include <string.h>

#include "breaker.h"
#include "client.h"
#include "client_options.h"
#include "closing.h"
#include "errors.h"
#include "headers.h"
#include "interrupt.h"
#include "quota.h"
#include "misuse.h"
#include "options.h"
#include "retry.h"
#include "state.h"
#include "taken.h"
#include "upcall.h"

/* ---- policies ---- */

/* Those that the options name; the others stay. */
static void take_policies(lua_State *L, int options, larvak_client *client, const char *address) {
  int top = lua_gettop(L);
  bool has_retry = larvak_taken_field(L, options, "retry") != LUA_TNIL;
  bool has_breaker = larvak_taken_field(L, options, "breaker") != LUA_TNIL;
  arvak_retry *retry = larvak_retry_read(L, top + 1, "retry", address);
  arvak_breaker *breaker = larvak_breaker_read(L, top + 2, "breaker"); /* may raise, so nothing is changed before */
  if (has_retry) {
    arvak_retry_ref(retry);
    arvak_retry_unref(client->retry);
    client->retry = retry;
  }
  if (has_breaker) {
    arvak_breaker_ref(breaker);
    arvak_breaker_unref(client->breaker);
    client->breaker = breaker;
  }
  lua_settop(L, top);
}

static const char *const policy_keys[] = {"retry", "breaker", NULL};

static void check_policies(lua_State *L, const char *method) {
  if (!lua_istable(L, 2))
    larvak_misuse(L, "%s: got %s, expected a table of options", method, larvak_describe(L, 2));
  larvak_options_check(L, 2, method, policy_keys);
}

/* configure(client, options): for the calls from now on. */
static int client_configure(lua_State *L) {
  larvak_client *client = larvak_client_check(L, 1, "configure");
  luaL_checkstack(L, 20, NULL);
  larvak_misuse_check_count(L, "configure", lua_gettop(L), 2, 2, "options");
  check_policies(L, "configure");
  if (client->is_shared)
    larvak_misuse(L, "configure: this client belongs to the host; arvak.resilient makes one with other policies");
  const char *address = lua_pushstring(L, arvak_client_address(client->core)); /* options may close the client */
  take_policies(L, 2, client, address);
  return 0;
}

/* has_retry(client) */
static int client_has_retry(lua_State *L) {
  lua_pushboolean(L, larvak_client_check(L, 1, "resilient")->retry != NULL);
  return 1;
}

/* breaker(client): the live one, or nil. */
static int client_breaker(lua_State *L) {
  const larvak_client *client = larvak_client_check(L, 1, "breaker");
  larvak_misuse_check_count(L, "breaker", lua_gettop(L), 2, 1, "");
  bool is_hosts = client->limits && client->breaker == arvak_client_breaker(client->core);
  arvak_lua_breaker_use use = is_hosts ? client->limits->most.breaker : ARVAK_LUA_BREAKER_MOVE;
  larvak_breaker_push(L, use == ARVAK_LUA_BREAKER_NONE ? NULL : client->breaker, use == ARVAK_LUA_BREAKER_SEE);
  return 1;
}

/* ---- handles ---- */

static void limit_policies(lua_State *L, const larvak_client *client) {
  static const char *const names[] = {"breaker", "retry"};
  for (int i = 0; i < 2; i++) {
    if (larvak_taken_field(L, 2, names[i]) != LUA_TNIL) larvak_quota_policies(L, client->limits, names[i]);
    lua_pop(L, 1);
  }
}

/* view(client, options): another handle on the same connections, slots and limiter, with policies of its own. */
static int client_view(lua_State *L) {
  larvak_client *client = larvak_client_check(L, 1, "resilient");
  luaL_checkstack(L, 20, NULL);
  check_policies(L, "resilient");
  lua_settop(L, 2);
  if (client->limits) limit_policies(L, client);
  larvak_client *view = larvak_client_push(L);
  view->has_functions = client->has_functions;
  for (int uv = LARVAK_CLIENT_API_KEY; uv <= LARVAK_CLIENT_KEEPER; uv++) {
    lua_getiuservalue(L, 1, uv);
    lua_setiuservalue(L, 3, uv);
  }
  if (view->has_functions) larvak_headers_note_client(L, 3);
  if (!client->core) return larvak_misuse(L, "resilient: the client is closed"); /* by a finalizer */
  view->core = arvak_client_ref(client->core);
  if (client->limits) view->limits = larvak_quota_ref(client->limits);
  view->retry = arvak_retry_ref(client->retry);
  view->breaker = arvak_breaker_ref(client->breaker);
  take_policies(L, 2, view, arvak_client_address(view->core));
  lua_settop(L, 3);
  return 1;
}

/* The reason, and the value: of the address, or of tls.server_name. Certificates and keys are secret. */
static int raise_refusal(lua_State *L, const arvak_client_options *options, const char *reason) {
  if (!reason) return larvak_misuse(L, "connect: bad options");
  if (strncmp(reason, "tls:", 4) == 0) return larvak_misuse(L, "%s", reason);
  if (strncmp(reason, "tls.", 4) == 0) lua_pushstring(L, options->tls_server_name);
  else lua_pushvalue(L, 1);
  return larvak_misuse(L, "%s, got %s", reason, larvak_describe(L, -1));
}

/* check_connect(): raises where the host lets nothing connect. A server in this process takes its time to start. */
static int connect_check(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  larvak_interrupt_check(L, state);
  if (larvak_is_closing(L, state)) larvak_misuse(L, "connect: the Lua state is closing");
  if (state->limits.has_no_connect)
    larvak_misuse(L, "connect: the host lets this plugin make no clients; use the one that it was given");
  return 0;
}

/* connect(address, options | nil): a client; opens nothing yet. */
static int client_connect(lua_State *L) {
  arvak_client_options options;
  connect_check(L);
  memset(&options, 0, sizeof options);
  lua_settop(L, 2);
  options.address = larvak_option_text(L, 1, "address");
  larvak_client *client = larvak_client_push(L);
  luaL_checkstack(L, 30, NULL);
  if (!lua_isnil(L, 2)) larvak_client_options_read(L, 2, 3, &options);
  larvak_loop_get(L, client->state);
  client->has_functions = lua_getiuservalue(L, 3, LARVAK_CLIENT_API_KEY) != LUA_TNIL;
  client->has_functions |= lua_getiuservalue(L, 3, LARVAK_CLIENT_METADATA) != LUA_TNIL;
  if (client->has_functions) larvak_headers_note_client(L, 3);
  if (!lua_isnil(L, 2)) take_policies(L, 2, client, options.address);
  const char *reason = NULL;
  int status = arvak_client_new(&options, &client->core, &reason);
  if (status == ARVAK_EFORKED) {
    larvak_error_push_forked(L);
    return lua_error(L);
  }
  if (status == ARVAK_ENOMEM) return larvak_no_memory(L);
  if (status != ARVAK_OK) return raise_refusal(L, &options, reason);
  lua_pushvalue(L, 3);
  return 1;
}

static int lower(int own, int most) { return most > 0 && (own == 0 || most < own) ? most : own; }

static int64_t lower_ns(int64_t own, int64_t most) { return most > 0 && (own == 0 || most < own) ? most : own; }

/* Those that hold for the state; of several pushes the lowest count. */
static void limit_state(larvak_state *state, const arvak_lua_limits *most) {
  state->limits.max_tasks = lower(state->limits.max_tasks, most->max_tasks);
  state->limits.max_sleep_ns = lower_ns(state->limits.max_sleep_ns, most->max_sleep_ns);
  state->limits.has_no_connect |= most->has_no_connect;
}

void larvak_client_adopt(lua_State *L, arvak_client *core, const arvak_lua_limits *limits) {
  larvak_upcall_push(L, UPCALL_ADOPT);
  larvak_client *client = larvak_client_push(L);
  client->limits = larvak_quota_new(L, client->state, core, limits);
  if (limits) limit_state(client->state, limits);
  client->core = arvak_client_ref(core);
  client->retry = arvak_retry_ref(arvak_client_retry(core));
  client->breaker = arvak_breaker_ref(arvak_client_breaker(core));
  client->is_shared = true;
  lua_call(L, 1, 1);
}

void larvak_connect_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"connect", client_connect},     {"view", client_view},
                                       {"configure", client_configure}, {"breaker", client_breaker},
                                       {"has_retry", client_has_retry}, {"check_connect", connect_check},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
