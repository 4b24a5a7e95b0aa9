/* The seven unary methods. Invariant: everything that can raise has happened before the call starts, and from then
 * on the wait owns it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "unary.h"

#include <lauxlib.h>
#include <string.h>

#include "await.h"
#include "call_policies.h"
#include "client.h"
#include "closing.h"
#include "entry.h"
#include "errors.h"
#include "headers.h"
#include "interrupt.h"
#include "quota.h"
#include "misuse.h"
#include "names.h"
#include "options.h"
#include "outcome.h"
#include "ready.h"
#include "state.h"
#include "taken.h"
#include "upcall.h"
#include "wait.h"
#include "work.h"

/* What a canceled call may take to end: microseconds, but for a busy machine. */
#define CANCEL_NS 500000000
enum { MAX_LABEL = 1000 }; /* bytes */

typedef struct method {
  const char *name, *parameters;
  arvak_rpc rpc;
  int id_index;      /* of the backend or job id; 0: none */
  int options_index;
} method;

static const method methods[] = {
    {"submit_qasm", "qasm, backend_id, options", ARVAK_SUBMIT_JOB, 3, 4},
    {"submit_batch", "circuits, backend_id, options", ARVAK_SUBMIT_BATCH, 3, 4},
    {"get_job_status", "job_id, options", ARVAK_GET_JOB_STATUS, 2, 3},
    {"get_job_result", "job_id, options", ARVAK_GET_JOB_RESULT, 2, 3},
    {"cancel_job", "job_id, options", ARVAK_CANCEL_JOB, 2, 3},
    {"list_backends", "options", ARVAK_LIST_BACKENDS, 0, 2},
    {"get_backend_info", "backend_id, options", ARVAK_GET_BACKEND_INFO, 2, 3},
};

typedef struct call_options {
  int64_t timeout_ns, attempt_timeout_ns, queue_timeout_ns;
  const arvak_header *headers; /* a userdata left on the stack; values borrowed from the table */
  size_t header_count, fixed_header_count;
  larvak_call_policies policies;
  int64_t not_before_ns;
  const char *label; /* of a submit, for a ledger; borrowed from the stack, or NULL */
} call_options;

/* ---- arguments ---- */

/* The host's longest times, in place of longer defaults as well. */
static void limit_times(lua_State *L, const larvak_client *client, call_options *out) {
  if (!client->limits) return;
  const arvak_lua_limits *most = &client->limits->most;
  int64_t standard = client->core ? arvak_client_timeout_ns(client->core) : 0;
  out->timeout_ns = larvak_quota_time(L, "timeout", out->timeout_ns, standard, most->max_timeout_ns);
  if (out->attempt_timeout_ns > 0)
    larvak_quota_time(L, "attempt_timeout", out->attempt_timeout_ns, 0, most->max_timeout_ns);
  out->queue_timeout_ns = larvak_quota_time(L, "queue_timeout", out->queue_timeout_ns, 0, most->max_queue_timeout_ns);
}

/* A label stays on the stack. */
static void read_label(lua_State *L, int index, call_options *out) {
  if (larvak_taken_field(L, index, "label") == LUA_TNIL) return;
  out->label = larvak_option_text(L, -1, "label");
  if (strlen(out->label) > MAX_LABEL)
    larvak_misuse(L, "label: got a text of %I bytes, expected %d at most", (LUAI_UACINT)strlen(out->label), MAX_LABEL);
}

/* The options every method takes, and those of submits; the header table stays on the stack. */
static void read_options(lua_State *L, const method *m, const larvak_client *client, arvak_circuit *circuit,
                         call_options *out) {
  static const char *const submit_keys[] = {"timeout", "attempt_timeout", "queue_timeout", "metadata", "retry",
                                            "breaker", "label", "shots", "optimization_level", NULL};
  static const char *const batch_keys[] = {"timeout", "attempt_timeout", "queue_timeout", "metadata", "retry",
                                           "breaker", "label", NULL};
  static const char *const call_keys[] = {"timeout", "attempt_timeout", "queue_timeout", "metadata", "retry",
                                          "breaker", NULL};
  int index = m->options_index;
  memset(out, 0, sizeof *out);
  if (lua_isnoneornil(L, index)) {
    limit_times(L, client, out);
    return;
  }
  if (circuit && lua_type(L, index) == LUA_TNUMBER) {
    limit_times(L, client, out);
    circuit->shots = larvak_entry_read_shots(L, index, "shots");
    return;
  }
  if (!lua_istable(L, index))
    larvak_misuse(L, "%s: got %s, expected %s", m->name,
                  circuit ? larvak_describe(L, index) : larvak_describe_type(L, index),
                  circuit ? "a number of shots or a table of options" : "a table of options");
  bool is_batch = m->rpc == ARVAK_SUBMIT_BATCH;
  larvak_options_check(L, index, m->name, circuit ? submit_keys : is_batch ? batch_keys : call_keys);
  if (circuit) {
    larvak_taken_field(L, index, "shots");
    circuit->shots = larvak_entry_read_shots(L, -1, "shots");
    larvak_taken_field(L, index, "optimization_level");
    circuit->optimization_level = larvak_entry_read_level(L, -1, "optimization_level");
    lua_pop(L, 2);
  }
  larvak_taken_field(L, index, "timeout");
  out->timeout_ns = larvak_option_seconds(L, -1, "timeout");
  larvak_taken_field(L, index, "attempt_timeout");
  out->attempt_timeout_ns = larvak_option_seconds(L, -1, "attempt_timeout");
  larvak_taken_field(L, index, "queue_timeout");
  out->queue_timeout_ns = larvak_option_seconds(L, -1, "queue_timeout");
  lua_pop(L, 3);
  limit_times(L, client, out);
  if (circuit || is_batch) read_label(L, index, out);
  larvak_call_policies_read(L, index, client, &out->policies);
  larvak_taken_field(L, index, "metadata");
  if (!lua_isnil(L, -1)) out->headers = larvak_option_headers(L, -1, 0, &out->header_count);
  if (client->limits && client->core)
    larvak_quota_headers(L, client->limits, client->core, out->headers, out->header_count);
}

/* Reads the arguments of m, but for headers that functions give. False: pushed nil and an error. */
static bool read_arguments(lua_State *L, const method *m, larvak_client *client, arvak_request *request,
                           arvak_circuit *circuit, call_options *options) {
  int count = lua_gettop(L);
  if (count > m->options_index) larvak_misuse_check_count(L, m->name, count, 2, m->options_index, m->parameters);
  luaL_checkstack(L, 30, NULL);
  lua_settop(L, m->options_index);
  memset(request, 0, sizeof *request);
  memset(circuit, 0, sizeof *circuit);
  request->rpc = m->rpc;
  bool is_submit = m->rpc == ARVAK_SUBMIT_JOB, is_batch = m->rpc == ARVAK_SUBMIT_BATCH;
  if (is_submit) {
    circuit->shots = LARVAK_DEFAULT_SHOTS;
    request->circuits = circuit;
    request->circuit_count = 1;
    if (!larvak_entry_read_qasm(L, 2, "qasm", circuit)) return false;
  }
  if (m->id_index > 0)
    request->id = larvak_option_text(
        L, m->id_index, is_submit || is_batch || m->rpc == ARVAK_GET_BACKEND_INFO ? "backend_id" : "job_id");
  read_options(L, m, client, is_submit ? circuit : NULL, options);
  if (is_batch && !larvak_entries_read(L, 2, request)) return false;
  options->fixed_header_count = options->header_count;
  return true;
}

static bool read_call(lua_State *L, const method *m, larvak_client *client, arvak_request *request,
                      arvak_circuit *circuit, call_options *options) {
  return read_arguments(L, m, client, request, circuit, options) &&
         (!client->has_functions ||
          larvak_headers_add(L, client, m->rpc, &options->headers, &options->header_count));
}

/* ---- calls ---- */

static size_t measure_circuits(const arvak_request *request) {
  size_t bytes = 0;
  for (size_t i = 0; i < request->circuit_count; i++) bytes += strlen(request->circuits[i].qasm);
  return bytes;
}

static void measure(const arvak_request *request, const call_options *options, larvak_load *out) {
  *out = (larvak_load){.rpc = request->rpc, .backend_id = request->id, .jobs = (int)request->circuit_count};
  out->bytes = measure_circuits(request);
  for (size_t i = 0; i < request->circuit_count; i++) out->shots += request->circuits[i].shots;
  out->other_bytes = request->id ? strlen(request->id) : 0;
  for (size_t i = 0; i < options->header_count; i++)
    out->other_bytes += strlen(options->headers[i].name) + options->headers[i].value.size;
}

#define QUEUE_TIMEOUT_NS 300000000000 /* where neither the call nor the host says how long it may wait */

/* Whether the host's limits let the call begin. False: pushed nil and an error. */
static bool admit(lua_State *L, larvak_client *client, const arvak_request *request, call_options *options,
                  bool is_future, larvak_load *load) {
  larvak_quota *limits = client->limits;
  measure(request, options, load);
  if (request->rpc == ARVAK_CANCEL_JOB && !larvak_quota_may_cancel(L, limits, request->id)) {
    larvak_quota_push_refusal(L, request->rpc, "this plugin may cancel the jobs alone that it has submitted");
    lua_pushstring(L, arvak_kind_name(ARVAK_KIND_NOT_CANCELABLE));
    lua_setfield(L, -2, "kind");
    return false;
  }
  int64_t patience = options->queue_timeout_ns > 0 ? options->queue_timeout_ns : QUEUE_TIMEOUT_NS;
  const char *reason =
      larvak_quota_admit(limits, load, is_future, arvak_now_ns() + patience, &options->not_before_ns);
  if (reason) larvak_quota_push_refusal(L, request->rpc, reason);
  return !reason;
}

/* ---- notes of jobs ---- */

static bool is_about_jobs(arvak_rpc rpc) { return rpc != ARVAK_LIST_BACKENDS && rpc != ARVAK_GET_BACKEND_INFO; }

/* (keeper, wait, request, label or nil), three of them light. */
static int tell_keeper(lua_State *L) {
  larvak_wait *wait = lua_touserdata(L, 2);
  const arvak_request *request = lua_touserdata(L, 3);
  larvak_upcall_push(L, UPCALL_JOB_BEGUN);
  lua_pushvalue(L, 1);
  lua_pushinteger(L, larvak_wait_ticket(wait));
  lua_pushstring(L, arvak_rpc_name(request->rpc));
  lua_pushstring(L, request->id);
  lua_createtable(L, (int)request->circuit_count, 0);
  for (size_t i = 0; i < request->circuit_count; i++) {
    lua_pushinteger(L, request->circuits[i].shots);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_pushstring(L, lua_touserdata(L, 4));
  lua_call(L, 6, 0);
  return 0;
}

/* Tells whoever keeps notes of the client's jobs, the client being at index 1. Raises, and frees the wait, when out of
 * memory. */
static void note(lua_State *L, larvak_wait *wait, const arvak_request *request, const call_options *options) {
  if (!is_about_jobs(request->rpc) || lua_getiuservalue(L, 1, LARVAK_CLIENT_KEEPER) == LUA_TNIL) return;
  lua_pushcfunction(L, tell_keeper);
  lua_insert(L, -2);
  lua_pushlightuserdata(L, wait);
  lua_pushlightuserdata(L, (void *)request);
  lua_pushlightuserdata(L, (void *)options->label);
  wait->is_noted = true;
  if (lua_pcall(L, 4, 0, 0) == LUA_OK) return;
  larvak_wait_free(wait);
  lua_error(L);
}

static larvak_wait *start(lua_State *L, larvak_client *client, const arvak_request *request, call_options *options,
                          bool is_future) {
  larvak_load load;
  bool is_closed = !client->core; /* by a finalizer, or by a function that gives headers */
  if (is_closed || larvak_is_closing(L, client->state)) {
    larvak_error_push_closed(L);
    return NULL;
  }
  if (client->limits && !admit(L, client, request, options, is_future, &load)) return NULL;
  larvak_wait *wait = larvak_wait_new(L, client->state);
  wait->rpc = request->rpc;
  wait->circuit_bytes = measure_circuits(request);
  wait->may_have_cause = client->has_functions;
  note(L, wait, request, options);
  if (!client->core) { /* by a finalizer, meanwhile */
    larvak_wait_free(wait);
    larvak_error_push_closed(L);
    return NULL;
  }
  if (client->limits) larvak_quota_begin(client->limits, &wait->charge, &load, is_future);
  arvak_call_options call = {.timeout_ns = options->timeout_ns,
                             .attempt_timeout_ns = options->attempt_timeout_ns,
                             .queue_timeout_ns = options->queue_timeout_ns,
                             .headers = options->headers,
                             .header_count = options->header_count,
                             .fixed_header_count = options->fixed_header_count,
                             .asks_headers = client->has_functions,
                             .share = client->limits ? client->limits->share : NULL,
                             .not_before_ns = options->not_before_ns,
                             .is_guest = client->limits != NULL,
                             .owner = client,
                             .fn = larvak_wait_on_call_end,
                             .ud = wait};
  larvak_call_policies_set(&options->policies, client, &call);
  int status = arvak_call_start(client->state->loop, client->core, request, &call, &wait->call);
  if (status == ARVAK_OK) return wait;
  larvak_wait_free(wait);
  if (status == ARVAK_EFORKED) {
    lua_pushnil(L);
    larvak_error_push_forked(L);
    return NULL;
  }
  if (status == ARVAK_ENOMEM) larvak_no_memory(L);
  luaL_error(L, "the call could not be started (%d)", status);
  return NULL;
}

/* In a canceled task nothing is sent any more, and nothing is waited for while the state closes. */
static larvak_wait *refuse_canceled(lua_State *L, larvak_state *state, arvak_rpc rpc) {
  larvak_loop_get(L, state);
  larvak_wait *wait = larvak_wait_new(L, state);
  wait->rpc = rpc;
  return wait;
}

/* Upvalue 1: the method, 2: whether it is called by the library itself, for which a closed client is an outcome and
 * no misuse. Suspends or blocks; value, or nil and error. */
static int unary_call(lua_State *L) {
  const method *m = lua_touserdata(L, lua_upvalueindex(1));
  larvak_client *client = luaL_testudata(L, 1, LARVAK_CLIENT);
  if (!client || !client->core) {
    bool is_internal = client && lua_toboolean(L, lua_upvalueindex(2));
    return is_internal ? larvak_error_push_closed(L) : larvak_client_refuse(L, 1, m->name);
  }
  larvak_waiting waiting = larvak_await_check(L, client->state, m->name);
  arvak_request request;
  arvak_circuit circuit;
  call_options options;
  if (!read_call(L, m, client, &request, &circuit, &options)) return 2;
  larvak_task *task = client->state->tasks.current;
  bool is_canceled = (task && task->is_canceled) || waiting == WAITING_NOT;
  larvak_wait *wait = is_canceled ? refuse_canceled(L, client->state, m->rpc)
                                  : start(L, client, &request, &options, false);
  return wait ? larvak_await(L, wait, waiting) : 2;
}

/* The same, at once: a ticket, whose end is reported as call_end(ticket, value | nil, err); or nil and error. */
static int unary_start(lua_State *L) {
  const method *m = lua_touserdata(L, lua_upvalueindex(1));
  larvak_client *client = larvak_client_check(L, 1, m->name);
  arvak_request request;
  arvak_circuit circuit;
  call_options options;
  if (!read_call(L, m, client, &request, &circuit, &options)) return 2;
  larvak_loop_get(L, client->state);
  larvak_work_watch(L, client->state);
  larvak_wait *wait = start(L, client, &request, &options, true);
  larvak_work_changed(client->state); /* catching up with the connections may have brought ends of others */
  if (!wait) return 2;
  wait->waiter = WAITER_LAYER;
  lua_pushinteger(L, larvak_wait_ticket(wait));
  return 1;
}

/* The same, without sending: raises what is wrong with the arguments. Of text that no server could take it says
 * nothing. */
static int unary_check(lua_State *L) {
  const method *m = lua_touserdata(L, lua_upvalueindex(1));
  larvak_client *client = larvak_client_check(L, 1, m->name);
  arvak_request request;
  arvak_circuit circuit;
  call_options options;
  read_arguments(L, m, client, &request, &circuit, &options);
  return 0;
}

/* cancel_call(ticket): a canceled call ends at once, and its end is reported before this returns. At once can be a
 * moment later when another thread of gRPC's is busy with the connection just then; that moment is waited for. While
 * the state closes nothing is stepped, and the end comes with the state's. */
static int unary_cancel(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  larvak_wait *wait = larvak_wait_find(state, luaL_checkinteger(L, 1));
  if (!wait || !wait->call || wait->waiter != WAITER_LAYER) return 0;
  arvak_call_cancel(wait->call, ARVAK_KIND_CANCELED);
  bool is_closing = larvak_is_closing(L, state);
  int64_t now = arvak_now_ns(), end = is_closing ? now : now + CANCEL_NS;
  for (; now < end && wait->at == WAIT_PENDING && !larvak_interrupt_is_set(state); now = arvak_now_ns())
    arvak_loop_step(state->loop, now + CANCEL_NS / 100);
  larvak_work_changed(state);
  if (!is_closing) larvak_outcomes_report(L, state);
  return 0;
}

/* is_sent(ticket): whether an attempt of this call has been handed to gRPC. */
static int unary_is_sent(lua_State *L) {
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

void larvak_unary_open(lua_State *L) {
  set_methods(L, "call", unary_call, false);
  set_methods(L, "try", unary_call, true);
  set_methods(L, "start", unary_start, false);
  set_methods(L, "check", unary_check, false);
  lua_pushcfunction(L, unary_cancel);
  lua_setfield(L, -2, "cancel_call");
  lua_pushcfunction(L, unary_is_sent);
  lua_setfield(L, -2, "is_sent");
}
