/* The options of arvak.connect, read into those of the core. Invariant: what the core's options point to is on the
 * stack, and a secret is never repeated in an error.
 * SPDX-License-Identifier: Apache-2.0 */
#include "client_options.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "client.h"
#include "fields.h"
#include "misuse.h"
#include "options.h"
#include "taken.h"

enum { MAX_POOL_SIZE = 256, MAX_CONCURRENT_RPCS = 100000, MAX_COUNT = 1000000 };
enum { MAX_PEM_BYTES = 1 << 20, MAX_PATH_SHOWN = 200 };

/* PEM text or the path of a file that holds it. Leaves the text on the stack. */
static const char *read_pem(lua_State *L, int table, const char *field) {
  larvak_taken_field(L, table, field);
  if (lua_isnil(L, -1)) return NULL;
  if (lua_type(L, -1) != LUA_TSTRING)
    larvak_misuse(L, "tls.%s: got %s, expected PEM text or a path", field, larvak_describe(L, -1));
  const char *text = larvak_taken_text(L, -1);
  if (!text) larvak_misuse(L, "tls.%s: expected PEM text or a path, without NUL bytes", field);
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
  larvak_taken_field(L, options, "tls");
  int tls = lua_gettop(L);
  if (lua_isboolean(L, tls) || lua_isnil(L, tls)) {
    out->tls = lua_toboolean(L, tls) != 0;
    return;
  }
  if (!lua_istable(L, tls)) larvak_misuse(L, "tls: got %s, expected true or a table", larvak_describe_type(L, tls));
  larvak_options_check(L, tls, "tls", keys);
  out->tls = true;
  out->tls_ca = read_pem(L, tls, "ca");
  out->tls_cert = read_pem(L, tls, "cert");
  out->tls_key = read_pem(L, tls, "key");
  larvak_taken_field(L, tls, "server_name");
  if (!lua_isnil(L, -1)) out->tls_server_name = larvak_option_text(L, -1, "tls.server_name");
}

/* Name and value at key and the index after it. */
static void read_channel_arg(lua_State *L, int key, arvak_channel_arg *arg) {
  memset(arg, 0, sizeof *arg);
  int value = key + 1, type = lua_type(L, value), top = lua_gettop(L);
  if (lua_type(L, key) != LUA_TSTRING)
    larvak_misuse(L, "channel_args: got %s as a name, expected a string", larvak_describe(L, key));
  arg->name = larvak_taken_text(L, key);
  const char *name = lua_pushfstring(L, "channel_args[%s]", larvak_describe(L, key));
  if (!arg->name) larvak_misuse(L, "%s: expected a name without NUL bytes", name);
  if (type == LUA_TBOOLEAN) arg->integer = lua_toboolean(L, value);
  else if (type == LUA_TNUMBER) arg->integer = (int)larvak_option_integer(L, value, name, 0, INT32_MIN, INT32_MAX);
  else if (!(arg->string = larvak_taken_text(L, value)))
    larvak_misuse(L, "%s: got %s, expected an integer, a boolean or a string without NUL bytes", name,
                  larvak_describe(L, value));
  lua_settop(L, top);
}

static void read_channel_args(lua_State *L, int options, arvak_client_options *out) {
  larvak_taken_field(L, options, "channel_args");
  int table = lua_gettop(L);
  if (lua_isnil(L, table)) return;
  if (!lua_istable(L, table))
    larvak_misuse(L, "channel_args: got %s, expected a table", larvak_describe(L, table));
  size_t count = larvak_taken_pairs(L, table);
  arvak_channel_arg *args = lua_newuserdatauv(L, (count + 1) * sizeof *args, 0);
  for (size_t i = 0; i < count; i++) read_channel_arg(L, table + 1 + 2 * (int)i, &args[i]);
  out->channel_args = args;
  out->channel_arg_count = count;
}

/* A string becomes a header; a function is kept in the handle's user value and called for each attempt. */
static void read_api_key(lua_State *L, int options, int client, arvak_header *headers, size_t *count) {
  int type = larvak_taken_field(L, options, "api_key");
  if (type == LUA_TFUNCTION) {
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, client, LARVAK_CLIENT_API_KEY);
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
  larvak_taken_field(L, options, "metadata");
  if (lua_isfunction(L, -1)) {
    lua_setiuservalue(L, client, LARVAK_CLIENT_METADATA);
    lua_pushnil(L);
  }
  arvak_header *headers = larvak_option_headers(L, -1, 1, &out->header_count);
  read_api_key(L, options, client, headers, &out->header_count);
  out->headers = headers;
}

static void read_limiter(lua_State *L, int index, arvak_limiter_options *out) {
  static const char *const keys[] = {"rate", "burst", "max_in_flight", NULL};
  index = lua_absindex(L, index);
  if (lua_isnoneornil(L, index) || larvak_taken_is(L, index, "auto")) return;
  out->is_off = lua_isboolean(L, index) && !lua_toboolean(L, index);
  if (out->is_off) return;
  if (!lua_istable(L, index))
    larvak_misuse(L, "limiter: got %s, expected \"auto\", a table of options or false", larvak_describe(L, index));
  larvak_options_check(L, index, "limiter", keys);
  out->rate = larvak_field_number(L, index, "limiter", "rate", 0, 0.001, 1e6);
  out->burst = larvak_field_integer(L, index, "limiter", "burst", MAX_COUNT);
  larvak_taken_field(L, index, "max_in_flight");
  out->is_adaptive = larvak_taken_is(L, -1, "adaptive");
  if (!out->is_adaptive && !lua_isnil(L, -1) && lua_type(L, -1) != LUA_TNUMBER)
    larvak_misuse(L, "limiter.max_in_flight: got %s, expected \"adaptive\" or an integer from 1 to %d",
                  larvak_describe(L, -1), MAX_COUNT);
  lua_pop(L, 1);
  if (!out->is_adaptive) out->max_in_flight = larvak_field_integer(L, index, "limiter", "max_in_flight", MAX_COUNT);
}

void larvak_client_options_read(lua_State *L, int options, int client, arvak_client_options *out) {
  static const char *const keys[] = {"pool_size", "timeout",      "attempt_timeout", "max_concurrent_rpcs",
                                     "limiter",   "retry",        "breaker",         "queue_timeout",
                                     "api_key",   "metadata",     "tls",             "channel_args",
                                     "ledger", /* the Lua layer's */ NULL};
  if (!lua_istable(L, options))
    larvak_misuse(L, "connect: got %s as options, expected a table", larvak_describe_type(L, options));
  larvak_options_check(L, options, "connect", keys);
  larvak_taken_field(L, options, "pool_size");
  out->pool_size = (int)larvak_option_integer(L, -1, "pool_size", 0, 1, MAX_POOL_SIZE);
  larvak_taken_field(L, options, "max_concurrent_rpcs");
  out->max_concurrent_rpcs = (int)larvak_option_integer(L, -1, "max_concurrent_rpcs", 0, 1, MAX_CONCURRENT_RPCS);
  larvak_taken_field(L, options, "timeout");
  out->timeout_ns = larvak_option_seconds(L, -1, "timeout");
  larvak_taken_field(L, options, "attempt_timeout");
  out->attempt_timeout_ns = larvak_option_seconds(L, -1, "attempt_timeout");
  larvak_taken_field(L, options, "queue_timeout");
  out->queue_timeout_ns = larvak_option_seconds(L, -1, "queue_timeout");
  larvak_taken_field(L, options, "limiter");
  read_limiter(L, -1, &out->limiter);
  lua_settop(L, client);
  read_headers(L, options, client, out);
  read_tls(L, options, out);
  read_channel_args(L, options, out);
}
