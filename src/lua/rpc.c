/* The seven unary methods. Invariant: everything that can raise has happened before the call starts, and from then
 * on the wait owns it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "larvak.h"

enum { DEFAULT_SHOTS = 1024, MAX_BATCH = 50 };

/* What a canceled call may take to end: microseconds, but for a busy machine. */
#define CANCEL_NS 100000000

typedef struct method {
  const char *name;
  arvak_rpc rpc;
  int id_index;      /* of the backend or job id; 0: none */
  int options_index;
} method;

static const method methods[] = {
    {"submit_qasm", ARVAK_SUBMIT_JOB, 3, 4},      {"submit_batch", ARVAK_SUBMIT_BATCH, 3, 4},
    {"get_job_status", ARVAK_GET_JOB_STATUS, 2, 3}, {"get_job_result", ARVAK_GET_JOB_RESULT, 2, 3},
    {"cancel_job", ARVAK_CANCEL_JOB, 2, 3},       {"list_backends", ARVAK_LIST_BACKENDS, 0, 2},
    {"get_backend_info", ARVAK_GET_BACKEND_INFO, 2, 3},
};

/* ---- arguments ---- */

/* False: pushed nil and an error, for text that no server could take. */
static bool read_qasm(lua_State *L, int index, const char *name, arvak_circuit *out) {
  if (lua_type(L, index) != LUA_TSTRING)
    larvak_misuse(L, "%s: got %s, expected OpenQASM 3 text", name, larvak_describe(L, index));
  size_t size;
  out->qasm = lua_tolstring(L, index, &size);
  size_t bad = arvak_text_check(out->qasm, size);
  if (bad == size) return true;
  lua_pushnil(L);
  const char *what = out->qasm[bad] == '\0' ? "is NUL" : "is not UTF-8";
  lua_pushfstring(L, "%s: byte %I %s, expected UTF-8 text without NUL bytes", name, (LUAI_UACINT)bad + 1, what);
  larvak_push_error(L, ARVAK_KIND_INVALID_CIRCUIT, 3, lua_tostring(L, -1));
  lua_pushinteger(L, 0);
  lua_setfield(L, -2, "attempts");
  lua_remove(L, -2);
  return false;
}

static uint32_t read_shots(lua_State *L, int index, const char *name) {
  return (uint32_t)larvak_integer(L, index, name, DEFAULT_SHOTS, 0, UINT32_MAX);
}

/* Levels go from 0 to 3; the server takes more as 3 (contract 1.2), so that is not ours to refuse. */
static uint32_t read_level(lua_State *L, int index, const char *name) {
  return (uint32_t)larvak_integer(L, index, name, 0, 0, UINT32_MAX);
}

/* The options every method takes, and those of submits; the header table stays on the stack. */
static void read_options(lua_State *L, const method *m, const larvak_client *client, arvak_circuit *circuit,
                         larvak_call_options *out) {
  static const char *const submit_keys[] = {"timeout", "attempt_timeout", "queue_timeout", "metadata", "retry",
                                            "breaker", "shots", "optimization_level", NULL};
  static const char *const call_keys[] = {"timeout", "attempt_timeout", "queue_timeout", "metadata", "retry",
                                          "breaker", NULL};
  int index = m->options_index;
  memset(out, 0, sizeof *out);
  if (lua_isnoneornil(L, index)) return;
  if (circuit && lua_type(L, index) == LUA_TNUMBER) {
    circuit->shots = read_shots(L, index, "shots");
    return;
  }
  if (!lua_istable(L, index))
    larvak_misuse(L, "%s: got %s, expected %s", m->name, larvak_describe_type(L, index),
                  circuit ? "a number of shots or a table of options" : "a table of options");
  larvak_check_keys(L, index, m->name, circuit ? submit_keys : call_keys);
  if (circuit) {
    lua_getfield(L, index, "shots");
    circuit->shots = read_shots(L, -1, "shots");
    lua_getfield(L, index, "optimization_level");
    circuit->optimization_level = read_level(L, -1, "optimization_level");
    lua_pop(L, 2);
  }
  lua_getfield(L, index, "timeout");
  out->timeout_ns = larvak_seconds(L, -1, "timeout");
  lua_getfield(L, index, "attempt_timeout");
  out->attempt_timeout_ns = larvak_seconds(L, -1, "attempt_timeout");
  lua_getfield(L, index, "queue_timeout");
  out->queue_timeout_ns = larvak_seconds(L, -1, "queue_timeout");
  lua_pop(L, 3);
  larvak_read_policies(L, index, client, out);
  lua_getfield(L, index, "metadata");
  if (!lua_isnil(L, -1)) out->headers = larvak_headers(L, -1, 0, &out->header_count);
}

/* A breaker is what many calls share, so one call can name another or none, but not make one. */
static void read_breaker(lua_State *L, int index, larvak_call_options *out) {
  if (lua_getfield(L, index, "breaker") == LUA_TNIL) return;
  bool is_off = lua_isboolean(L, -1) && !lua_toboolean(L, -1);
  if (!is_off && !luaL_testudata(L, -1, LARVAK_BREAKER))
    larvak_misuse(L, "breaker: got %s, expected false or a breaker made by arvak.circuit_breaker",
                  larvak_describe(L, -1));
  out->breaker = larvak_breaker(L, -1, "breaker");
  out->has_breaker = true;
}

void larvak_read_policies(lua_State *L, int index, const larvak_client *client, larvak_call_options *out) {
  read_breaker(L, index, out);
  out->has_retry = lua_getfield(L, index, "retry") != LUA_TNIL;
  if (out->has_retry)
    out->retry = larvak_retry(L, -1, "retry", client->core ? arvak_client_address(client->core) : NULL);
}

/* {qasm, shots} and nothing else: an option by name beside it would be overlooked. */
static void check_list_entry(lua_State *L, int entry, const char *name) {
  for (lua_pushnil(L); lua_next(L, entry); lua_pop(L, 1)) {
    lua_Integer key = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
    if (key != 1 && key != 2)
      larvak_misuse(L, "%s: got the key %s beside {qasm, shots}; expected {qasm =, shots =, optimization_level =}",
                    name, larvak_describe(L, -2));
  }
}

/* One entry of a batch: {qasm, shots} or {qasm =, shots =, optimization_level =}. The text stays in the entry. */
bool larvak_read_entry(lua_State *L, int entry, lua_Integer i, arvak_circuit *out) {
  static const char *const keys[] = {"qasm", "shots", "optimization_level", NULL};
  const char *name = lua_pushfstring(L, "circuits[%I]", (LUAI_UACINT)i);
  out->optimization_level = 0;
  if (!lua_istable(L, entry))
    larvak_misuse(L, "%s: got %s, expected {qasm, shots} or {qasm =, shots =, optimization_level =}", name,
                  larvak_describe(L, entry));
  bool is_list = lua_rawgeti(L, entry, 1) != LUA_TNIL;
  if (is_list) check_list_entry(L, entry, name);
  if (!is_list) {
    larvak_check_keys(L, entry, name, keys);
    lua_getfield(L, entry, "qasm");
  }
  int at = lua_gettop(L);
  if (!read_qasm(L, at, lua_pushfstring(L, "%s.qasm", name), out)) return false;
  if (is_list) lua_rawgeti(L, entry, 2);
  else lua_getfield(L, entry, "shots");
  at = lua_gettop(L);
  out->shots = read_shots(L, at, lua_pushfstring(L, "%s.shots", name));
  if (is_list) return true;
  lua_getfield(L, entry, "optimization_level");
  at = lua_gettop(L);
  out->optimization_level = read_level(L, at, lua_pushfstring(L, "%s.optimization_level", name));
  return true;
}

/* False: pushed nil and an error. The circuits are a userdata left on the stack. */
static bool read_batch(lua_State *L, arvak_request *request) {
  if (!lua_istable(L, 2))
    larvak_misuse(L, "circuits: got %s, expected a list of circuits", larvak_describe(L, 2));
  lua_Unsigned n = lua_rawlen(L, 2);
  if (n > MAX_BATCH)
    larvak_misuse(L, "circuits: got %d, expected at most %d for one SubmitBatch (split = true sends several)", (int)n,
                  MAX_BATCH);
  arvak_circuit *circuits = lua_newuserdatauv(L, (n + 1) * sizeof *circuits, 0);
  for (lua_Unsigned i = 0; i < n; i++) {
    int top = lua_gettop(L);
    lua_rawgeti(L, 2, (lua_Integer)i + 1);
    if (!larvak_read_entry(L, top + 1, (lua_Integer)i + 1, &circuits[i])) return false;
    lua_settop(L, top);
  }
  request->circuits = circuits;
  request->circuit_count = n;
  return true;
}

/* ---- headers that functions give ---- */

/* Calls the function in user value uv of the client; false: pushed nil and an error of kind unauthenticated, since
 * what could not be had is a credential. Its result stays on the stack. */
static bool ask(lua_State *L, larvak_client *client, arvak_rpc rpc, int uv, const char *name) {
  if (lua_getiuservalue(L, 1, uv) == LUA_TNIL) return true;
  client->state->hook_depth++;
  int status = lua_pcall(L, 0, 1, 0);
  client->state->hook_depth--;
  if (status == LUA_OK) return true;
  lua_pushnil(L);
  lua_pushfstring(L, "the function given as %s raised an error, see cause", name);
  larvak_push_error(L, ARVAK_KIND_UNAUTHENTICATED, 16, lua_tostring(L, -1));
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

bool larvak_ask_headers(lua_State *L, larvak_client *client, arvak_rpc rpc, const arvak_header **headers,
                        size_t *count) {
  if (!client->has_functions) return true;
  size_t given_count;
  arvak_header key;
  if (!ask(L, client, rpc, 3, "metadata")) return false;
  const arvak_header *given = larvak_headers(L, -1, 0, &given_count);
  if (!ask(L, client, rpc, 2, "api_key")) return false;
  bool has_key = read_key(L, &key);
  arvak_header *all = lua_newuserdatauv(L, (*count + given_count + 1) * sizeof *all, 0);
  if (*count > 0) memcpy(all, *headers, *count * sizeof *all);
  *headers = all;
  if (has_key) add_header(all, count, key);
  for (size_t i = 0; i < given_count; i++) add_header(all, count, given[i]);
  return true;
}

/* ---- headers for further attempts ---- */

static const char handles_key = 0, causes_key = 0; /* in the registry; see below */

static const char refused[] = "a function given as api_key or metadata raised an error, see cause";

void larvak_note_handle(lua_State *L, int index) {
  index = lua_absindex(L, index);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &handles_key);
  lua_pushvalue(L, index);
  lua_rawsetp(L, -2, lua_touserdata(L, index));
  lua_pop(L, 1);
}

/* (lightuserdata call): asks, and lets the call go on. False and the error of what was asked. */
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
  if (client && !larvak_ask_headers(L, client, arvak_call_rpc(call), &headers, &count)) {
    lua_getfield(L, -1, "cause");
    return lua_error(L);
  }
  if (arvak_call_proceed(call, headers, count) == ARVAK_ENOMEM) return luaL_error(L, "not enough memory");
  return 0;
}

/* (lightuserdata call, error) */
static int note_cause(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &causes_key);
  lua_pushvalue(L, 2);
  lua_rawsetp(L, -2, lua_touserdata(L, 1));
  return 0;
}

void larvak_give_headers(lua_State *L, larvak_state *state) {
  arvak_call *call;
  while ((call = arvak_loop_next_asking(state->loop))) {
    lua_pushcfunction(L, give);
    lua_pushlightuserdata(L, call);
    int status = lua_pcall(L, 1, 0, 0);
    if (status == LUA_ERRMEM) lua_error(L); /* it is asked again */
    if (status == LUA_OK) continue;
    lua_pushcfunction(L, note_cause);
    lua_insert(L, -2);
    lua_pushlightuserdata(L, call);
    lua_insert(L, -2);
    lua_call(L, 2, 0);
    arvak_call_refuse(call, ARVAK_KIND_UNAUTHENTICATED, 16, refused);
  }
}

void larvak_set_cause(lua_State *L, const arvak_call *call) {
  if (arvak_call_outcome(call)->message != refused) return;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &causes_key);
  lua_rawgetp(L, -1, call);
  lua_setfield(L, -3, "cause");
  lua_pushnil(L);
  lua_rawsetp(L, -2, call);
  lua_pop(L, 1);
}

/* handles: userdata of clients with functions, by address, weak; causes: what such functions raised, by call. */
static void open_headers(lua_State *L) {
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &handles_key);
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &causes_key);
}

/* ---- calls ---- */

/* Reads the arguments of m. False: pushed nil and an error. */
static bool read_call(lua_State *L, const method *m, larvak_client *client, arvak_request *request,
                      arvak_circuit *circuit, larvak_call_options *options) {
  memset(request, 0, sizeof *request);
  memset(circuit, 0, sizeof *circuit);
  request->rpc = m->rpc;
  bool is_submit = m->rpc == ARVAK_SUBMIT_JOB, is_batch = m->rpc == ARVAK_SUBMIT_BATCH;
  if (is_submit) {
    circuit->shots = DEFAULT_SHOTS;
    request->circuits = circuit;
    request->circuit_count = 1;
    if (!read_qasm(L, 2, "qasm", circuit)) return false;
  }
  if (m->id_index > 0)
    request->id = larvak_text(L, m->id_index,
                              is_submit || is_batch || m->rpc == ARVAK_GET_BACKEND_INFO ? "backend_id" : "job_id");
  read_options(L, m, client, is_submit ? circuit : NULL, options);
  if (is_batch && !read_batch(L, request)) return false;
  options->fixed_header_count = options->header_count;
  return larvak_ask_headers(L, client, m->rpc, &options->headers, &options->header_count);
}

int larvak_push_closed(lua_State *L) {
  lua_pushnil(L);
  larvak_push_error(L, ARVAK_KIND_CLOSED, 1, "the client was closed");
  return 2;
}

static larvak_wait *start(lua_State *L, larvak_client *client, const arvak_request *request,
                          const larvak_call_options *options) {
  if (!client->core) { /* by a finalizer, or by a function that was asked for a header */
    larvak_push_closed(L);
    return NULL;
  }
  arvak_loop *loop = larvak_loop_get(L, client->state);
  larvak_wait *wait = larvak_wait_new(L, client->state);
  wait->rpc = request->rpc;
  arvak_call_options call = {.timeout_ns = options->timeout_ns,
                             .attempt_timeout_ns = options->attempt_timeout_ns,
                             .queue_timeout_ns = options->queue_timeout_ns,
                             .headers = options->headers,
                             .header_count = options->header_count,
                             .fixed_header_count = options->fixed_header_count,
                             .asks_headers = client->has_functions,
                             .retry = options->has_retry ? options->retry : client->retry,
                             .breaker = options->has_breaker ? options->breaker : client->breaker,
                             .owner = client,
                             .fn = larvak_on_call_end,
                             .ud = wait};
  int status = arvak_call_start(loop, client->core, request, &call, &wait->call);
  if (status == ARVAK_OK) return wait;
  larvak_wait_free(wait);
  if (status == ARVAK_EFORKED) {
    lua_pushnil(L);
    larvak_push_forked(L);
    return NULL;
  }
  luaL_error(L, status == ARVAK_ENOMEM ? "not enough memory" : "the call could not be started (%d)", status);
  return NULL;
}

/* In a canceled task nothing is sent any more. */
static larvak_wait *refuse_canceled(lua_State *L, larvak_state *state, arvak_rpc rpc) {
  larvak_loop_get(L, state);
  larvak_wait *wait = larvak_wait_new(L, state);
  wait->rpc = rpc;
  return wait;
}

/* Upvalue 1: the method, 2: whether it is called by the library itself, for which a closed client is an outcome and
 * no misuse. Suspends or blocks; value, or nil and error. */
static int rpc_call(lua_State *L) {
  const method *m = lua_touserdata(L, lua_upvalueindex(1));
  larvak_client *client = luaL_testudata(L, 1, LARVAK_CLIENT);
  if (client && !client->core && lua_toboolean(L, lua_upvalueindex(2))) return larvak_push_closed(L);
  client = larvak_client_check(L, 1, m->name);
  bool is_foreign = larvak_check_wait(L, client->state, m->name);
  luaL_checkstack(L, 30, NULL);
  lua_settop(L, m->options_index);
  arvak_request request;
  arvak_circuit circuit;
  larvak_call_options options;
  if (!read_call(L, m, client, &request, &circuit, &options)) return 2;
  larvak_task *task = client->state->current;
  bool is_canceled = task && task->is_canceled;
  larvak_wait *wait = is_canceled ? refuse_canceled(L, client->state, m->rpc) : start(L, client, &request, &options);
  if (wait) return larvak_await(L, wait, is_foreign);
  larvak_notice(client->state);
  return 2;
}

/* The same, at once: a ticket, whose end is reported as call_end(ticket, value | nil, err); or nil and error. */
static int rpc_start(lua_State *L) {
  const method *m = lua_touserdata(L, lua_upvalueindex(1));
  larvak_client *client = larvak_client_check(L, 1, m->name);
  luaL_checkstack(L, 30, NULL);
  lua_settop(L, m->options_index);
  arvak_request request;
  arvak_circuit circuit;
  larvak_call_options options;
  if (!read_call(L, m, client, &request, &circuit, &options)) return 2;
  larvak_attend(L, client->state);
  larvak_wait *wait = start(L, client, &request, &options);
  larvak_notice(client->state);
  if (!wait) return 2;
  wait->is_detached = true;
  lua_pushinteger(L, larvak_ticket(wait));
  return 1;
}

/* cancel_call(ticket): a canceled call ends at once, and its end is reported before this returns. At once can be a
 * moment later when another thread of gRPC's is busy with the connection just then; that moment is waited for. */
static int rpc_cancel(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  larvak_wait *wait = larvak_wait_find(state, luaL_checkinteger(L, 1));
  if (!wait || !wait->call) return 0;
  arvak_call_cancel(wait->call, ARVAK_KIND_CANCELED);
  int64_t now = arvak_now_ns(), end = now + CANCEL_NS;
  for (; now < end && wait->reason == REASON_PENDING; now = arvak_now_ns())
    arvak_loop_step(state->loop, now + CANCEL_NS / 100);
  larvak_report_calls(L, state);
  return 0;
}

/* check_batch(circuits): every entry of a list of any length; true, or nil and the error of the first text that no
 * server could take. Raises on misuse. */
static int rpc_check_batch(lua_State *L) {
  luaL_checkstack(L, 20, NULL);
  arvak_circuit circuit;
  lua_settop(L, 1);
  lua_pushnil(L); /* 2: the first error */
  lua_Integer n = (lua_Integer)lua_rawlen(L, 1);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, 1, i);
    if (!larvak_read_entry(L, 3, i, &circuit) && lua_isnil(L, 2)) lua_replace(L, 2);
    lua_settop(L, 2);
  }
  lua_pushboolean(L, 1);
  if (lua_isnil(L, 2)) return 1;
  lua_pushnil(L);
  lua_pushvalue(L, 2);
  return 2;
}

/* is_sent(ticket): whether an attempt of this call has been handed to gRPC. */
static int rpc_is_sent(lua_State *L) {
  larvak_wait *wait = larvak_wait_find(larvak_state_get(L), luaL_checkinteger(L, 1));
  lua_pushboolean(L, !wait || !wait->call || arvak_call_is_sent(wait->call));
  return 1;
}

static void set_methods(lua_State *L, const char *field, lua_CFunction fn, bool is_internal) {
  lua_newtable(L);
  for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
    lua_pushlightuserdata(L, (void *)&methods[i]);
    lua_pushboolean(L, is_internal);
    lua_pushcclosure(L, fn, 2);
    lua_setfield(L, -2, methods[i].name);
  }
  lua_setfield(L, -2, field);
}

int larvak_open_rpc(lua_State *L) {
  open_headers(L);
  set_methods(L, "call", rpc_call, false);
  set_methods(L, "try", rpc_call, true);
  set_methods(L, "start", rpc_start, false);
  lua_pushcfunction(L, rpc_cancel);
  lua_setfield(L, -2, "cancel_call");
  lua_pushcfunction(L, rpc_is_sent);
  lua_setfield(L, -2, "is_sent");
  lua_pushcfunction(L, rpc_check_batch);
  lua_setfield(L, -2, "check_batch");
  return 0;
}
