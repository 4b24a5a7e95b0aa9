/* An interrupt, and a deadline, end what waits for a database, and what waits beside one: journals, shared batches,
 * ledgers, a server of the plugin's own, a connection to nobody. SPDX-License-Identifier: Apache-2.0 */
#include "disk.h"
#include "plugin.h"

/* Far more than is promised, since the machine may be busy; and far less than what each wait would take. */
#define STOP_NS (2000 * MS)

static char address[64];
static arvak_client *client;

typedef struct wait {
  const char *source;
  bool has_bad_disk; /* from the beginning */
} wait;

#define BATCH(options) \
  "arvak.batch_manager(client):execute_batch({ { bell, 1 }, { bell, 2 } }, 'simulator', " options ")"

/* The jobs never end. */
static const wait waits[] = {
    {BATCH("{ journal = file() }"), false},
    {BATCH("{ journal = file(), transport = 'unary' }"), false},
    {BATCH("{ journal = file() }"), true},
    {"arvak.run(function() " BATCH("{ journal = file() }") " end)", true},
    {"while true do pcall(function() " BATCH("{ journal = file() }") " end) end", false},
    {BATCH("{ journal = silent }"), false},
    {"arvak.run(function() " BATCH("{ journal = silent }") " end)", false},
    {"while true do pcall(arvak.journal, silent) end", false},
    {"arvak.ledger(silent)", false},
    {"arvak.run(arvak.ledger, silent)", false},
    {"while true do pcall(arvak.ledger, silent) end", false},
    {"local c = arvak.connect(address, { ledger = silent }) c:execute(bell, 'simulator')", false},
    {"local c = arvak.connect(address, { ledger = file() }) c:execute(bell, 'simulator')", true},
    {"arvak.connect(nobody):wait_for_ready(3600)", false},
    {"arvak.connect(nobody):list_backends { timeout = 3600 }", false},
    {"local c = arvak.connect('embedded') arvak.sleep(3600)", false},
    {"while true do pcall(function() local c <close> = arvak.connect('embedded') c:list_backends() end) end", false},
    {"while true do pcall(function() arvak.connect('embedded'):close() end) end", false},
    {"setmetatable({}, { __gc = function() " BATCH("{ journal = silent }") " end }) collectgarbage() arvak.sleep(3600)",
     false},
    {"setmetatable({}, { __gc = function() arvak.ledger(silent) end }) collectgarbage() arvak.sleep(3600)", false},
    {"local x <close> = setmetatable({}, { __close = function() " BATCH("{ journal = file() }") " end })\n"
     "arvak.sleep(3600)",
     true},
};
enum { WAITS = sizeof waits / sizeof *waits };

static void on_count(lua_State *L, lua_Debug *ar) {
  (void)ar;
  arvak_lua_check(L);
}

static lua_State *open_plugin(void) {
  lua_State *L = open_with_databases();
  arvak_lua_pushclient(L, client);
  lua_setglobal(L, "client");
  lua_pushstring(L, address);
  lua_setglobal(L, "address");
  lua_sethook(L, on_count, LUA_MASKCOUNT, 1000);
  return L;
}

static int64_t stop_one(const wait *w, stop_fn stop) {
  plugin p = {.L = open_plugin(), .source = w->source};
  arvak_lua_handle *handle = arvak_lua_get_handle(p.L);
  set_disk(w->has_bad_disk);
  start_plugin(&p);
  pause_ms(40);
  if (p.is_over) fail_msg("%s is over: %s", w->source, p.has_raised ? luaL_tolstring(p.L, -1, NULL) : "");
  int64_t took = stop_plugin(&p, handle, stop);
  if (took > STOP_NS) fail_msg("%s: %.1f ms", w->source, (double)took / MS);
  if (!p.has_raised || strcmp(kind_on_top(p.L), "interrupted") != 0)
    fail_msg("%s: %s", w->source, p.has_raised ? luaL_tolstring(p.L, 1, NULL) : "has raised nothing");
  arvak_lua_clear_interrupt(p.L);
  must(p.L, "assert(arvak.run(function() arvak.sleep(0.001) return #client:list_backends() end) == 1)");
  lua_close(p.L);
  set_disk(false);
  arvak_lua_handle_unref(handle);
  return took;
}

static void stop_each(stop_fn stop) {
  int64_t longest = 0;
  const char *where = "";
  for (int i = 0; i < WAITS; i++) {
    int64_t took = stop_one(&waits[i], stop);
    if (took > longest) longest = took, where = waits[i].source;
    if (took > 10 * MS) printf("# %.1f ms: %s\n", (double)took / MS, waits[i].source);
  }
  printf("# the longest of %d: %.2f ms, %s\n", WAITS, (double)longest / MS, where);
}

static void an_interrupt_ends_what_waits_for_a_database(void **state) {
  (void)state;
  stop_each(by_hand);
}

static void a_deadline_ends_what_waits_for_a_database(void **state) {
  (void)state;
  stop_each(by_deadline);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(an_interrupt_ends_what_waits_for_a_database),
                                     cmocka_unit_test(a_deadline_ends_what_waits_for_a_database)};
  open_databases();
  lua_State *server = start_devserver("{ rate_limit = 0, max_concurrent_jobs = 0, max_queued_jobs = 0, "
                                      "job_latency = 3600 }", address);
  if (arvak_client_new(&(arvak_client_options){.address = address}, &client, NULL) != ARVAK_OK) abort();
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  arvak_client_unref(client);
  lua_close(server);
  close_databases();
  return failed;
}
