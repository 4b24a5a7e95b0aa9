/* A plugin that replaces Lua's own functions, those of its libraries and the methods of strings: it harms itself, and
 * neither the library nor the limits that its host has set. SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "hosting.h"

static char address[64];

static arvak_client *new_client(void) {
  static const arvak_header headers[] = {{"x-tenant", {"host", 4}}};
  arvak_client *client = NULL;
  arvak_client_options options = {.address = address, .headers = headers, .header_count = 1};
  if (arvak_client_new(&options, &client, NULL) != ARVAK_OK) abort();
  return client;
}

static bool has_utf8 = true;

static lua_State *open_plugin(arvak_client *client, const arvak_lua_limits *limits) {
  lua_State *L = open_bare();
  if (has_utf8) luaL_requiref(L, "utf8", luaopen_utf8, 1);
  luaL_requiref(L, "arvak", luaopen_arvak, 1);
  arvak_lua_pushlimited(L, client, limits);
  lua_setglobal(L, "client");
  return L;
}

/* Takes what the test itself needs, and then replaces every function that a plugin can reach, but for the library's:
 * by `evil`, which may be made anew for each name. */
static const char ruin[] =
    "yield = coroutine.yield\n"
    "wrap, find, rep = coroutine.wrap, string.find, string.rep\n"
    "local keep = { assert = true, error = true, pcall = true, type = true, tostring = true, pairs = true,\n"
    "  select = true, yield = true, wrap = true, find = true, rep = true, refused = true, evil = true }\n"
    "taken = taken or false local globals = { __index = evil '_G', __newindex = evil '_G' }\n"
    "local next, getmetatable, setmetatable, _G = next, getmetatable, setmetatable, _G\n"
    "for _, library in pairs { string, table, math, coroutine, utf8 } do\n"
    "  for name in next, library do library[name] = evil(name) end\n"
    "end\n"
    "local strings = getmetatable('')\n"
    "for name in next, strings do strings[name] = evil(name) end\n"
    "strings.__index, strings.__concat, strings.__eq = evil '__index', evil '__concat', evil '__eq'\n"
    "for name, value in next, _G do\n"
    "  if type(value) == 'function' and not keep[name] then _G[name] = evil(name) end\n"
    "end\n"
    "string, table, math, coroutine, utf8 = evil 'string', evil 'table', evil 'math', evil 'coroutine', evil 'utf8'\n"
    "setmetatable(_G, globals)";

/* What is put in the place of them. */
static const char *const evils[] = {
    "function evil(name) local error = error return function() error('sabotage of ' .. name, 0) end end",
    "function evil() return nil end",
    "function evil() return function(...) return ... end end",
    "function evil() return function() return 'a', 1, true, 1e308 end end",
    "function evil() local yield = coroutine.yield return function() return yield(1, 2) end end",
    "function evil() local setmetatable = setmetatable return setmetatable({}, { __call = function() return 0 end,\n"
    "  __index = function(t) return t end, __len = function() return -5 end }) end",
    "function evil() local gc = collectgarbage return function(t) gc() if t == nil then return 0 end return t end end",
    "taken = {} function evil()\n" /* what the library hands to a function of the plugin's, if it did */
    "  return function(...) taken[#taken + 1] = { ... } return ... end end",
};
enum { EVILS = sizeof evils / sizeof *evils };

/* A tour through the library that needs no function of Lua's but those that were kept. */
static const char *const tour[] = {
    "local options = { shots = 5, timeout = 10, metadata = { ['x-a'] = 'b' } }\n"
    "local job = assert(client:submit_qasm(bell, 'simulator', options))\n"
    "local r = assert(client:wait_for_job(job)) assert(r.shots == 5)\n"
    "local sum = 0 for _, n in r:pairs() do sum = sum + n end assert(sum == 5)\n"
    "assert(r:most_frequent() and r:probabilities() and r:to_table().shots == 5 and r:top(1)[1])\n"
    "assert(tostring(r) and r:histogram() and r:expectation() and arvak.results.merge { r, r }.shots == 10)\n"
    "assert(client:get_job_status(job).state == 'COMPLETED' and tostring(client:get_job_status(job)))\n"
    "assert(client:list_backends()[1].name and client:wait_for_ready(5) and client:stats().calls > 0)",
    "local value, err = client:submit_qasm('nonsense', 'simulator')\n"
    "assert(value == nil and err.kind == 'invalid_circuit' and find(tostring(err), 'SubmitJob', 1, true))\n"
    "value, err = client:submit_qasm(bell, 'none') assert(value == nil and err.kind == 'backend_not_found')\n"
    "local ok, message = pcall(client.submit_qasm, client, bell, 'simulator', -1)\n"
    "assert(not ok and find(message, 'shots: got -1', 1, true), message)\n"
    "ok, message = pcall(client.execute, client, bell, 'simulator', { nonsense = 1 })\n"
    "assert(not ok and find(message, 'unknown option \"nonsense\"', 1, true), message)\n"
    "ok, message = pcall(arvak.run, function() error({}) end) assert(not ok and message.traceback)",
    "assert(arvak.run(function()\n"
    "  local a = arvak.spawn(function() return client:execute(bell, 'simulator', 3) end)\n"
    "  local b = arvak.spawn(arvak.sleep, 0)\n"
    "  arvak.sleep(0.001) assert(b:result()) return a:result().shots end) == 3)\n"
    "local f = client:submit_batch_future({ { bell, 1 }, { bell, 2 } }, 'simulator')\n"
    "local n = 0 for _ in arvak.as_completed(f, 10) do n = n + 1 end assert(n == 2)\n"
    "assert(arvak.all { client.async:list_backends() }[1][1].name and arvak.gather(f))\n"
    "local outcomes = arvak.map({ 1, 2, 3 }, function(i) return i end) assert(outcomes[3].value == 3)\n"
    "assert(arvak.with_timeout(5, function() return client:list_backends() end))\n"
    "local policy = arvak.retry_policy { max_attempts = 2, initial_backoff = 0.001 }\n"
    "assert(policy:wrap(function() return 7 end)() == 7)\n"
    "local view = arvak.resilient(client, { retry = true, breaker = true }) assert(view:list_backends())\n"
    "assert(wrap(function() return client:list_backends() end)()[1])",
    "local job = assert(client:submit_qasm(bell, 'simulator', 10)) assert(client:wait_for_job(job))\n"
    "local last for s in client:watch_job(job) do last = s end assert(last == 'COMPLETED')\n"
    "local n = 0 for counts in client:stream_results(job) do for _, c in pairs(counts) do n = n + c end end\n"
    "assert(n == 10)\n"
    "for kind, _, _, r in client:submit_batch_stream({ { bell, 4 } }, 'simulator') do\n"
    "  if kind == 'completed' then assert(r.shots == 4) n = 0 end end assert(n == 0)\n"
    "for _, transport in pairs { 'stream', 'unary' } do\n"
    "  local m = arvak.batch_manager(client, { max_workers = 2 })\n"
    "  local list = { { bell, 1 }, { bell, 2 }, { 'nonsense', 3 } }\n"
    "  local r = m:execute_batch(list, 'simulator', { transport = transport })\n"
    "  assert(r.success_count == 2 and r.items[3].err.kind == 'invalid_circuit' and tostring(r) and tostring(m))\n"
    "end",
    "local theta = arvak.circuit.parameter 'theta'\n"
    "local c = arvak.circuit.new(2):h(0):rz(theta / 2, 1):tdg(1):cx(0, 1):measure_all():reset(0)\n"
    "assert(find(tostring(c), 'Rz(theta/2)', 1, true) and find(c:draw { ascii = true }, 'M', 1, true))\n"
    "local read = assert(arvak.circuit.from_qasm(c:bind { theta = 1 }:to_qasm { lowered = false }))\n"
    "assert(read:lowered().qasm == c:bind { theta = 1 }:lowered().qasm)\n"
    "assert(client:execute(arvak.circuit.from_qasm(bell), 'simulator', 3).shots == 3)\n"
    "local value, err = arvak.circuit.from_qasm('OPENQASM 3.0; qubit q; nonsense q;')\n"
    "assert(not value and tostring(err))",
};
enum { TOUR = sizeof tour / sizeof *tour };

static void take_tour(lua_State *L, const char *evil) {
  for (int i = 0; i < TOUR; i++)
    if (!runs(L, tour[i])) fail_msg("beside %s\nin %s\n%s", evil, tour[i], luaL_tolstring(L, -1, NULL));
}

static void what_a_plugin_replaces_changes_nothing_in_the_library(void **state) {
  (void)state;
  arvak_client *client = new_client();
  for (int i = 0; i < 2 * EVILS; i++) {
    has_utf8 = i < EVILS; /* a plugin brings its own where the host has opened none */
    lua_State *L = open_plugin(client, NULL);
    must(L, evils[i % EVILS]);
    must(L, ruin);
    take_tour(L, evils[i % EVILS]);
    must(L, "assert(not taken or #taken == 0)");
    lua_close(L);
  }
  has_utf8 = true;
  arvak_client_unref(client);
}

/* The parts that are loaded when they are first touched. */
static void what_is_loaded_later_finds_the_functions_that_were_there_first(void **state) {
  (void)state;
  arvak_client *client = new_client();
  lua_State *L = open_plugin(client, NULL);
  must(L, evils[0]);
  must(L, ruin);
  if (!runs(L, tour[TOUR - 1])) fail_msg("%s", luaL_tolstring(L, -1, NULL));
  lua_close(L);
  arvak_client_unref(client);
}

/* ---- limits ---- */

static const char *count_submit(const arvak_lua_submit *submit, void *ud) {
  int *left = ud;
  if (*left < submit->jobs) return "your budget is spent";
  *left -= submit->jobs;
  return NULL;
}

static const char attack[] =
    "local function forbidden(words, fn, ...)\n"
    "  local ok, message = pcall(fn, ...)\n"
    "  assert(not ok and find(tostring(message), words, 1, true), tostring(message))\n"
    "end\n"
    "local function refused(value, err)\n"
    "  assert(value == nil and err.kind == 'resource_exhausted' and err.scope == 'plugin', tostring(err))\n"
    "end\n"
    "forbidden('timeout: got 1000', client.list_backends, client, { timeout = 1000 })\n"
    "forbidden('max_wait: got 60', client.wait_for_job, client, 'x', { max_wait = 60 })\n"
    "forbidden('sleep: got 3600', arvak.sleep, 3600)\n"
    "forbidden('metadata[\"x-tenant\"]', client.list_backends, client, { metadata = { ['x-tenant'] = 'mine' } })\n"
    "forbidden('connect: the host lets', arvak.connect, '127.0.0.1:1')\n"
    "forbidden('breaker: the host lets', arvak.resilient, client, { breaker = true })\n"
    "forbidden('retry: the host lets', client.list_backends, client, { retry = { max_attempts = 9 } })\n"
    "refused(client:submit_qasm(bell .. rep('/', 100000), 'simulator', 1))\n"
    "local value, err = client:cancel_job('of another') assert(not value and err.kind == 'not_cancelable')\n"
    "local tasks = {} for i = 1, 4 do tasks[i] = arvak.spawn(arvak.sleep, 0.001) end\n"
    "refused(tasks[3]:result()) refused(tasks[4]:result()) assert(tasks[1]:result())\n"
    "assert(client:submit_qasm(bell, 'simulator', 1) and client:submit_qasm(bell, 'simulator', 1))\n"
    "refused(client:submit_qasm(bell, 'simulator', 1))\n"
    "local stats = client:stats() assert(stats.jobs == 2 and stats.connections == nil)";

static void what_a_plugin_replaces_moves_no_limit(void **state) {
  (void)state;
  arvak_client *client = new_client();
  for (int i = 0; i < EVILS; i++) {
    int left = 2;
    arvak_lua_limits limits = {.max_timeout_ns = 20000 * MS, .max_wait_ns = 20000 * MS, .max_sleep_ns = 1000 * MS,
                               .max_request_bytes = 50000, .max_tasks = 2, .has_no_policies = true,
                               .has_own_stats = true, .cancels_own_jobs_only = true, .has_no_connect = true,
                               .on_submit = count_submit, .ud = &left};
    lua_State *L = open_plugin(client, &limits);
    must(L, evils[i]);
    must(L, ruin);
    if (!runs(L, attack)) fail_msg("beside %s\n%s", evils[i], luaL_tolstring(L, -1, NULL));
    arvak_lua_handle *handle = arvak_lua_get_handle(L);
    arvak_lua_stats stats;
    arvak_lua_get_stats(handle, &stats);
    assert_int_equal(stats.jobs, 2);
    assert_int_equal(left, 0);
    arvak_lua_interrupt(handle, "enough");
    assert_false(runs(L, "while true do pcall(arvak.sleep, 0.5) end"));
    assert_string_equal(kind_on_top(L), "interrupted");
    lua_close(L);
    arvak_lua_handle_unref(handle);
  }
  arvak_client_unref(client);
}

/* ---- files ---- */

static const char file_attack[] =
    "local r = assert(client:execute(bell, 'simulator', 10))\n"
    "local function refused(value, err)\n"
    "  assert(value == nil and find(tostring(err), 'os', 1, true), tostring(err))\n"
    "end\n"
    "local items = { { index = 1, attempts = 1, job_id = 'x', result = r } }\n"
    "for _, name in pairs { 'to_csv', 'to_json' } do\n"
    "  refused(arvak.export[name](path, items))\n"
    "end\n"
    "refused(arvak.circuit.new(1):to_svg(path)) refused(arvak.journal(path))\n"
    "local value, err = arvak.circuit.load(path)\n"
    "assert(value == nil and find(tostring(err), 'no io library', 1, true))\n"
    "local m = arvak.batch_manager(client)\n"
    "refused(m:execute_batch({ { bell, 1 } }, 'simulator', { journal = path }))\n";

/* Some states have never had these libraries, and others have lost them. */
static void tables_that_a_plugin_calls_io_and_os_open_no_file(void **state) {
  (void)state;
  arvak_client *client = new_client();
  char path[] = "/tmp/arvak-sabotage-XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  close(fd);
  unlink(path);
  for (int has_had = 0; has_had < 2; has_had++) {
    lua_State *L = open_plugin(client, NULL);
    if (has_had) luaL_requiref(L, "io", luaopen_io, 1);
    if (has_had) luaL_requiref(L, "os", luaopen_os, 1);
    if (has_had) must(L, "io, os = nil, nil");
    lua_pushstring(L, path);
    lua_setglobal(L, "path");
    must(L, "find = string.find io, os = { open = error, stderr = {} }, { time = function() return 1 end }");
    if (!runs(L, file_attack)) fail_msg("%s", luaL_tolstring(L, -1, NULL));
    assert_int_equal(access(path, F_OK), -1);
    lua_close(L);
  }
  arvak_client_unref(client);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_a_plugin_replaces_changes_nothing_in_the_library),
      cmocka_unit_test(what_is_loaded_later_finds_the_functions_that_were_there_first),
      cmocka_unit_test(what_a_plugin_replaces_moves_no_limit),
      cmocka_unit_test(tables_that_a_plugin_calls_io_and_os_open_no_file),
  };
  lua_State *server = start_devserver("{ rate_limit = 0, max_concurrent_jobs = 0, max_queued_jobs = 0, seed = 1 }",
                                      address);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  lua_close(server);
  return failed;
}
