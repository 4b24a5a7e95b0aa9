/* Hostile plugins beside honest ones: all states are open at once, on one client, in eight threads. Half of the threads
 * drive hostile states, which attack each limit, know the private names, and are interrupted, run out of their time and
 * are closed at random; the others drive honest states, whose every call has to be answered right.
 * In the environment: CROWD_PLUGINS (6) of each kind, CROWD_SECONDS (2). SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdatomic.h>

#include "hosting.h"

enum { THREADS = 8, MOST = 100, LATENCIES = 100000 };

static char address[64];
static int plugins = 6, seconds = 2; /* of each kind */

/* Each goes on until it is stopped, or gives up. */
static const char *const attacks[] = {
    /* calls, queues, memory */
    "for i = 1, 1000 do client.async:list_backends { timeout = 3600 } end while true do arvak.poll(1) end",
    "local t = bell .. '//' .. ('x'):rep(100000) while true do client.async:submit_qasm(t, 'simulator', 1) end",
    "local t = ('x'):rep(100000) while true do client.async:cancel_job(t) client.async:get_job_result(t) end",
    "while true do client:list_backends { timeout = 0.0001 } end",
    "local held = {} for i = 1, 1000 do held[i] = client.async:list_backends() end arvak.poll(0.01) arvak.sleep(1)",
    /* streams, futures, tasks */
    "local open = {} while true do open[#open + 1] = client:watch_job('none') open[#open]:next() end",
    "while true do client:submit_qasm_future(bell, 'simulator', 1):cancel() end",
    "while true do arvak.spawn(function() while true do pcall(client.list_backends, client) end end) arvak.poll() end",
    "while true do local s = client:submit_batch_stream({ { bell, 1 }, { bell, 1 } }, 'simulator') s:next() end",
    "arvak.map(function() return 1 end, function() return client:execute(bell, 'simulator', 1) end)",
    "local m, l = arvak.batch_manager(client, { max_workers = 1000 }), {} for i = 1, 300 do l[i] = { bell, 1 } end\n"
        "while true do pcall(m.execute_batch, m, l, 'simulator') end",
    "local l = {} for i = 1, 200 do l[i] = { bell, 1 } end while true do client:submit_batch(l, 'simulator') end",
    /* times, rates, policies, headers, the breaker, other people's jobs */
    "while true do pcall(client.list_backends, client, { timeout = 1e9 }) pcall(arvak.sleep, 1e9)\n"
        "  client:submit_qasm(bell, 'simulator', 1) end",
    "local r = arvak.resilient(client, { retry = { max_attempts = 1000, initial_backoff = 1e-9 } })\n"
        "while true do r:get_job_status('none') client:submit_qasm('nonsense', 'simulator') end",
    "while true do pcall(client.breaker, client, 1) pcall(arvak.connect, '127.0.0.1:1')\n"
        "  pcall(function() client:breaker():force_open() end) pcall(client.cancel_job, client, 'job')\n"
        "  pcall(client.list_backends, client, { metadata = { ['x-tenant'] = 'mine' } }) end",
    /* stops and closing */
    "while true do pcall(arvak.sleep, 3600) end",
    "while true do end",
    "local function f() while true do pcall(coroutine.wrap(function() arvak.sleep(3600) end)) end end\n"
        "while true do pcall(coroutine.wrap(f)) end",
    "client:close() while true do pcall(client.list_backends, client) end",
    /* finalizers, among them such as raise, wait, and begin anew while the state closes */
    "setmetatable({}, { __gc = function() client:list_backends { timeout = 3600 } end })\n"
        "while true do client:watch_job('none'):next() end",
    "local function again() setmetatable({}, { __gc = function() again() error('broken') end }) end\n"
        "while true do again() client.async:list_backends() arvak.poll(0.001) end",
    "keep = setmetatable({}, { __gc = function() for i = 1, 100 do arvak.spawn(arvak.sleep, 1) end\n"
        "  pcall(arvak.run, function() client:execute(bell, 'simulator', 1) end) client:close() end }) arvak.sleep(1)",
    "while true do local f = client.async:list_backends()\n"
        "  setmetatable({}, { __gc = function() f:cancel() f:result() end }) end",
    /* private names */
    "local names = { '_ticket', '_tickets', '_task', '_scope', '_values', '_cancel', '_state', '_callbacks' }\n"
        "while true do\n"
        "  local f, g = client.async:list_backends(), arvak.spawn(arvak.sleep, 0.001)\n"
        "  for _, n in ipairs(names) do f[n], g[n] = g[n], f[n] end pcall(f.cancel, f) pcall(g.result, g, 0.001)\n"
        "  local h = client.async:list_backends() h[names[math.random(#names)]] = math.random(100)\n"
        "  pcall(h.result, h, 0) pcall(arvak.poll, 0.001) end",
    "while true do local s = client:watch_job('none')\n"
        "  for n in pairs(s) do s[n] = math.random(2) == 1 and {} or math.random(100) end\n"
        "  pcall(s.next, s) pcall(s.cancel, s)\n"
        "  local p = arvak.pollable() p._user = client pcall(p.step, p) p = nil end",
    "string.format, table.concat, table.unpack = error, error, error getmetatable('').__index = nil\n"
        "while true do pcall(client.execute, client, bell, 'simulator', 1) end",
};
enum { ATTACKS = sizeof attacks / sizeof *attacks };

static const char honest_plugin[] =
    "asked, answered = 0, 0\n"
    "local function right(r, shots) assert((r.counts['00'] or 0) + (r.counts['11'] or 0) == shots) end\n"
    "local works = {\n"
    "  function(n) right(assert(client:execute(bell, 'simulator', n)), n) end,\n"
    "  function(n) local id = assert(client:submit_qasm(bell, 'simulator', n)) local last\n"
    "    for state in client:watch_job(id) do last = state end assert(last == 'COMPLETED')\n"
    "    right(assert(client:get_job_result(id)), n) end,\n"
    "  function(n) right(assert(client:submit_qasm_future(bell, 'simulator', n):result()), n) end,\n"
    "  function(n) for kind, _, _, r in client:submit_batch_stream({ { bell, n } }, 'simulator') do\n"
    "    if kind == 'completed' then right(r, n) else assert(kind ~= 'error', r) end end end,\n"
    "}\n"
    "local function work()\n"
    "  repeat\n"
    "    asked = asked + 1 local n = math.random(50) works[math.random(#works)](n) answered = answered + 1\n"
    "    local start = now() assert(#assert(client:list_backends()) == 1) tell(now() - start)\n"
    "    arvak.sleep(0.005)\n"
    "  until is_over\n"
    "end\n"
    "tasks = { arvak.spawn(work), arvak.spawn(work) }\n";

typedef struct crowd {
  arvak_client *client;
  atomic_int next, threads, runs, closings, asked, answered, problems, latency_count;
  atomic_bool is_over;
  int64_t latencies[LATENCIES]; /* ns, of honest calls */
  pthread_mutex_t mu;
  arvak_lua_handle *targets[MOST]; /* mu: of hostile states; shared, or NULL */
} crowd;

typedef struct place { /* of a hostile plugin */
  lua_State *L;
  int index;
  unsigned seed;
} place;

static unsigned next_random(unsigned *seed) {
  *seed = *seed * 1103515245u + 12345u;
  return *seed >> 8;
}

/* ---- hostile ---- */

static void ask(lua_State *L, lua_Debug *ar) {
  (void)ar;
  arvak_lua_check(L);
}

static const char *watch(const arvak_lua_submit *submit, void *ud) {
  (void)ud;
  return submit->jobs > 100 ? "too many at once" : NULL;
}

static void aim(crowd *c, int index, arvak_lua_handle *handle) {
  pthread_mutex_lock(&c->mu);
  arvak_lua_handle *old = c->targets[index];
  c->targets[index] = handle;
  pthread_mutex_unlock(&c->mu);
  arvak_lua_handle_unref(old);
}

static lua_State *open_hostile(crowd *c, place *p) {
  arvak_lua_limits limits = {
      .max_in_flight = 2, .max_queued = 20, .max_request_bytes = 1 << 20, .max_answer_bytes = 1 << 20, .max_streams = 4,
      .max_futures = 50, .max_tasks = 50, .max_sleep_ns = 1000 * MS, .submit_rate = 5, .has_no_connect = true,
      .has_own_stats = true, .cancels_own_jobs_only = next_random(&p->seed) % 2, .on_submit = watch};
  lua_State *L = open_bare();
  luaL_requiref(L, "arvak", luaopen_arvak, 1);
  arvak_lua_guard_coroutines(L);
  lua_pushnil(L);
  lua_setglobal(L, "collectgarbage"); /* takes long, and a hook counts instructions */
  arvak_lua_pushlimited(L, c->client, &limits);
  lua_setglobal(L, "client");
  lua_sethook(L, ask, LUA_MASKCOUNT, 1000);
  aim(c, p->index, arvak_lua_get_handle(L));
  return L;
}

/* One attack for a moment; now and then the state is closed as that has left it. */
static void attack_once(crowd *c, place *p) {
  if (!p->L) p->L = open_hostile(c, p);
  const char *source = attacks[atomic_fetch_add(&c->next, 1) % ATTACKS];
  arvak_lua_set_deadline(c->targets[p->index], arvak_now_ns() + (1 + next_random(&p->seed) % 30) * MS);
  runs(p->L, source);
  atomic_fetch_add(&c->runs, 1);
  if (next_random(&p->seed) % 3 > 0) {
    arvak_lua_clear_interrupt(p->L);
    return;
  }
  int64_t start = arvak_now_ns();
  lua_close(p->L);
  if (arvak_now_ns() - start > 5000 * MS) atomic_fetch_add(&c->problems, 1); /* 50 ms are promised */
  p->L = NULL;
  atomic_fetch_add(&c->closings, 1);
}

static void *drive_hostile(void *ud) {
  crowd *c = ud;
  place places[MOST];
  int thread = atomic_fetch_add(&c->threads, 1), count = 0;
  for (int i = thread; i < plugins; i += THREADS / 2) places[count++] = (place){NULL, i, (unsigned)(i * 7919 + 1)};
  for (int i = 0; i < count; i++) places[i].L = open_hostile(c, &places[i]);
  while (!c->is_over)
    for (int i = 0; i < count && !c->is_over; i++) attack_once(c, &places[i]);
  for (int i = 0; i < count; i++) {
    if (places[i].L) lua_close(places[i].L);
    aim(c, places[i].index, NULL);
  }
  return NULL;
}

/* Besides their deadlines. */
static void *interrupt_at_random(void *ud) {
  crowd *c = ud;
  unsigned seed = 1;
  while (!c->is_over) {
    pause_ms((int)(next_random(&seed) % 5));
    pthread_mutex_lock(&c->mu);
    arvak_lua_handle *target = c->targets[next_random(&seed) % (unsigned)plugins];
    arvak_lua_stats stats;
    if (target) arvak_lua_get_stats(target, &stats);
    if (target) arvak_lua_interrupt(target, "at random");
    pthread_mutex_unlock(&c->mu);
  }
  return NULL;
}

/* ---- honest ---- */

static int get_now(lua_State *L) {
  lua_pushinteger(L, arvak_now_ns());
  return 1;
}

/* Upvalue 1: the crowd. */
static int tell_latency(lua_State *L) {
  crowd *c = lua_touserdata(L, lua_upvalueindex(1));
  int n = c->latency_count;
  while (n < LATENCIES && !atomic_compare_exchange_weak(&c->latency_count, &n, n + 1)) {}
  if (n < LATENCIES) c->latencies[n] = luaL_checkinteger(L, 1);
  return 0;
}

static lua_State *open_honest(crowd *c) {
  lua_State *L = open_bare();
  luaL_requiref(L, "arvak", luaopen_arvak, 1);
  arvak_lua_pushlimited(L, c->client, &(arvak_lua_limits){.max_in_flight = 2, .max_queued = 10});
  lua_setglobal(L, "client");
  lua_pushcfunction(L, get_now);
  lua_setglobal(L, "now");
  lua_pushlightuserdata(L, c);
  lua_pushcclosure(L, tell_latency, 1);
  lua_setglobal(L, "tell");
  return L;
}

static int64_t integer_in(lua_State *L, const char *name) {
  lua_getglobal(L, name);
  int64_t value = lua_tointeger(L, -1);
  lua_pop(L, 1);
  return value;
}

static void report(crowd *c, lua_State *L, bool is_well) {
  if (is_well) return;
  fprintf(stderr, "# %s\n", luaL_tolstring(L, -1, NULL));
  atomic_fetch_add(&c->problems, 1);
}

/* Waits for what it has asked. */
static void end_honest(crowd *c, lua_State *L) {
  report(c, L, runs(L, "is_over = true for _, t in ipairs(tasks) do local ok, err = t:result(120)\n"
                       "  if err then error(err, 0) end end"));
  atomic_fetch_add(&c->asked, (int)integer_in(L, "asked"));
  atomic_fetch_add(&c->answered, (int)integer_in(L, "answered"));
  if (integer_in(L, "answered") == 0) atomic_fetch_add(&c->problems, 1);
  lua_close(L);
}

/* Looks into each of its states in turn, as an event loop does. */
static void *drive_honest(void *ud) {
  crowd *c = ud;
  lua_State *states[MOST];
  int count = 0;
  for (int i = atomic_fetch_add(&c->threads, 1) % (THREADS / 2); i < plugins; i += THREADS / 2)
    states[count++] = open_honest(c);
  for (int i = 0; i < count; i++) report(c, states[i], runs(states[i], honest_plugin));
  while (!c->is_over) {
    for (int i = 0; i < count; i++) report(c, states[i], runs(states[i], "arvak.poll()"));
    nanosleep(&(struct timespec){.tv_nsec = MS / 2}, NULL);
  }
  for (int i = 0; i < count; i++) end_honest(c, states[i]);
  return NULL;
}

/* ---- all of them ---- */

static int compare(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

static void print_latencies(crowd *c, const char *what) {
  int n = c->latency_count;
  qsort(c->latencies, (size_t)n, sizeof *c->latencies, compare);
  if (n > 0)
    printf("# %s: %d calls, median %.1f ms, 99 %% %.1f ms\n", what, n, (double)c->latencies[n / 2] / MS,
           (double)c->latencies[n - 1 - n / 100] / MS);
  c->latency_count = 0;
}

/* The honest threads, and the hostile ones beside them, for so long, and until each attack has been made. */
static void run_crowd(crowd *c, bool has_hostile, int64_t for_ns) {
  pthread_t threads[THREADS + 1];
  int count = 0, first = c->next;
  c->is_over = false;
  c->threads = 0;
  if (has_hostile)
    while (count < THREADS / 2) pthread_create(&threads[count++], NULL, drive_hostile, c);
  while (has_hostile && c->threads < THREADS / 2) pause_ms(1); /* who are the first in threads */
  for (int i = 0; i < THREADS / 2; i++) pthread_create(&threads[count++], NULL, drive_honest, c);
  if (has_hostile) pthread_create(&threads[count++], NULL, interrupt_at_random, c);
  int64_t now = arvak_now_ns(), least = now + for_ns, most = least + 120 * 1000 * MS;
  while (now < least || (has_hostile && now < most && c->next - first < 2 * ATTACKS)) {
    pause_ms(10);
    now = arvak_now_ns();
  }
  c->is_over = true;
  for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
}

static void hostile_plugins_take_no_answer_from_honest_ones(void **state) {
  (void)state;
  static crowd c;
  arvak_client_options options = {.address = address, .pool_size = 4, .max_concurrent_rpcs = 4 * MOST};
  pthread_mutex_init(&c.mu, NULL);
  if (arvak_client_new(&options, &c.client, NULL) != ARVAK_OK) abort();
  run_crowd(&c, false, 1000 * MS);
  print_latencies(&c, "honest plugins alone");
  run_crowd(&c, true, seconds * 1000 * MS);
  print_latencies(&c, "beside hostile ones");
  printf("# %d hostile and %d honest plugins: %d attacks, %d states closed in the middle, %d asked, %d answered\n",
         plugins, plugins, c.runs, c.closings, c.asked, c.answered);
  assert_int_equal(c.problems, 0);
  assert_int_equal(c.asked, c.answered);
  assert_true(c.runs >= 2 * ATTACKS && c.closings > 0 && c.answered >= plugins);
  arvak_client_stats stats;
  arvak_client_get_stats(c.client, &stats);
  assert_int_equal(stats.in_flight + stats.queued, 0);
  arvak_client_unref(c.client);
  pthread_mutex_destroy(&c.mu);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(hostile_plugins_take_no_answer_from_honest_ones)};
  if (getenv("CROWD_PLUGINS")) plugins = atoi(getenv("CROWD_PLUGINS"));
  if (getenv("CROWD_SECONDS")) seconds = atoi(getenv("CROWD_SECONDS"));
  if (plugins < 1 || plugins > MOST) return fprintf(stderr, "CROWD_PLUGINS: expected 1 to %d\n", MOST), 2;
  lua_State *server = start_devserver("{ rate_limit = 0, max_concurrent_jobs = 0, max_queued_jobs = 0 }", address);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  lua_close(server);
  return failed;
}
