/* The client handle. Invariant: core is NULL from the moment the handle is closed; its calls then end as closed.
 * User values: 1 the table client.async, 2 and 3 the functions given as api_key and metadata.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "larvak.h"

/* See client_flush. */
#define FLUSH_NS 200000000
#define FLUSH_LOOK_NS 500000
enum { FLUSH_ROUNDS = 8 };

enum { MAX_POOL_SIZE = 256, MAX_CONCURRENT_RPCS = 100000, MAX_PEM_BYTES = 1 << 20, MAX_PATH_SHOWN = 200 };

/* ---- life ---- */

static larvak_client *client_push(lua_State *L) {
  larvak_client *client = lua_newuserdatauv(L, sizeof *client, 3);
  memset(client, 0, sizeof *client);
  client->state = larvak_state_get(L);
  client->state->client_count++;
  client->is_counted = true;
  luaL_setmetatable(L, LARVAK_CLIENT);
  return client;
}

larvak_client *larvak_client_check(lua_State *L, int index, const char *method) {
  larvak_client *client = luaL_testudata(L, index, LARVAK_CLIENT);
  if (!client) {
    larvak_misuse(L, "%s: got %s as the client, expected client:%s(...)", method, larvak_describe(L, index), method);
    return NULL; /* not reached */
  }
  if (!client->core) larvak_misuse(L, "%s: the client is closed", method);
  return client;
}

/* Also when it is closed: a hook that refers to the client would otherwise keep it for ever. */
static void drop_policies(larvak_client *client) {
  arvak_retry_unref(client->retry);
  arvak_breaker_unref(client->breaker);
  client->retry = NULL;
  client->breaker = NULL;
}

static void close_handle(larvak_client *client) {
  arvak_client *core = client->core;
  client->core = NULL;
  if (!core) return;
  arvak_loop *loop = client->state->loop;
  if (loop) arvak_loop_cancel_owned(loop, client, ARVAK_KIND_CLOSED);
  if (loop && client->state->fd_users > 0) arvak_loop_wake(loop); /* it took what the descriptor said */
  arvak_client_unref(core);
}

/* close(): idempotent, never waits. */
static int client_close(lua_State *L) {
  larvak_client *client = luaL_checkudata(L, 1, LARVAK_CLIENT);
  close_handle(client);
  drop_policies(client);
  return 0;
}

static int client_gc(lua_State *L) {
  larvak_client *client = luaL_checkudata(L, 1, LARVAK_CLIENT);
  close_handle(client);
  drop_policies(client);
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

/* ---- reading options ---- */

/* PEM text or the path of a file that holds it. Leaves the text on the stack. */
static const char *read_pem(lua_State *L, int table, const char *field) {
  lua_getfield(L, table, field);
  if (lua_isnil(L, -1)) return NULL;
  if (lua_type(L, -1) != LUA_TSTRING)
    larvak_misuse(L, "tls.%s: got %s, expected PEM text or a path", field, larvak_describe(L, -1));
  const char *text = lua_tostring(L, -1);
  if (strstr(text, "-----BEGIN")) return text;
  luaL_checkstack(L, 5, NULL);
  struct stat status;
  bool is_file = stat(text, &status) == 0 && S_ISREG(status.st_mode);
  luaL_Buffer buffer;
  char *bytes = luaL_buffinitsize(L, &buffer, MAX_PEM_BYTES); /* may raise, so before the file is open */
  FILE *file = is_file ? fopen(text, "rb") : NULL; /* a pipe, say, could be waited for in vain */
  bool is_key = strcmp(field, "key") == 0; /* perhaps the key itself, and not to be repeated */
  if (!file && (is_key || strlen(text) > MAX_PATH_SHOWN || strchr(text, '\n')))
    larvak_misuse(L, "tls.%s: neither PEM text nor a file that can be read", field);
  if (!file) larvak_misuse(L, "tls.%s: \"%s\" is neither PEM text nor a file that can be read", field, text);
  size_t size = fread(bytes, 1, MAX_PEM_BYTES, file);
  bool is_whole = feof(file) != 0;
  fclose(file);
  if (!is_whole) larvak_misuse(L, "tls.%s: a file of at most %d bytes can be read", field, MAX_PEM_BYTES);
  luaL_pushresultsize(&buffer, size);
  if (!strstr(lua_tostring(L, -1), "-----BEGIN"))
    larvak_misuse(L, "tls.%s: the file \"%s\" holds no PEM text", field, text);
  return lua_tostring(L, -1);
}

static void read_tls(lua_State *L, int options, arvak_client_options *out) {
  static const char *const keys[] = {"ca", "cert", "key", "server_name", NULL};
  lua_getfield(L, options, "tls");
  int tls = lua_gettop(L);
  if (lua_isboolean(L, tls) || lua_isnil(L, tls)) {
    out->tls = lua_toboolean(L, tls) != 0;
    return;
  }
  if (!lua_istable(L, tls)) larvak_misuse(L, "tls: got %s, expected true or a table", larvak_describe_type(L, tls));
  larvak_check_keys(L, tls, "tls", keys);
  out->tls = true;
  out->tls_ca = read_pem(L, tls, "ca");
  out->tls_cert = read_pem(L, tls, "cert");
  out->tls_key = read_pem(L, tls, "key");
  lua_getfield(L, tls, "server_name");
  if (!lua_isnil(L, -1)) out->tls_server_name = larvak_text(L, -1, "tls.server_name");
}

/* The value on top. */
static void read_channel_arg(lua_State *L, arvak_channel_arg *arg) {
  int value = lua_gettop(L);
  switch (lua_type(L, value)) {
    case LUA_TSTRING: arg->string = lua_tostring(L, value); break;
    case LUA_TBOOLEAN: arg->integer = lua_toboolean(L, value); break;
    case LUA_TNUMBER: {
      const char *name = lua_pushfstring(L, "channel_args[\"%s\"]", arg->name);
      arg->integer = (int)larvak_integer(L, value, name, 0, INT32_MIN, INT32_MAX);
      break;
    }
    default:
      larvak_misuse(L, "channel_args[\"%s\"]: got %s, expected an integer, a string or a boolean", arg->name,
                    larvak_describe_type(L, value));
  }
  lua_settop(L, value);
}

static void read_channel_args(lua_State *L, int options, arvak_client_options *out) {
  lua_getfield(L, options, "channel_args");
  int table = lua_gettop(L);
  if (lua_isnil(L, table)) return;
  if (!lua_istable(L, table))
    larvak_misuse(L, "channel_args: got %s, expected a table", larvak_describe(L, table));
  size_t n = 0;
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) n++;
  arvak_channel_arg *args = lua_newuserdatauv(L, (n + 1) * sizeof *args, 0);
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
    arvak_channel_arg *arg = &args[out->channel_arg_count++];
    memset(arg, 0, sizeof *arg);
    if (lua_type(L, -2) != LUA_TSTRING)
      larvak_misuse(L, "channel_args: got %s as a name, expected a string", larvak_describe(L, -2));
    arg->name = lua_tostring(L, -2);
    read_channel_arg(L, arg);
  }
  out->channel_args = args;
}

/* A string becomes a header; a function is kept in the client's user value 2 and asked at each call. */
static void read_api_key(lua_State *L, int options, int client, arvak_header *headers, size_t *count) {
  int type = lua_getfield(L, options, "api_key");
  if (type == LUA_TFUNCTION) {
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, client, 2);
  } else if (type == LUA_TSTRING) {
    size_t place = 0; /* it goes before one of the same name in metadata */
    while (place < *count && strcmp(headers[place].name, "x-api-key") != 0) place++;
    if (place == *count) ++*count;
    arvak_header *header = &headers[place];
    header->name = "x-api-key";
    header->value.data = lua_tolstring(L, -1, &header->value.size);
    const char *reason = arvak_header_check(header->name, header->value);
    if (!reason && header->value.size == 0) reason = "expected a key, got \"\"";
    if (reason) larvak_misuse(L, "api_key: %s", reason);
  } else if (type != LUA_TNIL) {
    larvak_misuse(L, "api_key: got a %s, expected a string or a function", luaL_typename(L, -1));
  }
}

static void read_headers(lua_State *L, int options, int client, arvak_client_options *out) {
  lua_getfield(L, options, "metadata");
  if (lua_isfunction(L, -1)) {
    lua_setiuservalue(L, client, 3);
    lua_pushnil(L);
  }
  arvak_header *headers = larvak_headers(L, -1, 1, &out->header_count);
  read_api_key(L, options, client, headers, &out->header_count);
  out->headers = headers;
}

/* (client, options): fills *out; strings stay on the stack. */
static void read_options(lua_State *L, int options, int client, arvak_client_options *out) {
  static const char *const keys[] = {"pool_size", "timeout",      "attempt_timeout", "max_concurrent_rpcs",
                                     "limiter",   "retry",        "breaker",         "queue_timeout",
                                     "api_key",   "metadata",     "tls",             "channel_args",
                                     NULL};
  if (!lua_istable(L, options))
    larvak_misuse(L, "connect: got %s as options, expected a table", larvak_describe_type(L, options));
  larvak_check_keys(L, options, "connect", keys);
  lua_getfield(L, options, "pool_size");
  out->pool_size = (int)larvak_integer(L, -1, "pool_size", 0, 1, MAX_POOL_SIZE);
  lua_getfield(L, options, "max_concurrent_rpcs");
  out->max_concurrent_rpcs = (int)larvak_integer(L, -1, "max_concurrent_rpcs", 0, 1, MAX_CONCURRENT_RPCS);
  lua_getfield(L, options, "timeout");
  out->timeout_ns = larvak_seconds(L, -1, "timeout");
  lua_getfield(L, options, "attempt_timeout");
  out->attempt_timeout_ns = larvak_seconds(L, -1, "attempt_timeout");
  lua_getfield(L, options, "queue_timeout");
  out->queue_timeout_ns = larvak_seconds(L, -1, "queue_timeout");
  lua_getfield(L, options, "limiter");
  larvak_limiter(L, -1, &out->limiter);
  lua_settop(L, client);
  read_headers(L, options, client, out);
  read_tls(L, options, out);
  read_channel_args(L, options, out);
}

/* Those that the options name; the others stay. */
static void take_policies(lua_State *L, int options, larvak_client *client, const char *address) {
  int top = lua_gettop(L);
  bool has_retry = lua_getfield(L, options, "retry") != LUA_TNIL;
  bool has_breaker = lua_getfield(L, options, "breaker") != LUA_TNIL;
  arvak_retry *retry = larvak_retry(L, top + 1, "retry", address);
  arvak_breaker *breaker = larvak_breaker(L, top + 2, "breaker"); /* may raise, so nothing is changed before */
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
  larvak_check_keys(L, 2, method, policy_keys);
}

/* configure(client, options): for the calls from now on. */
static int client_configure(lua_State *L) {
  larvak_client *client = larvak_client_check(L, 1, "configure");
  luaL_checkstack(L, 20, NULL);
  check_policies(L, "configure");
  if (client->is_shared)
    larvak_misuse(L, "configure: this client belongs to the host; arvak.resilient makes one with other policies");
  const char *address = lua_pushstring(L, arvak_client_address(client->core)); /* options may close the client */
  take_policies(L, 2, client, address);
  return 0;
}

/* view(client, options): another handle on the same connections, slots and limiter, with policies of its own. */
static int client_view(lua_State *L) {
  larvak_client *client = larvak_client_check(L, 1, "resilient");
  luaL_checkstack(L, 20, NULL);
  check_policies(L, "resilient");
  lua_settop(L, 2);
  larvak_client *view = client_push(L);
  view->has_functions = client->has_functions;
  for (int uv = 2; uv <= 3; uv++) {
    lua_getiuservalue(L, 1, uv);
    lua_setiuservalue(L, 3, uv);
  }
  if (view->has_functions) larvak_note_handle(L, 3);
  if (!client->core) return larvak_misuse(L, "resilient: the client is closed"); /* by a finalizer */
  view->core = arvak_client_ref(client->core);
  view->retry = arvak_retry_ref(client->retry);
  view->breaker = arvak_breaker_ref(client->breaker);
  take_policies(L, 2, view, arvak_client_address(view->core));
  lua_settop(L, 3);
  return 1;
}

/* has_retry(client) */
static int client_has_retry(lua_State *L) {
  lua_pushboolean(L, larvak_client_check(L, 1, "resilient")->retry != NULL);
  return 1;
}

/* breaker(client): the live one, or nil. */
static int client_breaker(lua_State *L) {
  larvak_push_breaker(L, larvak_client_check(L, 1, "breaker")->breaker);
  return 1;
}

/* connect(address, options | nil): a client; opens nothing yet. */
static int client_connect(lua_State *L) {
  arvak_client_options options;
  memset(&options, 0, sizeof options);
  lua_settop(L, 2);
  options.address = larvak_text(L, 1, "address");
  larvak_client *client = client_push(L);
  luaL_checkstack(L, 30, NULL);
  if (!lua_isnil(L, 2)) read_options(L, 2, 3, &options);
  larvak_loop_get(L, client->state);
  client->has_functions = lua_getiuservalue(L, 3, 2) != LUA_TNIL;
  client->has_functions |= lua_getiuservalue(L, 3, 3) != LUA_TNIL;
  if (client->has_functions) larvak_note_handle(L, 3);
  if (!lua_isnil(L, 2)) take_policies(L, 2, client, options.address);
  const char *reason = NULL;
  int status = arvak_client_new(&options, &client->core, &reason);
  if (status == ARVAK_EFORKED) {
    larvak_push_forked(L);
    return lua_error(L);
  }
  if (status == ARVAK_ENOMEM) return luaL_error(L, "not enough memory");
  if (status != ARVAK_OK)
    return larvak_misuse(L, "%s, got %s", reason ? reason : "connect: bad options", larvak_describe(L, 1));
  lua_pushvalue(L, 3);
  return 1;
}

void arvak_lua_pushclient(lua_State *L, arvak_client *core) {
  if (!core) luaL_error(L, "arvak_lua_pushclient: got NULL, expected a client");
  larvak_open(L);
  lua_pop(L, 1);
  larvak_push_upcall(L, UPCALL_ADOPT);
  larvak_client *client = client_push(L);
  larvak_loop_get(L, client->state);
  client->core = arvak_client_ref(core);
  client->retry = arvak_retry_ref(arvak_client_retry(core));
  client->breaker = arvak_breaker_ref(arvak_client_breaker(core));
  client->is_shared = true;
  lua_call(L, 1, 1);
}

/* ---- stats ---- */

static void set_count(lua_State *L, const char *name, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, name);
}

static void set_seconds(lua_State *L, const char *name, int64_t ns) {
  lua_pushnumber(L, (lua_Number)ns * 1e-9);
  lua_setfield(L, -2, name);
}

static void set_retries(lua_State *L, const arvak_client_stats *stats) {
  lua_newtable(L);
  for (size_t code = 0; code < sizeof stats->retries / sizeof *stats->retries; code++)
    if (stats->retries[code] > 0) set_count(L, arvak_code_name((int)code), stats->retries[code]);
  lua_setfield(L, -2, "retries");
}

static void set_latency(lua_State *L, const arvak_latency *latencies) {
  lua_newtable(L);
  for (int rpc = 0; rpc < ARVAK_WATCH_JOB; rpc++) {
    const arvak_latency *latency = &latencies[rpc];
    if (latency->count == 0) continue;
    lua_createtable(L, 0, 5);
    set_count(L, "count", latency->count);
    set_seconds(L, "p50", latency->p50_ns);
    set_seconds(L, "p90", latency->p90_ns);
    set_seconds(L, "p99", latency->p99_ns);
    set_seconds(L, "max", latency->max_ns);
    lua_setfield(L, -2, arvak_rpc_name((arvak_rpc)rpc));
  }
  lua_setfield(L, -2, "latency");
}

static void set_policies(lua_State *L, const larvak_client *client) {
  double tokens = client->retry ? arvak_retry_tokens(client->retry) : -1;
  if (tokens >= 0) {
    lua_pushnumber(L, tokens);
    lua_setfield(L, -2, "tokens");
  }
  if (!client->breaker) return;
  arvak_breaker_info info;
  arvak_breaker_get_info(client->breaker, arvak_now_ns(), &info);
  lua_createtable(L, 0, 4);
  lua_pushstring(L, larvak_breaker_state_name(info.state));
  lua_setfield(L, -2, "state");
  set_count(L, "opened", info.changes[ARVAK_BREAKER_OPEN]);
  set_count(L, "half_opened", info.changes[ARVAK_BREAKER_HALF_OPEN]);
  set_count(L, "closed", info.changes[ARVAK_BREAKER_CLOSED]);
  lua_setfield(L, -2, "breaker");
}

static int client_stats(lua_State *L) {
  larvak_client *client = larvak_client_check(L, 1, "stats");
  arvak_client_stats stats;
  arvak_latency latencies[ARVAK_WATCH_JOB];
  arvak_client_get_stats(client->core, &stats); /* all of it before a table is made: that may close the client */
  for (int rpc = 0; rpc < ARVAK_WATCH_JOB; rpc++)
    arvak_client_get_latency(client->core, (arvak_rpc)rpc, &latencies[rpc]);
  lua_createtable(L, 0, 16);
  set_count(L, "calls", stats.calls);
  set_count(L, "attempts", stats.attempts);
  set_count(L, "failures", stats.failures);
  set_count(L, "in_flight", (uint64_t)stats.in_flight);
  set_count(L, "queued", (uint64_t)stats.queued);
  set_count(L, "bytes_sent", stats.bytes_sent);
  set_count(L, "bytes_received", stats.bytes_received);
  lua_createtable(L, 0, 5);
  set_count(L, "open", (uint64_t)stats.channels);
  set_count(L, "ready", (uint64_t)stats.ready);
  set_count(L, "connecting", (uint64_t)stats.connecting);
  set_count(L, "failing", (uint64_t)stats.failing);
  set_count(L, "idle", (uint64_t)stats.idle);
  lua_setfield(L, -2, "connections");
  set_count(L, "in_flight_limit", (uint64_t)stats.in_flight_limit);
  if (stats.limiter_tokens >= 0) {
    lua_pushnumber(L, stats.limiter_tokens);
    lua_setfield(L, -2, "limiter_tokens");
  }
  set_retries(L, &stats);
  set_latency(L, latencies);
  set_policies(L, client);
  return 1;
}

/* ---- fields ---- */

/* Upvalue 1: the methods. client.async is a field of the handle. */
static int client_index(lua_State *L) {
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  if (lua_type(L, 2) == LUA_TSTRING && strcmp(lua_tostring(L, 2), "async") == 0) lua_getiuservalue(L, 1, 1);
  return 1;
}

static int client_set_async(lua_State *L) {
  luaL_checkudata(L, 1, LARVAK_CLIENT);
  lua_settop(L, 2);
  lua_setiuservalue(L, 1, 1);
  return 0;
}

/* check_client(client, method): raises when it is none, or closed; its address and timeout in seconds. */
static int client_check(lua_State *L) {
  larvak_client *client = larvak_client_check(L, 1, luaL_checkstring(L, 2));
  lua_Number timeout = (lua_Number)arvak_client_timeout_ns(client->core) * 1e-9;
  lua_pushstring(L, arvak_client_address(client->core)); /* may run a finalizer that closes the client */
  lua_pushnumber(L, timeout);
  return 2;
}

/* warm(client): makes it connect if it does not; true when a connection is ready. */
static int client_warm(lua_State *L) {
  larvak_client *client = larvak_client_check(L, 1, "wait_for_ready");
  lua_pushboolean(L, arvak_client_connect(client->core, larvak_loop_get(L, client->state)));
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
  if (client->state->fd_users > 0) return 0; /* another thread polls, and nobody else's loop is to be held up */
  if (arvak_client_connect(client->core, loop)) return 0;
  int64_t end = arvak_now_ns() + FLUSH_NS;
  arvak_client_stats stats;
  do {
    /* A connection that becomes ready is no event of ours, so look again soon. */
    arvak_loop_step(loop, arvak_now_ns() + FLUSH_LOOK_NS);
    arvak_client_get_stats(client->core, &stats);
  } while (stats.ready == 0 && stats.failing == 0 && arvak_now_ns() < end);
  /* The write follows the connection within gRPC; a few rounds without waiting let it happen. */
  for (int i = 0; i < FLUSH_ROUNDS; i++) arvak_loop_step(loop, 0);
  return 0;
}

int larvak_open_client(lua_State *L) {
  static const luaL_Reg functions[] = {{"connect", client_connect},     {"close", client_close},
                                       {"is_closed", client_is_closed}, {"stats", client_stats},
                                       {"set_async", client_set_async}, {"check_client", client_check},
                                       {"warm", client_warm},           {"flush", client_flush},
                                       {"configure", client_configure}, {"view", client_view},
                                       {"breaker", client_breaker},     {"has_retry", client_has_retry},
                                       {"hurry", client_hurry},         {NULL, NULL}};
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
  return 0;
}
