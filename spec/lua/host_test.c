/* A host with one client and many Lua states: states with as few libraries as the library promises to need, handles
 * that end alone, states closed in the middle, threads. The server runs in a Lua state of its own.
 * SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "arvak.h"
#include "arvak_lua.h"

enum { THREADS = 4, STATES_PER_THREAD = 10 };

static char address[64], slow_address[64], guarded_address[64];

static arvak_client *new_client(const char *where) {
  arvak_client *client = NULL;
  arvak_client_options options = {.address = where, .pool_size = 2, .max_concurrent_rpcs = 8};
  assert_int_equal(arvak_client_new(&options, &client, NULL), ARVAK_OK);
  return client;
}

/* A state such as a careful host gives to a plugin. */
static lua_State *open_bare(void) {
  static const luaL_Reg libraries[] = {{"_G", luaopen_base},          {"coroutine", luaopen_coroutine},
                                       {"string", luaopen_string},    {"table", luaopen_table},
                                       {"math", luaopen_math},        {NULL, NULL}};
  lua_State *L = luaL_newstate();
  assert_non_null(L);
  for (const luaL_Reg *library = libraries; library->name; library++) {
    luaL_requiref(L, library->name, library->func, 1);
    lua_pop(L, 1);
  }
  return L;
}

static void must(lua_State *L, const char *source) {
  if (luaL_dostring(L, source) != LUA_OK) fail_msg("%s", luaL_tolstring(L, -1, NULL));
  lua_settop(L, 0);
}

static void open_arvak(lua_State *L) {
  luaL_requiref(L, "arvak", luaopen_arvak, 1);
  lua_pushstring(L, address);
  lua_setglobal(L, "address");
  must(L, "bell = 'OPENQASM 3.0; qubit[2] q; h q[0]; cx q[0], q[1];'");
}

static void push(lua_State *L, arvak_client *client, const char *name) {
  arvak_lua_pushclient(L, client);
  lua_setglobal(L, name);
}

static int in_flight(arvak_client *client) {
  arvak_client_stats stats;
  arvak_client_get_stats(client, &stats);
  return stats.in_flight + stats.queued;
}

/* ---- a bare state ---- */

static void a_state_with_five_libraries_is_enough(void **state) {
  (void)state;
  lua_State *L = open_bare();
  must(L, "assert(not io and not os and not package and not require and not debug and not utf8)");
  open_arvak(L);
  must(L, "local client <close> = arvak.connect(address)\n"
          "local job = assert(client:submit_qasm(bell, 'simulator', 100))\n"
          "local result = assert(client:wait_for_job(job))\n"
          "assert((result.counts['00'] or 0) + (result.counts['11'] or 0) == 100)\n"
          "local sum = 0 for _, n in result:pairs() do sum = sum + n end assert(sum == 100)\n"
          "assert(result:most_frequent() and result:probabilities() and result:to_table().shots == 100)\n"
          "assert(client:get_job_status(job).state == 'COMPLETED')\n"
          "assert(client:list_backends()[1].name and client:wait_for_ready(5))\n"
          "assert(client:execute(bell, 'simulator', 3).shots == 3)");
  must(L, "local client <close> = arvak.connect(address)\n"
          "assert(arvak.run(function()\n"
          "  local futures = {}\n"
          "  for i = 1, 5 do futures[i] = arvak.spawn(function() return client:execute(bell, 'simulator', i) end) end\n"
          "  for i = 1, 5 do assert(futures[i]:result().shots == i) end\n"
          "  arvak.sleep(0.001)\n"
          "  return true\n"
          "end))\n"
          "local futures = client:submit_batch_future({ { bell, 1 }, { bell, 2 } }, 'simulator')\n"
          "for f, i in arvak.as_completed(futures, 10) do assert(f:result().shots == i) end\n"
          "assert(arvak.all { client.async:list_backends() }[1][1].name)");
  must(L, "local client <close> = arvak.connect(address)\n"
          "local job = assert(client:submit_qasm(bell, 'simulator', 10)) assert(client:wait_for_job(job))\n"
          "local last for s in client:watch_job(job) do last = s end assert(last == 'COMPLETED')\n"
          "local n = 0 for counts in client:stream_results(job) do for _, c in pairs(counts) do n = n + c end end\n"
          "assert(n == 10)\n"
          "for kind, _, _, r in client:submit_batch_stream({ { bell, 4 } }, 'simulator') do\n"
          "  if kind == 'completed' then assert(r.shots == 4) n = 0 end\n"
          "end assert(n == 0)\n"
          "local manager <close> = arvak.batch_manager(client, { max_workers = 2 })\n"
          "assert(manager:execute_batch({ { bell, 1 }, { bell, 2 }, { bell, 3 } }, 'simulator').success_count == 3)");
  lua_close(L);
}

static void circuits_need_no_more(void **state) {
  (void)state;
  lua_State *L = open_bare();
  open_arvak(L);
  must(L, "assert(rawget(arvak, 'circuit') == nil)\n"
          "local circuit = arvak.circuit\n"
          "local theta = circuit.parameter 'theta'\n"
          "local c = circuit.new(2):h(0):rz(theta / 2, 1):tdg(1):cx(0, 1):measure_all():reset(0)\n"
          "assert(tostring(c):find('Rz(theta/2)', 1, true) and c:draw { ascii = true }:find('M', 1, true))\n"
          "assert(c:rx(math.pi, 1):draw { width = 90 }:find('Rx(pi)', 1, true))\n"
          "local ok, err = c:to_svg('x.svg') assert(not ok and err.message:find('no io', 1, true))\n"
          "ok, err = circuit.load('x.qasm') assert(not ok and err.message:find('no io', 1, true))\n"
          "local read = assert(circuit.from_qasm(c:bind { theta = 1 }:to_qasm { lowered = false }))\n"
          "assert(read:lowered().qasm == c:bind { theta = 1 }:lowered().qasm)\n"
          "local client <close> = arvak.connect(address)\n"
          "assert(client:execute(circuit.from_qasm(bell), 'simulator', 3).shots == 3)");
  lua_close(L);
}

static void what_is_not_there_is_named(void **state) {
  (void)state;
  lua_State *L = open_bare();
  open_arvak(L);
  must(L, "local client <close> = arvak.connect(address)\n"
          "local value, err = client:execute(bell, 'simulator', 1):metadata()\n"
          "assert(value == nil and err.message:find('lua-cjson', 1, true), tostring(err))\n"
          "local ok, message = pcall(arvak.connect, 'embedded')\n"
          "assert(not ok and message:find('address: \"embedded\" needs the module arvak.devserver, but this Lua '\n"
          "  .. 'state has no require; give the address of a server', 1, true), message)\n"
          "value, err = client:submit_qasm('qubit q; nonsense;', 'simulator')\n"
          "assert(value == nil and err.kind == 'invalid_circuit')\n"
          "assert(tostring(err):find('^SubmitJob 127.0.0.1:%d+: INVALID_ARGUMENT: .'), tostring(err))\n"
          "ok, message = pcall(client.submit_qasm, client, bell, 'simulator', -1)\n"
          "assert(not ok and message:find('shots: got -1', 1, true), message)\n"
          "ok, err = pcall(arvak.run, function() error({}) end)\n"
          "assert(not ok and err.traceback)");
  must(L, "arvak.spawn(function() error('nobody reads this') end)");
  lua_close(L);
}

/* ---- handles ---- */

static void closing_a_handle_leaves_the_client_to_the_others(void **state) {
  (void)state;
  arvak_client *client = new_client(slow_address);
  lua_State *L = open_bare(), *M = open_bare();
  open_arvak(L);
  open_arvak(M);
  push(L, client, "first");
  push(L, client, "second");
  push(M, client, "client");
  arvak_client_unref(client); /* the handles hold it */
  must(L, "assert(first ~= second and arvak.type(first) == 'client')\n"
          "future = first.async:get_backend_info('simulator')\n"
          "first:close() first:close()\n"
          "local value, err = future:result()\n"
          "assert(value == nil and err.kind == 'closed', tostring(err))\n"
          "local ok, message = pcall(first.list_backends, first)\n"
          "assert(not ok and message:find('the client is closed', 1, true), message)\n"
          "assert(second:execute(bell, 'simulator', 5).shots == 5)");
  must(M, "assert(client:execute(bell, 'simulator', 6).shots == 6)");
  lua_close(L);
  must(M, "assert(client:execute(bell, 'simulator', 7).shots == 7)\n"
          "assert(client:stats().in_flight == 0 and client:stats().connections.open <= 2)\n"
          "client:close()");
  lua_close(M);
}

static void a_state_may_close_with_calls_in_flight_and_queued(void **state) {
  (void)state;
  arvak_client *client = new_client(slow_address);
  lua_State *M = open_bare();
  open_arvak(M);
  push(M, client, "client");
  for (int i = 0; i < 5; i++) {
    lua_State *L = open_bare();
    open_arvak(L);
    push(L, client, "client");
    must(L, "futures = {} for i = 1, 20 do futures[i] = client.async:get_backend_info('simulator') end arvak.poll()");
    assert_int_equal(in_flight(client), 20);
    lua_close(L);
    assert_int_equal(in_flight(client), 0);
  }
  must(M, "for _, o in ipairs(arvak.map({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, function()\n"
          "  return client:get_backend_info('simulator') end)) do assert(o.ok and o.value.max_qubits == 20) end");
  lua_close(M);
  arvak_client_unref(client);
}

static void a_push_opens_the_library_and_names_it_nowhere(void **state) {
  (void)state;
  arvak_client *client = new_client(address);
  lua_State *L = open_bare();
  push(L, client, "client");
  must(L, "assert(arvak == nil)\n"
          "assert(#client:list_backends() == 1)\n"
          "assert(coroutine.wrap(function() return #client.async:list_backends():result() end)() == 1)");
  luaL_requiref(L, "arvak", luaopen_arvak, 1);
  must(L, "assert(arvak.type(client) == 'client')");
  assert_int_equal(lua_gettop(L), 0);
  lua_State *co = lua_newthread(L);
  arvak_lua_pushclient(co, client);
  assert_int_equal(lua_gettop(co), 1);
  lua_close(L);
  arvak_client_unref(client);
}

static int push_null(lua_State *L) {
  arvak_lua_pushclient(L, NULL);
  return 1;
}

static void null_is_refused(void **state) {
  (void)state;
  lua_State *L = open_bare();
  lua_pushcfunction(L, push_null);
  assert_int_equal(lua_pcall(L, 0, 1, 0), LUA_ERRRUN);
  assert_non_null(strstr(lua_tostring(L, -1), "got NULL, expected a client"));
  lua_close(L);
}

static void configure_is_the_hosts_alone(void **state) {
  (void)state;
  arvak_client *client = new_client(address);
  lua_State *L = open_bare();
  open_arvak(L);
  push(L, client, "client");
  must(L, "local ok, message = pcall(client.configure, client, { retry = true })\n"
          "assert(not ok and message:find('arvak.resilient', 1, true), message)\n"
          "local view = arvak.resilient(client, { retry = true })\n"
          "assert(#view:list_backends() == 1) view:close()\n"
          "assert(#client:list_backends() == 1)");
  lua_close(L);
  arvak_client_unref(client);
}

static void count_change(arvak_breaker_state from, arvak_breaker_state to, void *ud) {
  (void)from;
  if (to == ARVAK_BREAKER_OPEN) atomic_fetch_add((atomic_int *)ud, 1);
}

static void states_share_the_policies_of_the_host(void **state) {
  (void)state;
  static atomic_int opened;
  arvak_retry *retry = NULL;
  arvak_breaker *breaker = NULL;
  arvak_client *client = NULL;
  arvak_retry_options tries = {.max_attempts = 2, .initial_backoff_ns = 1000000};
  arvak_breaker_options limits = {.failure_threshold = 4, .on_change = count_change, .ud = &opened};
  assert_int_equal(arvak_retry_new(&tries, NULL, &retry), ARVAK_OK);
  assert_int_equal(arvak_breaker_new(&limits, &breaker), ARVAK_OK);
  arvak_client_options options = {
      .address = "127.0.0.1:1", .attempt_timeout_ns = 300000000, .retry = retry, .breaker = breaker};
  assert_int_equal(arvak_client_new(&options, &client, NULL), ARVAK_OK);
  arvak_retry_unref(retry);
  arvak_breaker_unref(breaker);
  lua_State *first = open_bare(), *second = open_bare();
  push(first, client, "client");
  push(second, client, "client");
  arvak_client_unref(client);
  must(first, "local _, err = client:list_backends() assert(err.attempts == 2 and err.kind == 'unavailable')");
  must(second, "local _, err = client:list_backends() assert(err.attempts == 2 and err.kind == 'unavailable')\n"
               "assert(client:breaker():state() == 'open')");
  must(first, "local _, err = client:list_backends() assert(err.kind == 'circuit_open')");
  assert_int_equal(opened, 1);
  lua_close(first);
  must(second, "local ok, message = pcall(client:breaker().reset, client:breaker())\n"
               "assert(not ok and message:find('belongs to the host', 1, true), message)");
  arvak_breaker_reset(arvak_client_breaker(client));
  must(second, "local _, err = client:list_backends() assert(err.kind == 'unavailable')");
  lua_close(second);
}

/* ---- headers from the host ---- */

typedef struct vault {
  const char *token; /* NULL: refuses */
  const char *name;
  atomic_int calls;
} vault;

static bool give_token(arvak_header_sink *sink, arvak_rpc rpc, void *ud) {
  vault *v = ud;
  char copy[16]; /* what is given is copied */
  atomic_fetch_add(&v->calls, 1);
  if (!v->token || arvak_rpc_name(rpc) == NULL) return false;
  snprintf(copy, sizeof copy, "%s", v->token);
  arvak_header_sink_add(sink, "x-other", (arvak_text){"1", 1});
  arvak_header_sink_add(sink, v->name, (arvak_text){copy, strlen(copy)});
  memset(copy, 0, sizeof copy);
  return true;
}

static arvak_client *new_guarded(vault *v) {
  arvak_client *client = NULL;
  arvak_header stale = {"x-api-key", {"stale", 5}};
  arvak_client_options options = {.address = guarded_address, .headers = &stale, .header_count = 1,
                                  .headers_fn = give_token, .headers_ud = v};
  assert_int_equal(arvak_client_new(&options, &client, NULL), ARVAK_OK);
  return client;
}

static void the_host_gives_headers_before_each_attempt(void **state) {
  (void)state;
  vault v = {"secret", "x-api-key", 0};
  arvak_client *client = new_guarded(&v);
  lua_State *L = open_bare();
  open_arvak(L);
  push(L, client, "client");
  must(L, "job = assert(client:submit_qasm(bell, 'simulator', 5)) assert(client:wait_for_job(job))");
  int calls = v.calls;
  assert_true(calls >= 3);
  must(L, "local last for s in client:watch_job(job) do last = s end assert(last == 'COMPLETED')\n"
          "for kind in client:submit_batch_stream({ { bell, 4 } }, 'simulator') do assert(kind ~= 'error') end");
  assert_true(v.calls >= calls + 2);
  calls = v.calls;
  must(L, "local view = arvak.resilient(client, { retry = { initial_backoff = 0.001 } })\n"
          "local backend, err = view:get_backend_info('simulator')\n"
          "assert(backend, err)");
  assert_int_equal(v.calls, calls + 3);
  must(L, "local ok, message = pcall(client.list_backends, client, { metadata = { ['x-api-key'] = 'mine' } })\n"
          "assert(not ok and message:find('metadata[\"x-api-key\"]: this header belongs', 1, true), message)\n"
          "assert(client:list_backends({ metadata = { ['x-other'] = 'mine' } }))");
  lua_close(L);
  arvak_client_unref(client);
}

static void a_host_may_refuse(void **state) {
  (void)state;
  vault refusing = {NULL, "x-api-key", 0}, wrong = {"secret", "Bad Name", 0};
  vault *const vaults[] = {&refusing, &wrong};
  for (int i = 0; i < 2; i++) {
    arvak_client *client = new_guarded(vaults[i]);
    lua_State *L = open_bare();
    open_arvak(L);
    push(L, client, "client");
    must(L, "local function refused(value, err)\n"
            "  if not err then value, err = nil, value end\n"
            "  assert(not value and err.kind == 'unauthenticated' and err.attempts == 0, tostring(err))\n"
            "  assert(err.message:find('the application gave no headers', 1, true) and not err.maybe_executed)\n"
            "end\n"
            "refused(client:list_backends())\n"
            "refused(client.async:list_backends():result())\n"
            "refused(arvak.resilient(client, { retry = true, breaker = true }):list_backends())\n"
            "local stream <close> = client:stream_results('none')\n"
            "refused(stream:next())\n"
            "refused(select(2, pcall(function()\n"
            "  for kind, _, _, err in client:submit_batch_stream({ { bell, 4 } }, 'simulator') do\n"
            "    assert(kind == 'error' and err.kind == 'unauthenticated' and not err.maybe_executed, tostring(err))\n"
            "  end\n"
            "end)))\n"
            "local s = client:stats() assert(s.in_flight == 0 and s.queued == 0)");
    lua_close(L);
    arvak_client_unref(client);
  }
}

/* ---- memory ---- */

static long until_failure;

static void *allocate(void *ud, void *block, size_t old, size_t size) {
  (void)ud;
  if (!block) old = 0;
  if (size > old && until_failure >= 0 && until_failure-- == 0) {
    until_failure = 0;
    return NULL;
  }
  if (size > 0) return realloc(block, size);
  free(block);
  return NULL;
}

static int push_given(lua_State *L) {
  arvak_lua_pushclient(L, lua_touserdata(L, 1));
  return 1;
}

/* Opening the library without memory is another test's matter (oom_test.c). */
static void a_push_without_memory_raises_and_holds_nothing(void **state) {
  (void)state;
  arvak_client *client = new_client(address);
  until_failure = -1;
  lua_State *L = lua_newstate(allocate, NULL);
  luaL_openlibs(L);
  luaL_requiref(L, "arvak", luaopen_arvak, 1);
  int status = LUA_ERRMEM;
  long n;
  for (n = 0; status != LUA_OK; n++) {
    assert_true(n < 1000);
    lua_settop(L, 0);
    lua_pushcfunction(L, push_given);
    lua_pushlightuserdata(L, client);
    lua_gc(L, LUA_GCCOLLECT);
    until_failure = n;
    status = lua_pcall(L, 1, 1, 0);
    until_failure = -1;
    if (status != LUA_OK) assert_int_equal(status, LUA_ERRMEM);
  }
  assert_true(n > 2);
  lua_setglobal(L, "client");
  must(L, "assert(#client:list_backends() == 1) client = nil collectgarbage() collectgarbage()\n"
          "assert(arvak._counts().clients == 0)");
  lua_close(L);
  arvak_client_unref(client);
}

/* ---- threads ---- */

static void *run_states(void *ud) {
  arvak_client *client = ud;
  for (int i = 0; i < STATES_PER_THREAD; i++) {
    lua_State *L = open_bare();
    open_arvak(L);
    push(L, client, "client");
    arvak_client_unref(arvak_client_ref(client));
    must(L, "local sum = 0\n"
            "for _, o in ipairs(arvak.map({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, function(n)\n"
            "  return client:execute(bell, 'simulator', n) end)) do\n"
            "  if not o.ok then error(o.err, 0) end\n"
            "  for _, n in o.value:pairs() do sum = sum + n end\n"
            "end\n"
            "assert(sum == 55, sum)\n"
            "left = client.async:list_backends()");
    lua_close(L);
  }
  arvak_client_unref(client);
  return NULL;
}

static void states_in_threads_share_slots_and_connections(void **state) {
  (void)state;
  arvak_client *client = new_client(address);
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, run_states, arvak_client_ref(client));
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  arvak_client_stats stats;
  arvak_client_get_stats(client, &stats);
  assert_int_equal(stats.in_flight + stats.queued, 0);
  assert_in_range(stats.channels, 1, 2);
  assert_true(stats.calls >= THREADS * STATES_PER_THREAD * 30);
  arvak_client_unref(client);
}

/* A plugin that starts things at random and stops wherever it is: the state is closed with all that under way. What
 * ends as a result must be the right one. */
static const char wild_plugin[] =
    "local random = math.random  math.randomseed(seed)\n"
    "local view = arvak.resilient(client, { retry = { initial_backoff = 0.001 }, breaker = { timeout = 0.01 } })\n"
    "local handles = { client, view }\n"
    "local function pick() return handles[random(#handles)] end\n"
    "local function check(f, shots) f:add_done_callback(function()\n"
    "  local r = f:result() if r then assert(r.shots == shots) succeed() end end) return f end\n"
    "local actions = {\n"
    "  function() local n = random(50) check(pick():submit_qasm_future(bell, 'simulator', n), n) end,\n"
    "  function() local n = random(50) local f = check(pick():submit_qasm_future(bell, 'simulator', n), n)\n"
    "    arvak.poll(0.001) f:cancel() end,\n"
    "  function() pick().async:list_backends():cancel() end,\n"
    "  function() left = pick().async:get_backend_info('simulator', { timeout = 0.001 * random(20) }) end,\n"
    "  function() arvak.spawn(function() arvak.sleep(0.001 * random(20)) pick():list_backends() end) end,\n"
    "  function() arvak.with_timeout(0.001 * random(10), function()\n"
    "    return pick():execute(bell, 'simulator', 3) end) end,\n"
    "  function() local id = pick():submit_qasm(bell, 'simulator') if not id then return end\n"
    "    pcall(function() for state in pick():watch_job(id, { timeout = 1 }) do\n"
    "      if random(2) == 1 then break end end end) end,\n"
    "  function() pcall(function() for kind in pick():submit_batch_stream({ { bell, 1 }, { bell, 2 } }, 'simulator',\n"
    "    { timeout = 1 }) do if random(3) == 1 then break end end end) end,\n"
    "  function() handles[#handles + 1] = push() end,\n"
    "  function() if #handles > 2 then table.remove(handles):close() end end,\n"
    "  function() arvak.poll(0.002) end, function() arvak.poll(0.002) end,\n"
    "  function() collectgarbage() end,\n"
    "}\n"
    "for _ = 1, random(60) do actions[random(#actions)]() end\n"
    "if random(4) == 1 then client:close() end\n"
    "if random(4) == 1 then error('enough') end\n";

static atomic_int wild_seed, wild_results;
static atomic_bool wild_ends;

static int succeed(lua_State *L) {
  (void)L;
  atomic_fetch_add(&wild_results, 1);
  return 0;
}

static int push_upvalue(lua_State *L) {
  arvak_lua_pushclient(L, lua_touserdata(L, lua_upvalueindex(1)));
  return 1;
}

static void *run_wild(void *ud) {
  arvak_client *client = ud;
  while (!wild_ends) {
    lua_State *L = open_bare();
    open_arvak(L);
    push(L, client, "client");
    lua_pushlightuserdata(L, client);
    lua_pushcclosure(L, push_upvalue, 1);
    lua_setglobal(L, "push");
    lua_pushcfunction(L, succeed);
    lua_setglobal(L, "succeed");
    lua_pushinteger(L, atomic_fetch_add(&wild_seed, 1));
    lua_setglobal(L, "seed");
    if (luaL_dostring(L, wild_plugin) != LUA_OK && !strstr(luaL_tolstring(L, -1, NULL), "enough")) {
      fprintf(stderr, "seed %d: %s\n", wild_seed, lua_tostring(L, -1));
      abort();
    }
    lua_close(L);
  }
  return NULL;
}

static void plugins_that_stop_anywhere_harm_nobody(void **state) {
  arvak_client *client = new_client(address);
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, run_wild, client);
  for (int i = 0; i < 300 && (wild_seed < 200 || wild_results < 500); i++) {
    must(*state, "server:drop_connections()");
    nanosleep(&(struct timespec){.tv_nsec = 30000000}, NULL);
  }
  wild_ends = true;
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  assert_int_equal(in_flight(client), 0);
  assert_true(wild_seed > THREADS && wild_results > 0);
  printf("# %d states, %d results\n", wild_seed, wild_results);
  arvak_client_unref(client);
}

/* ---- */

static void start_server(lua_State *L, const char *source, char *out) {
  if (luaL_dostring(L, source) != LUA_OK) {
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    exit(1);
  }
  snprintf(out, 64, "%s", lua_tostring(L, -1));
}

int main(void) {
  lua_State *server = luaL_newstate();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_state_with_five_libraries_is_enough),
      cmocka_unit_test(circuits_need_no_more),
      cmocka_unit_test(what_is_not_there_is_named),
      cmocka_unit_test(closing_a_handle_leaves_the_client_to_the_others),
      cmocka_unit_test(a_state_may_close_with_calls_in_flight_and_queued),
      cmocka_unit_test(a_push_opens_the_library_and_names_it_nowhere),
      cmocka_unit_test(null_is_refused),
      cmocka_unit_test(configure_is_the_hosts_alone),
      cmocka_unit_test(states_share_the_policies_of_the_host),
      cmocka_unit_test(the_host_gives_headers_before_each_attempt),
      cmocka_unit_test(a_host_may_refuse),
      cmocka_unit_test(a_push_without_memory_raises_and_holds_nothing),
      cmocka_unit_test(states_in_threads_share_slots_and_connections),
      cmocka_unit_test_prestate(plugins_that_stop_anywhere_harm_nobody, server)};
  luaL_openlibs(server);
  start_server(server, "server = assert(require('arvak.devserver').start { rate_limit = 0, max_concurrent_jobs = 0,"
                       " max_queued_jobs = 0, seed = 1 }) return server.address", address);
  start_server(server, "slow = assert(require('arvak.devserver').start { rate_limit = 0, seed = 1 })"
                       " slow:fault { rpc = 'GetBackendInfo', latency = 1 } return slow.address", slow_address);
  start_server(server, "guarded = assert(require('arvak.devserver').start { api_key = 'secret', seed = 1 })"
                       " guarded:fault { rpc = 'GetBackendInfo', status = 'UNAVAILABLE', count = 2 }"
                       " return guarded.address", guarded_address);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  lua_close(server);
  return failed;
}
