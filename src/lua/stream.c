/* Streams of the core for the Lua layer: each step by itself, so that reading and writing can be interleaved there.
 * Invariant: one wait at most is held up by a stream; it is named by its ticket, since it may end otherwise.
 * User value 1: the client's handle, which must not be collected under its streams.
 * SPDX-License-Identifier: Apache-2.0 */
#include "stream.h"

#include <lauxlib.h>
#include <string.h>

#include "await.h"
#include "call_policies.h"
#include "client.h"
#include "closing.h"
#include "entry.h"
#include "errors.h"
#include "headers.h"
#include "hooks.h"
#include "quota.h"
#include "misuse.h"
#include "names.h"
#include "options.h"
#include "record.h"
#include "state.h"
#include "taken.h"
#include "wait.h"
#include "work.h"

#define RAW_STREAM "arvak.raw_stream"

typedef struct raw_stream {
  arvak_stream *core; /* owned; NULL before it started */
  larvak_state *state;
  lua_Integer ticket; /* of the wait for a change; 0: none */
  bool has_changed;   /* since the last wait */
  larvak_quota *limits; /* shared while it counts as open, else NULL */
} raw_stream;

/* As the state closes, finalizers may still hold a stream whose own has run. */
static raw_stream *check(lua_State *L) {
  raw_stream *raw = luaL_checkudata(L, 1, RAW_STREAM);
  if (!raw->core) larvak_misuse(L, "the Lua state is closing");
  return raw;
}

static void on_change(arvak_stream *core, void *ud) {
  (void)core;
  raw_stream *raw = ud;
  larvak_wait *wait = larvak_wait_find(raw->state, raw->ticket);
  if (wait) larvak_wait_end(wait, REASON_DONE);
  else raw->has_changed = true;
  raw->ticket = 0;
}

/* It is not open any more, for the host's limits. */
static void leave(raw_stream *raw) {
  larvak_quota *limits = raw->limits;
  raw->limits = NULL;
  if (!limits) return;
  limits->streams--;
  larvak_quota_unref(limits);
}

static int stream_gc(lua_State *L) {
  raw_stream *raw = luaL_checkudata(L, 1, RAW_STREAM);
  leave(raw);
  if (raw->core) arvak_stream_release(raw->core);
  raw->core = NULL;
  return 0;
}

/* ---- opening ---- */

static void read_options(lua_State *L, int index, const larvak_client *client, arvak_request *request,
                         arvak_call_options *out, larvak_call_policies *policies) {
  const larvak_quota *limits = client->limits;
  int64_t most_ns = limits ? limits->most.max_wait_ns : 0;
  if (lua_isnoneornil(L, index)) {
    out->timeout_ns = most_ns;
    return;
  }
  larvak_call_policies_read(L, index, client, policies);
  larvak_taken_field(L, index, "chunk_size");
  request->chunk_size = (uint32_t)larvak_option_integer(L, -1, "chunk_size", 0, 0, UINT32_MAX);
  larvak_taken_field(L, index, "timeout");
  out->timeout_ns = larvak_quota_time(L, "timeout", larvak_option_seconds(L, -1, "timeout"), 0, most_ns);
  larvak_taken_field(L, index, "metadata");
  if (!lua_isnil(L, -1)) out->headers = larvak_option_headers(L, -1, 0, &out->header_count);
  if (limits && client->core) larvak_quota_headers(L, limits, client->core, out->headers, out->header_count);
}

static raw_stream *push_raw(lua_State *L, larvak_client *client) {
  raw_stream *raw = lua_newuserdatauv(L, sizeof *raw, 1);
  memset(raw, 0, sizeof *raw);
  raw->state = client->state;
  luaL_setmetatable(L, RAW_STREAM);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  return raw;
}

static int push_refused(lua_State *L, const larvak_client *client, arvak_rpc rpc, arvak_breaker *breaker) {
  arvak_breaker_info info;
  arvak_breaker_get_info(breaker, arvak_now_ns(), &info);
  arvak_outcome outcome = {0};
  arvak_breaker_explain(info.retry_after_ns, &outcome);
  const char *address = lua_pushstring(L, arvak_client_address(client->core)); /* which a finalizer may close */
  lua_pushnil(L);
  larvak_error_push_failure(L, rpc, address, &outcome);
  return 2;
}

/* Why the host lets this plugin open no such stream now, or NULL. */
static const char *find_refusal(const larvak_quota *limits, arvak_rpc rpc) {
  if (limits->most.max_streams > 0 && limits->streams >= limits->most.max_streams)
    return "as many of this plugin's streams are open as the host allows";
  if (limits->most.submit_rate > 0 && rpc == ARVAK_SUBMIT_BATCH_STREAM)
    return "a plugin with a rate of submits of its own submits no streams; use calls";
  return NULL;
}

static int refuse(lua_State *L, larvak_quota *limits, arvak_rpc rpc, const char *reason) {
  larvak_quota_count(limits, &(arvak_lua_stats){.refused = 1});
  return larvak_quota_push_refusal(L, rpc, reason);
}

/* stream_open(client, method, job id | nil, options | nil): a raw stream, or nil and error. */
static int stream_open(lua_State *L) {
  static const char *const methods[] = {"watch_job", "stream_results", "submit_batch_stream", NULL};
  const char *method = luaL_checkstring(L, 2);
  larvak_client *client = larvak_client_check(L, 1, method);
  arvak_loop *loop = larvak_loop_get(L, client->state);
  luaL_checkstack(L, 20, NULL);
  lua_settop(L, 4);
  arvak_request request = {.rpc = (arvak_rpc)(ARVAK_WATCH_JOB + luaL_checkoption(L, 2, NULL, methods))};
  arvak_call_options options = {.owner = client};
  if (request.rpc != ARVAK_SUBMIT_BATCH_STREAM) request.id = larvak_option_text(L, 3, "job_id");
  larvak_call_policies policies = {0};
  read_options(L, 4, client, &request, &options, &policies);
  if (larvak_is_closing(L, client->state)) return larvak_error_push_closed(L); /* nobody would free it */
  const char *refusal = client->limits ? find_refusal(client->limits, request.rpc) : NULL;
  if (refusal) return refuse(L, client->limits, request.rpc, refusal);
  if (client->has_functions &&
      !larvak_headers_add(L, client, request.rpc, &options.headers, &options.header_count)) return 2;
  raw_stream *raw = push_raw(L, client);
  larvak_work_watch(L, client->state);
  if (!client->core) return larvak_error_push_closed(L); /* by a finalizer, or a function that gives headers */
  options.ud = raw;
  options.is_guest = client->limits != NULL;
  larvak_call_policies_set(&policies, client, &options);
  int status = arvak_stream_start(loop, client->core, &request, &options, on_change, &raw->core);
  larvak_work_changed(client->state);
  if (status == ARVAK_EREFUSED) return push_refused(L, client, request.rpc, options.breaker);
  larvak_hooks_tell(L, client->state);
  if (status == ARVAK_OK) {
    raw->limits = client->limits ? larvak_quota_ref(client->limits) : NULL;
    if (raw->limits) raw->limits->streams++;
    return 1;
  }
  lua_pushnil(L);
  if (status == ARVAK_EFORKED) larvak_error_push_forked(L);
  else return status == ARVAK_ENOMEM ? larvak_no_memory(L) : luaL_error(L, "the stream could not be started");
  return 2;
}

/* ---- steps ---- */

/* stream_read(raw): requests a message, unless one is requested already. */
static int stream_read(lua_State *L) {
  arvak_stream_read(check(L)->core);
  return 0;
}

static int push_taken(lua_State *L, arvak_response *message) {
  lua_settop(L, 0);
  lua_pushliteral(L, "message");
  lua_pushcfunction(L, larvak_record_push_message);
  lua_pushlightuserdata(L, message);
  int status = lua_pcall(L, 1, LUA_MULTRET, 0);
  arvak_response_unref(message);
  if (status != LUA_OK) return lua_error(L);
  return lua_gettop(L);
}

static void note(lua_State *L, larvak_quota *limits, const arvak_response *message) {
  bool is_job = message->rpc == ARVAK_SUBMIT_BATCH_STREAM && message->as.batch.event == ARVAK_BATCH_SUBMITTED;
  larvak_quota_count(limits, &(arvak_lua_stats){.jobs = is_job, .bytes_received = arvak_response_size_bytes(message)});
  if (is_job) larvak_quota_note_job(L, limits, message->as.batch.job_id);
}

/* (lightuserdata raw, lightuserdata message) */
static int note_protected(lua_State *L) {
  raw_stream *raw = lua_touserdata(L, 1);
  if (raw->limits) note(L, raw->limits, lua_touserdata(L, 2));
  return 0;
}

/* One message for each stream is held beside what Lua knows. Takes the message. */
static int take(lua_State *L, raw_stream *raw, arvak_response *message) {
  size_t most = raw->limits ? raw->limits->most.max_answer_bytes : 0;
  if (most > 0 && arvak_response_size_bytes(message) > most) {
    arvak_response_unref(message);
    arvak_stream_cancel(raw->core, ARVAK_KIND_CANCELED);
    lua_pushliteral(L, "end");
    refuse(L, raw->limits, arvak_stream_rpc(raw->core), "this message is larger than what the host lets a plugin hold");
    lua_remove(L, -2);
    leave(raw);
    return 2;
  }
  lua_pushcfunction(L, note_protected);
  lua_pushlightuserdata(L, raw);
  lua_pushlightuserdata(L, message);
  if (lua_pcall(L, 2, 0, 0) == LUA_OK) return push_taken(L, message);
  arvak_response_unref(message);
  return lua_error(L);
}

/* stream_take(raw): "message" and its values; "end" and an error or nil; nil when neither has come yet. */
static int stream_take(lua_State *L) {
  raw_stream *raw = check(L);
  luaL_checkstack(L, 10, NULL);
  arvak_response *message = arvak_stream_take(raw->core);
  if (message) return take(L, raw, message);
  const arvak_outcome *outcome = arvak_stream_outcome(raw->core);
  if (!outcome) return 0;
  leave(raw);
  lua_pushliteral(L, "end");
  if (outcome->kind == ARVAK_KIND_NONE) return 1;
  larvak_error_push_failure(L, arvak_stream_rpc(raw->core), arvak_stream_address(raw->core), outcome);
  return 2;
}

/* stream_plan_retry(raw, attempts): in how many seconds its policy opens another in its place; nil: it does not. */
static int stream_plan_retry(lua_State *L) {
  int64_t delay;
  raw_stream *raw = check(L);
  if (!arvak_stream_plan_retry(raw->core, (int)luaL_checkinteger(L, 2), &delay)) return 0;
  larvak_hooks_tell(L, raw->state);
  lua_pushnumber(L, (lua_Number)delay * 1e-9);
  return 1;
}

static int stream_can_write(lua_State *L) {
  lua_pushboolean(L, arvak_stream_can_write(check(L)->core));
  return 1;
}

/* stream_write(raw, entry, index, backend id): writes one checked entry of a batch; its index is its request id. */
static int stream_write(lua_State *L) {
  raw_stream *raw = check(L);
  arvak_submission submission = {.backend_id = luaL_checkstring(L, 4)};
  lua_Integer index = luaL_checkinteger(L, 3);
  lua_settop(L, 4);
  lua_pushfstring(L, "%I", (LUAI_UACINT)index);
  submission.client_request_id = lua_tostring(L, 5);
  if (!larvak_entry_read(L, 2, index, &submission.circuit)) return 2;
  larvak_load load = {.rpc = ARVAK_SUBMIT_BATCH_STREAM, .backend_id = submission.backend_id, .jobs = 1,
                      .shots = submission.circuit.shots, .bytes = strlen(submission.circuit.qasm)};
  int64_t at;
  larvak_quota *limits = raw->limits;
  const char *refusal = limits ? larvak_quota_admit(limits, &load, false, ARVAK_NEVER, &at) : NULL;
  if (refusal) return larvak_quota_push_refusal(L, ARVAK_SUBMIT_BATCH_STREAM, refusal);
  if (limits) larvak_quota_count(limits, &(arvak_lua_stats){.bytes_sent = load.bytes});
  if (arvak_stream_write(raw->core, &submission) == ARVAK_ENOMEM) return larvak_no_memory(L);
  lua_pushboolean(L, 1);
  return 1;
}

static int stream_close_writes(lua_State *L) {
  arvak_stream_close_writes(check(L)->core);
  return 0;
}

static int stream_cancel(lua_State *L) {
  raw_stream *raw = luaL_checkudata(L, 1, RAW_STREAM);
  if (raw->core) arvak_stream_cancel(raw->core, ARVAK_KIND_CANCELED);
  leave(raw);
  return 0;
}

/* stream_wait(raw, method, seconds | nil, tickets | nil): until something changes, or an unpark of the ticket that it
 * puts into the table: true; false when the time is over; nil and an error when the task was canceled. Then the
 * ticket. */
static int stream_wait(lua_State *L) {
  raw_stream *raw = check(L);
  const char *method = luaL_checkstring(L, 2);
  larvak_waiting waiting = larvak_await_check(L, raw->state, method);
  if (larvak_wait_find(raw->state, raw->ticket))
    return larvak_misuse(L, "%s: another task waits on this stream", method);
  if (raw->has_changed) {
    raw->has_changed = false;
    lua_pushboolean(L, 1);
    return 1;
  }
  larvak_loop_get(L, raw->state);
  luaL_checkstack(L, 10, NULL);
  larvak_wait *wait = larvak_wait_new(L, raw->state);
  larvak_wait_note_ticket(L, wait, 4);
  raw->ticket = larvak_wait_ticket(wait);
  if (!lua_isnoneornil(L, 3)) larvak_wait_start_timer(L, wait, lua_tonumber(L, 3));
  return larvak_await(L, wait, waiting);
}

void larvak_stream_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"stream_open", stream_open},
                                       {"stream_read", stream_read},
                                       {"stream_take", stream_take},
                                       {"stream_plan_retry", stream_plan_retry},
                                       {"stream_can_write", stream_can_write},
                                       {"stream_write", stream_write},
                                       {"stream_close_writes", stream_close_writes},
                                       {"stream_cancel", stream_cancel},
                                       {"stream_wait", stream_wait},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  luaL_newmetatable(L, RAW_STREAM);
  lua_pushcfunction(L, stream_gc);
  lua_setfield(L, -2, "__gc");
  larvak_names_protect(L);
  lua_pop(L, 1);
}
