/* Interrupts and deadlines: a host stops what waits in a Lua state, from another thread, wherever it waits; and closing
 * a state waits for nothing. SPDX-License-Identifier: Apache-2.0 */
#include "plugin.h"

/* Far more than is promised, since the machine may be busy; and far less than what each wait would take. */
#define STOP_NS (2000 * MS)
#define CLOSE_NS (2000 * MS)

static char address[64], slow_address[64];
static int rounds = 1000; /* of interrupts at random, in each thread */

static arvak_client *new_client(const char *where) {
  arvak_client *client = NULL;
  arvak_client_options options = {.address = where, .pool_size = 2, .max_concurrent_rpcs = 16};
  if (arvak_client_new(&options, &client, NULL) != ARVAK_OK) abort();
  return client;
}

/* With `client`, whose calls take an hour, `quick`, and arvak. */
static lua_State *open_plugin(arvak_client *slow, arvak_client *quick) {
  lua_State *L = open_bare();
  luaL_requiref(L, "arvak", luaopen_arvak, 1);
  arvak_lua_pushclient(L, slow);
  lua_setglobal(L, "client");
  arvak_lua_pushclient(L, quick);
  lua_setglobal(L, "quick");
  return L;
}

/* ---- every wait ---- */

/* The ways to wait, and what a plugin does in order not to be stopped. Each would take an hour. */
static const char *const waits[] = {
    "client:list_backends { timeout = 3600 }",
    "client:submit_qasm(bell, 'simulator', { timeout = 3600 })",
    "client:execute(bell, 'simulator', { timeout = 3600 })",
    "arvak.sleep(3600)",
    "client.async:list_backends({ timeout = 3600 }):result()",
    "client.async:list_backends({ timeout = 3600 }):wait(3600)",
    "client:wait_for_job(job, { timeout = 3600 })",
    "quick:wait_for_job(job, { max_wait = 3600 })",
    "quick:submit_qasm_future(bell, 'simulator', { max_wait = 3600 }):submitted() "
        "quick:submit_qasm_future(bell, 'simulator'):result()",
    "for _ in quick:watch_job(job, { timeout = 3600 }) do end",
    "for _ in client:stream_results(job, { timeout = 3600 }) do end",
    "for _ in quick:submit_batch_stream({ { bell, 1 } }, 'simulator', { timeout = 3600 }) do end",
    "arvak.batch_manager(quick):execute_batch({ { bell, 1 }, { bell, 2 } }, 'simulator')",
    "arvak.batch_manager(quick):execute_batch({ { bell, 1 } }, 'simulator', { transport = 'unary' })",
    "while true do arvak.poll(3600) end",
    "local p = arvak.pollable() while true do p:step(3600) end",
    "arvak.wait({ client.async:list_backends { timeout = 3600 } }, { timeout = 3600 })",
    "for _ in arvak.as_completed { client.async:list_backends { timeout = 3600 } } do end",
    "arvak.gather { client.async:list_backends { timeout = 3600 } }",
    "arvak.map({ 1, 2, 3 }, function() return client:list_backends { timeout = 3600 } end)",
    "arvak.with_timeout(3600, function() return arvak.sleep(3600) end)",
    "arvak.run(function() arvak.sleep(3600) end)",
    "arvak.run(function() for i = 1, 5 do arvak.spawn(arvak.sleep, 3600) end end)",
    "arvak.run(function() while true do pcall(arvak.sleep, 3600) end end)",
    "arvak.run(function() local f = arvak.wrap(function() while true do pcall(arvak.sleep, 3600) end end) f() end)",
    "arvak.retry_policy({ initial_backoff = 3600, max_backoff = 3600 })\n"
        ":wrap(function() error { retryable = true } end)()",
    "while true do pcall(arvak.sleep, 3600) end",
    "while true do pcall(pcall, pcall, arvak.sleep, 3600) end",
    "while true do xpcall(arvak.sleep, function() return 1 end, 3600) end",
    "local co = coroutine.wrap(function() while true do pcall(arvak.sleep, 3600) end end) co()",
    "while true do coroutine.resume(coroutine.create(arvak.sleep), 3600) end",
    "setmetatable({}, { __gc = function() arvak.sleep(3600) end }) collectgarbage() arvak.sleep(3600)",
    "setmetatable({}, { __close = function() arvak.sleep(3600) end }) local x <close> = "
        "setmetatable({}, { __close = function() arvak.sleep(3600) end }) arvak.sleep(3600)",
};
enum { WAIT_COUNT = sizeof waits / sizeof *waits };

static void give_job(lua_State *L) {
  must(L, "job = assert(quick:submit_qasm(bell, 'simulator', 1))");
}

static void assert_interrupted(lua_State *L, const char *source, const char *message) {
  if (strcmp(kind_on_top(L), "interrupted") != 0) fail_msg("%s: %s", source, luaL_tolstring(L, 1, NULL));
  lua_getfield(L, 1, "message");
  assert_string_equal(lua_tostring(L, -1), message);
  lua_settop(L, 0);
}

/* Afterwards the state is as good as before. */
static void assert_works(lua_State *L) {
  must(L, "assert(#quick:list_backends() == 1)\n"
          "assert(arvak.run(function() arvak.sleep(0.001) return #quick:list_backends() end) == 1)\n"
          "assert(quick.async:list_backends():result())\n"
          "local n = 0 for i = 1, 1000 do n = n + i end assert(n == 500500)");
}

static void stop_each_wait(stop_fn stop, const char *message) {
  arvak_client *slow = new_client(slow_address), *quick = new_client(address);
  int64_t longest = 0;
  for (int i = 0; i < WAIT_COUNT; i++) {
    plugin p = {.L = open_plugin(slow, quick), .source = waits[i]};
    arvak_lua_handle *handle = arvak_lua_get_handle(p.L);
    give_job(p.L);
    start_plugin(&p);
    pause_ms(20);
    if (p.is_over) fail_msg("%s is over: %s", waits[i], p.has_raised ? luaL_tolstring(p.L, -1, NULL) : "");
    int64_t took = stop_plugin(&p, handle, stop);
    if (took > longest) longest = took;
    if (took > STOP_NS) fail_msg("%s: %.1f ms", waits[i], (double)took / MS);
    assert_true(p.has_raised);
    assert_interrupted(p.L, waits[i], message);
    assert_true(arvak_lua_interrupted(handle));
    assert_false(runs(p.L, "arvak.sleep(0)")); /* later ones as well */
    assert_interrupted(p.L, waits[i], message);
    arvak_lua_clear_interrupt(p.L);
    assert_false(arvak_lua_interrupted(handle));
    assert_null(lua_gethook(p.L));
    assert_works(p.L);
    lua_close(p.L);
    arvak_lua_handle_unref(handle);
  }
  printf("# the longest of %d: %.2f ms\n", WAIT_COUNT, (double)longest / MS);
  arvak_client_unref(slow);
  arvak_client_unref(quick);
}

static void an_interrupt_ends_every_wait(void **state) {
  (void)state;
  stop_each_wait(by_hand, "enough");
}

static void a_deadline_ends_every_wait(void **state) {
  (void)state;
  stop_each_wait(by_deadline, "the deadline of this Lua state has passed");
}

static void a_deadline_that_was_set_before_ends_a_wait_in_time(void **state) {
  (void)state;
  arvak_client *slow = new_client(slow_address), *quick = new_client(address);
  lua_State *L = open_plugin(slow, quick);
  arvak_lua_handle *handle = arvak_lua_get_handle(L);
  static const char *const some[] = {"arvak.sleep(3600)", "arvak.run(arvak.sleep, 3600)",
                                     "client:list_backends { timeout = 3600 }"};
  for (int i = 0; i < 3; i++) {
    int64_t deadline = arvak_now_ns() + 30 * MS;
    arvak_lua_set_deadline(handle, deadline);
    assert_false(runs(L, some[i]));
    assert_true(arvak_now_ns() >= deadline && arvak_now_ns() < deadline + STOP_NS);
    assert_interrupted(L, some[i], "the deadline of this Lua state has passed");
    arvak_lua_set_deadline(handle, ARVAK_NEVER); /* a later one does as well */
    assert_works(L);
    assert_null(lua_gethook(L));
  }
  lua_close(L);
  arvak_lua_handle_unref(handle);
  arvak_client_unref(slow);
  arvak_client_unref(quick);
}

static void suspended_tasks_raise_where_they_wait(void **state) {
  (void)state;
  arvak_client *slow = new_client(slow_address), *quick = new_client(address);
  lua_State *L = open_plugin(slow, quick);
  arvak_lua_handle *handle = arvak_lua_get_handle(L);
  must(L, "f = arvak.spawn(function() return client:submit_qasm(bell, 'simulator', { timeout = 3600 }) end)\n"
          "arvak.poll(0.1)");
  arvak_lua_interrupt(handle, "enough");
  assert_false(runs(L, "arvak.poll()"));
  assert_interrupted(L, "poll", "enough");
  arvak_lua_clear_interrupt(L);
  must(L, "assert(f:done())\n"
          "local ok, err = f:result() assert(ok == nil and err.kind == 'interrupted' and err.maybe_executed)");
  must(L, "f = arvak.spawn(function() arvak.sleep(3600) end) arvak.poll()");
  arvak_lua_interrupt(handle, "enough");
  arvak_lua_clear_interrupt(L); /* before anybody has looked */
  must(L, "arvak.poll() local ok, err = f:result(0) assert(ok == nil and err.kind == 'interrupted')");
  assert_works(L);
  lua_close(L);
  arvak_lua_handle_unref(handle);
  arvak_client_unref(slow);
  arvak_client_unref(quick);
}

/* A host may clear before each run, and takes back a deadline when the plugin was in time. */
static void clearing_what_is_not_interrupted_ends_no_wait(void **state) {
  (void)state;
  arvak_client *slow = new_client(slow_address), *quick = new_client(address);
  lua_State *L = open_plugin(slow, quick);
  arvak_lua_handle *handle = arvak_lua_get_handle(L);
  must(L, "f = arvak.spawn(function() arvak.sleep(0.01) return assert(quick:list_backends()) end) arvak.poll()");
  arvak_lua_clear_interrupt(L);
  must(L, "arvak.poll()");
  arvak_lua_set_deadline(handle, arvak_now_ns() + 3600 * INT64_C(1000) * MS);
  arvak_lua_clear_interrupt(L);
  must(L, "local backends, err = f:result() assert(backends, err)");
  lua_close(L);
  arvak_lua_handle_unref(handle);
  arvak_client_unref(slow);
  arvak_client_unref(quick);
}

/* ---- the host's own hook ---- */

static int hook_runs;

static void count_hook(lua_State *L, lua_Debug *ar) {
  (void)ar;
  hook_runs++;
  arvak_lua_check(L);
}

static void the_hosts_hook_is_restored(void **state) {
  (void)state;
  arvak_client *slow = new_client(slow_address), *quick = new_client(address);
  lua_State *L = open_plugin(slow, quick);
  arvak_lua_handle *handle = arvak_lua_get_handle(L);
  lua_sethook(L, count_hook, LUA_MASKCOUNT, 1000);
  must(L, "co = coroutine.create(function() while true do pcall(arvak.sleep, 3600) coroutine.yield() end end)");
  arvak_lua_interrupt(handle, NULL);
  assert_false(runs(L, "while true do coroutine.resume(co) end"));
  assert_interrupted(L, "resume", "the host has interrupted this Lua state");
  assert_true(lua_gethook(L) != count_hook);
  arvak_lua_clear_interrupt(L);
  assert_ptr_equal(lua_gethook(L), count_hook);
  assert_int_equal(lua_gethookmask(L), LUA_MASKCOUNT);
  assert_int_equal(lua_gethookcount(L), 1000);
  hook_runs = 0;
  must(L, "for i = 1, 100000 do end");
  assert_true(hook_runs >= 50);
  lua_close(L);
  arvak_lua_handle_unref(handle);
  arvak_client_unref(slow);
  arvak_client_unref(quick);
}

/* Levels of coroutines between the wait and the main one are the business of the host's hook, which they inherit, and
 * of those who resume them. */
static void a_hook_that_asks_ends_loops_and_coroutines(void **state) {
  (void)state;
  static const char *const loops[] = {
      "while true do end",
      "while true do pcall(function() while true do end end) end",
      "local function f() while true do coroutine.resume(coroutine.create(arvak.sleep), 3600) end end\n"
      "local function g() while true do coroutine.resume(coroutine.create(f)) end end\n"
      "while true do coroutine.resume(coroutine.create(g)) end",
      "local function f() while true do pcall(coroutine.wrap(function() arvak.sleep(3600) end)) end end\n"
      "local function g() while true do pcall(coroutine.wrap(f)) end end\n"
      "local function h() while true do pcall(coroutine.wrap(g)) end end\n"
      "while true do pcall(coroutine.wrap(h)) end",
      "local function deep(n)\n"
      "  while true do pcall(n > 0 and deep or arvak.sleep, n > 0 and n - 1 or 3600) end end deep(50)",
      "while true do pcall(load('while true do end', '=lua/arvak/mine')) end",
  };
  arvak_client *slow = new_client(slow_address), *quick = new_client(address);
  for (size_t i = 0; i < sizeof loops / sizeof *loops; i++) {
    plugin p = {.L = open_plugin(slow, quick), .source = loops[i]};
    arvak_lua_handle *handle = arvak_lua_get_handle(p.L);
    lua_sethook(p.L, count_hook, LUA_MASKCOUNT, 10000);
    arvak_lua_guard_coroutines(p.L);
    must(p.L, "local co = coroutine.wrap(function(a) local b = coroutine.yield(a + 1) return b, b end)\n"
              "assert(co(1) == 2 and select('#', co(3)) == 2 and not pcall(co))\n"
              "local ok, message = coroutine.resume(coroutine.create(error), 'x') assert(not ok and message == 'x')");
    start_plugin(&p);
    pause_ms(20);
    stop_plugin(&p, handle, by_hand);
    assert_true(p.has_raised);
    assert_interrupted(p.L, loops[i], "enough");
    arvak_lua_clear_interrupt(p.L);
    assert_works(p.L);
    lua_close(p.L);
    arvak_lua_handle_unref(handle);
  }
  arvak_client_unref(slow);
  arvak_client_unref(quick);
}

static void kill_plugin(lua_State *L, lua_Debug *ar) {
  (void)ar;
  hook_runs++;
  luaL_error(L, "a million instructions");
}

static void waiting_fires_no_count_hook_unless_the_host_wants_it(void **state) {
  (void)state;
  arvak_client *slow = new_client(slow_address), *quick = new_client(address);
  lua_State *L = open_plugin(slow, quick);
  hook_runs = 0;
  lua_sethook(L, kill_plugin, LUA_MASKCOUNT, 1000000);
  must(L, "arvak.sleep(0.25) assert(quick:list_backends())\n"
          "local _, err = client:list_backends { timeout = 0.2 } assert(err.kind == 'timeout')\n"
          "arvak.run(function() arvak.sleep(0.25) end)");
  assert_int_equal(hook_runs, 0);
  arvak_lua_set_hook_interval(L, 5);
  static const char *const some[] = {"arvak.sleep(3600)", "arvak.run(arvak.sleep, 3600)", "arvak.poll(3600)",
                                     "pcall(arvak.sleep, 3600) error('a million instructions')"};
  for (int i = 0; i < 4; i++) {
    hook_runs = 0;
    assert_false(runs(L, some[i]));
    assert_non_null(strstr(luaL_tolstring(L, -1, NULL), "a million instructions"));
    assert_true(hook_runs > 0);
  }
  lua_sethook(L, NULL, 0, 0);
  assert_works(L);
  lua_close(L);
  arvak_client_unref(slow);
  arvak_client_unref(quick);
}

/* ---- closing ---- */

/* Each leaves something behind that would wait, or go on, when the state closes. */
static const char *const leavings[] = {
    "keep = setmetatable({}, { __gc = function() log('gc', client:list_backends { timeout = 3600 }) end })",
    "keep = setmetatable({}, { __gc = function() log('gc', arvak.sleep(3600)) end })",
    "keep = setmetatable({}, { __gc = function()\n"
    "  log('gc', client.async:list_backends({ timeout = 3600 }):result()) end })",
    "keep = setmetatable({}, { __gc = function()\n"
    "  log('gc', pcall(arvak.run, function() arvak.spawn(arvak.sleep, 3600) arvak.sleep(3600) end)) end })",
    "keep = setmetatable({}, { __gc = function() coroutine.wrap(function() log('gc', arvak.sleep(3600)) end)() end })",
    "keep = setmetatable({}, { __gc = function() log('gc', arvak.poll(3600)) end })",
    "local p = arvak.pollable() keep = setmetatable({}, { __gc = function() log('gc', p:step(3600)) end })",
    "keep = setmetatable({}, { __gc = function()\n"
    "  local m = arvak.batch_manager(quick) log('gc', pcall(m.execute_batch, m, { { bell, 1 } }, 'simulator')) end })",
    "keep = setmetatable({}, { __gc = function() log('gc', quick:wait_for_ready(3600)) end })",
    "keep = setmetatable({}, { __gc = function()\n"
    "  log('gc', pcall(function() for _ in quick:watch_job(job, { timeout = 3600 }) do end end)) end })",
    "keep = setmetatable({}, { __gc = function()\n"
    "  log('gc', pcall(quick.submit_qasm_future, quick, bell, 'simulator')) end })",
    "for i = 1, 100 do client.async:list_backends { timeout = 3600 } end arvak.poll() log('gc')",
    "for i = 1, 100 do arvak.spawn(arvak.sleep, 3600) end arvak.poll() log('gc')",
    "co = coroutine.create(arvak.run) log('gc')",
    "local c = arvak.connect('127.0.0.1:1') c.async:list_backends() arvak.poll() log('gc')",
    /* what nobody would finalize, and so is not made */
    "keep = setmetatable({}, { __gc = function()\n"
    "  local made = { arvak.circuit_breaker, arvak.retry_policy, arvak.pollable,\n"
    "    function() return arvak.connect() end,\n"
    "    function() return arvak.resilient(quick, { retry = true, breaker = true }) end,\n"
    "    function() return quick:list_backends { retry = { max_attempts = 2 } } end }\n"
    "  for _, make in ipairs(made) do\n"
    "    local ok, message = pcall(make)\n"
    "    assert(not ok and tostring(message):find('the Lua state is closing', 1, true), tostring(message))\n"
    "  end log('gc') end })",
    "pcall(arvak.connect, 'ipv4:10.255.255.1:1') other = arvak.connect('ipv4:10.255.255.1:1')\n"
    "left = other.async:list_backends() arvak.poll(0.01) log('gc')",
};

static atomic_int logged;

static int note(lua_State *L) {
  (void)L;
  logged++;
  return 0;
}

static void closing_a_state_waits_for_nothing(void **state) {
  (void)state;
  arvak_client *slow = new_client(slow_address), *quick = new_client(address);
  int64_t longest = 0;
  for (size_t i = 0; i < sizeof leavings / sizeof *leavings; i++) {
    lua_State *L = open_plugin(slow, quick);
    give_job(L);
    lua_pushcfunction(L, note);
    lua_setglobal(L, "log");
    logged = 0;
    must(L, leavings[i]);
    int64_t start = arvak_now_ns();
    lua_close(L);
    int64_t took = arvak_now_ns() - start;
    if (took > longest) longest = took;
    if (took > CLOSE_NS) fail_msg("%s: %.1f ms", leavings[i], (double)took / MS);
    if (logged != 1) fail_msg("%s: its finalizer ran %d times to its end", leavings[i], logged);
  }
  printf("# the longest of %d: %.1f ms\n", (int)(sizeof leavings / sizeof *leavings), (double)longest / MS);
  arvak_client_unref(slow);
  arvak_client_unref(quick);
}

/* With all of Lua's libraries: servers and journals of the plugin's own, in the middle of their work. */
static const char *const full_leavings[] = {
    "left = arvak.connect('embedded') left:list_backends()",
    "left = arvak.connect('embedded')\n"
    "local heavy = 'OPENQASM 3.0; qubit[20] q;' .. ('h q; '):rep(200)\n"
    "for i = 1, 8 do left.async:submit_qasm(heavy, 'simulator', 100000) end arvak.poll(0.05) arvak.poll(0.05)",
    "left = arvak.connect('embedded') stream = left:watch_job(left:submit_qasm(bell, 'simulator')) stream()",
    "left = arvak.connect('embedded') keep = setmetatable({}, { __gc = function()\n"
    "  left:execute(bell, 'simulator') arvak.connect('embedded'):list_backends() end })",
    "local path = os.tmpname() os.remove(path)\n" /* the runner removes what is in TMPDIR */
    "path = (os.getenv 'TMPDIR' or '/tmp') .. path:match '/[^/]*$'\n"
    "setmetatable({}, { __gc = function()\n"
    "  for _, e in ipairs { '', '-wal', '-shm', '-lock' } do os.remove(path .. e) end end })\n"
    "local m = arvak.batch_manager(quick)\n"
    "local list = {} for i = 1, 200 do list[i] = { bell, 1 } end\n"
    "co = coroutine.create(function()\n"
    "  arvak.spawn(function() m:execute_batch(list, 'simulator', { journal = path }) end) end)\n"
    "assert(coroutine.resume(co)) for i = 1, 20 do arvak.poll(0.005) end",
};

static void closing_a_state_waits_for_no_server_and_no_journal_of_its_own(void **state) {
  (void)state;
  arvak_client *slow = new_client(slow_address), *quick = new_client(address);
  int64_t longest = 0;
  for (size_t i = 0; i < sizeof full_leavings / sizeof *full_leavings; i++) {
    lua_State *L = open_plugin(slow, quick);
    luaL_openlibs(L);
    must(L, full_leavings[i]);
    int64_t start = arvak_now_ns();
    lua_close(L);
    int64_t took = arvak_now_ns() - start;
    if (took > longest) longest = took;
    if (took > CLOSE_NS) fail_msg("%s: %.1f ms", full_leavings[i], (double)took / MS);
  }
  printf("# the longest: %.1f ms\n", (double)longest / MS);
  arvak_client_unref(slow);
  arvak_client_unref(quick);
}

static int finalizers, ends;

static int note_finalizer(lua_State *L) {
  finalizers++;
  ends += lua_toboolean(L, 1);
  return 0;
}

/* Else it would begin what its end has to wait for. */
static void a_state_that_closes_steps_its_loop_no_more(void **state) {
  (void)state;
  static const char *const ways[] = {"pcall(p.step, p)", "pcall(p.step, p, 1)", "pcall(arvak.poll)", "g:cancel()",
                                     "client:close()"};
  arvak_client *slow = new_client(slow_address), *quick = new_client(address);
  finalizers = ends = 0;
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
    lua_State *L = open_plugin(slow, quick);
    lua_register(L, "note", note_finalizer);
    must(L, "p = arvak.pollable() g = client.async:list_backends { timeout = 3600 }\n"
            "assert(quick:list_backends()) f = quick.async:list_backends()");
    lua_pushstring(L, ways[i]);
    lua_setglobal(L, "way");
    must(L, "local run = load(way) keep = setmetatable({}, { __gc = function() run() note(f:done()) end })");
    pause_ms(30); /* the answer comes */
    lua_close(L);
    if (ends > 0) fail_msg("%s", ways[i]);
  }
  assert_int_equal(finalizers, sizeof ways / sizeof *ways);
  arvak_client_unref(slow);
  arvak_client_unref(quick);
}

static void a_finalizer_in_the_middle_of_a_program_may_wait(void **state) {
  (void)state;
  arvak_client *slow = new_client(slow_address), *quick = new_client(address);
  lua_State *L = open_plugin(slow, quick);
  must(L, "setmetatable({}, { __gc = function() answer = quick:list_backends() end }) collectgarbage()\n"
          "assert(#answer == 1)");
  lua_close(L);
  arvak_client_unref(slow);
  arvak_client_unref(quick);
}

static void a_handle_outlives_its_state(void **state) {
  (void)state;
  lua_State *L = open_bare();
  arvak_lua_handle *handle = arvak_lua_get_handle(L), *same = arvak_lua_get_handle(L);
  assert_ptr_equal(handle, same);
  arvak_lua_handle_unref(same);
  arvak_lua_check(L);
  lua_close(L);
  arvak_lua_interrupt(handle, "too late");
  arvak_lua_set_deadline(handle, 0);
  assert_true(arvak_lua_interrupted(handle));
  arvak_lua_handle_unref(handle);
  arvak_lua_handle_unref(NULL);
  L = open_bare(); /* where the library is not open */
  arvak_lua_check(L);
  arvak_lua_clear_interrupt(L);
  lua_close(L);
}

static int ask_for_handle(lua_State *L) {
  (void)arvak_lua_get_handle(L);
  return 0;
}

static bool has_refused;

/* Finalized after the library is closed, since it was there before. */
static int on_last(lua_State *L) {
  lua_pushcfunction(L, ask_for_handle);
  has_refused = lua_pcall(L, 0, 0, 0) == LUA_ERRRUN;
  return 0;
}

static void a_state_that_closes_gives_no_handle(void **state) {
  (void)state;
  lua_State *L = open_bare();
  lua_newuserdatauv(L, 1, 0);
  lua_newtable(L);
  lua_pushcfunction(L, on_last);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_setglobal(L, "last");
  luaL_requiref(L, "arvak", luaopen_arvak, 1);
  arvak_lua_handle *handle = arvak_lua_get_handle(L);
  lua_close(L);
  assert_true(has_refused);
  arvak_lua_handle_unref(handle);
}

/* ---- at random moments, in eight threads ---- */

enum { THREADS = 8 };

static const char busy_plugin[] =
    "local actions = {\n"
    "  function() assert(quick:list_backends()) end,\n"
    "  function() quick.async:list_backends():result() end,\n"
    "  function() arvak.run(function()\n"
    "    arvak.spawn(arvak.sleep, 0.0005) arvak.sleep(0.0002) quick:list_backends() end) end,\n"
    "  function() arvak.map({ 1, 2, 3 }, function() return quick:list_backends() end) end,\n"
    "  function() quick:submit_qasm_future(bell, 'simulator', 1):wait(0.001) end,\n"
    "  function() arvak.sleep(0.0005) end,\n"
    "  function() for _ in quick:watch_job(job, { timeout = 0.001 }) do end end,\n"
    "  function() client:list_backends { timeout = 0.001 } end,\n"
    "  function() coroutine.wrap(function() pcall(arvak.sleep, 0.001) end)() end,\n"
    "  function() arvak.poll(0.0005) end,\n"
    "}\n"
    "while true do pcall(actions[math.random(#actions)]) end";

typedef struct busy {
  arvak_client *slow, *quick;
  _Atomic(arvak_lua_handle *) handle;
  atomic_int interrupts;
  const char *problem;
} busy;

static void *run_busy(void *ud) {
  busy *b = ud;
  lua_State *L = open_plugin(b->slow, b->quick);
  if (!runs(L, "job = assert(quick:submit_qasm(bell, 'simulator', 1))")) b->problem = "no job";
  b->handle = arvak_lua_get_handle(L);
  while (b->interrupts < rounds && !b->problem) {
    if (runs(L, busy_plugin) || strcmp(kind_on_top(L), "interrupted") != 0) b->problem = "not interrupted";
    arvak_lua_clear_interrupt(L);
    b->interrupts++;
    if (!runs(L, "local n = 0 for i = 1, 100 do n = n + 1 end assert(n == 100)")) {
      /* by one that came meanwhile */
      if (strcmp(kind_on_top(L), "interrupted") != 0) b->problem = "does not work";
      arvak_lua_clear_interrupt(L);
    }
  }
  lua_close(L);
  return NULL;
}

/* pthread_join tells of a thread that is over; this one interrupts until then. */
static void *interrupt_at_random(void *ud) {
  busy *b = ud;
  unsigned seed = (unsigned)(uintptr_t)b;
  while (!b->handle) pause_ms(1);
  while (b->interrupts < rounds && !b->problem) {
    seed = seed * 1103515245u + 12345u;
    nanosleep(&(struct timespec){.tv_nsec = (long)(seed >> 12) % 1500000}, NULL);
    if (seed & 0x400) arvak_lua_interrupt(b->handle, "at random");
    else arvak_lua_set_deadline(b->handle, arvak_now_ns() + (seed >> 16) % 500000);
  }
  return NULL;
}

static void interrupts_at_random_moments_harm_nothing(void **state) {
  (void)state;
  arvak_client *slow = new_client(slow_address), *quick = new_client(address);
  busy b[THREADS];
  pthread_t threads[2 * THREADS];
  int total = 0;
  for (int i = 0; i < THREADS; i++) {
    memset(&b[i], 0, sizeof b[i]);
    b[i].slow = slow;
    b[i].quick = quick;
    pthread_create(&threads[2 * i], NULL, run_busy, &b[i]);
    pthread_create(&threads[2 * i + 1], NULL, interrupt_at_random, &b[i]);
  }
  for (int i = 0; i < 2 * THREADS; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < THREADS; i++) {
    if (b[i].problem) fail_msg("%s, after %d", b[i].problem, b[i].interrupts);
    total += b[i].interrupts;
    arvak_lua_handle_unref(b[i].handle);
  }
  printf("# %d interrupts\n", total);
  arvak_client_stats stats;
  arvak_client_get_stats(quick, &stats);
  assert_int_equal(stats.in_flight + stats.queued, 0);
  arvak_client_unref(slow);
  arvak_client_unref(quick);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_interrupt_ends_every_wait),
      cmocka_unit_test(a_deadline_ends_every_wait),
      cmocka_unit_test(a_deadline_that_was_set_before_ends_a_wait_in_time),
      cmocka_unit_test(suspended_tasks_raise_where_they_wait),
      cmocka_unit_test(clearing_what_is_not_interrupted_ends_no_wait),
      cmocka_unit_test(the_hosts_hook_is_restored),
      cmocka_unit_test(a_hook_that_asks_ends_loops_and_coroutines),
      cmocka_unit_test(waiting_fires_no_count_hook_unless_the_host_wants_it),
      cmocka_unit_test(closing_a_state_waits_for_nothing),
      cmocka_unit_test(closing_a_state_waits_for_no_server_and_no_journal_of_its_own),
      cmocka_unit_test(a_state_that_closes_steps_its_loop_no_more),
      cmocka_unit_test(a_finalizer_in_the_middle_of_a_program_may_wait),
      cmocka_unit_test(a_handle_outlives_its_state),
      cmocka_unit_test(a_state_that_closes_gives_no_handle),
      cmocka_unit_test(interrupts_at_random_moments_harm_nothing),
  };
  if (getenv("INTERRUPTS")) rounds = atoi(getenv("INTERRUPTS")) / THREADS;
  else rounds = 50;
  lua_State *server = start_devserver("{ rate_limit = 0, max_concurrent_jobs = 0, max_queued_jobs = 0, "
                                      "job_latency = 3600 }", address);
  lua_State *slow = start_devserver("{ faults = { { latency = 3600 } } }", slow_address);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  lua_close(slow);
  lua_close(server);
  return failed;
}
