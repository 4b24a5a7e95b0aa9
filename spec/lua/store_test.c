/* Stores in whole Lua states: one of a host's without package, one whose allocator fails, one that closes at any
 * moment, and one in a child process.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <dirent.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "arvak_lua.h"
#include "arvak_store.h"

enum { CHILD_SECONDS = 60, WAIT_MS = 20000 };

typedef struct heap {
  size_t bytes;
  long until_failure; /* allocations that still succeed; negative: all do */
  long failures;
} heap;

static void *allocate(void *ud, void *block, size_t old, size_t size) {
  heap *h = ud;
  if (!block) old = 0;
  if (size == 0) {
    h->bytes -= old;
    free(block);
    return NULL;
  }
  if (size > old && h->until_failure >= 0 && h->until_failure-- == 0) {
    h->until_failure = 0; /* and every one after it */
    h->failures++;
    return NULL;
  }
  void *moved = realloc(block, size);
  if (moved) h->bytes += size - old;
  return moved;
}

/* What a plugin gets of a careful host: no package, io, os and debug. */
static void open_few(lua_State *L) {
  luaL_requiref(L, LUA_GNAME, luaopen_base, 1);
  luaL_requiref(L, LUA_COLIBNAME, luaopen_coroutine, 1);
  luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 1);
  luaL_requiref(L, LUA_TABLIBNAME, luaopen_table, 1);
  luaL_requiref(L, LUA_MATHLIBNAME, luaopen_math, 1);
  lua_settop(L, 0);
}

/* Sets the globals arvak and connection: the latter through the one loader that the library gives to programs. */
static void open_arvak(lua_State *L) {
  luaL_requiref(L, "arvak", luaopen_arvak, 1);
  luaL_requiref(L, "arvak.store.sqlite", luaopen_arvak_store_sqlite, 0);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_getfield(L, -1, "arvak.circuit");
  assert_non_null(lua_getupvalue(L, -1, 1));
  lua_pushliteral(L, "arvak.store.connection");
  lua_call(L, 1, 1);
  lua_setglobal(L, "connection");
  lua_settop(L, 0);
}

static lua_State *open_state(heap *h) {
  lua_State *L = lua_newstate(allocate, h);
  assert_non_null(L);
  open_few(L);
  open_arvak(L);
  return L;
}

static void must(lua_State *L, const char *source) {
  if (luaL_dostring(L, source) != LUA_OK) fail_msg("%s", luaL_tolstring(L, -1, NULL));
}

static void pause_ms(long ms) { nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL); }

static int count_threads(void) {
  int count = 0;
  DIR *folder = opendir("/proc/self/task");
  for (struct dirent *entry; (entry = readdir(folder));) {
    char path[300], name[32] = "";
    snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
    FILE *file = fopen(path, "r"); /* the thread may have ended */
    if (file && fgets(name, sizeof name, file)) count += strcmp(name, "arvak-store\n") == 0;
    if (file) fclose(file);
  }
  closedir(folder);
  return count;
}

static void expect_no_thread(void) {
  for (int i = 0; i < WAIT_MS && count_threads() > 0; i++) pause_ms(1);
  assert_int_equal(count_threads(), 0);
}

static void a_state_without_package_has_what_its_host_has_opened(void **state) {
  (void)state;
  heap h = {.until_failure = -1};
  lua_State *L = open_state(&h);
  must(L, "assert(package == nil and require == nil)\n"
          "local c = assert(connection.open('sqlite', ':memory:'))\n"
          "local outcome = c:run(c:transaction():add('CREATE TABLE t (i)'):add('INSERT INTO t VALUES (?)', 7)\n"
          "  :add('SELECT i FROM t'), 'write')\n"
          "assert(outcome.ok and outcome[3][1].i == 7, outcome.message)\n"
          "assert(c:close())");
  lua_close(L);
  assert_int_equal(h.bytes, 0);
  expect_no_thread();
}

static void a_host_that_has_not_opened_the_module_is_told_which(void **state) {
  (void)state;
  lua_State *L = luaL_newstate();
  open_few(L);
  open_arvak(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushnil(L);
  lua_setfield(L, -2, "arvak.store.sqlite");
  must(L, "local c, err = connection.open('sqlite', ':memory:', { purpose = 'a ledger' })\n"
          "local expected = 'a ledger in SQLite needs the module arvak.store.sqlite, '\n"
          "assert(c == nil and err.message:find(expected, 1, true) == 1, err.message)\n"
          "assert(err.message:find('libsqlite3-dev', 1, true), err.message)");
  lua_close(L);
}

/* Every way through a connection. */
static const char *const scenarios[] = {
    "local c = assert(connection.open('sqlite', ':memory:', { statement_timeout = 30 }))\n"
    "local o = c:run(c:transaction():add('CREATE TABLE t (i, x)')\n"
    "  :add('INSERT INTO t VALUES (?, ?), (2, NULL)', 1, 'x'):add('SELECT * FROM t'), 'write')\n"
    "assert(o.ok, o.message) assert(o[2].changes == 2 and o[3][1].x == 'x' and o[3][2].x == nil)\n"
    "o = c:run(c:transaction():add('nonsense'), 'read') assert(o.statement == 1)\n"
    "return c:close()",
    "local c = assert(connection.open('sqlite', ':memory:')) local told = {}\n"
    "for i = 1, 3 do c:start(c:transaction():add('SELECT ? AS i', i), 'read', function(o) told[i] = o.ok end) end\n"
    "arvak.run(function() return c:run(c:transaction():add('SELECT 1'), 'read') end)\n"
    "c:close() return told[1] and told[2] and told[3]",
    "local c = assert(connection.open('sqlite', ':memory:')) local told\n"
    "c:start(c:transaction():add('SELECT 1'), 'read', function(o) told = o.what end)\n"
    "c:abandon() for _ = 1, 100 do if told then break end arvak.poll(0.01) end return told == 'closed'",
    "local c, err = connection.open('sqlite', '/nonexistent/x') return c == nil and err.what == 'io'",
};

static void check_clean(lua_State *L, const char *scenario) {
  lua_settop(L, 0);
  if (luaL_dostring(L, "collectgarbage() collectgarbage()\n"
                       "for _ = 1, 3000 do pcall(arvak.poll, 0.01) local c = arvak._counts()\n"
                       "if c.calls + c.tasks + c.waits == 0 then return end end\n"
                       "local c = arvak._counts()\n"
                       "error(('%d calls, %d tasks, %d waits'):format(c.calls, c.tasks, c.waits))") != LUA_OK)
    fail_msg("%s: %s", scenario, lua_tostring(L, -1));
}

static void run_scenario(lua_State *L, heap *h, const char *scenario) {
  bool has_succeeded = false;
  for (long n = 0; !has_succeeded; n++) {
    if (n > 20000) fail_msg("%s: does not succeed", scenario);
    lua_settop(L, 0);
    if (luaL_loadstring(L, scenario) != LUA_OK) fail_msg("%s", lua_tostring(L, -1));
    lua_gc(L, LUA_GCCOLLECT);
    h->failures = 0;
    h->until_failure = n;
    int status = lua_pcall(L, 0, 1, 0);
    h->until_failure = -1;
    has_succeeded = h->failures == 0;
    if (has_succeeded && (status != LUA_OK || !lua_toboolean(L, -1)))
      fail_msg("%s: %s", scenario, status == LUA_OK ? "gave false" : luaL_tolstring(L, -1, NULL));
    check_clean(L, scenario);
  }
}

static void every_allocation_of_lua_may_fail(void **state) {
  (void)state;
  heap h = {.until_failure = -1};
  lua_State *L = open_state(&h);
  for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) run_scenario(L, &h, scenarios[i]);
  lua_close(L);
  assert_int_equal(h.bytes, 0);
  expect_no_thread();
}

/* A program that never comes to its end: connections that open, write, close and are left. */
static const char busy_source[] =
    "local kept = {}\n"
    "function go_on(rounds)\n"
    "  for _ = 1, rounds do\n"
    "    local c = connection.start('sqlite', path, { statement_timeout = 30 }, function(c)\n"
    "      if not c then return end\n"
    "      for i = 1, 20 do c:start(c:transaction():add('CREATE TABLE IF NOT EXISTS t (i)')\n"
    "        :add('INSERT INTO t VALUES (?)', i), 'write', function() end) end\n"
    "      if #kept % 3 == 0 then c:leave() end\n"
    "    end)\n"
    "    kept[#kept + 1] = c\n"
    "    if #kept > 3 then table.remove(kept, 1) end\n"
    "    arvak.poll(0)\n"
    "  end\n"
    "end";

static void a_state_closes_at_any_moment(void **state) {
  (void)state;
  char path[64];
  const char *top = getenv("TEST_RESULTS"); /* the runner removes it, even if this test is killed */
  snprintf(path, sizeof path, "%s/arvak-store-XXXXXX", top && strlen(top) < 40 ? top : "/tmp");
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  close(fd);
  for (int round = 0; round < 60; round++) {
    heap h = {.until_failure = -1};
    lua_State *L = open_state(&h);
    lua_pushstring(L, path);
    lua_setglobal(L, "path");
    must(L, busy_source);
    lua_getglobal(L, "go_on");
    lua_pushinteger(L, round % 7);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) fail_msg("%s", luaL_tolstring(L, -1, NULL));
    if (round % 2 == 0) pause_ms(round % 5);
    lua_close(L);
    assert_int_equal(h.bytes, 0);
  }
  expect_no_thread();
  remove(path);
}

/* Finalizers run in any order: whatever they do with what is finalized already is an error at most. */
static void finalizers_of_a_closing_state_may_use_a_connection(void **state) {
  (void)state;
  heap h = {.until_failure = -1};
  lua_State *L = open_state(&h);
  must(L, "local early = setmetatable({}, { __gc = function(self)\n"
          "  local c = self.c\n"
          "  said = tostring(c:close()) c:leave() c:abandon()\n"
          "  for _, name in ipairs { 'transaction', 'start', 'run' } do pcall(c[name], c, nil, 'read', print) end\n"
          "end })\n"
          "early.c = assert(connection.open('sqlite', ':memory:'))\n"
          "early.c:start(early.c:transaction():add('SELECT 1'), 'read', function() end)\n"
          "kept = early");
  lua_close(L);
  assert_int_equal(h.bytes, 0);
  expect_no_thread();
}

/* Runs source in a fork of this process; its exit status, or 99 when it hung. */
static int in_child(lua_State *L, const char *source) {
  pid_t pid = fork();
  if (pid == 0) {
    alarm(CHILD_SECONDS);
    int has_failed = luaL_dostring(L, source) != LUA_OK;
    if (has_failed) fprintf(stderr, "in the child: %s\n", luaL_tolstring(L, -1, NULL));
    lua_close(L);
    _exit(has_failed);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

static void a_child_cannot_use_its_parents_connection_and_ends_well(void **state) {
  (void)state;
  heap h = {.until_failure = -1};
  lua_State *L = open_state(&h);
  must(L, "c = assert(connection.open('sqlite', ':memory:'))\n"
          "assert(c:run(c:transaction():add('CREATE TABLE t (i)'), 'write').ok)\n"
          "c:start(c:transaction():add('SELECT 1'), 'read', function(o) outcome = o end)");
  assert_int_equal(in_child(L, "local ok, err = pcall(c.run, c, c:transaction():add('SELECT 1'), 'read')\n"
                               "assert(not ok and err.kind == 'forked', tostring(err))\n"
                               "assert(c:close() == false) c:leave() c:abandon()"), 0);
  must(L, "for _ = 1, 2000 do if outcome then break end arvak.poll(0.01) end assert(outcome.ok)\n"
          "assert(c:run(c:transaction():add('INSERT INTO t VALUES (1)'), 'write').ok)\n"
          "assert(c:close())");
  lua_close(L);
  assert_int_equal(h.bytes, 0);
  expect_no_thread();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_state_without_package_has_what_its_host_has_opened),
                                     cmocka_unit_test(a_host_that_has_not_opened_the_module_is_told_which),
                                     cmocka_unit_test(every_allocation_of_lua_may_fail),
                                     cmocka_unit_test(a_state_closes_at_any_moment),
                                     cmocka_unit_test(finalizers_of_a_closing_state_may_use_a_connection),
                                     cmocka_unit_test(a_child_cannot_use_its_parents_connection_and_ends_well)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
