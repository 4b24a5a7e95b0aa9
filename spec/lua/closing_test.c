/* lua_close ends within 50 ms whatever a plugin has left behind. Each situation is closed at random moments, and what
 * the closing thread did meanwhile is told apart: it computed, it was ready to run and another thread had its
 * processor, or it waited. The last of these is the library's. For figures, CLOSINGS=20 closes each situation as often,
 * and SITUATION=words only those whose names have these words in them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "disk.h"
#include "spent.h"

/* Far more than is promised, for a machine on which the threads that it waits for get no processor; and far less than
 * what a hundred stores would take one after the other. */
#define WAITED_NS (2000 * MS)
enum { MOST = 1000 };

static char address[64], slow_address[64];
static int closings = 3;
static arvak_client *slow, *quick;
static const char *chosen; /* NULL: all */
static unsigned seed = 1;

static unsigned next_random(void) {
  seed = seed * 1103515245u + 12345u;
  return seed >> 8;
}

/* ---- what a plugin leaves behind ---- */

typedef struct situation {
  const char *name, *source;
  bool has_bad_disk; /* from when the source has run */
} situation;

#define LIST "local list = {} for i = 1, 300 do list[i] = { bell, 1 } end\n"
#define BATCH(options) LIST "arvak.spawn(function()\n" \
  "  arvak.batch_manager(quick):execute_batch(list, 'simulator', " options ") end)\n"
#define FINALIZER(body) "keep = setmetatable({}, { __gc = function() " body " end })\n"

static const situation situations[] = {
    {"nothing", "", false},
    {"10,000 calls that wait", "for i = 1, 10000 do client.async:list_backends { timeout = 3600 } end", false},
    {"10,000 job futures", "for i = 1, 10000 do quick:submit_qasm_future(bell, 'simulator', 1) end", false},
    {"1,000 tasks that sleep", "for i = 1, 1000 do arvak.spawn(arvak.sleep, 3600) end", false},
    {"100 streams that are read",
     "for i = 1, 100 do arvak.spawn(function() for _ in quick:watch_job(job, { timeout = 3600 }) do end end) end",
     false},
    {"a run that is interrupted",
     "arvak.run(function() for i = 1, 100 do arvak.spawn(arvak.sleep, 3600) end\n"
     "  while true do pcall(client.execute, client, bell, 'simulator') end end)",
     false},
    {"a batch on a stream", BATCH("{}"), false},
    {"a batch of calls", BATCH("{ transport = 'unary' }"), false},
    {"a batch with a journal", BATCH("{ journal = file() }"), false},
    {"a batch with a journal on a disk that hangs", BATCH("{ journal = file() }"), true},
    {"a shared batch whose database says nothing", BATCH("{ journal = silent, name = 'x' }"), false},
    {"100 ledgers whose database says nothing",
     "keep = {} for i = 1, 100 do keep[i] = arvak.connect(address, { ledger = silent })\n"
     "  keep[i].async:submit_qasm(bell, 'simulator', 1) end",
     false},
    {"100 ledgers on a disk that hangs",
     "keep = {} for i = 1, 100 do keep[i] = arvak.connect(address, { ledger = file() }) end arvak.poll(0.05)\n"
     "for i = 1, 100 do keep[i].async:submit_qasm(bell, 'simulator', 1) end",
     true},
    {"10 servers at work",
     "local heavy = 'OPENQASM 3.0; qubit[18] q;' .. ('h q; '):rep(200) keep = {}\n"
     "for i = 1, 10 do keep[i] = arvak.connect('embedded') keep[i].async:submit_qasm(heavy, 'simulator', 100000)\n"
     "  keep[i].async:watch_job('none') end",
     false},
    {"20 servers that finalizers stop and start",
     "local d, all = require 'arvak.devserver', {} for i = 1, 20 do all[i] = d.start() end\n"
     FINALIZER("for i = 1, 20 do pcall(all[i].restart, all[i]) pcall(all[i].stop, all[i]) pcall(d.start) end"), false},
    {"30 attempts to connect to nobody",
     "keep = {} for i = 1, 30 do keep[i] = arvak.connect(nobody)\n"
     "  for k = 1, 20 do keep[i].async:list_backends() end end",
     false},
    {"a descriptor", "p = arvak.pollable() for i = 1, 1000 do client.async:list_backends() end", false},
    {"a descriptor whose finalizer steps",
     "p = arvak.pollable() for i = 1, 1000 do client.async:list_backends() end\n"
     FINALIZER("pcall(p.step, p, 3600) client:close()"), false},
    {"finalizers that call everything",
     "local other = arvak.connect(nobody)\n"
     "local f, t = client.async:list_backends(), arvak.spawn(arvak.sleep, 3600)\n"
     "local things = { client, quick, other, f, t, quick:watch_job(job), arvak.batch_manager(quick) }\n"
     "local names = { 'list_backends', 'execute', 'wait_for_job', 'close', 'result', 'wait', 'next', 'cancel',\n"
     "  'stats', 'submit_qasm', 'submit_qasm_future', 'submit_batch', 'submit_batch_future', 'execute_batch',\n"
     "  'wait_for_ready', 'watch_job', 'stream_results', 'submit_batch_stream', 'get_job_result' }\n"
     FINALIZER("for name, fn in pairs(arvak) do if type(fn) == 'function' and name ~= '_counts' then\n"
               "  for _, a in ipairs { 3600, 'embedded', file(), function() arvak.sleep(3600) end, { f, t } } do\n"
               "    pcall(fn, a) pcall(fn, a, { journal = file() }) end end end\n"
               "for _, thing in ipairs(things) do for _, name in ipairs(names) do\n"
               "  local ok, fn = pcall(function() return thing[name] end)\n"
               "  if ok and fn then pcall(fn, thing, bell, 'simulator', { timeout = 3600 })\n"
               "    pcall(fn, thing, { { bell, 1 } }, 'simulator') pcall(fn, thing, job) end end end"),
     false},
};
enum { SITUATIONS = sizeof situations / sizeof *situations };

/* With `client`, whose calls take an hour, `quick`, a job of its server's that never ends, arvak, and all of Lua. */
static lua_State *open_plugin(void) {
  lua_State *L = open_with_databases();
  arvak_lua_pushclient(L, slow);
  lua_setglobal(L, "client");
  arvak_lua_pushclient(L, quick);
  lua_setglobal(L, "quick");
  lua_pushstring(L, address);
  lua_setglobal(L, "address");
  must(L, "io.stderr:setvbuf('no') job = assert(quick:submit_qasm(bell, 'simulator', 1))");
  return L;
}

/* ---- figures ---- */

static int compare(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

static void print_of(const char *what, int64_t *ns) {
  qsort(ns, (size_t)closings, sizeof *ns, compare);
  printf(", %s %.1f/%.1f", what, (double)ns[closings / 2] / MS, (double)ns[closings - 1] / MS);
}

static void print_spent(const char *name, const spent *all) {
  static int64_t wall[MOST], computed[MOST], waited[MOST];
  for (int i = 0; i < closings; i++) {
    wall[i] = all[i].wall_ns;
    computed[i] = all[i].computed_ns;
    waited[i] = spent_waiting_ns(&all[i]);
  }
  printf("# %s (ms, median/worst)", name);
  print_of("all", wall);
  print_of("computed", computed);
  print_of("waited", waited);
  printf("\n");
  fflush(stdout);
}

/* ---- closing ---- */

/* The plugin runs until a deadline at random, and is closed as that has left it. */
static void leave_behind(lua_State *L, const situation *s) {
  arvak_lua_handle *handle = arvak_lua_get_handle(L);
  arvak_lua_set_deadline(handle, arvak_now_ns() + (200 + next_random() % 300) * MS / 10);
  if (runs(L, s->source)) {
    set_disk(s->has_bad_disk);
    runs(L, "while true do arvak.poll(3600) end");
  }
  if (strcmp(kind_on_top(L), "interrupted") != 0) fail_msg("%s: %s", s->name, luaL_tolstring(L, 1, NULL));
  arvak_lua_handle_unref(handle);
}

static void lua_close_waits_for_50_ms_at_most(void **state) {
  (void)state;
  static spent all[MOST];
  for (int i = 0; i < SITUATIONS; i++) {
    const situation *s = &situations[i];
    if (chosen && !strstr(s->name, chosen)) continue;
    for (int k = 0; k < closings; k++) {
      lua_State *L = open_plugin();
      leave_behind(L, s);
      spent before = spent_now();
      lua_close(L);
      all[k] = spent_since(&before);
      set_disk(false);
      int64_t waited = spent_waiting_ns(&all[k]);
      if (waited > WAITED_NS) fail_msg("%s: waited for %.0f ms", s->name, (double)waited / MS);
    }
    print_spent(s->name, all);
  }
  arvak_client_stats stats;
  arvak_client_get_stats(quick, &stats);
  assert_int_equal(stats.in_flight + stats.queued, 0);
}

/* A host that collects between two calls looks like the end of the state; the true end has its own 40 ms all the same,
 * so that what was given to a database since may be written. */
static void what_is_begun_after_a_collection_is_waited_for(void **state) {
  (void)state;
  lua_State *L = open_plugin();
  must(L, "require('arvak.devserver').start()");
  lua_gc(L, LUA_GCCOLLECT);
  pause_ms(50);
  must(L, "keep = arvak.connect(address, { ledger = silent })");
  spent before = spent_now();
  lua_close(L);
  spent all = spent_since(&before);
  assert_true(all.wall_ns >= 35 * MS);
}

/* The server is reachable, and so is not collected with what stops it. options, of the server, and tls, of a client:
 * Lua tables. */
static void assert_is_stopped_by_a_finalizer(const char *options, const char *tls) {
  lua_State *L = open_plugin();
  lua_pushstring(L, options);
  lua_setglobal(L, "options");
  lua_pushstring(L, tls);
  lua_setglobal(L, "tls");
  must(L, "certificates = require 'spec.support.certificates'\n"
          "server = assert(require('arvak.devserver').start(load('return ' .. options)()))\n"
          "tls = load('return ' .. tls)()\n"
          "function connect() return arvak.connect(server.address, { tls = tls }) end\n"
          "own = connect() assert(own:list_backends())\n"
          "setmetatable({}, { __gc = function() server:stop() end })");
  lua_gc(L, LUA_GCCOLLECT);
  must(L, "local list, err = own:list_backends { retry = false, breaker = false }\n"
          "assert(not list and err.kind == 'unavailable', err)\n"
          "assert(server:stats().connections_total == 1)\n"
          "for i = 1, 1000 do if server:stats().connections_open > 0 then arvak.sleep(0.01) end end\n"
          "assert(server:stats().connections_open == 0)\n"
          "assert(server:restart())\n"
          "assert(connect():list_backends())\n"
          "server:stop()\n"
          "certificates.remove()");
  lua_close(L);
}

static void a_server_that_a_finalizer_stops_serves_nobody_any_more(void **state) {
  (void)state;
  assert_is_stopped_by_a_finalizer("{}", "false");
  assert_is_stopped_by_a_finalizer("{ tls_cert = certificates.path('server'), "
                                   "tls_key = certificates.path('server', 'key') }",
                                   "{ ca = certificates.path('ca') }");
}

static arvak_client *new_client(const char *where) {
  arvak_client *client = NULL;
  arvak_client_options options = {.address = where, .pool_size = 2, .max_concurrent_rpcs = 128};
  if (arvak_client_new(&options, &client, NULL) != ARVAK_OK) abort();
  return client;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(lua_close_waits_for_50_ms_at_most),
                                     cmocka_unit_test(what_is_begun_after_a_collection_is_waited_for),
                                     cmocka_unit_test(a_server_that_a_finalizer_stops_serves_nobody_any_more)};
  chosen = getenv("SITUATION");
  if (getenv("CLOSINGS")) closings = atoi(getenv("CLOSINGS"));
  if (closings < 1 || closings > MOST) return fprintf(stderr, "CLOSINGS: expected 1 to %d\n", MOST), 2;
  open_databases();
  lua_State *server = start_devserver("{ rate_limit = 0, max_concurrent_jobs = 0, max_queued_jobs = 0, "
                                      "job_latency = 3600 }", address);
  lua_State *hanging = start_devserver("{ faults = { { latency = 3600 } } }", slow_address);
  slow = new_client(slow_address);
  quick = new_client(address);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  arvak_client_unref(slow);
  arvak_client_unref(quick);
  lua_close(hanging);
  lua_close(server);
  close_databases();
  return failed;
}
