/* The client handle. Invariant: core is NULL from the moment the handle is closed; its calls then end as closed.
 * How handles come to be is in connect.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <lauxlib.h>
#include <math.h>
#include <string.h>

#include "closing.h"
#include "interrupt.h"
#include "misuse.h"
#include "names.h"
#include "options.h"
#include "work.h"

/* See client_flush. */
#define FLUSH_NS 200000000
#define FLUSH_LOOK_NS 500000
enum { FLUSH_ROUNDS = 8, REFUSAL_SIZE = 160 };

/* ---- life ---- */

larvak_client *larvak_client_push(lua_State *L) {
  bool is_closing = larvak_is_closing(L, larvak_state_get(L)); /* nobody would free the handle */
  if (is_closing) larvak_misuse(L, "the Lua state is closing");
  larvak_client *client = lua_newuserdatauv(L, sizeof *client, LARVAK_CLIENT_KEEPER);
  memset(client, 0, sizeof *client);
  client->state = larvak_state_get(L);
  client->state->client_count++;
  client->is_counted = true;
  luaL_setmetatable(L, LARVAK_CLIENT);
  return client;
}

int larvak_client_refuse(lua_State *L, int index, const char *method) {
  if (luaL_testudata(L, index, LARVAK_CLIENT)) return larvak_misuse(L, "%s: the client is closed", method);
  return larvak_misuse(L, "%s: got %s as the client, expected client:%s(...)", method, larvak_describe(L, index),
                       method);
}

larvak_client *larvak_client_check(lua_State *L, int index, const char *method) {
  larvak_client *client = luaL_testudata(L, index, LARVAK_CLIENT);
  if (!client || !client->core) larvak_client_refuse(L, index, method);
  return client;
}

/* Also when it is closed: a hook that refers to the client would otherwise keep it for ever. */
static void drop_policies(larvak_client *client) {
  arvak_retry_unref(client->retry);
  arvak_breaker_unref(client->breaker);
  client->retry = NULL;
  client->breaker = NULL;
}

/* As the state closes nothing is stepped any more: that would begin what has to be waited for in its end. */
static void close_handle(lua_State *L, larvak_client *client) {
  arvak_client *core = client->core;
  client->core = NULL;
  if (!core) return;
  arvak_loop *loop = client->state->loop;
  bool is_closing = larvak_is_closing(L, client->state);
  if (loop && is_closing) arvak_loop_leave_owned(loop, client, ARVAK_KIND_CLOSED);
  else if (loop) arvak_loop_cancel_owned(loop, client, ARVAK_KIND_CLOSED);
  larvak_work_changed(client->state);
  arvak_client_unref(core);
}

/* close(): idempotent, never waits. */
static int client_close(lua_State *L) {
  larvak_client *client = luaL_checkudata(L, 1, LARVAK_CLIENT);
  close_handle(L, client);
  drop_policies(client);
  return 0;
}

static int client_gc(lua_State *L) {
  larvak_client *client = luaL_checkudata(L, 1, LARVAK_CLIENT);
  close_handle(L, client);
  drop_policies(client);
  larvak_quota_unref(client->limits);
  client->limits = NULL;
  if (client->is_counted) client->state->client_count--;
  client->is_counted = false;
  return 0;
}

static int client_is_closed(lua_State *L) {
  larvak_client *client = luaL_checkudata(L, 1, LARVAK_CLIENT);
  lua_pushboolean(L, client->core == NULL);
  return 1;
}

static int client_tostring(lua_State *L) {
  larvak_client *client = luaL_checkudata(L, 1, LARVAK_CLIENT);
  if (client->core) lua_pushfstring(L, "arvak.client (%s)", arvak_client_address(client->core));
  else lua_pushliteral(L, "arvak.client (closed)");
  return 1;
}

/* ---- fields ---- */

/* Upvalue 1: the methods. client.async is a field of the handle. */
static int client_index(lua_State *L) {
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  bool is_async = lua_type(L, 2) == LUA_TSTRING && strcmp(lua_tostring(L, 2), "async") == 0;
  if (is_async) lua_getiuservalue(L, 1, LARVAK_CLIENT_ASYNC);
  return 1;
}

static int client_set_async(lua_State *L) {
  luaL_checkudata(L, 1, LARVAK_CLIENT);
  lua_settop(L, 2);
  lua_setiuservalue(L, 1, LARVAK_CLIENT_ASYNC);
  return 0;
}

/* set_keeper(client, keeper | nil): who is told of its jobs: job_begun and job_answered in upcall.h. */
static int client_set_keeper(lua_State *L) {
  luaL_checkudata(L, 1, LARVAK_CLIENT);
  lua_settop(L, 2);
  lua_setiuservalue(L, 1, LARVAK_CLIENT_KEEPER);
  return 0;
}

/* keeper(client): who is told, or nil. */
static int client_keeper(lua_State *L) {
  luaL_checkudata(L, 1, LARVAK_CLIENT);
  lua_getiuservalue(L, 1, LARVAK_CLIENT_KEEPER);
  return 1;
}

/* check_client(client, method, form): raises when it is none, or closed; its address and timeout in seconds. form: how
 * to call a function that is no method of the client; or nil. */
static int client_check(lua_State *L) {
  const char *form = luaL_optstring(L, 3, NULL);
  if (form && !luaL_testudata(L, 1, LARVAK_CLIENT))
    return larvak_misuse(L, "%s: got %s as the client, expected %s", luaL_checkstring(L, 2), larvak_describe(L, 1),
                         form);
  larvak_client *client = larvak_client_check(L, 1, luaL_checkstring(L, 2));
  int64_t timeout_ns = arvak_client_timeout_ns(client->core);
  int64_t most_ns = client->limits ? client->limits->most.max_timeout_ns : 0;
  lua_Number timeout = (lua_Number)(most_ns > 0 && most_ns < timeout_ns ? most_ns : timeout_ns) * 1e-9;
  lua_pushstring(L, arvak_client_address(client->core)); /* may run a finalizer that closes the client */
  lua_pushnumber(L, timeout);
  return 2;
}

static void push_seconds(lua_State *L, int64_t ns) {
  if (ns > 0) lua_pushnumber(L, (lua_Number)ns * 1e-9);
  else lua_pushnumber(L, (lua_Number)HUGE_VAL);
}

/* limit_wait(client, max_wait | nil): how long the client's user may wait for a job, or nil; raises for more than a
 * host allows a plugin. And the longest timeout and queue_timeout of a plugin's calls. */
static int client_limit_wait(lua_State *L) {
  /* That the client has been closed meanwhile is an outcome of the wait, and no misuse. */
  const larvak_client *client = luaL_checkudata(L, 1, LARVAK_CLIENT);
  lua_settop(L, 2);
  int64_t given = larvak_option_seconds(L, 2, "max_wait");
  if (!client->limits) return 1;
  const arvak_lua_limits *most = &client->limits->most;
  int64_t counts = larvak_quota_time(L, "max_wait", given, 0, most->max_wait_ns);
  if (counts == given) lua_pushvalue(L, 2);
  else push_seconds(L, counts);
  push_seconds(L, most->max_timeout_ns);
  push_seconds(L, most->max_queue_timeout_ns);
  return 3;
}

/* ---- the pace of submits ---- */

/* is_paced(client): whether its submits wait for their turn where the server refuses them. */
static int client_is_paced(lua_State *L) {
  larvak_client *client = luaL_checkudata(L, 1, LARVAK_CLIENT);
  lua_pushboolean(L, client->core && arvak_client_is_paced(client->core));
  return 1;
}

/* refusal(client): while the server refuses every submit for its rate: for how many seconds, and its last words. */
static int client_refusal(lua_State *L) {
  char words[REFUSAL_SIZE];
  larvak_client *client = luaL_checkudata(L, 1, LARVAK_CLIENT);
  int64_t since = client->core ? arvak_client_get_refusal(client->core, words, sizeof words) : -1;
  if (since < 0) return 0;
  lua_pushnumber(L, (lua_Number)since * 1e-9);
  lua_pushstring(L, words);
  return 2;
}

/* ---- connections ---- */

/* warm(client): makes it connect if it does not; true when a connection is ready. */
static int client_warm(lua_State *L) {
  larvak_client *client = larvak_client_check(L, 1, "wait_for_ready");
  arvak_loop *loop = larvak_loop_get(L, client->state);
  lua_pushboolean(L, !larvak_is_closing(L, client->state) && arvak_client_connect(client->core, loop));
  return 1;
}

/* hurry(client): lets connections that fail connect now. */
static int client_hurry(lua_State *L) {
  arvak_client_hurry(larvak_client_check(L, 1, "hurry")->core);
  return 0;
}

/* flush(client): on a fresh client, steps the core until a connection stands and what waits for it is written, the
 * connection has failed, or a fifth of a second is over; so that a call works on the server while Lua computes. */
static int client_flush(lua_State *L) {
  larvak_client *client = larvak_client_check(L, 1, "flush");
  arvak_loop *loop = larvak_loop_get(L, client->state);
  if (larvak_is_closing(L, client->state)) return 0;
  if (client->state->work.users) { /* nobody else's loop is to be held up */
    arvak_loop_pause(loop);
    return 0;
  }
  if (arvak_client_connect(client->core, loop)) return 0;
  int64_t end = arvak_now_ns() + FLUSH_NS;
  arvak_client_stats stats;
  do {
    /* A connection that becomes ready is no event of ours, so look again soon. */
    arvak_loop_step(loop, arvak_now_ns() + FLUSH_LOOK_NS);
    arvak_client_get_stats(client->core, &stats);
  } while (stats.ready == 0 && stats.failing == 0 && arvak_now_ns() < end && !larvak_interrupt_is_set(client->state));
  /* The write follows the connection within gRPC; a few rounds without waiting let it happen. */
  for (int i = 0; i < FLUSH_ROUNDS; i++) arvak_loop_step(loop, 0);
  return 0;
}

void larvak_client_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"close", client_close},         {"is_closed", client_is_closed},
                                       {"set_async", client_set_async}, {"set_keeper", client_set_keeper},
                                       {"keeper", client_keeper},       {"check_client", client_check},
                                       {"warm", client_warm},           {"flush", client_flush},
                                       {"hurry", client_hurry},         {"limit_wait", client_limit_wait},
                                       {"is_paced", client_is_paced},   {"refusal", client_refusal},
                                       {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", client_gc}, {"__tostring", client_tostring}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  luaL_newmetatable(L, LARVAK_CLIENT);
  luaL_setfuncs(L, meta, 0);
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, "methods");
  lua_pushcclosure(L, client_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}
