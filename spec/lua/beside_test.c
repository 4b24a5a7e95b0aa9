/* Each limit of a plugin with a plugin that attacks it without a pause, and beside it another one on the same client,
 * which gets each answer, and gets it soon. SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdatomic.h>

#include "hosting.h"

/* Of a median, ten times what a busy machine makes of a call that is answered at once. */
#define LATENCY_NS (200 * MS)
enum { CALLS = 101, MOST = 100000, ROUNDS = 10 };

static char slow_address[64];

typedef struct attack {
  const char *field;
  arvak_lua_limits limits;
  const char *source; /* one round, which asserts that the limit holds */
} attack;

static const char *const protected_names[] = {"x-budget"};

static const char *spend_nothing(const arvak_lua_submit *submit, void *ud) {
  (void)submit;
  (void)ud;
  return "your budget is spent";
}

#define LONG "bell .. '//' .. ('x'):rep(100000)"

/* Calls of the attackers take 5 ms at their server where they have to be in flight together. */
static const attack attacks[] = {
    {"max_in_flight", {.max_in_flight = 2},
     "local f = {} for i = 1, 50 do f[i] = client.async:list_backends() end arvak.poll(0)\n"
     "for i = 1, 50 do assert(f[i]:result()) end"},
    {"max_queued", {.max_in_flight = 2, .max_queued = 3},
     "local f, n = {}, 0 for i = 1, 50 do f[i] = client.async:list_backends() end\n"
     "for i = 1, 50 do local v, e = f[i]:result() if not v then refused(v, e) n = n + 1 end end assert(n == 45, n)"},
    {"max_request_bytes", {.max_request_bytes = 250000},
     "local text, f = " LONG ", {} for i = 1, 10 do f[i] = client.async:submit_qasm(text, 'simulator', 1) end\n"
     "for i = 3, 10 do refused(f[i]:result()) end for i = 1, 2 do assert(f[i]:result()) end"},
    {"max_answer_bytes", {.max_answer_bytes = 64},
     "for i = 1, 10 do refused(client:list_backends()) end assert(client:submit_qasm(bell, 'simulator', 1))"},
    {"max_streams", {.max_streams = 2},
     "local open = {} for i = 1, 2 do open[i] = client:watch_job('none') open[i]:next() end collectgarbage()\n"
     "local job = assert(client:submit_qasm(bell, 'simulator', 1)) open = {}\n"
     "for i = 1, 2 do open[i] = client:watch_job(job) assert(open[i]:next()) end\n"
     "refused(client:watch_job(job):next()) for i = 1, 2 do open[i]:cancel() end"},
    {"max_futures", {.max_futures = 4},
     "local f = {} for i = 1, 30 do f[i] = client.async:list_backends() end\n"
     "for i = 5, 30 do refused(f[i]:result()) end for i = 1, 4 do assert(f[i]:result()) end"},
    {"max_tasks", {.max_tasks = 3},
     "local t = {} for i = 1, 30 do t[i] = arvak.spawn(arvak.sleep, 0.001) end\n"
     "for i = 4, 30 do refused(t[i]:result()) end for i = 1, 3 do assert(t[i]:result()) end"},
    {"max_timeout_ns", {.max_timeout_ns = 1 * MS},
     "forbidden('timeout', client.list_backends, client, { timeout = 3600 })\n"
     "local _, e = client:list_backends() assert(e.kind == 'timeout', tostring(e))"},
    {"max_queue_timeout_ns", {.max_queue_timeout_ns = 1 * MS, .max_in_flight = 1},
     "forbidden('queue_timeout', client.list_backends, client, { queue_timeout = 3600 })\n"
     "local f = {} for i = 1, 20 do f[i] = client.async:list_backends() end local n = 0\n"
     "for i = 1, 20 do local v = f[i]:result() if not v then n = n + 1 end end assert(n > 0)"},
    {"max_wait_ns", {.max_wait_ns = 5 * MS},
     "forbidden('max_wait', client.wait_for_job, client, theirs, { max_wait = 3600 })\n"
     "local _, e = client:wait_for_job(theirs) assert(e.kind == 'timeout', tostring(e))"},
    {"max_sleep_ns", {.max_sleep_ns = 1 * MS}, "forbidden('sleep', arvak.sleep, 3600) assert(arvak.sleep(0.001))"},
    {"submit_rate", {.submit_rate = 50},
     "local f = {} for i = 1, 5 do f[i] = client.async:submit_qasm(bell, 'simulator', 1) end\n"
     "for i = 1, 5 do assert(f[i]:result()) end refused(client:submit_batch_stream({ { bell } }, 'simulator'):next())"},
    {"submit_burst", {.submit_rate = 0.0001, .submit_burst = 3},
     "made = made or 0 while made < 3 do assert(client:submit_qasm(bell, 'simulator', 1)) made = made + 1 end\n"
     "for i = 1, 10 do refused(client:submit_qasm(bell, 'simulator', 1)) end"},
    {"protected_headers", {.protected_headers = protected_names, .protected_header_count = 1},
     "forbidden('x-budget', client.list_backends, client, { metadata = { ['x-budget'] = '1' } })"},
    {"may_replace_headers", {.may_replace_headers = false},
     "forbidden('x-tenant', client.list_backends, client, { metadata = { ['x-tenant'] = 'mine' } })"},
    {"has_no_policies", {.has_no_policies = true},
     "forbidden('retry', client.list_backends, client, { retry = { max_attempts = 9 } })\n"
     "forbidden('breaker', arvak.resilient, client, { breaker = true })"},
    {"has_own_stats", {.has_own_stats = true},
     "for i = 1, 10 do client:list_backends() end local s = client:stats()\n"
     "made = (made or 0) + 10 assert(s.calls == made and s.connections == nil, s.calls)"},
    {"cancels_own_jobs_only", {.cancels_own_jobs_only = true},
     "for i = 1, 10 do local v, e = client:cancel_job(theirs) assert(not v and e.scope == 'plugin', tostring(e)) end"},
    {"has_no_connect", {.has_no_connect = true},
     "for i = 1, 10 do forbidden('connect', arvak.connect, '127.0.0.1:1') end"},
    {"breaker", {.breaker = ARVAK_LUA_BREAKER_SEE},
     "local b = client:breaker() forbidden('belongs to the host', b.force_open, b)\n"
     "for i = 1, 20 do client:list_backends { timeout = 0.0001 } client:list_backends { attempt_timeout = 1e-4 } end\n"
     "for i = 1, 20 do client:submit_qasm('nonsense', 'simulator') end assert(b:state() == 'closed')"},
    {"on_submit", {.on_submit = spend_nothing},
     "for i = 1, 10 do refused(client:submit_qasm(bell, 'simulator', 1)) end\n"
     "refused(client:submit_batch({ { bell }, { bell } }, 'simulator'))"},
};
enum { ATTACKS = sizeof attacks / sizeof *attacks };

/* ---- the plugin that attacks ---- */

typedef struct attacker {
  lua_State *L;
  const attack *attack;
  atomic_int rounds;
  atomic_bool is_over;
} attacker;

static int count_round(lua_State *L) {
  attacker *a = lua_touserdata(L, lua_upvalueindex(1));
  a->rounds++;
  return 0;
}

static void *run_attack(void *ud) {
  attacker *a = ud;
  lua_pushfstring(a->L, "while true do round() %s end", a->attack->source);
  runs(a->L, lua_tostring(a->L, -1)); /* until it is interrupted: the error is on the stack */
  a->is_over = true;
  return NULL;
}

static lua_State *open_plugin(arvak_client *client, const arvak_lua_limits *limits) {
  lua_State *L = open_bare();
  luaL_requiref(L, "arvak", luaopen_arvak, 1);
  arvak_lua_pushlimited(L, client, limits);
  lua_setglobal(L, "client");
  return L;
}

static void on_count(lua_State *L, lua_Debug *ar) {
  (void)ar;
  arvak_lua_check(L);
}

static void open_attacker(attacker *a, arvak_client *client, const char *theirs) {
  a->L = open_plugin(client, &a->attack->limits);
  lua_pushstring(a->L, theirs);
  lua_setglobal(a->L, "theirs");
  lua_pushlightuserdata(a->L, a);
  lua_pushcclosure(a->L, count_round, 1);
  lua_setglobal(a->L, "round");
  must(a->L, "function refused(value, err)\n"
             "  assert(value == nil and err.kind == 'resource_exhausted' and err.scope == 'plugin', tostring(err))\n"
             "end\n"
             "function forbidden(words, fn, ...)\n"
             "  local ok, message = pcall(fn, ...)\n"
             "  assert(not ok and tostring(message):find(words, 1, true), tostring(message))\n"
             "end");
  lua_sethook(a->L, on_count, LUA_MASKCOUNT, 1000);
}

/* ---- the plugin beside it ---- */

static int compare(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

/* The median time of a call, each of which must be answered: of CALLS, and until the attacker has come round. */
static int64_t median_of(lua_State *L, const attacker *a) {
  static int64_t times[MOST];
  int count = 0;
  while (count < CALLS || (count < MOST && a && a->rounds < ROUNDS && !a->is_over)) {
    int64_t start = arvak_now_ns();
    must(L, "assert(client:get_job_status(job).state)");
    times[count++] = arvak_now_ns() - start;
  }
  qsort(times, (size_t)count, sizeof *times, compare);
  return times[count / 2];
}

static arvak_client *new_client(arvak_breaker *breaker) {
  static const arvak_header headers[] = {{"x-tenant", {"host", 4}}};
  arvak_client *client = NULL;
  arvak_client_options options = {.address = slow_address, .pool_size = 2, .headers = headers, .header_count = 1,
                                  .breaker = breaker};
  if (arvak_client_new(&options, &client, NULL) != ARVAK_OK) abort();
  return client;
}

static void attack_beside(const attack *made) {
  arvak_breaker *breaker = NULL;
  assert_int_equal(arvak_breaker_new(&(arvak_breaker_options){.failure_threshold = 3}, &breaker), ARVAK_OK);
  arvak_client *client = new_client(breaker);
  lua_State *L = open_plugin(client, NULL);
  must(L, "job = assert(client:submit_qasm(bell, 'simulator', 1))");
  int64_t alone = median_of(L, NULL);
  attacker a = {.attack = made};
  lua_getglobal(L, "job");
  open_attacker(&a, client, lua_tostring(L, -1));
  arvak_lua_handle *handle = arvak_lua_get_handle(a.L);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, run_attack, &a), 0);
  while (a.rounds == 0) pause_ms(1);
  int64_t beside = median_of(L, &a);
  arvak_lua_interrupt(handle, "enough");
  pthread_join(thread, NULL);
  printf("# %s: a call beside takes %.2f ms, alone %.2f ms; %d rounds\n", made->field, (double)beside / MS,
         (double)alone / MS, a.rounds);
  if (strcmp(kind_on_top(a.L), "interrupted") != 0) fail_msg("%s: %s", made->field, luaL_tolstring(a.L, 1, NULL));
  if (beside > LATENCY_NS) fail_msg("%s: a call beside takes %.1f ms", made->field, (double)beside / MS);
  must(L, "assert(client:breaker():state() == 'closed' and client:get_job_status(job).state)");
  arvak_lua_handle_unref(handle);
  lua_close(a.L);
  lua_close(L);
  arvak_client_unref(client);
  arvak_breaker_unref(breaker);
}

static void whoever_attacks_a_limit_is_not_noticed_beside(void **state) {
  (void)state;
  for (int i = 0; i < ATTACKS; i++) attack_beside(&attacks[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(whoever_attacks_a_limit_is_not_noticed_beside)};
  lua_State *slow = start_devserver("{ rate_limit = 0, max_concurrent_jobs = 0, max_queued_jobs = 0, job_latency = 60, "
                                    "faults = { { rpc = 'ListBackends', latency = 0.005 }, "
                                    "{ rpc = 'SubmitJob', latency = 0.005 } } }", slow_address);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  lua_close(slow);
  return failed;
}
