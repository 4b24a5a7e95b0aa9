/* arvak.devserver: the server inside a Lua process. Only the thread that calls touches the Lua state; the server's own
 * threads know nothing of it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <lauxlib.h>
#include <lua.h>
#include <stdlib.h>
#include <string.h>

#include "../closing/closing.h"
#include "base/rpcs.h"
#include "faults/faults.h"
#include "jobs/jobs.h"
#include "qasm/qasm.h"
#include "service/options.h"
#include "service/service.h"
#include "simulator/exact.h"

#define SERVER "arvak.devserver"

__attribute__((visibility("default"))) int luaopen_arvak_devserver(lua_State *L);

typedef struct larvak_devserver {
  service *service; /* owned; NULL before the start has succeeded */
} larvak_devserver;

static service *check_server(lua_State *L) {
  larvak_devserver *box = luaL_checkudata(L, 1, SERVER);
  luaL_argcheck(L, box->service, 1, "the server has not started");
  return box->service;
}

static int bad_option(lua_State *L, const option_spec *spec, int value) {
  return luaL_error(L, "bad option '%s' (expected %s, got %s)", spec->name, spec->expected,
                    lua_type(L, value) == LUA_TNUMBER || lua_type(L, value) == LUA_TSTRING
                        ? luaL_tolstring(L, value, NULL)
                        : luaL_typename(L, value));
}

/* The option's value is on top of the stack. */
static void set_option(lua_State *L, server_options *options, const option_spec *spec) {
  bool ok = false;
  if (lua_type(L, -1) == LUA_TSTRING) {
    size_t length;
    const char *text = lua_tolstring(L, -1, &length);
    ok = strlen(text) == length && option_set_text(options, spec, text);
  } else if (lua_isinteger(L, -1)) {
    ok = option_set_integer(options, spec, lua_tointeger(L, -1));
  } else if (lua_type(L, -1) == LUA_TNUMBER) {
    int whole;
    lua_Integer n = lua_tointegerx(L, -1, &whole);
    ok = whole ? option_set_integer(options, spec, n) : option_set_number(options, spec, lua_tonumber(L, -1));
  }
  if (!ok) bad_option(L, spec, lua_absindex(L, -1));
}

/* Numbers have a point there, whatever the locale says. Pushes the text. */
static const char *value_text(lua_State *L, int index) {
  bool is_number = lua_type(L, index) == LUA_TNUMBER;
  const char *text = luaL_tolstring(L, index, NULL);
  return is_number ? luaL_gsub(L, text, ",", ".") : text;
}

/* A value in the text form of fault.c; a pair of numbers is a range, { mean = n } an exponential distribution.
 * Leaves what it needs on the stack. */
static const char *fault_value(lua_State *L, int index) {
  if (!lua_istable(L, index)) return value_text(L, index);
  if (lua_getfield(L, index, "mean") != LUA_TNIL) {
    const char *mean = value_text(L, -1);
    return lua_pushfstring(L, "exponential:%s", mean);
  }
  lua_geti(L, index, 1);
  lua_geti(L, index, 2);
  int top = lua_gettop(L);
  const char *low = value_text(L, top - 1), *high = value_text(L, top);
  return lua_pushfstring(L, "%s-%s", low, high);
}

/* A fault as a table or as text. Raises at the caller. */
static void read_fault(lua_State *L, int index, fault *out) {
  char problem[512];
  if (lua_type(L, index) == LUA_TSTRING) {
    if (!fault_parse(out, lua_tostring(L, index), problem, sizeof problem)) luaL_error(L, "%s", problem);
    return;
  }
  if (!lua_istable(L, index)) luaL_error(L, "bad fault (expected a table or a text, got %s)", luaL_typename(L, index));
  fault_init(out);
  int top = lua_gettop(L);
  lua_pushnil(L);
  while (lua_next(L, index)) {
    bool is_text = lua_type(L, top + 1) == LUA_TSTRING;
    const char *value = is_text ? fault_value(L, top + 2) : "";
    const char *name = is_text ? lua_tostring(L, top + 1) : luaL_tolstring(L, top + 1, NULL);
    if (!fault_set(out, name, value, problem, sizeof problem)) luaL_error(L, "%s", problem);
    lua_settop(L, top + 1);
  }
  if (!fault_check(out, problem, sizeof problem)) luaL_error(L, "%s", problem);
}

/* The list on top of the stack. The array is a userdata left below it, so that it lives as long as the options. */
static void read_faults(lua_State *L, server_options *options) {
  if (!lua_istable(L, -1)) luaL_error(L, "bad option 'faults' (expected a list, got %s)", luaL_typename(L, -1));
  int list = lua_gettop(L);
  size_t count = lua_rawlen(L, list);
  if (!count) {
    lua_pushnil(L);
    if (lua_next(L, list)) luaL_error(L, "bad option 'faults' (expected a list of faults)");
    return;
  }
  fault *array = lua_newuserdatauv(L, count * sizeof *array, 0);
  for (size_t i = 0; i < count; i++) {
    lua_geti(L, list, (lua_Integer)i + 1);
    read_fault(L, lua_gettop(L), &array[i]);
    lua_pop(L, 1);
  }
  options->faults = array;
  options->fault_count = count;
  lua_replace(L, 2);
}

static int unknown_option(lua_State *L, const char *name) {
  char names[512];
  return luaL_error(L, "unknown option '%s' (expected %s)", name, options_names(names, sizeof names));
}

/* Strings stay borrowed from the table, the faults from the stack's second place. */
static void read_options(lua_State *L, server_options *options) {
  options_init(options);
  if (lua_isnoneornil(L, 1)) {
    options->address = "127.0.0.1:0";
    return;
  }
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  lua_pushnil(L);
  while (lua_next(L, 1)) {
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
    if (name && strcmp(name, "faults") == 0) {
      read_faults(L, options);
      lua_settop(L, 3);
      continue;
    }
    const option_spec *spec = name && !strchr(name, '-') ? option_find(name, strlen(name)) : NULL;
    if (!spec) unknown_option(L, name ? name : luaL_tolstring(L, -2, NULL));
    set_option(L, options, spec);
    lua_pop(L, 1);
  }
  if (!options->address && !options->unix_path) options->address = "127.0.0.1:0";
}

static int larvak_devserver_start(lua_State *L) {
  server_options options;
  char problem[512];
  if (arvak__closing(L)) return luaL_error(L, "the Lua state is closing"); /* nobody would end it */
  arvak__closing_forget(L);
  read_options(L, &options);
  if (!options_check(&options, problem, sizeof problem)) return luaL_error(L, "%s", problem);
  larvak_devserver *box = lua_newuserdatauv(L, sizeof *box, 0);
  box->service = NULL;
  luaL_setmetatable(L, SERVER);
  box->service = service_start(&options, problem, sizeof problem);
  if (box->service) return 1;
  lua_pushnil(L);
  lua_pushstring(L, problem);
  return 2;
}

/* In a state that is closing its threads end with its object, and nobody waits for them twice. */
static void stop(lua_State *L, service *s) {
  if (arvak__closing(L)) service_shut(s);
  else service_stop(s);
}

static int larvak_devserver_stop(lua_State *L) {
  stop(L, check_server(L));
  return 0;
}

static int larvak_devserver_restart(lua_State *L) {
  service *s = check_server(L);
  char problem[512];
  bool keep_jobs = false;
  if (arvak__closing(L)) return luaL_error(L, "the Lua state is closing");
  if (!lua_isnoneornil(L, 2)) {
    luaL_checktype(L, 2, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
      if (lua_type(L, -2) != LUA_TSTRING || strcmp(lua_tostring(L, -2), "keep_jobs") != 0)
        return luaL_error(L, "unknown option '%s' (expected keep_jobs)", luaL_tolstring(L, -2, NULL));
      if (!lua_isboolean(L, -1))
        return luaL_error(L, "bad option 'keep_jobs' (expected a boolean, got %s)", luaL_typename(L, -1));
      keep_jobs = lua_toboolean(L, -1);
    }
  }
  if (service_restart(s, keep_jobs, problem, sizeof problem)) {
    lua_pushboolean(L, 1);
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, problem);
  return 2;
}

static int larvak_devserver_gc(lua_State *L) {
  larvak_devserver *box = luaL_checkudata(L, 1, SERVER);
  if (arvak__closing(L)) service_leave(box->service, arvak__closing_until_ns(L));
  else service_free(box->service);
  box->service = NULL;
  return 0;
}

/* A closed variable still gives its figures. */
static int larvak_devserver_close(lua_State *L) {
  larvak_devserver *box = luaL_checkudata(L, 1, SERVER);
  if (box->service) stop(L, box->service);
  return 0;
}

static int larvak_devserver_set_job_state(lua_State *L) {
  service *s = check_server(L);
  const char *id = luaL_checkstring(L, 2), *name = luaL_checkstring(L, 3);
  job_state state;
  if (!job_state_parse(name, &state)) {
    return luaL_argerror(L, 3, "expected QUEUED, RUNNING, COMPLETED, FAILED, CANCELED or RESULT_EXPIRED");
  }
  lua_pushboolean(L, jobs_force(s->context.store, id, state, clock_unix_s()));
  return 1;
}

static int larvak_devserver_evict(lua_State *L) {
  service *s = check_server(L);
  lua_pushboolean(L, jobs_evict(s->context.store, luaL_checkstring(L, 2)));
  return 1;
}

static int larvak_devserver_fault(lua_State *L) {
  service *s = check_server(L);
  fault what;
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  read_fault(L, 2, &what);
  if (!faults_add(s->faults, &what)) return luaL_error(L, "out of memory");
  return 0;
}

static int larvak_devserver_clear_faults(lua_State *L) {
  faults_clear(check_server(L)->faults);
  return 0;
}

static int larvak_devserver_drop_connections(lua_State *L) {
  service_drop_connections(check_server(L));
  return 0;
}

static void set_text(lua_State *L, const char *name, const char *value) {
  lua_pushstring(L, value);
  lua_setfield(L, -2, name);
}

static void set_count(lua_State *L, const char *name, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, name);
}

/* The array is freed by its box, should memory end. */
static int free_lines(lua_State *L) {
  job_line **lines = lua_touserdata(L, 1);
  free(*lines);
  *lines = NULL;
  return 0;
}

static int larvak_devserver_jobs(lua_State *L) {
  service *s = check_server(L);
  job_line **lines = lua_newuserdatauv(L, sizeof *lines, 0);
  *lines = NULL;
  if (luaL_newmetatable(L, SERVER ".jobs")) {
    lua_pushcfunction(L, free_lines);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__gc");
    lua_setfield(L, -2, "__close");
  }
  lua_setmetatable(L, -2);
  lua_toclose(L, lua_gettop(L));
  size_t count;
  *lines = jobs_list(s->context.store, &count);
  lua_createtable(L, (int)count, 0);
  for (size_t i = 0; i < count; i++) {
    lua_createtable(L, 0, 3);
    set_text(L, "job_id", (*lines)[i].id);
    set_text(L, "state", job_state_name((*lines)[i].state));
    set_count(L, "shots", (*lines)[i].shots);
    lua_seti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

static int larvak_devserver_stats(lua_State *L) {
  service *s = check_server(L);
  service_figures seen;
  service_count(s, &seen);
  lua_newtable(L);
  set_count(L, "connections_open", seen.connections_open);
  set_count(L, "connections_total", seen.connections_total);
  set_count(L, "accepted", seen.jobs.accepted);
  set_count(L, "evicted", seen.jobs.evicted);
  set_count(L, "restarts", seen.restarts);
  set_count(L, "stored", seen.jobs.stored);
  set_count(L, "faults_fired", seen.faults_fired);
  set_count(L, "unknown_calls", seen.unknown_calls);
  lua_createtable(L, 0, RPCS);
  for (int i = 0; i < RPCS; i++) set_count(L, rpcs[i].name, seen.calls[i]);
  lua_setfield(L, -2, "calls");
  lua_createtable(L, 0, JOB_STATES);
  for (int i = JOB_QUEUED; i < JOB_STATES; i++) set_count(L, job_state_name((job_state)i), seen.jobs.by_state[i]);
  lua_setfield(L, -2, "jobs");
  return 1;
}

/* Fields first, then the methods, which are the upvalue. */
static int larvak_devserver_index(lua_State *L) {
  larvak_devserver *box = luaL_checkudata(L, 1, SERVER);
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  const char *value = NULL;
  if (box->service && strcmp(name, "address") == 0) value = service_address(box->service);
  if (box->service && strcmp(name, "unix_address") == 0) value = service_unix_address(box->service);
  if (value && *value) {
    lua_pushstring(L, value);
  } else {
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
  }
  return 1;
}

static int larvak_devserver_tostring(lua_State *L) {
  lua_pushfstring(L, "arvak.devserver (%s)", service_address(check_server(L)));
  return 1;
}

static const luaL_Reg methods[] = {{"stop", larvak_devserver_stop},
                                   {"restart", larvak_devserver_restart},
                                   {"stats", larvak_devserver_stats},
                                   {"jobs", larvak_devserver_jobs},
                                   {"fault", larvak_devserver_fault},
                                   {"clear_faults", larvak_devserver_clear_faults},
                                   {"set_job_state", larvak_devserver_set_job_state},
                                   {"evict", larvak_devserver_evict},
                                   {"drop_connections", larvak_devserver_drop_connections},
                                   {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__gc", larvak_devserver_gc},
                                       {"__close", larvak_devserver_close},
                                       {"__tostring", larvak_devserver_tostring},
                                       {NULL, NULL}};

/* Of a light userdata: the table of outcomes. */
static int push_exact(lua_State *L) {
  const exact_outcomes *exact = lua_touserdata(L, 1);
  char key[33];
  lua_createtable(L, 0, (int)exact->size);
  for (size_t i = 0; i < exact->size; i++) {
    counts_key(&(counts){.width = exact->width}, exact->outcomes[i].bits, key);
    lua_pushnumber(L, exact->outcomes[i].probability);
    lua_setfield(L, -2, key);
  }
  return 1;
}

/* _probabilities(qasm): outcome → probability, of what this server's simulator would count; or nil and why not. For
 * tests; no client can reach it. */
static int larvak_devserver_probabilities(lua_State *L) {
  size_t length;
  const char *text = luaL_checklstring(L, 1, &length);
  qasm_limits limits = {.max_qubits = 20, .max_operations = 1000000};
  qasm_error error;
  char message[512];
  exact_outcomes exact = {0};
  circuit *c = qasm_parse(text, length, &limits, &error);
  if (!c) {
    lua_pushnil(L);
    lua_pushfstring(L, "line %d, column %d: %s", (int)error.line, (int)error.column, error.message);
    return 2;
  }
  run_status status = circuit_exact(c, &exact, message, sizeof message);
  circuit_free(c);
  if (status != RUN_OK) {
    lua_pushnil(L);
    lua_pushstring(L, message);
    return 2;
  }
  lua_pushcfunction(L, push_exact);
  lua_pushlightuserdata(L, &exact);
  int caught = lua_pcall(L, 1, 1, 0);
  exact_fini(&exact);
  return caught == LUA_OK ? 1 : lua_error(L);
}

static const luaL_Reg functions[] = {{"start", larvak_devserver_start},
                                     {"_probabilities", larvak_devserver_probabilities},
                                     {NULL, NULL}};

int luaopen_arvak_devserver(lua_State *L) {
  arvak__closing_open(L);
  luaL_newmetatable(L, SERVER);
  luaL_setfuncs(L, metamethods, 0);
  luaL_newlib(L, methods);
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, "methods"); /* for the check of annotations */
  lua_pushcclosure(L, larvak_devserver_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  return 1;
}
