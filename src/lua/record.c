/* From decoded answers to Lua records.
 * Invariant: a record shares nothing with the answer it came from, so that all it holds is memory of Lua's, which the
 * collector and the host's allocator see.
 * SPDX-License-Identifier: Apache-2.0 */
#include "record.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "names.h"
#include "set.h"

#define LARGE_RESULT "arvak.large_result"

/* The counts of a large result, as one userdata; the texts follow the list. */
typedef struct packed {
  size_t size;
  arvak_count counts[];
} packed;

/* Key, in a large result, of its packed counts. */
static const char large_key = 0;

/* From this many keys on a result packs its counts, and builds the table on first use. */
enum { LAZY_COUNTS = 256 };

/* ---- records ---- */

static void set_time(lua_State *L, const char *name, int64_t seconds) {
  if (seconds != 0) larvak_set_integer(L, name, seconds);
}

static void push_state(lua_State *L, int state) {
  static const char *const names[] = {"UNSPECIFIED", "QUEUED",   "RUNNING",       "COMPLETED",
                                      "FAILED",      "CANCELED", "RESULT_EXPIRED"};
  if (state >= 0 && state < (int)(sizeof names / sizeof *names)) lua_pushstring(L, names[state]);
  else lua_pushfstring(L, "UNKNOWN(%d)", state);
}

static void push_job(lua_State *L, const arvak_job *job) {
  lua_createtable(L, 0, 8);
  larvak_set_string(L, "job_id", job->job_id);
  push_state(L, job->state);
  lua_setfield(L, -2, "state");
  set_time(L, "submitted_at", job->submitted_at);
  set_time(L, "started_at", job->started_at);
  set_time(L, "completed_at", job->completed_at);
  larvak_set_string(L, "backend_id", job->backend_id);
  larvak_set_integer(L, "shots", job->shots);
  if (*job->error_message) larvak_set_string(L, "error_message", job->error_message);
  luaL_setmetatable(L, LARVAK_JOB);
}

static void push_counts(lua_State *L, const arvak_count *counts, size_t size) {
  lua_createtable(L, 0, size > INT32_MAX ? INT32_MAX : (int)size);
  for (size_t i = 0; i < size; i++) larvak_set_integer(L, counts[i].bits, (lua_Integer)counts[i].count);
}

static size_t packed_bytes(const arvak_count *counts, size_t size) {
  size_t bytes = sizeof(packed) + size * sizeof *counts;
  for (size_t i = 0; i < size; i++) bytes += strlen(counts[i].bits) + 1;
  return bytes;
}

static void push_packed(lua_State *L, const arvak_count *counts, size_t size) {
  packed *copy = lua_newuserdatauv(L, packed_bytes(counts, size), 0);
  copy->size = size;
  char *text = (char *)&copy->counts[size];
  for (size_t i = 0; i < size; i++) {
    size_t length = strlen(counts[i].bits) + 1;
    copy->counts[i] = (arvak_count){memcpy(text, counts[i].bits, length), counts[i].count};
    text += length;
  }
  luaL_setmetatable(L, LARGE_RESULT);
}

static void push_result(lua_State *L, const arvak_result *result) {
  lua_createtable(L, 0, 6);
  larvak_set_string(L, "job_id", result->job_id);
  larvak_set_integer(L, "shots", result->shots);
  if (result->execution_time_ms != 0)
    larvak_set_integer(L, "execution_time_ms", (lua_Integer)result->execution_time_ms);
  larvak_set_string(L, "metadata_json", result->metadata_json);
  if (result->size >= LAZY_COUNTS) {
    push_packed(L, result->counts, result->size);
    lua_rawsetp(L, -2, &large_key);
  } else {
    push_counts(L, result->counts, result->size);
    lua_setfield(L, -2, "counts");
  }
  luaL_setmetatable(L, LARVAK_RESULT);
}

static void push_backend(lua_State *L, const arvak_backend *backend) {
  lua_createtable(L, 0, 8);
  larvak_set_string(L, "backend_id", backend->backend_id);
  larvak_set_string(L, "name", backend->name);
  lua_pushboolean(L, backend->is_available);
  lua_setfield(L, -2, "is_available");
  larvak_set_integer(L, "max_qubits", backend->max_qubits);
  larvak_set_integer(L, "max_shots", backend->max_shots);
  larvak_set_string(L, "description", backend->description);
  lua_createtable(L, (int)backend->gate_count, 0);
  for (size_t i = 0; i < backend->gate_count; i++) {
    lua_pushstring(L, backend->supported_gates[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, -2, "supported_gates");
  larvak_set_string(L, "topology_json", backend->topology_json);
  luaL_setmetatable(L, LARVAK_BACKEND);
}

static void push_backends(lua_State *L, const arvak_response *response) {
  lua_createtable(L, (int)response->as.backends.size, 0);
  for (size_t i = 0; i < response->as.backends.size; i++) {
    push_backend(L, &response->as.backends.list[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

void larvak_record_push_ids(lua_State *L, const arvak_response *response) {
  lua_createtable(L, (int)response->as.jobs.size, 0);
  for (size_t i = 0; i < response->as.jobs.size; i++) {
    lua_pushstring(L, response->as.jobs.ids[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

void larvak_record_push_response(lua_State *L, const arvak_response *response) {
  switch (response->rpc) {
    case ARVAK_SUBMIT_JOB: lua_pushstring(L, response->as.job_id); break;
    case ARVAK_SUBMIT_BATCH: larvak_record_push_ids(L, response); break;
    case ARVAK_GET_JOB_STATUS: push_job(L, &response->as.job); break;
    case ARVAK_GET_JOB_RESULT: push_result(L, &response->as.result); break;
    case ARVAK_CANCEL_JOB: lua_pushboolean(L, 1); break;
    case ARVAK_LIST_BACKENDS: push_backends(L, response); break;
    case ARVAK_GET_BACKEND_INFO: push_backend(L, &response->as.backends.list[0]); break;
    default: lua_pushnil(L); break; /* streams have no single answer */
  }
}

/* ---- messages of streams ---- */

static int push_batch_answer(lua_State *L, const arvak_response *message) {
  static const char *const events[] = {"unknown", "submitted", "completed", "error"};
  const arvak_batch_answer *answer = &message->as.batch;
  lua_pushstring(L, events[answer->event]);
  lua_pushstring(L, answer->client_request_id);
  lua_pushstring(L, answer->job_id);
  if (answer->event != ARVAK_BATCH_COMPLETED) {
    lua_pushstring(L, answer->error);
    return 4;
  }
  push_result(L, &answer->result);
  return 4;
}

int larvak_record_push_message(lua_State *L) {
  const arvak_response *message = lua_touserdata(L, 1);
  switch (message->rpc) {
    case ARVAK_WATCH_JOB:
      push_state(L, message->as.update.state);
      lua_pushinteger(L, message->as.update.timestamp);
      lua_pushstring(L, message->as.update.error_message);
      return 3;
    case ARVAK_STREAM_RESULTS:
      push_counts(L, message->as.chunk.counts, message->as.chunk.size);
      lua_pushboolean(L, message->as.chunk.is_final);
      lua_pushinteger(L, message->as.chunk.index);
      lua_pushinteger(L, message->as.chunk.total);
      return 4;
    default: return push_batch_answer(L, message);
  }
}

/* ---- large results ---- */

/* raw_of(result): the packed counts of a large result, or nil. */
static int record_raw_of(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_rawgetp(L, 1, &large_key);
  if (!luaL_testudata(L, -1, LARGE_RESULT)) lua_pushnil(L); /* next() shows the key to a program */
  return 1;
}

/* counts_of(raw): the table of counts. */
static int record_counts_of(lua_State *L) {
  const packed *result = luaL_checkudata(L, 1, LARGE_RESULT);
  push_counts(L, result->counts, result->size);
  return 1;
}

typedef struct ordered {
  const char *bits;
  uint64_t count;
  size_t place;
} ordered;

static int compare(const void *a, const void *b) {
  const ordered *x = a, *y = b;
  int order = strcmp(x->bits, y->bits);
  return order ? order : x->place < y->place ? -1 : x->place > y->place;
}

static int next_ordered(lua_State *L) {
  const ordered *entries = lua_touserdata(L, lua_upvalueindex(1));
  size_t size = (size_t)lua_tointeger(L, lua_upvalueindex(2)), i = (size_t)lua_tointeger(L, lua_upvalueindex(3));
  /* Of equal keys the last received wins (protobuf's rule for maps); sorting kept their order. */
  while (i + 1 < size && strcmp(entries[i].bits, entries[i + 1].bits) == 0) i++;
  if (i >= size) return 0;
  lua_pushinteger(L, (lua_Integer)i + 1);
  lua_replace(L, lua_upvalueindex(3));
  lua_pushstring(L, entries[i].bits);
  lua_pushinteger(L, (lua_Integer)entries[i].count);
  return 2;
}

/* iterate(raw): an iterator of bits, count in ascending order, without building a table. */
static int record_iterate(lua_State *L) {
  const packed *result = luaL_checkudata(L, 1, LARGE_RESULT);
  ordered *entries = lua_newuserdatauv(L, (result->size + 1) * sizeof *entries, 1);
  for (size_t i = 0; i < result->size; i++)
    entries[i] = (ordered){result->counts[i].bits, result->counts[i].count, i};
  qsort(entries, result->size, sizeof *entries, compare);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1); /* the strings live in there */
  lua_pushinteger(L, (lua_Integer)result->size);
  lua_pushinteger(L, 0);
  lua_pushcclosure(L, next_ordered, 3);
  return 1;
}

/* ---- counts as JSON ---- */

/* Whether it stands in JSON as it is. */
static bool is_plain(const char *text, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (text[i] < ' ' || text[i] > '~' || text[i] == '"' || text[i] == '\\') return false;
  return true;
}

/* The entries of the table of counts at the index, in ascending order, or false where one has another form. */
static bool read_ordered(lua_State *L, int index, ordered *entries, size_t most, size_t *size) {
  *size = 0;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    size_t length;
    if (*size == most || lua_type(L, -2) != LUA_TSTRING || !lua_isinteger(L, -1)) return false;
    const char *bits = lua_tolstring(L, -2, &length);
    if (!is_plain(bits, length)) return false;
    entries[*size] = (ordered){bits, (uint64_t)lua_tointeger(L, -1), *size};
    ++*size;
  }
  qsort(entries, *size, sizeof *entries, compare);
  return true;
}

/* counts_json(counts): a table of counts as a JSON object in ascending order, or nil where it is large, a key needs an
 * escape or a count is no integer: the Lua layer writes all of them. */
static int record_counts_json(lua_State *L) {
  ordered entries[LAZY_COUNTS];
  size_t size;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  if (!read_ordered(L, 1, entries, LAZY_COUNTS, &size)) return 0;
  luaL_Buffer text;
  luaL_buffinit(L, &text);
  for (size_t i = 0; i < size; i++) {
    char count[32];
    luaL_addstring(&text, i == 0 ? "{\"" : ",\"");
    luaL_addstring(&text, entries[i].bits);
    int digits = snprintf(count, sizeof count, "\":" LUA_INTEGER_FMT, (LUAI_UACINT)entries[i].count);
    luaL_addlstring(&text, count, (size_t)digits);
  }
  luaL_addstring(&text, size == 0 ? "{}" : "}");
  luaL_pushresult(&text);
  return 1;
}

void larvak_record_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"raw_of", record_raw_of},
                                       {"counts_of", record_counts_of},
                                       {"iterate", record_iterate},
                                       {"counts_json", record_counts_json},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  luaL_newmetatable(L, LARGE_RESULT);
  larvak_names_protect(L);
  lua_pop(L, 1);
}
