/* Plugins that know Lua well, one kind of trick each. Whatever one does, it ends soon after its deadline, its state
 * closes, and an honest plugin beside it, on the same client, gets each of its answers.
 * SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdatomic.h>

#include "hosting.h"

/* A hang, on a machine with other work: a plugin has its deadline, and a thousand instructions more. */
#define STOP_NS (120 * 1000 * MS)
#define PLUGIN_NS (30 * MS)
enum { HEAP_BYTES = 16 << 20 };

static char address[64];
static arvak_client *client;

/* Each begins with `client`, `arvak`, `bell` and `job`, and all of Lua but for io, os, package, and of debug
 * no more than sethook: the rest of that library gets at everything that C keeps in Lua. */
static const char *const tricks[] = {
    /* debug */
    "debug.sethook(function() error('mine') end, '', 1) while true do pcall(client.list_backends, client) end",
    "debug.sethook(function() client:list_backends() end, 'l') for i = 1, 100 do client:list_backends() end",
    "debug.sethook(function() arvak.sleep(3600) end, 'c') arvak.run(function() client:list_backends() end)",
    "debug.sethook(function() debug.sethook() coroutine.yield() end, '', 100)\n"
        "local co = coroutine.wrap(function() while true do client:list_backends() end end) while true do pcall(co) "
        "end",
    "local co = coroutine.create(function() client:list_backends() end) coroutine.resume(co)\n"
        "debug.sethook(co, error, 'crl', 1) pcall(coroutine.resume, co)",
    /* coroutines */
    "local co co = coroutine.create(function() local x <close> = setmetatable({}, { __close = function()\n"
        "  coroutine.close(co) end }) arvak.sleep(0.001) end) coroutine.resume(co) coroutine.close(co)",
    "while true do local co = coroutine.create(function() local x <close> = setmetatable({}, { __close = function()\n"
        "  while true do pcall(arvak.sleep, 3600) end end }) coroutine.yield() end)\n"
        "  coroutine.resume(co) coroutine.close(co) end",
    "arvak.run(function() local me = coroutine.running() arvak.spawn(function() pcall(coroutine.close, me)\n"
        "  pcall(coroutine.resume, me) arvak.sleep(0.001) pcall(coroutine.resume, me, 'x') end) arvak.sleep(0.01) end)",
    "arvak.run(function() coroutine.yield() coroutine.yield(1, 2, 3) client:list_backends() end)",
    "local co = coroutine.wrap(function() arvak.run(function() coroutine.yield() end) end) co() co()",
    "local t = setmetatable({}, { __index = function(_, k) coroutine.yield(k) return k end })\n"
        "local co = coroutine.wrap(function() try(client.list_backends, client, t) try(client.execute, client, "
        "bell, t, t)\n"
        "  try(client.submit_batch, client, { t }, 'simulator') client[t] = t end) for i = 1, 9 do try(co) end",
    "local t = setmetatable({}, { __index = function() return client:list_backends() end })\n"
        "try(client.submit_qasm, client, bell, 'simulator', t) try(arvak.gather, t) try(arvak.wait, t)\n"
        "try(arvak.batch_manager, client, t) try(client.submit_batch, client, { t, t }, 'simulator')",
    "local t = setmetatable({}, { __len = function() return 1 << 60 end, __pairs = function() return function()\n"
        "  arvak.sleep(3600) end end }) try(client.submit_batch, client, t, 'simulator') try(arvak.gather, t)\n"
        "try(arvak.wait, t) try(arvak.map, t, print) try(arvak.batch_manager(client).execute_batch, t, t, t)",
    "local function nest(n) if n == 0 then return arvak.sleep(3600) end return coroutine.wrap(nest)(n - 1) end "
        "nest(100)",
    "local function nest(n) return try(arvak.run, function() return arvak.spawn(function() return "
        "arvak.wrap(function()\n"
        "  return nest(n + 1) end)() end):result() end) end nest(1)",
    "local w w = arvak.wrap(function() while true do coroutine.yield(w) pcall(w) end end)\n"
        "arvak.run(function() while true do w() end end)",
    "local function f() return f() end local co = coroutine.wrap(f) arvak.spawn(co) arvak.run(f)",
    "for w in coroutine.wrap(function() for k = 1, 1e9 do coroutine.yield(client.async:list_backends()) end end) do\n"
        "  w:add_done_callback(function() error(w) end) end",
    /* errors */
    "local e = setmetatable({}, { __tostring = function() arvak.sleep(3600) end }) arvak.spawn(error, e) arvak.poll()\n"
        "error(e)",
    "local e = setmetatable({}, { __tostring = error, __index = error, __eq = error, __name = e, __gc = error })\n"
        "client.async:list_backends():add_done_callback(function() error(e) end) arvak.run(function() error(e) end)",
    "local function h() return client:list_backends() and h() end while true do xpcall(arvak.sleep, h, 3600) end",
    "xpcall(arvak.run, function(e) arvak.run(error, e) end, function() error(setmetatable({}, { __close = error })) "
        "end)",
    "local ok, e = pcall(error, nil) arvak.spawn(error, nil) arvak.spawn(error) for i = 1, 4 do try(arvak.poll, 0) end",
    "local _, e = client:get_job_status('none') e.kind = nil try(setmetatable, e, nil) e.message = e try(tostring, e)\n"
        "e.cause = e try(tostring, e) pcall(rawset, getmetatable(e) or {}, '__tostring', 1) print = error error(e)",
    /* finalizers, and what comes back from the dead */
    "dead = {} for i = 1, 50 do setmetatable({ client = arvak.resilient(client, { retry = true }) }, { __gc = "
        "function(o)\n"
        "  dead[#dead + 1] = o o.client:list_backends() end }) end collectgarbage()\n"
        "for _, o in ipairs(dead) do o.client:close() pcall(o.client.list_backends, o.client) end",
    "setmetatable(_G, { __gc = function() for k, v in pairs(_G) do pcall(v, client) pcall(v, _G) end end })",
    "local weak = setmetatable({}, { __mode = 'kv' }) for i = 1, 100 do weak[i] = client:watch_job(job) "
        "weak[weak[i]] = i\n"
        "  weak[i]:next() end collectgarbage() for _, s in pairs(weak) do try(function() s:next() s:cancel() end) end",
    "while true do local f = client.async:list_backends() setmetatable({ f }, { __gc = function(t) t[1]:cancel()\n"
        "  t[1]:result() t.self = t keep = t end }) collectgarbage('step') end",
    "local p = arvak.pollable() setmetatable({}, { __gc = function() p:step(1) p:close() arvak.poll(1) end }) p = nil\n"
        "collectgarbage() collectgarbage() arvak.poll(0.01)",
    /* the collector */
    "collectgarbage('stop') for i = 1, 2000 do client.async:list_backends():cancel() end collectgarbage('restart')",
    "collectgarbage('generational') for i = 1, 300 do client:watch_job(job) collectgarbage('step') end\n"
        "collectgarbage('incremental', 1000, 1) for i = 1, 300 do client.async:list_backends() end arvak.poll(0.01)",
    "setmetatable({}, { __gc = function() collectgarbage('stop') collectgarbage() collectgarbage('generational') "
        "end })\n"
        "collectgarbage() for i = 1, 100 do client:list_backends() end",
    /* memory */
    "local s = 'x' pcall(function() while true do s = s .. s end end) client:submit_qasm(s, 'simulator')\n"
        "client:list_backends { metadata = { a = s } } client:cancel_job(s) arvak.circuit.from_qasm(s)",
    "local t = {} pcall(function() while true do t[#t + 1] = ('x'):rep(1 << 16) .. #t end end)\n"
        "for i = 1, 100 do pcall(client.list_backends, client) pcall(arvak.spawn, arvak.sleep, 1) end t = nil\n"
        "client:execute(bell, 'simulator', 1)",
    "local t = {} for i = 1, 1e5 do t[i] = { bell, 1 } end client:submit_batch(t, 'simulator')\n"
        "arvak.batch_manager(client):execute_batch(t, 'simulator', { max_wait = 1 })",
    "arvak.circuit.from_qasm('OPENQASM 3.0; qubit q; ' .. ('for int i in [0:1000000] {'):rep(20) .. ('}'):rep(20))",
    "arvak.circuit.from_qasm('OPENQASM 3.0; ' .. ('('):rep(100000)) arvak.circuit.from_qasm(('gate g q { '):rep(1e5))",
    /* names */
    "for _, n in ipairs { 'arvak', 'client', 'core', 'coroutine', 'string', 'table', 'math', 'debug', '_ENV', '_G' "
        "} do\n"
        "  load('function ' .. n .. '() end ' .. n .. ' = nil')() end",
    "local c, a, s = client, arvak, string local g = _G for k in next, g do g[k] = error end s.format, s.rep = "
        "error, error\n"
        "c:execute('OPENQASM 3.0; qubit q; h q;', 'simulator', 1) a.run(function() a.sleep(0.001) end)",
    "getmetatable('').__index = function() return client:list_backends() end getmetatable('').__gc = error\n"
        "getmetatable('').__add = arvak.sleep client:execute(bell, 'simulator', 1)",
    "for k in next, arvak do pcall(rawset, arvak, k, error) end pcall(setmetatable, arvak, { __index = arvak.sleep })\n"
        "client:execute(bell, 'simulator', 1) try(function() arvak.nothing = arvak.other end)",
    "local e = load('return ...', bell, 't', setmetatable({}, { __index = arvak.sleep })) e() x = e().y",
    /* the client */
    "for k, f in pairs { client.list_backends, client.execute, client.close, client.async.list_backends } do\n"
        "  for _, v in ipairs { 1, 'x', {}, print, client, arvak.spawn(print), coroutine.create(print) } do\n"
        "    pcall(f, v) pcall(f, v, v, v, v) end pcall(f) end",
    "client:close() local v = pcall(client.list_backends, client) client = arvak.resilient(client, {}) client:close()",
    "local f = {} for i = 1, 200 do f[i] = client.async:list_backends() end client:close()\n"
        "for i = 1, 200 do f[i]:result() f[i]:cancel() end",
    "client.async:list_backends():add_done_callback(function() client:close() try(arvak.poll) try(arvak.run, print) "
        "end)\n"
        "try(arvak.poll, 0.01) try(arvak.poll, 0.01)",
    "local f = client.async:list_backends() for i = 1, 1e4 do f:add_done_callback(function() f:result() end) end "
        "f:wait()",
    "local f f = arvak.spawn(function() return f:result() end) try(f.result, f) try(arvak.gather, { f, f, f }) "
        "f:cancel()",
    "local fs = {} for i = 1, 100 do fs[i] = arvak.spawn(function() arvak.gather(fs) end) end try(arvak.gather, fs)\n"
        "for i = 1, 100 do fs[i]:cancel() end arvak.poll(0.01)",
    "arvak.batch_manager(client):execute_batch(function() arvak.batch_manager(client):execute_batch({ { bell } },\n"
        "  'simulator') return bell end, 'simulator')",
    "arvak.retry_policy({ on_retry = function() client:close() error('x') end }):wrap(client.list_backends)(client)\n"
        "arvak.resilient(client, { retry = { on_retry = coroutine.yield, max_attempts = 5 } }):get_job_status('none')",
};
enum { TRICKS = sizeof tricks / sizeof *tricks };

/* ---- the hostile plugin ---- */

typedef struct hostile {
  const char *source;
  size_t heap_bytes;
  bool has_arvak;
  atomic_bool is_over;
  int64_t late_ns; /* after its deadline */
} hostile;

static void *allocate(void *ud, void *block, size_t old, size_t size) {
  hostile *h = ud;
  size_t before = block ? old : 0;
  if (size > before && h->heap_bytes + (size - before) > HEAP_BYTES) return NULL;
  void *moved = size > 0 ? realloc(block, size) : NULL;
  if (size == 0) free(block);
  if (moved || size == 0) h->heap_bytes += size - before;
  return moved;
}

static void on_count(lua_State *L, lua_Debug *ar) {
  (void)ar;
  arvak_lua_check(L);
}

static void must_run(lua_State *L, const char *source) {
  if (luaL_dostring(L, source) != LUA_OK) lua_error(L);
}

/* Protected, as all that needs memory. */
static int open_hostile(lua_State *L) {
  const hostile *h = lua_touserdata(L, 1);
  static const luaL_Reg libraries[] = {{"_G", luaopen_base},         {"coroutine", luaopen_coroutine},
                                       {"string", luaopen_string},   {"table", luaopen_table},
                                       {"math", luaopen_math},       {"utf8", luaopen_utf8},
                                       {"debug", luaopen_debug},     {NULL, NULL}};
  for (const luaL_Reg *library = libraries; library->name; library++)
    luaL_requiref(L, library->name, library->func, 1);
  if (h->has_arvak) luaL_requiref(L, "arvak", luaopen_arvak, 1);
  lua_settop(L, 1);
  must_run(L, "debug = { sethook = debug.sethook }");
  arvak_lua_limits limits = {.max_in_flight = 8, .max_queued = 100, .max_request_bytes = 4 << 20,
                             .max_answer_bytes = 4 << 20, .max_streams = 100, .max_futures = 1000, .max_tasks = 1000,
                             .max_timeout_ns = 5000 * MS, .has_no_connect = true, .cancels_own_jobs_only = true};
  arvak_lua_pushlimited(L, client, &limits);
  lua_setglobal(L, "client");
  arvak_lua_guard_coroutines(L);
  must_run(L, "bell = 'OPENQASM 3.0; qubit[2] q; h q[0]; cx q[0], q[1];' function print() end try = pcall\n"
              "job = assert(client:submit_qasm(bell, 'simulator', 1))");
  return 0;
}

static void *run_hostile(void *ud) {
  hostile *h = ud;
  lua_State *L = lua_newstate(allocate, h);
  if (!L) abort();
  lua_pushcfunction(L, open_hostile);
  lua_pushlightuserdata(L, h);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) abort();
  arvak_lua_handle *handle = arvak_lua_get_handle(L);
  int64_t deadline = arvak_now_ns() + PLUGIN_NS;
  lua_sethook(L, on_count, LUA_MASKCOUNT, 1000);
  arvak_lua_set_deadline(handle, deadline);
  bool has_raised = !runs(L, h->source);
  if (has_raised && getenv("VERBOSE") && lua_isstring(L, -1)) fprintf(stderr, "   raised %s\n", lua_tostring(L, -1));
  h->late_ns = arvak_now_ns() - deadline;
  arvak_lua_clear_interrupt(L);
  arvak_lua_set_deadline(handle, arvak_now_ns() + PLUGIN_NS);
  if (h->has_arvak) runs(L, "arvak.poll(0.005)");
  arvak_lua_handle_unref(handle);
  lua_close(L);
  h->is_over = true;
  return NULL;
}

/* ---- the honest one ---- */

static void ask_once(lua_State *L) {
  must(L, "local r = assert(client:execute(bell, 'simulator', 10))\n"
          "assert((r.counts['00'] or 0) + (r.counts['11'] or 0) == 10)");
}

static void play(lua_State *honest, const char *source, bool has_arvak) {
  hostile h = {.source = source, .has_arvak = has_arvak};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, run_hostile, &h), 0);
  int64_t start = arvak_now_ns();
  do {
    ask_once(honest);
    pause_ms(1);
    if (arvak_now_ns() - start > STOP_NS) fail_msg("does not end: %s", source);
  } while (!h.is_over);
  pthread_join(thread, NULL);
  if (h.late_ns > 50 * MS) printf("# %.0f ms late: %s\n", (double)h.late_ns / MS, source);
  assert_int_equal(h.heap_bytes, 0);
}

static void no_trick_of_a_plugin_harms_the_host_or_another_plugin(void **state) {
  (void)state;
  const char *chosen = getenv("TRICK");
  lua_State *honest = open_bare();
  arvak_lua_pushclient(honest, client);
  lua_setglobal(honest, "client");
  for (int i = 0; i < TRICKS; i++) {
    if (chosen && atoi(chosen) != i) continue;
    if (getenv("VERBOSE")) fprintf(stderr, "%d: %s\n", i, tricks[i]);
    if (!strstr(tricks[i], "arvak")) play(honest, tricks[i], false);
    play(honest, tricks[i], true);
  }
  lua_close(honest);
  arvak_client_stats stats;
  arvak_client_get_stats(client, &stats);
  assert_int_equal(stats.in_flight + stats.queued, 0);
  printf("# %d tricks\n", TRICKS);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(no_trick_of_a_plugin_harms_the_host_or_another_plugin)};
  lua_State *server = start_devserver("{ rate_limit = 0, max_concurrent_jobs = 0, max_queued_jobs = 0 }", address);
  arvak_client_options options = {.address = address, .max_concurrent_rpcs = 32};
  if (arvak_client_new(&options, &client, NULL) != ARVAK_OK) abort();
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  arvak_client_unref(client);
  lua_close(server);
  return failed;
}
