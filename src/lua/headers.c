/* Headers that functions give. The first attempt of a call gets them as the call is made; before each further one the
 * call asks for its headers, and the functions are called in the step of the loop.
 * Invariant: what a function raises is the cause of the call's error, and the call ends as unauthenticated, since what
 * could not be had is a credential.
 * SPDX-License-Identifier: Apache-2.0 */
#include "headers.h"

#include <lauxlib.h>
#include <string.h>

#include "causes.h"
#include "errors.h"
#include "hooks.h"
#include "misuse.h"
#include "options.h"

/* In the registry: userdata of clients with functions, by address, weak. */
static const char handles_key = 0;

static const char refused[] = "a function given as api_key or metadata raised an error, see cause";

/* ---- for the first attempt ---- */

/* Calls the function in user value uv of the client; false: pushed nil and an error of kind unauthenticated, since
 * what could not be had is a credential. Its result stays on the stack. */
static bool call_function(lua_State *L, larvak_client *client, arvak_rpc rpc, int uv, const char *name) {
  lua_pushcfunction(L, larvak_note_interrupt);
  int handler = lua_gettop(L);
  bool is_given = lua_getiuservalue(L, 1, uv) != LUA_TNIL;
  int status = is_given ? larvak_hook_pcall(L, client->state, 0, 1, handler) : LUA_OK;
  lua_remove(L, handler);
  if (status == LUA_OK) return true;
  if (larvak_is_interrupt(L, -1)) lua_error(L);
  lua_pushnil(L);
  lua_pushfstring(L, "the function given as %s raised an error, see cause", name);
  larvak_error_push(L, ARVAK_KIND_UNAUTHENTICATED, 16, lua_tostring(L, -1));
  lua_remove(L, -2);
  lua_pushvalue(L, -3);
  lua_setfield(L, -2, "cause");
  lua_pushstring(L, arvak_rpc_name(rpc));
  lua_setfield(L, -2, "rpc");
  if (client->core) lua_pushstring(L, arvak_client_address(client->core));
  else lua_pushnil(L);
  lua_setfield(L, -2, "target");
  lua_pushinteger(L, 0);
  lua_setfield(L, -2, "attempts");
  return false;
}

/* Of two headers with one name the first given counts: those of the call come before those of the functions. */
static void add_header(arvak_header *headers, size_t *count, arvak_header header) {
  for (size_t i = 0; i < *count; i++)
    if (strcmp(headers[i].name, header.name) == 0) return;
  headers[(*count)++] = header;
}

/* Reads what the api_key function gave, as a header; false when it gave nil. */
static bool read_key(lua_State *L, arvak_header *header) {
  if (lua_isnil(L, -1)) return false;
  if (lua_type(L, -1) != LUA_TSTRING)
    larvak_misuse(L, "api_key: the function gave a %s, expected a string", luaL_typename(L, -1));
  header->name = "x-api-key";
  header->value.data = lua_tolstring(L, -1, &header->value.size);
  const char *reason = arvak_header_check(header->name, header->value);
  if (reason) larvak_misuse(L, "api_key: %s", reason);
  return true;
}

bool larvak_headers_add(lua_State *L, larvak_client *client, arvak_rpc rpc, const arvak_header **headers,
                        size_t *count) {
  size_t given_count;
  arvak_header key;
  if (!call_function(L, client, rpc, LARVAK_CLIENT_METADATA, "metadata")) return false;
  const arvak_header *given = larvak_option_headers(L, -1, 0, &given_count);
  if (!call_function(L, client, rpc, LARVAK_CLIENT_API_KEY, "api_key")) return false;
  bool has_key = read_key(L, &key);
  arvak_header *all = lua_newuserdatauv(L, (*count + given_count + 1) * sizeof *all, 0);
  if (*count > 0) memcpy(all, *headers, *count * sizeof *all);
  *headers = all;
  if (has_key) add_header(all, count, key);
  for (size_t i = 0; i < given_count; i++) add_header(all, count, given[i]);
  return true;
}

/* ---- for further attempts ---- */

void larvak_headers_note_client(lua_State *L, int index) {
  index = lua_absindex(L, index);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &handles_key);
  lua_pushvalue(L, index);
  lua_rawsetp(L, -2, lua_touserdata(L, index));
  lua_pop(L, 1);
}

/* Whether this call of this client is still first in line. The functions may have ended it, and freed it with that. */
static bool is_asking(const larvak_state *state, const arvak_call *call, const void *client) {
  return arvak_loop_next_asking(state->loop) == call && arvak_call_owner(call) == client;
}

/* (lightuserdata call): calls the functions, and lets the call go on. Raises what a function raised. */
static int give(lua_State *L) {
  arvak_call *call = lua_touserdata(L, 1);
  const arvak_header *headers = NULL;
  size_t count = 0;
  luaL_checkstack(L, 20, NULL);
  lua_settop(L, 0);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &handles_key);
  lua_rawgetp(L, -1, arvak_call_owner(call));
  lua_remove(L, 1);
  larvak_client *client = lua_touserdata(L, 1); /* NULL: collected, and what it gave before has to do */
  if (client && !larvak_headers_add(L, client, arvak_call_rpc(call), &headers, &count)) {
    lua_getfield(L, -1, "cause");
    return lua_error(L);
  }
  if (client && !is_asking(client->state, call, client)) return 0;
  if (arvak_call_proceed(call, headers, count) == ARVAK_ENOMEM) return larvak_no_memory(L);
  return 0;
}

/* (lightuserdata call, error) */
static int note_cause(lua_State *L) {
  larvak_cause_note(L, lua_touserdata(L, 1));
  return 0;
}

void larvak_headers_give(lua_State *L, larvak_state *state) {
  arvak_call *call;
  while ((call = arvak_loop_next_asking(state->loop))) {
    const void *client = arvak_call_owner(call);
    lua_pushcfunction(L, give);
    lua_pushlightuserdata(L, call);
    int status = lua_pcall(L, 1, 0, 0);
    if (status == LUA_ERRMEM) lua_error(L); /* it still asks in the next step */
    if (status == LUA_OK) continue;
    if (!is_asking(state, call, client)) {
      lua_pop(L, 1);
      continue;
    }
    lua_pushcfunction(L, note_cause);
    lua_pushlightuserdata(L, call);
    lua_pushvalue(L, -3);
    lua_call(L, 2, 0);
    arvak_call_refuse(call, ARVAK_KIND_UNAUTHENTICATED, 16, refused);
    if (larvak_is_interrupt(L, -1)) lua_error(L); /* for whoever drives the loop */
    lua_pop(L, 1);
  }
}

void larvak_headers_set_cause(lua_State *L, const arvak_call *call) {
  if (arvak_call_outcome(call)->message != refused) return;
  larvak_cause_push(L, call);
  lua_setfield(L, -2, "cause");
}

void larvak_headers_open(lua_State *L) {
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &handles_key);
}
