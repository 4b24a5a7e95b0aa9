/* Interrupts and deadlines of states that are attached to an event loop of others: whoever is suspended in it raises,
 * the loop comes back to the host, and it works again when the host has taken the interrupt back.
 * SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdatomic.h>

#include "hosting.h"

/* Far more than is promised, since the machine may be busy; and far less than what each wait would take. */
#define STOP_NS (2000 * MS)

static char address[64], slow_address[64];

static arvak_client *new_client(const char *where) {
  arvak_client *client = NULL;
  arvak_client_options options = {.address = where, .pool_size = 2, .max_concurrent_rpcs = 64};
  if (arvak_client_new(&options, &client, NULL) != ARVAK_OK) abort();
  return client;
}

/* Each loop: `spawn` starts a function in a coroutine of it, and `drive` runs it for so many seconds at most. */
static const char *const loops[] = {
    "local cqueues = require 'cqueues' local controller = cqueues.new()\n"
    "attachment = require 'arvak.cqueues'.attach(controller)\n"
    "function spawn(fn) controller:wrap(fn) end\n"
    "function drive(seconds) assert(controller:loop(seconds)) end",
    "local uv = require 'luv'\n"
    "attachment = require 'arvak.luv'.attach()\n"
    "function spawn(fn) local timer = uv.new_timer()\n"
    "  timer:start(0, 0, function() timer:close() coroutine.wrap(fn)() end) end\n"
    "local guard = uv.new_timer()\n"
    "function drive(seconds) guard:start(seconds * 1000 // 1, 0, uv.stop) uv.run() guard:stop() end",
};
static const char *const names[] = {"cqueues", "luv"};
enum { LOOPS = sizeof loops / sizeof *loops };

/* Each would take an hour. */
static const char *const waits[] = {
    "client:list_backends { timeout = 3600 }",
    "arvak.sleep(3600)",
    "client.async:list_backends({ timeout = 3600 }):result()",
    "quick:wait_for_job(job, { max_wait = 3600 })",
    "quick:submit_qasm_future(bell, 'simulator', { max_wait = 3600 }):result()",
    "for _ in quick:watch_job(job, { timeout = 3600 }) do end",
    "for _ in quick:submit_batch_stream({ { bell, 1 } }, 'simulator', { timeout = 3600 }) do end",
    "arvak.batch_manager(quick):execute_batch({ { bell, 1 }, { bell, 2 } }, 'simulator')",
    "arvak.gather { client.async:list_backends { timeout = 3600 } }",
    "arvak.wait({ client.async:list_backends { timeout = 3600 } }, { timeout = 3600 })",
    "arvak.with_timeout(3600, function() return arvak.sleep(3600) end)",
    "arvak.map({ 1, 2, 3 }, function() return client:list_backends { timeout = 3600 } end)",
};
enum { WAITS = sizeof waits / sizeof *waits };

static int ended, interrupted;

static int note_end(lua_State *L, int status, lua_KContext context) {
  (void)context;
  ended++;
  if (status != LUA_OK && status != LUA_YIELD && strcmp(kind_on_top(L), "interrupted") == 0) interrupted++;
  return 0;
}

/* observe(fn): in C, where no debug hook runs, so that what becomes of fn can be noted. */
static int observe(lua_State *L) { return note_end(L, lua_pcallk(L, 0, 0, 0, 0, note_end), 0); }

static lua_State *open_plugin(arvak_client *slow, arvak_client *quick, const char *loop) {
  lua_State *L = open_bare();
  luaL_openlibs(L);
  luaL_requiref(L, "arvak", luaopen_arvak, 1);
  arvak_lua_pushclient(L, slow);
  lua_setglobal(L, "client");
  arvak_lua_pushclient(L, quick);
  lua_setglobal(L, "quick");
  lua_pushcfunction(L, observe);
  lua_setglobal(L, "observe");
  must(L, "job = assert(quick:submit_qasm(bell, 'simulator', 1))");
  must(L, loop);
  ended = interrupted = 0;
  return L;
}

static void spawn(lua_State *L, const char *source) {
  lua_pushfstring(L, "spawn(function() observe(function() %s end) end)", source);
  lua_insert(L, 1);
  must(L, lua_tostring(L, 1));
}

/* Interrupts when everybody waits. */
typedef struct stopper {
  arvak_lua_handle *handle;
  arvak_client *client; /* which has so many calls then */
  int calls;
  bool by_deadline;
  int64_t stopped_ns;
} stopper;

static void *stop_later(void *ud) {
  stopper *s = ud;
  arvak_client_stats stats = {0};
  for (int i = 0; i < 2000 && stats.in_flight + stats.queued < s->calls; i++) {
    pause_ms(5);
    arvak_client_get_stats(s->client, &stats);
  }
  pause_ms(50);
  s->stopped_ns = arvak_now_ns();
  if (s->by_deadline) arvak_lua_set_deadline(s->handle, s->stopped_ns);
  else arvak_lua_interrupt(s->handle, "enough");
  return NULL;
}

/* Drives the loop while somebody stops it: how long the loop has gone on since, in ns. */
static int64_t drive_until_stopped(lua_State *L, arvak_lua_handle *handle, arvak_client *slow, int calls,
                                   bool by_deadline) {
  stopper s = {.handle = handle, .client = slow, .calls = calls, .by_deadline = by_deadline};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, stop_later, &s), 0);
  bool is_well = runs(L, "drive(600)");
  int64_t now = arvak_now_ns();
  pthread_join(thread, NULL);
  if (!is_well && strcmp(kind_on_top(L), "interrupted") != 0) fail_msg("%s", luaL_tolstring(L, -1, NULL));
  return now - s.stopped_ns;
}

/* What a future or a batch has in flight may go on, so the loop does not end by itself. */
static void drive_until_ended(lua_State *L, int count) {
  for (int i = 0; i < 1000 && ended < count; i++) must(L, "drive(0.05)");
  assert_int_equal(ended, count);
}

static void assert_works(lua_State *L) {
  ended = interrupted = 0;
  spawn(L, "assert(#quick:list_backends() == 1) arvak.sleep(0.001) assert(quick.async:list_backends():result())");
  drive_until_ended(L, 1);
  assert_int_equal(interrupted, 0);
  must(L, "attachment:detach() assert(#quick:list_backends() == 1)");
}

static void stop_a_loop(const char *source, const char *name, bool by_deadline) {
  arvak_client *slow = new_client(slow_address), *quick = new_client(address);
  lua_State *L = open_plugin(slow, quick, source);
  arvak_lua_handle *handle = arvak_lua_get_handle(L);
  for (int i = 0; i < WAITS; i++) spawn(L, waits[i]);
  int64_t took = drive_until_stopped(L, handle, slow, 7, by_deadline);
  printf("# %s: %.1f ms\n", name, (double)took / MS);
  assert_true(took < STOP_NS);
  assert_true(arvak_lua_interrupted(handle));
  arvak_lua_clear_interrupt(L);
  drive_until_ended(L, WAITS); /* whoever has not been resumed yet raises now */
  assert_int_equal(interrupted, WAITS);
  assert_works(L);
  lua_close(L);
  arvak_lua_handle_unref(handle);
  arvak_client_unref(slow);
  arvak_client_unref(quick);
}

static void an_interrupt_ends_every_wait_in_the_loop_of_others(void **state) {
  (void)state;
  for (int i = 0; i < LOOPS; i++) stop_a_loop(loops[i], names[i], false);
}

static void a_deadline_ends_every_wait_in_the_loop_of_others(void **state) {
  (void)state;
  for (int i = 0; i < LOOPS; i++) stop_a_loop(loops[i], names[i], true);
}

/* Whoever catches what he is raised has the loop come back all the same. */
static void a_coroutine_that_goes_on_regardless_holds_up_no_loop(void **state) {
  (void)state;
  for (int i = 0; i < LOOPS; i++) {
    arvak_client *slow = new_client(slow_address), *quick = new_client(address);
    lua_State *L = open_plugin(slow, quick, loops[i]);
    arvak_lua_handle *handle = arvak_lua_get_handle(L);
    spawn(L, "while true do pcall(client.list_backends, client, { timeout = 3600 }) end");
    spawn(L, "while true do pcall(arvak.sleep, 3600) end");
    assert_true(drive_until_stopped(L, handle, slow, 1, i % 2) < STOP_NS);
    int64_t start = arvak_now_ns();
    lua_close(L);
    assert_true(arvak_now_ns() - start < STOP_NS);
    arvak_lua_handle_unref(handle);
    arvak_client_unref(slow);
    arvak_client_unref(quick);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_interrupt_ends_every_wait_in_the_loop_of_others),
      cmocka_unit_test(a_deadline_ends_every_wait_in_the_loop_of_others),
      cmocka_unit_test(a_coroutine_that_goes_on_regardless_holds_up_no_loop),
  };
  lua_State *server = start_devserver("{ rate_limit = 0, max_concurrent_jobs = 0, max_queued_jobs = 0, "
                                      "job_latency = 3600 }", address);
  lua_State *slow = start_devserver("{ faults = { { latency = 3600 } } }", slow_address);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  lua_close(slow);
  lua_close(server);
  return failed;
}
