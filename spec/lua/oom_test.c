/* Every entry point of the module under an allocator that fails at the n-th allocation, for every n until it
 * succeeds: never a crash, never a leak, and the same state works again afterwards. The server runs in a Lua state of
 * its own, which has all the memory it wants.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "arvak_lua.h"

typedef struct heap {
  size_t bytes;
  long until_failure; /* allocations that still succeed; negative: all do */
  long failures;
  size_t limit; /* of bytes; 0: none */
  bool forks;   /* each allocation fails in a child of its own */
  long failed_children;
} heap;

/* Once more in the child, which goes on where the allocation fails; false in the parent, once the child has ended. */
static bool fails_in_child(heap *h) {
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    h->forks = false;
    return true;
  }
  int status;
  if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) h->failed_children++;
  return false;
}

static void *allocate(void *ud, void *block, size_t old, size_t size) {
  heap *h = ud;
  if (!block) old = 0;
  if (size == 0) {
    h->bytes -= old;
    free(block);
    return NULL;
  }
  if (size > old && h->forks && fails_in_child(h)) h->until_failure = 0;
  if (size > old && h->until_failure >= 0 && h->until_failure-- == 0) {
    h->until_failure = 0; /* and every one after it */
    h->failures++;
    return NULL;
  }
  if (h->limit > 0 && size > old && h->bytes + (size - old) > h->limit) return NULL;
  void *moved = realloc(block, size);
  if (moved) h->bytes += size - old;
  return moved;
}

static const char server_source[] =
    "local devserver = require 'arvak.devserver'\n"
    "server = assert(devserver.start { rate_limit = 0, max_concurrent_jobs = 0, seed = 1 })\n"
    "silent = assert(devserver.start { faults = { { hang = true } } })\n"
    "return server.address, silent.address";

/* Each runs with arvak, client and bell as upvalues, and must give true. */
static const char *const scenarios[] = {
    "local c = arvak.connect(address, { pool_size = 2, api_key = 'k', metadata = { a = 'b' }, timeout = 5,"
    "  channel_args = { ['grpc.keepalive_time_ms'] = 30000 } }) c:close() return true",
    "local c = arvak.connect(address, { api_key = function() return 'k' end, metadata = function() return {} end })"
    "  local ok = c:list_backends() c:close() return ok ~= nil",
    "local c <close> = arvak.connect(address, { ledger = ':memory:' })"
    "  local id = c:submit_qasm(bell, 'simulator', { label = 'x' })"
    "  return id ~= nil and c:get_job_status(id) ~= nil and c:stats().ledger.lost == 0",
    "local c <close> = arvak.connect(address, { ledger = ':memory:' })"
    "  return c:submit_qasm_future(bell, 'simulator', { label = 'x' }):result() ~= nil",
    "return client:submit_qasm(bell, 'simulator', { shots = 10, timeout = 5, metadata = { x = 'y' } }) ~= nil",
    "return #client:submit_batch({ { bell, 1 }, { qasm = bell, shots = 2 } }, 'simulator') == 2",
    "return client:submit_qasm('nonsense', 'simulator') == nil",
    "return client:submit_qasm('\\0', 'simulator') == nil",
    "return client:submit_circuit_json('{}', 'simulator') == nil",
    "return client:get_job_status(job).state == 'COMPLETED'",
    "local r = client:get_job_result(job) return r.counts ~= nil and r:most_frequent() ~= nil and r:pairs()() ~= nil",
    "local r = client:get_job_result(large) local n = 0 for _ in r:pairs() do n = n + 1 end"
    "  for _ in pairs(r.counts) do n = n - 1 end return n == 0",
    "return client:get_job_result('none') == nil",
    "return client:cancel_job(job) == nil",
    "return #client:list_backends() == 1 and client:get_backend_info('simulator').max_qubits == 20",
    "return client:execute(bell, 'simulator', 3).shots == 3",
    "return client:wait_for_job(job, { on_progress = function() end, max_wait = 5 }).shots == 10",
    "return client:wait_for_ready(5)",
    "return client:stats().calls > 0 and tostring(client) ~= nil",
    "return select(2, pcall(client.submit_qasm, client, bell, 'simulator', -1)):find('shots') ~= nil"
    "  or error('memory')",
    "local r = client:submit_qasm_future(wide, 'simulator', 20000):result() return r.counts ~= nil",
    "local f = client:submit_batch_future({ { bell, 1 }, { bell, 2 } }, 'simulator')"
    "  local o = arvak.gather(f) return o[1].value.shots == 1 and o[2].value.shots == 2",
    "local n = 0 for f, i in arvak.as_completed({ client.async:list_backends(), client.async:list_backends() }) do"
    "  n = n + i end return n == 3",
    "local last for state in client:watch_job(job) do last = state end return last == 'COMPLETED'",
    "local n = 0 for counts in client:stream_results(large, 100) do for _, c in pairs(counts) do n = n + c end end"
    "  return n == 20000",
    "local n = 0 for kind, i in client:submit_batch_stream({ { bell, 1 }, { wide, 20000 } }, 'simulator') do"
    "  if kind == 'completed' then n = n + i end end return n == 3",
    "return arvak.run(function() return arvak.sleep(0.0001) end)",
    "return arvak.run(function() local f = {} for i = 1, 5 do f[i] = arvak.spawn(function()"
    "  return client:execute(bell, 'simulator', i) end) end"
    "  for i = 1, 5 do if f[i]:result().shots ~= i then return false end end return true end)",
    "local f = client.async:submit_qasm(bell, 'simulator', 1) return f:result() ~= nil",
    "local f = client.async:get_job_status('none') return f:exception() ~= nil",
    "return arvak.run(function() local n = 0 for x in arvak.wrap(function() client:list_backends()"
    "  coroutine.yield(1) arvak.sleep(0.0001) coroutine.yield(2) end) do n = n + x end return n == 3 end)",
    "return arvak.run(function() local f = arvak.spawn(function() arvak.sleep(100) end) arvak.sleep(0.0001)"
    "  f:cancel() f:wait() return f:canceled() end)",
    "return arvak.run(function() local f = client.async:list_backends() local called = false"
    "  f:add_done_callback(function() called = true end) f:result() arvak.sleep(0.0001) return called end)",
    "return not pcall(arvak.run, function() error({}) end)",
    "arvak.spawn(function() client:list_backends() end) while arvak.poll(0.1) do end return true",
    /* Without memory for the call of a closer, Lua 5.4 leaves it out: so this is detached afterwards. */
    "local watch, n = nil, 0"
    "  attached = arvak.attach { suspend = coroutine.yield,"
    "  running = function() local co, is_main = coroutine.running() return not is_main and co or nil end,"
    "  resume = function(co) assert(coroutine.resume(co)) end, timer = function() return function() end end,"
    "  watch_fd = function(_, fn) watch = fn return function() watch = nil end end }"
    "  for _ = 1, 2 do assert(coroutine.resume(coroutine.create(function()"
    "    local backends = assert(client:list_backends()) n = n + #backends arvak.sleep(0.0001) n = n + 1 end))) end"
    "  for _ = 1, 200000 do if not watch then break end watch() end return n == 4",
    "local told = 0 local function tell() told = told + 1 end"
    "  local c <close> = arvak.connect('127.0.0.1:1', { attempt_timeout = 0.002, api_key = function() return 'k' end,"
    "    retry = { max_attempts = 2, initial_backoff = 1e-4, on_retry = tell,"
    "      codes = { 'UNAVAILABLE', 'DEADLINE_EXCEEDED' } },"
    "    breaker = { failure_threshold = 2, on_state_change = tell }, limiter = { rate = 1000, burst = 10 } })"
    "  local _, err = c:list_backends() if err.attempts ~= 2 then return false end"
    "  _, err = c:submit_qasm(bell, 'simulator') return err.kind == 'circuit_open' and told == 2 and c:stats() ~= nil",
    "local v <close> = arvak.resilient(client, { retry = { max_attempts = 2 }, breaker = true })"
    "  v:configure { breaker = { timeout = 1 }, retry = true } return v:list_backends() ~= nil and v:breaker() ~= nil",
    "local c <close> = arvak.connect(address, { retry = { budget = true, on_retry = print }, attempt_timeout = 5,"
    "    breaker = { failure_threshold = 1, success_threshold = 1, timeout = 1e-6, on_state_change = function() end },"
    "    limiter = { rate = 1e6, burst = 10, max_in_flight = 'adaptive' } })"
    "  c:breaker():record_failure() arvak.sleep(1e-5) for _ in c:watch_job(job) do end"
    "  if c:breaker():state() ~= 'closed' then return false end"
    "  c:breaker():record_failure() arvak.sleep(1e-5) return c:submit_qasm(bell, 'simulator') ~= nil",
    "local n = 0 return arvak.retry_policy { initial_backoff = 0.0001, on_retry = function() end }:wrap(function()"
    "  n = n + 1 if n < 3 then error({ retryable = true }) end return true end)()",
    "local told = 0 local function tell() told = told + 1 end"
    "  local b = arvak.circuit_breaker { failure_threshold = 1, on_state_change = tell }"
    "  b:wrap(function() return nil, select(2, client:submit_qasm('x', 'simulator')) end)()"
    "  if b:state() ~= 'closed' then return false end b:record_failure()"
    "  return select(2, b:wrap(print)()).kind == 'circuit_open' and told == 1",
    "local m <close> = arvak.batch_manager(client, { max_workers = 2 }) local i, n = 0, 0"
    "  local r = m:execute_batch(function() i = i + 1 if i < 4 then return { bell, i } end end, 'simulator',"
    "    { transport = 'unary', on_result = function(index) n = n + index end }) return n == 6 and r.ok",
    "local Circuit = { __index = function(_, key) return key == 'qasm' and bell .. ' ' or nil end }"
    "  return #client:submit_batch({ setmetatable({ shots = 2 }, Circuit) }, 'simulator') == 1",
    "arvak.connect(address, { metadata = { ['x-a'] = 'b' }, channel_args = { ['grpc.x'] = 1, y = 'z' } }):close()"
    "  return true",
    "return not pcall(client.get_job_status, client, 'a\\0b') and not pcall(client.list_backends, client, {}, 1)",
};

static lua_State *open_state(heap *h) {
  lua_State *L = lua_newstate(allocate, h);
  assert_non_null(L);
  luaL_openlibs(L);
  luaL_requiref(L, "arvak", luaopen_arvak, 1);
  lua_pop(L, 1);
  return L;
}

static void must(lua_State *L, const char *source) {
  if (luaL_dostring(L, source) != LUA_OK) fail_msg("%s", lua_tostring(L, -1));
}

static void prepare(lua_State *L, const char *address) {
  lua_pushstring(L, address);
  lua_setglobal(L, "address");
  must(L, "bell = 'OPENQASM 3.0; qubit[2] q; h q[0]; cx q[0], q[1];'\n"
          "client = arvak.connect(address)\n"
          "job = assert(client:submit_qasm(bell, 'simulator', 10))\n"
          "wide = 'OPENQASM 3.0; qubit[7] q; h q;'\n"
          "large = assert(client:submit_qasm(wide, 'simulator', 20000))\n"
          "assert(client:wait_for_job(job)) assert(client:wait_for_job(large))");
}

/* What a failure left in the state must not hinder it, and must be gone soon. */
static void check_clean(lua_State *L, const char *scenario) {
  lua_settop(L, 0);
  if (luaL_dostring(L, "if attached then attached:detach() attached = nil end\n"
                       "for _ = 1, 3 do pcall(arvak.poll) end collectgarbage() collectgarbage()\n"
                       "for _ = 1, 3000 do pcall(arvak.poll, 0.01) local c = arvak._counts()\n"
                       "if c.calls + c.tasks + c.waits == 0 then return end end\n"
                       "local c = arvak._counts()\n"
                       "error(('%d calls, %d tasks, %d waits'):format(c.calls, c.tasks, c.waits))") != LUA_OK)
    fail_msg("%s: %s", scenario, lua_tostring(L, -1));
}

static void run_scenario(lua_State *L, heap *h, const char *scenario) {
  bool succeeded = false;
  for (long n = 0; !succeeded; n++) {
    if (n > 20000) fail_msg("%s: does not succeed", scenario);
    lua_settop(L, 0);
    if (luaL_loadstring(L, scenario) != LUA_OK) fail_msg("%s", lua_tostring(L, -1));
    lua_gc(L, LUA_GCCOLLECT);
    h->failures = 0;
    h->until_failure = n;
    int status = lua_pcall(L, 0, 1, 0);
    h->until_failure = -1;
    succeeded = h->failures == 0;
    if (succeeded && (status != LUA_OK || !lua_toboolean(L, -1)))
      fail_msg("%s: %s", scenario, status == LUA_OK ? "gave false" : luaL_tolstring(L, -1, NULL));
    check_clean(L, scenario);
  }
}

static char address[64], silent[64];

static void every_entry_point_survives(void **state) {
  (void)state;
  heap h = {.until_failure = -1};
  lua_State *L = open_state(&h);
  prepare(L, address);
  for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) run_scenario(L, &h, scenarios[i]);
  lua_close(L);
  assert_int_equal(h.bytes, 0);
}

/* What results hold is the allocator's to count and to refuse, and dropping them gives it back. */
static void an_allocator_counts_what_results_hold(void **state) {
  (void)state;
  heap h = {.until_failure = -1};
  lua_State *L = open_state(&h);
  prepare(L, address);
  must(L, "large = client:submit_qasm('OPENQASM 3.0; qubit[10] q; h q;', 'simulator', 20000)\n"
          "assert(client:wait_for_job(large)) collectgarbage()");
  size_t before = h.bytes;
  must(L, "held = {} for i = 1, 20 do held[i] = assert(client:get_job_result(large)) end collectgarbage()");
  size_t held = h.bytes - before;
  assert_true(held > 20 * 1000 * (sizeof(void *) + sizeof(uint64_t) + 11)); /* 1,000 outcomes of 10 qubits and more */
  must(L, "held = nil collectgarbage() collectgarbage()");
  assert_true(h.bytes < before + held / 4);
  h.limit = h.bytes + held;
  must(L, "for i = 1, 200 do local r = assert(client:get_job_result(large)) end");
  must(L, "local held, ok, err = {} for i = 1, 200 do ok, err = pcall(client.get_job_result, client, large)\n"
          "held[i] = err if not ok then break end end assert(not ok and err == 'not enough memory', err)");
  lua_close(L);
  assert_int_equal(h.bytes, 0);
}

static const char hanging_source[] =
    "local function noop() end hanging = arvak.connect(silent)\n"
    "attached = arvak.attach { suspend = coroutine.yield, running = coroutine.running,\n"
    "  resume = function(co) coroutine.resume(co) end, timer = function() return noop end,\n"
    "  watch_fd = function() return noop end }\n"
    "co = coroutine.create(function() hanging:list_backends() end)";

static const char dead_source[] =
    "local is_dead = coroutine.status(co) == 'dead' co = nil\n"
    "if not is_dead then hanging:close() end collectgarbage() collectgarbage()\n"
    "local c for _ = 1, 3000 do pcall(arvak.poll, 0.01) c = arvak._counts()\n"
    "  if c.calls + c.waits == 0 then break end end\n"
    "attached:detach() hanging:close()\n"
    "if c.calls + c.waits > 0 then error(('%d calls, %d waits'):format(c.calls, c.waits)) end";

/* A coroutine of an attached loop that dies as it begins to wait: its call, which nobody answers, ends as soon as the
 * coroutine is collected. */
static void who_dies_waiting_lets_go_of_the_call(void **state) {
  (void)state;
  heap h = {.until_failure = -1};
  lua_State *L = open_state(&h);
  lua_pushstring(L, silent);
  lua_setglobal(L, "silent");
  for (long n = 0, failures = 1; failures > 0; n++) {
    must(L, hanging_source);
    if (luaL_loadstring(L, "coroutine.resume(co)") != LUA_OK) fail_msg("%s", lua_tostring(L, -1));
    lua_gc(L, LUA_GCCOLLECT);
    h.failures = 0;
    h.until_failure = n;
    lua_pcall(L, 0, 0, 0);
    h.until_failure = -1;
    failures = h.failures;
    lua_settop(L, 0);
    must(L, dead_source);
  }
  lua_close(L);
  assert_int_equal(h.bytes, 0);
}

/* Opening the library itself: it is opened once, and each allocation fails in a child of its own. */
static void opening_survives(void **state) {
  (void)state;
  heap h = {.until_failure = -1};
  lua_State *L = lua_newstate(allocate, &h);
  luaL_openlibs(L);
  lua_pushcfunction(L, luaopen_arvak);
  h.forks = true;
  int status = lua_pcall(L, 0, 1, 0);
  bool is_child = h.failures > 0;
  h.until_failure = -1;
  h.forks = false;
  lua_close(L);
  if (is_child) _exit(h.bytes == 0 ? 0 : 1);
  assert_int_equal(status, LUA_OK);
  assert_int_equal(h.bytes, 0);
  assert_int_equal(h.failed_children, 0);
}

static lua_State *server;

/* Not before there are no children any more: the server has threads. */
static int start_server(void **state) {
  (void)state;
  if (server) return 0;
  server = luaL_newstate();
  luaL_openlibs(server);
  if (luaL_dostring(server, server_source) != LUA_OK) {
    fprintf(stderr, "%s\n", lua_tostring(server, -1));
    return -1;
  }
  snprintf(address, sizeof address, "%s", lua_tostring(server, -2));
  snprintf(silent, sizeof silent, "%s", lua_tostring(server, -1));
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(opening_survives),
                                     cmocka_unit_test_setup(an_allocator_counts_what_results_hold, start_server),
                                     cmocka_unit_test_setup(who_dies_waiting_lets_go_of_the_call, start_server),
                                     cmocka_unit_test_setup(every_entry_point_survives, start_server)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  if (server) lua_close(server);
  return failed;
}
