/* Limits of plugins: each with a plugin that attacks it, and turns that go round the Lua states of a host.
 * SPDX-License-Identifier: Apache-2.0 */
#include "plugin.h"

static char address[64], slow_address[64], long_address[64];

static arvak_client *new_client(const char *where, arvak_breaker *breaker) {
  static const arvak_header headers[] = {{"x-tenant", {"host", 4}}};
  arvak_client *client = NULL;
  arvak_client_options options = {.address = where, .pool_size = 2, .max_concurrent_rpcs = 16, .headers = headers,
                                  .header_count = 1, .breaker = breaker};
  if (arvak_client_new(&options, &client, NULL) != ARVAK_OK) abort();
  return client;
}

/* With `client` and arvak. */
static lua_State *open_plugin(arvak_client *client, const arvak_lua_limits *limits) {
  lua_State *L = open_bare();
  luaL_requiref(L, "arvak", luaopen_arvak, 1);
  arvak_lua_pushlimited(L, client, limits);
  lua_setglobal(L, "client");
  if (!runs(L, "function refused(value, err)\n"
               "  assert(value == nil and err.kind == 'resource_exhausted' and err.scope == 'plugin', tostring(err))\n"
               "  assert(err.code == nil and err.name == nil and not err.retryable and not err.maybe_executed)\n"
               "  assert(err.attempts == 0)\n"
               "  return err\n"
               "end\n"
               "function forbidden(words, fn, ...)\n"
               "  local ok, message = pcall(fn, ...)\n"
               "  assert(not ok and tostring(message):find(words, 1, true), tostring(message))\n"
               "end"))
    abort();
  return L;
}

/* Runs a plugin under limits against one server, and then checks that the client is free for others. */
static void attack_at(const char *where, const arvak_lua_limits *limits, const char *source) {
  arvak_client *client = new_client(where, NULL);
  lua_State *L = open_plugin(client, limits);
  must(L, source);
  lua_close(L);
  arvak_client_stats stats;
  arvak_client_get_stats(client, &stats);
  assert_int_equal(stats.in_flight + stats.queued, 0);
  arvak_client_unref(client);
}

static void attack(const arvak_lua_limits *limits, const char *source) { attack_at(address, limits, source); }

/* ---- what is under way ---- */

static void calls_beyond_the_limit_in_flight_wait(void **state) {
  (void)state;
  attack_at(slow_address, &(arvak_lua_limits){.max_in_flight = 3},
            "local futures = {} for i = 1, 12 do futures[i] = client.async:list_backends() end arvak.poll()\n"
            "local s = client:stats() assert(s.in_flight == 3 and s.queued == 9, s.in_flight)\n"
            "arvak.poll(0.005) assert(client:stats().in_flight <= 3)\n"
            "for _, f in ipairs(futures) do assert(f:result()) end");
}

static void calls_beyond_the_limit_of_those_that_wait_are_refused(void **state) {
  (void)state;
  attack_at(slow_address, &(arvak_lua_limits){.max_in_flight = 2, .max_queued = 5},
            "local futures, refusals = {}, 0\n"
            "for i = 1, 100 do futures[i] = client.async:list_backends() end\n"
            "for _, f in ipairs(futures) do\n"
            "  local value, err = f:result()\n"
            "  if not value then refused(value, err) refusals = refusals + 1 end\n"
            "end\n"
            "assert(refusals == 93, refusals)\n"
            "assert(client:list_backends())");
}

static void circuits_that_wait_are_bounded_in_bytes(void **state) {
  (void)state;
  attack_at(slow_address, &(arvak_lua_limits){.max_in_flight = 1, .max_request_bytes = 1000000},
            "local text = bell .. '//' .. ('x'):rep(300000)\n"
            "local futures = {} for i = 1, 20 do futures[i] = client.async:submit_qasm(text, 'simulator', 1) end\n"
            "for i = 4, 20 do refused(futures[i]:result()) end\n"
            "for i = 1, 3 do assert(futures[i]:result()) end\n"
            "assert(client:submit_qasm(text, 'simulator', 1))\n"
            "refused(client:submit_qasm(bell .. '//' .. ('x'):rep(2000000), 'simulator', 1))\n"
            "refused(client:submit_batch({ { text }, { text }, { text }, { text } }, 'simulator'))");
}

static void ids_and_headers_count_as_circuits_do(void **state) {
  (void)state;
  attack(&(arvak_lua_limits){.max_request_bytes = 1000000},
         "local long = ('x'):rep(600000)\n"
         "local first, second = client.async:get_job_status(long), client.async:get_job_status(long)\n"
         "refused(second:result()) first:wait()\n"
         "refused(client:cancel_job(long .. long)) refused(client:submit_qasm(bell, long .. long))\n"
         "refused(client:list_backends { metadata = { ['x-a'] = long .. long } })\n"
         "assert(client:list_backends { metadata = { ['x-a'] = 'short' } })");
}

static void answers_that_are_held_are_bounded_in_bytes(void **state) {
  (void)state;
  attack(&(arvak_lua_limits){.max_answer_bytes = 64},
         "refused(client:list_backends()) refused(client.async:list_backends():result())\n"
         "local job = assert(client:submit_qasm(bell, 'simulator', 1))\n" /* an id has to be paid for */
         "refused((function() arvak.run(function() v, e = client:list_backends() end) return v, e end)())");
  attack(&(arvak_lua_limits){.max_answer_bytes = 100000},
         "for i = 1, 200 do assert(client:list_backends()) end\n" /* what was taken is given back */
         "local job = assert(client:submit_qasm(bell, 'simulator', 1)) assert(client:wait_for_job(job))\n"
         "for s in client:watch_job(job) do last = s end assert(last == 'COMPLETED')");
}

static void streams_are_bounded(void **state) {
  (void)state;
  attack(&(arvak_lua_limits){.max_streams = 2},
         "local job = assert(client:submit_qasm(bell, 'simulator', 1)) assert(client:wait_for_job(job))\n"
         "local open = {}\n"
         "for i = 1, 2 do open[i] = client:watch_job(job) assert(open[i]:next()) end\n"
         "refused(client:watch_job(job):next()) refused(client:stream_results(job):next())\n"
         "open[1]:cancel() assert(client:watch_job(job):next())\n"
         "open[2]:cancel() collectgarbage() collectgarbage()\n"
         "for i = 1, 20 do for s in client:watch_job(job) do last = s end assert(last == 'COMPLETED') end");
}

static void futures_and_tasks_are_bounded(void **state) {
  (void)state;
  attack_at(slow_address, &(arvak_lua_limits){.max_futures = 4, .max_tasks = 3},
            "local futures = {} for i = 1, 10 do futures[i] = client.async:list_backends() end\n"
            "for i = 5, 10 do refused(futures[i]:result()) end\n"
            "refused(client:submit_qasm_future(bell, 'simulator'):result())\n"
            "for i = 1, 4 do assert(futures[i]:result()) end\n"
            "assert(client:submit_qasm_future(bell, 'simulator'):result())\n"
            "local tasks = {} for i = 1, 10 do tasks[i] = arvak.spawn(arvak.sleep, 0.001) end\n"
            "for i = 4, 10 do refused(tasks[i]:result()) end\n"
            "for i = 1, 3 do assert(tasks[i]:result() == true) end\n"
            "assert(arvak.spawn(function() return 7 end):result() == 7)"
            );
}

static void a_plugin_submits_at_a_rate_of_its_own(void **state) {
  (void)state;
  int64_t start = arvak_now_ns();
  attack(&(arvak_lua_limits){.submit_rate = 20, .submit_burst = 2},
         "local futures = {}\n"
         "for i = 1, 12 do futures[i] = client.async:submit_qasm(bell, 'simulator', 1) end\n"
         "for _, f in ipairs(futures) do assert(f:result()) end\n"
         "refused(client:submit_qasm(bell, 'simulator', { shots = 1, queue_timeout = 0.01 }))\n"
         "refused(client:submit_batch_stream({ { bell, 1 } }, 'simulator'):next())\n"
         "local r = arvak.batch_manager(client):execute_batch({ { bell, 1 }, { bell, 1 } }, 'simulator')\n"
         "assert(r.success_count == 2, r.items[1].err)\n"
         "assert(client:list_backends())");
  assert_true(arvak_now_ns() - start >= 500 * MS); /* ten of them after the burst, 50 ms each */
}

/* ---- what a plugin may say ---- */

static void a_rate_may_be_as_low_as_the_host_likes(void **state) {
  (void)state;
  static const char source[] = "assert(client:submit_qasm(bell, 'simulator', 1))\n"
                               "for _ = 1, 3 do refused(client:submit_qasm(bell, 'simulator', 1)) end";
  attack(&(arvak_lua_limits){.submit_rate = 1e-10}, source);
  attack(&(arvak_lua_limits){.submit_rate = 1e-300}, source);
  attack(&(arvak_lua_limits){.submit_rate = 0.1, .submit_burst = 2147483647},
         "for _ = 1, 20 do assert(client:submit_qasm(bell, 'simulator', 1)) end");
}

static void times_are_bounded(void **state) {
  (void)state;
  attack(&(arvak_lua_limits){.max_timeout_ns = 500 * MS, .max_queue_timeout_ns = 1000 * MS, .max_wait_ns = 2000 * MS,
                             .max_sleep_ns = 100 * MS},
         "forbidden('timeout: got 1e+09, but the host gives this plugin 0.5 s at most', client.list_backends, client,\n"
         "  { timeout = 1e9 })\n"
         "forbidden('attempt_timeout: got 1', client.list_backends, client, { attempt_timeout = 1 })\n"
         "forbidden('queue_timeout: got 3', client.list_backends, client, { queue_timeout = 3 })\n"
         "forbidden('max_wait: got 60', client.wait_for_job, client, 'x', { max_wait = 60 })\n"
         "forbidden('max_wait: got 60', client.submit_qasm_future, client, bell, 'simulator', { max_wait = 60 })\n"
         "forbidden('sleep: got 3600', arvak.sleep, 3600)\n"
         "forbidden('timeout: got 60', function() client:watch_job('x', { timeout = 60 }):next() end)\n"
         "assert(arvak.sleep(0.1) and client:list_backends { timeout = 0.5, queue_timeout = 1 })\n"
         "assert(client:execute(bell, 'simulator', 1))");
  attack_at(slow_address, &(arvak_lua_limits){.max_timeout_ns = 5 * MS},
            "local _, err = client:list_backends() assert(err.kind == 'timeout', tostring(err))");
}

static void headers_of_the_host_stay(void **state) {
  (void)state;
  static const char *const names[] = {"x-budget"};
  attack(NULL, "forbidden('metadata[\"x-tenant\"]: this header belongs to the host', client.list_backends, client,\n"
               "  { metadata = { ['x-tenant'] = 'mine' } })\n"
               "forbidden('belongs to the host', function()\n"
               "  client:watch_job('x', { metadata = { ['x-tenant'] = 'mine' } }):next() end)\n"
               "assert(client:list_backends { metadata = { ['x-budget'] = '1' } })");
  attack(&(arvak_lua_limits){.protected_headers = names, .protected_header_count = 1, .may_replace_headers = true},
         "forbidden('metadata[\"x-budget\"]', client.list_backends, client, { metadata = { ['x-budget'] = '1' } })\n"
         "forbidden('metadata[\"x-budget\"]', client.async.list_backends, client.async,\n"
         "  { metadata = { ['x-budget'] = '1' } })\n"
         "assert(client:list_backends { metadata = { ['x-tenant'] = 'mine' } })");
}

static void policies_are_the_hosts(void **state) {
  (void)state;
  attack(&(arvak_lua_limits){.has_no_policies = true},
         "forbidden('breaker: the host lets', client.list_backends, client, { breaker = false })\n"
         "forbidden('retry: the host lets', client.list_backends, client, { retry = { max_attempts = 1000 } })\n"
         "forbidden('breaker: the host lets', arvak.resilient, client, { breaker = true })\n"
         "forbidden('retry: the host lets', arvak.resilient, client, { retry = true })\n"
         "assert(client:list_backends())");
  attack(&(arvak_lua_limits){.has_no_connect = true},
         "forbidden('connect: the host lets this plugin make no clients', arvak.connect, '127.0.0.1:1')\n"
         "forbidden('connect: the host lets this plugin make no clients', arvak.connect, 'embedded')\n"
         "assert(client:list_backends())");
}

static void views_have_the_limits_of_their_client(void **state) {
  (void)state;
  attack_at(slow_address, &(arvak_lua_limits){.max_in_flight = 1, .max_queued = 1},
            "local view = arvak.resilient(client, { breaker = true })\n"
            "view = arvak.resilient(view, { retry = { max_attempts = 3 } })\n"
            "local a, b = client.async:list_backends(), view.async:list_backends()\n"
            "refused(view:list_backends()) refused(client:list_backends())\n"
            "assert(a:result() and b:result() and view:list_backends())");
}

static void the_hosts_breaker_can_be_looked_at_only(void **state) {
  (void)state;
  arvak_breaker *breaker = NULL;
  assert_int_equal(arvak_breaker_new(&(arvak_breaker_options){.failure_threshold = 3}, &breaker), ARVAK_OK);
  arvak_client *client = new_client(slow_address, breaker);
  lua_State *L = open_plugin(client, NULL);
  must(L, "local b = client:breaker() assert(b:state() == 'closed' and b:can_proceed())\n"
          "for _, name in ipairs { 'force_open', 'force_closed', 'reset', 'record_failure', 'record_success' } do\n"
          "  forbidden(name .. ': this breaker belongs to the host', b[name], b)\n"
          "end\n"
          "forbidden('belongs to the host', b:wrap(function() end))\n"
          "forbidden('breaker: this breaker belongs to the host', arvak.connect, '127.0.0.1:1', { breaker = b })\n"
          "forbidden('breaker: this breaker belongs to the host', arvak.resilient, client, { breaker = b })\n"
          /* nor does impatience open it */
          "for i = 1, 20 do local _, e = client:list_backends { timeout = 0.001 } assert(e.kind == 'timeout') end\n"
          "for i = 1, 20 do\n"
          "  local _, e = client:list_backends { attempt_timeout = 0.001 } assert(e.kind == 'timeout') end\n"
          "for i = 1, 20 do client:watch_job('x', { timeout = 0.001 }):next() end\n"
          "assert(b:state() == 'closed' and client:list_backends())");
  lua_close(L);
  L = open_plugin(client, &(arvak_lua_limits){.breaker = ARVAK_LUA_BREAKER_NONE});
  must(L, "assert(client:breaker() == nil and client:stats().breaker == nil and client:list_backends())\n"
          "for s in pairs { client:watch_job('x'):next() } do end");
  lua_close(L);
  L = open_plugin(client, &(arvak_lua_limits){.breaker = ARVAK_LUA_BREAKER_MOVE});
  must(L, "client:breaker():force_open() local _, err = client:list_backends() assert(err.kind == 'circuit_open')\n"
          "client:breaker():reset() assert(client:list_backends())");
  lua_close(L);
  arvak_client_unref(client);
  arvak_breaker_unref(breaker);
}

static void refusals_are_seen_by_no_policy(void **state) {
  (void)state;
  arvak_breaker *breaker = NULL;
  assert_int_equal(arvak_breaker_new(&(arvak_breaker_options){.failure_threshold = 1}, &breaker), ARVAK_OK);
  arvak_client *client = new_client(slow_address, breaker);
  lua_State *L = open_plugin(client, &(arvak_lua_limits){.max_in_flight = 1, .max_queued = 1});
  must(L, "local told = 0\n"
          "local view = arvak.resilient(client, { retry = { initial_backoff = 0.001,\n"
          "  codes = { 'RESOURCE_EXHAUSTED' }, on_retry = function() told = told + 1 end } })\n"
          "local a, b = view.async:list_backends(), view.async:list_backends()\n"
          "for i = 1, 50 do refused(view:list_backends()) end\n"
          "assert(a:result() and b:result() and told == 0 and client:breaker():state() == 'closed')\n"
          "assert(client:stats().failures == 0)");
  lua_close(L);
  arvak_client_unref(client);
  arvak_breaker_unref(breaker);
}

static void a_plugin_cancels_its_own_jobs_only(void **state) {
  (void)state;
  arvak_client *client = new_client(long_address, NULL);
  lua_State *other = open_plugin(client, NULL), *L = open_plugin(client, &(arvak_lua_limits){
                                                                             .cancels_own_jobs_only = true});
  must(other, "job = assert(client:submit_qasm(bell, 'simulator', 1))");
  lua_getglobal(other, "job");
  lua_pushstring(L, lua_tostring(other, -1));
  lua_setglobal(L, "theirs");
  must(L, "for _, c in ipairs { client, arvak.resilient(client) } do\n"
          "  local ok, err = c:cancel_job(theirs)\n"
          "  assert(ok == nil and err.kind == 'not_cancelable' and err.scope == 'plugin', tostring(err))\n"
          "  ok, err = c.async:cancel_job(theirs):result() assert(ok == nil and err.scope == 'plugin')\n"
          "end\n"
          "local mine = assert(client:submit_qasm(bell, 'simulator', 1)) assert(client:cancel_job(mine))\n"
          "local ids = assert(client:submit_batch({ { bell }, { bell } }, 'simulator'))\n"
          "assert(client:cancel_job(ids[2]))\n"
          "local f = client:submit_qasm_future(bell, 'simulator') assert(f:submitted()) assert(f:cancel())");
  must(other, "assert(client:cancel_job(job))");
  lua_close(L);
  lua_close(other);
  arvak_client_unref(client);
}

/* ---- accounting ---- */

typedef struct budget {
  int jobs;
  uint64_t shots;
  size_t bytes;
  int asked;
} budget;

static const char *spend(const arvak_lua_submit *submit, void *ud) {
  budget *b = ud;
  b->asked++;
  if (strcmp(submit->backend_id, "simulator") != 0) return "this backend is not in your plan";
  if (b->jobs < submit->jobs) return "your budget is spent";
  b->jobs -= submit->jobs;
  b->shots += submit->shots;
  b->bytes += submit->bytes;
  return NULL;
}

static void the_host_sees_each_submit_and_may_refuse_it(void **state) {
  (void)state;
  budget b = {.jobs = 6};
  attack(&(arvak_lua_limits){.on_submit = spend, .ud = &b},
         "assert(client:submit_qasm(bell, 'simulator', 10))\n"
         "assert(refused(client:submit_qasm(bell, 'slow', 10)).message == 'this backend is not in your plan')\n"
         "assert(client:submit_batch({ { bell, 5 }, { bell, 7 } }, 'simulator'))\n"
         "local kinds = {}\n"
         "for kind, index, _, value in client:submit_batch_stream({ { bell, 1 }, { bell, 2 } }, 'simulator') do\n"
         "  kinds[kind] = (kinds[kind] or 0) + 1 end\n"
         "assert(kinds.completed == 2 and not kinds.error)\n"
         "assert(client:execute(bell, 'simulator', 100))\n"
         "assert(refused(client:submit_qasm(bell, 'simulator', 10)).message == 'your budget is spent')\n"
         "local ok, err = client:submit_qasm_future(bell, 'simulator'):result() refused(ok, err)\n"
         "for kind, _, _, e in client:submit_batch_stream({ { bell, 1 } }, 'simulator') do\n"
         "  assert(kind == 'error') refused(nil, e) end\n"
         "local r = arvak.batch_manager(client):execute_batch({ { bell, 1 } }, 'simulator')\n"
         "assert(r.success_count == 0 and r.items[1].err.message:find('your budget is spent', 1, true))\n"
         "assert(client:list_backends())");
  assert_int_equal(b.jobs, 0);
  assert_int_equal(b.shots, 10 + 5 + 7 + 1 + 2 + 100);
  assert_true(b.asked >= 9);
}

static void a_state_has_figures_of_its_own(void **state) {
  (void)state;
  arvak_client *client = new_client(address, NULL);
  lua_State *L = open_plugin(client, &(arvak_lua_limits){.has_own_stats = true, .max_in_flight = 2, .max_queued = 1});
  lua_State *other = open_plugin(client, NULL);
  arvak_lua_handle *handle = arvak_lua_get_handle(L);
  must(other, "for i = 1, 10 do assert(client:list_backends()) end");
  must(L, "for i = 1, 3 do assert(client:submit_qasm(bell, 'simulator', 1)) end\n"
          "assert(client:get_job_status('none') == nil)\n"
          "assert(client:submit_batch({ { bell }, { bell } }, 'simulator'))\n"
          "for kind in client:submit_batch_stream({ { bell, 1 } }, 'simulator') do end\n"
          "local f = {} for i = 1, 5 do f[i] = client.async:list_backends() end\n"
          "for i = 1, 5 do f[i]:wait() end arvak.sleep(0.05)\n"
          "stats = client:stats()\n"
          "assert(stats.calls == 8 and stats.failures == 1 and stats.jobs == 6 and stats.refused == 2, stats.calls)\n"
          "assert(stats.bytes_sent == #bell * 6 and stats.bytes_received > 0 and stats.connections == nil)");
  arvak_lua_stats stats;
  arvak_lua_get_stats(handle, &stats);
  assert_int_equal(stats.calls, 8);
  assert_int_equal(stats.failures, 1);
  assert_int_equal(stats.refused, 2);
  assert_int_equal(stats.jobs, 6);
  assert_true(stats.bytes_sent > 0 && stats.bytes_received > 0);
  assert_true(stats.waiting_ns >= 50 * MS);
  lua_close(L);
  lua_close(other);
  arvak_lua_get_stats(handle, &stats);
  assert_int_equal(stats.calls, 8);
  arvak_lua_handle_unref(handle);
  arvak_client_unref(client);
}

static void a_state_has_figures_of_clients_that_it_has_connected_itself(void **state) {
  (void)state;
  lua_State *L = open_bare();
  luaL_requiref(L, "arvak", luaopen_arvak, 1);
  arvak_lua_handle *handle = arvak_lua_get_handle(L);
  lua_pushstring(L, address);
  lua_setglobal(L, "address");
  must(L, "client = arvak.connect(address)\n"
          "assert(client:submit_qasm(bell, 'simulator', 1))\n"
          "assert(client:get_job_status('none') == nil)\n"
          "for kind in client:submit_batch_stream({ { bell, 1 }, { bell, 1 } }, 'simulator') do end");
  arvak_lua_stats stats;
  arvak_lua_get_stats(handle, &stats);
  assert_int_equal(stats.calls, 2);
  assert_int_equal(stats.failures, 1);
  assert_int_equal(stats.jobs, 3);
  lua_getglobal(L, "bell");
  assert_int_equal(stats.bytes_sent, 3 * lua_rawlen(L, -1));
  assert_true(stats.bytes_received > 0 && stats.waiting_ns > 0);
  lua_close(L);
  arvak_lua_handle_unref(handle);
}

/* ---- turns ---- */

static int compare(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

/* The median time of a call, in ns. */
static int64_t median_of(lua_State *L) {
  enum { COUNT = 21 };
  int64_t times[COUNT];
  for (int i = 0; i < COUNT; i++) {
    int64_t start = arvak_now_ns();
    must(L, "assert(client:list_backends())");
    times[i] = arvak_now_ns() - start;
  }
  qsort(times, COUNT, sizeof *times, compare);
  return times[COUNT / 2];
}

static void one_with_ten_thousand_waiting_calls_holds_up_nobody(void **state) {
  (void)state;
  arvak_client *client = new_client(slow_address, NULL);
  plugin hog = {.L = open_plugin(client, NULL),
                .source = "local n = 0\n"
                          "for i = 1, 10000 do client.async:list_backends() end\n"
                          "started = true pcall(arvak.sleep, 3600) error('interrupted')"};
  arvak_lua_handle *handle = arvak_lua_get_handle(hog.L);
  lua_State *L = open_plugin(client, NULL);
  int64_t alone = median_of(L);
  start_plugin(&hog);
  arvak_client_stats stats;
  do {
    pause_ms(1);
    arvak_client_get_stats(client, &stats);
  } while (stats.queued < 9000);
  int64_t beside = median_of(L);
  arvak_client_get_stats(client, &stats);
  printf("# a call takes %.1f ms alone, %.1f ms beside %d that wait\n", (double)alone / MS, (double)beside / MS,
         stats.queued);
  assert_true(stats.queued > 1000);
  assert_true(beside < 10 * alone); /* first in, first out it would be ten thousand turns of 16 */
  /* A slot is kept for it, so none of its calls waits in the client. */
  must(L, "for i = 1, 50 do assert(client:list_backends { queue_timeout = 1e-6 }) end");
  arvak_lua_interrupt(handle, NULL);
  await_plugin(&hog);
  arvak_lua_handle_unref(handle);
  lua_close(hog.L);
  lua_close(L);
  arvak_client_unref(client);
}

/* Its host looks in now and then, as an event loop does, and never waits in there; the others always wait. */
static void a_state_whose_steps_are_short_gets_its_slots(void **state) {
  (void)state;
  enum { HOGS = 4, CALLS = 10, CALLS_BESIDE = 100 };
  arvak_client *client = new_client(slow_address, NULL);
  plugin hogs[HOGS];
  arvak_lua_handle *handles[HOGS];
  for (int i = 0; i < HOGS; i++) {
    hogs[i] = (plugin){.L = open_plugin(client, NULL),
                       .source = "arvak.map(function() return true end, function() client:list_backends() end)"};
    handles[i] = arvak_lua_get_handle(hogs[i].L);
    start_plugin(&hogs[i]);
  }
  lua_State *L = open_plugin(client, NULL);
  must(L, "ended = 0\n"
          "task = arvak.spawn(function() while true do assert(client:list_backends()) ended = ended + 1 end end)");
  arvak_client_stats before, stats;
  int ended = 0;
  arvak_client_get_stats(client, &before);
  do {
    pause_ms(5);
    must(L, "arvak.poll(0)");
    lua_getglobal(L, "ended");
    ended = (int)lua_tointeger(L, -1);
    arvak_client_get_stats(client, &stats);
  } while (ended < CALLS && stats.calls - before.calls < CALLS * CALLS_BESIDE);
  printf("# %d calls, %d of all\n", ended, (int)(stats.calls - before.calls));
  for (int i = 0; i < HOGS; i++) {
    arvak_lua_interrupt(handles[i], NULL);
    await_plugin(&hogs[i]);
    arvak_lua_handle_unref(handles[i]);
    lua_close(hogs[i].L);
  }
  lua_close(L);
  arvak_client_unref(client);
  assert_int_equal(ended, CALLS);
}

/* The host has given its client a rate; first in, first out the other one would wait for ten seconds. */
static void one_with_many_waiting_submits_holds_up_nobody_at_the_hosts_rate(void **state) {
  (void)state;
  arvak_client *client = NULL;
  arvak_client_options options = {.address = address, .limiter = {.rate = 100}};
  assert_int_equal(arvak_client_new(&options, &client, NULL), ARVAK_OK);
  plugin hog = {.L = open_plugin(client, NULL),
                .source = "for i = 1, 1000 do client.async:submit_qasm(bell, 'simulator', 1) end\n"
                          "local list = {} for i = 1, 20 do list[i] = { bell, 1 } end\n"
                          "client.async:submit_batch(list, 'simulator') pcall(arvak.sleep, 3600) error('interrupted')"};
  arvak_lua_handle *handle = arvak_lua_get_handle(hog.L);
  lua_State *L = open_plugin(client, NULL);
  start_plugin(&hog);
  arvak_client_stats stats;
  do {
    pause_ms(1);
    arvak_client_get_stats(client, &stats);
  } while (stats.held < 900);
  int64_t start = arvak_now_ns();
  for (int i = 0; i < 3; i++) must(L, "assert(client:submit_qasm(bell, 'simulator', 1))");
  printf("# three submits take %.0f ms beside %d\n", (double)(arvak_now_ns() - start) / MS, stats.held);
  arvak_client_get_stats(client, &stats);
  assert_true(stats.held > 100);
  arvak_lua_interrupt(handle, NULL);
  await_plugin(&hog);
  arvak_lua_handle_unref(handle);
  lua_close(hog.L);
  lua_close(L);
  arvak_client_unref(client);
}

/* It has asked for slots and computes: they go to the others until it waits again. */
static void a_state_that_nobody_drives_holds_up_nobody(void **state) {
  (void)state;
  arvak_client *client = new_client(slow_address, NULL);
  lua_State *idle = open_plugin(client, NULL), *L = open_plugin(client, NULL);
  must(L, "first = {} for i = 1, 16 do first[i] = client.async:list_backends() end"); /* all slots */
  must(idle, "mine = {} for i = 1, 100 do mine[i] = client.async:list_backends() end");
  must(L, "for _, f in ipairs(first) do assert(f:result()) end\n"
          "for i = 1, 20 do assert(client:list_backends { queue_timeout = 30 }) end\n"
          "for _, o in ipairs(arvak.map({ 1, 2, 3, 4, 5, 6, 7, 8 }, function() return client:list_backends() end)) do\n"
          "  assert(o.ok) end");
  must(idle, "for _, f in ipairs(mine) do assert(f:result()) end");
  lua_close(idle);
  lua_close(L);
  arvak_client_unref(client);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(calls_beyond_the_limit_in_flight_wait),
      cmocka_unit_test(calls_beyond_the_limit_of_those_that_wait_are_refused),
      cmocka_unit_test(circuits_that_wait_are_bounded_in_bytes),
      cmocka_unit_test(ids_and_headers_count_as_circuits_do),
      cmocka_unit_test(answers_that_are_held_are_bounded_in_bytes),
      cmocka_unit_test(streams_are_bounded),
      cmocka_unit_test(futures_and_tasks_are_bounded),
      cmocka_unit_test(a_plugin_submits_at_a_rate_of_its_own),
      cmocka_unit_test(a_rate_may_be_as_low_as_the_host_likes),
      cmocka_unit_test(times_are_bounded),
      cmocka_unit_test(headers_of_the_host_stay),
      cmocka_unit_test(policies_are_the_hosts),
      cmocka_unit_test(views_have_the_limits_of_their_client),
      cmocka_unit_test(the_hosts_breaker_can_be_looked_at_only),
      cmocka_unit_test(refusals_are_seen_by_no_policy),
      cmocka_unit_test(a_plugin_cancels_its_own_jobs_only),
      cmocka_unit_test(the_host_sees_each_submit_and_may_refuse_it),
      cmocka_unit_test(a_state_has_figures_of_its_own),
      cmocka_unit_test(a_state_has_figures_of_clients_that_it_has_connected_itself),
      cmocka_unit_test(one_with_ten_thousand_waiting_calls_holds_up_nobody),
      cmocka_unit_test(one_with_many_waiting_submits_holds_up_nobody_at_the_hosts_rate),
      cmocka_unit_test(a_state_whose_steps_are_short_gets_its_slots),
      cmocka_unit_test(a_state_that_nobody_drives_holds_up_nobody),
  };
  lua_State *server = start_devserver("{ rate_limit = 0, max_concurrent_jobs = 0, max_queued_jobs = 0 }", address);
  lua_State *longest = start_devserver("{ rate_limit = 0, job_latency = 60 }", long_address);
  lua_State *slow = start_devserver("{ rate_limit = 0, max_concurrent_jobs = 0, max_queued_jobs = 0, "
                                    "faults = { { rpc = 'ListBackends', latency = 0.02 }, "
                                    "{ rpc = 'SubmitJob', latency = 0.02 } } }", slow_address);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  lua_close(slow);
  lua_close(longest);
  lua_close(server);
  return failed;
}
