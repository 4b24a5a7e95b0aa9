/* Lock files: one holder at a time, whatever else opens and closes the file, and no fork keeps or removes one.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "draft.h"
#include "lockfile.h"

enum { CHILD_SECONDS = 20, ROUNDS = 200 };

static char folder[] = "/tmp/lockfile_test_XXXXXX";

/* A Lua state with the functions under test and the path of a lock file as globals. */
static lua_State *open_state(void) {
  char path[64];
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  lua_pushglobaltable(L);
  larvak_lockfile_open(L);
  larvak_draft_open(L);
  snprintf(path, sizeof path, "%s/lock", folder);
  lua_pushstring(L, path);
  lua_setglobal(L, "path");
  lua_settop(L, 0);
  return L;
}

static void must(lua_State *L, const char *source) {
  if (luaL_dostring(L, source) != LUA_OK) fail_msg("%s", luaL_tolstring(L, -1, NULL));
}

/* Runs source in a fork, which ends its Lua state; whether it did so without an error. */
static int in_child(lua_State *L, const char *source) {
  pid_t pid = fork();
  int status = 0;
  if (pid == 0) {
    alarm(CHILD_SECONDS);
    int failed = luaL_dostring(L, source) != LUA_OK;
    if (failed) fprintf(stderr, "in the child: %s\n", luaL_tolstring(L, -1, NULL));
    lua_close(L);
    _exit(failed);
  }
  waitpid(pid, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void one_holds_it_until_it_is_closed(void **unused) {
  (void)unused;
  lua_State *L = open_state(), *other = open_state();
  must(L, "lock = assert(lock_file(path)) assert(lock:is_held() and lock:found_size() == nil and is_locked(path))");
  must(other, "local lock, message, is_in_use = lock_file(path) assert(not lock and is_in_use and message)");
  must(L, "for i = 1, 3 do local f <close> = assert(io.open(path)) end assert(not lock_file(path))");
  must(other, "assert(not lock_file(path) and is_locked(path))");
  must(L, "lock:close() lock:close() assert(not lock:is_held() and not is_locked(path) and not io.open(path))");
  must(other, "assert(lock_file(path)):close()");
  lua_close(L);
  lua_close(other);
}

static void what_was_left_in_it_is_found_by_the_next(void **unused) {
  (void)unused;
  lua_State *L = open_state();
  must(L, "local lock = assert(lock_file(path)) assert(lock:set_size(1)) lock:close(true)");
  must(L, "local lock = assert(lock_file(path)) assert(lock:found_size() == 1 and lock:set_size(0)) lock:close(true)");
  must(L, "local lock = assert(lock_file(path)) assert(lock:found_size() == 0) lock:close()");
  must(L, "assert(lock_file(path)) collectgarbage() assert(not is_locked(path)) assert(io.open(path)):close()");
  must(L, "assert(lock_file(path)):close()");
  lua_close(L);
}

static void one_that_was_moved_or_replaced_is_not_held(void **unused) {
  (void)unused;
  lua_State *L = open_state();
  must(L, "local lock = assert(lock_file(path)) os.rename(path, path .. '2') assert(not lock:is_held())"
          "local other = assert(lock_file(path)) assert(other:is_held() and not lock:is_held())"
          "lock:close() assert(other:is_held()) other:close() assert(os.remove(path .. '2'))");
  must(L, "local lock, message = lock_file(path .. '/none') assert(not lock and message:find 'No such')");
  lua_close(L);
}

static void a_fork_neither_keeps_nor_removes_it(void **unused) {
  (void)unused;
  lua_State *L = open_state();
  must(L, "lock = assert(lock_file(path))");
  assert_true(in_child(L, "assert(not lock:is_held()) lock:close() assert(is_locked(path) and not lock_file(path))"));
  must(L, "assert(lock:is_held())");
  int ready[2], done[2];
  assert_int_equal(pipe(ready), 0);
  assert_int_equal(pipe(done), 0);
  pid_t pid = fork();
  if (pid == 0) { /* lives on when its parent has let go */
    char byte = 0;
    alarm(CHILD_SECONDS);
    if (write(ready[1], &byte, 1) != 1 || read(done[0], &byte, 1) < 0) _exit(1);
    _exit(0);
  }
  char byte;
  assert_int_equal(read(ready[0], &byte, 1), 1);
  must(L, "lock:close() lock = assert(lock_file(path)) lock:close()");
  assert_int_equal(write(done[1], "x", 1), 1);
  waitpid(pid, NULL, 0);
  lua_close(L);
}

static void a_fork_outlives_a_holder_that_was_killed(void **unused) {
  (void)unused;
  int done[2], status;
  assert_int_equal(pipe(done), 0);
  pid_t holder = fork();
  if (holder == 0) {
    lua_State *L = open_state();
    if (luaL_dostring(L, "lock = assert(lock_file(path))") != LUA_OK) _exit(1);
    if (fork() == 0) {
      char byte;
      alarm(CHILD_SECONDS);
      _exit(read(done[0], &byte, 1) < 0);
    }
    raise(SIGKILL);
  }
  waitpid(holder, &status, 0);
  assert_true(WIFSIGNALED(status));
  lua_State *L = open_state();
  /* The fork may not have come to closing it. */
  must(L, "local stop = os.time() + 20 repeat lock = lock_file(path) until lock or os.time() > stop");
  must(L, "assert(lock:found_size() == 0) lock:close()");
  assert_int_equal(write(done[1], "x", 1), 1);
  lua_close(L);
}

static void of_many_processes_one_at_a_time_is_inside(void **unused) {
  (void)unused;
  enum { CHILDREN = 4 };
  for (int i = 0; i < CHILDREN; i++) {
    if (fork() != 0) continue;
    lua_State *L = open_state();
    char inside[64];
    alarm(CHILD_SECONDS);
    snprintf(inside, sizeof inside, "%s/inside", folder);
    int failed = 0;
    for (int round = 0; round < ROUNDS && !failed; round++) {
      failed = luaL_dostring(L, "lock = lock_file(path) return lock") != LUA_OK;
      if (failed || lua_isnil(L, -1)) continue;
      int fd = open(inside, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
      failed = fd < 0 || close(fd) != 0 || unlink(inside) != 0 || luaL_dostring(L, "lock:close()") != LUA_OK;
    }
    lua_close(L);
    _exit(failed);
  }
  for (int i = 0; i < CHILDREN; i++) {
    int status;
    assert_true(wait(&status) > 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
}

static void a_draft_is_its_owners_alone(void **unused) {
  (void)unused;
  lua_State *L = open_state();
  must(L, "text = assert(draft(path .. '.txt')) text:write 'once'");
  assert_true(in_child(L, "text = nil collectgarbage()"));
  must(L, "assert(text:commit()) local f <close> = io.open(path .. '.txt') assert(f:read 'a' == 'once')"
          "os.remove(path .. '.txt')");
  lua_close(L);
}

static int make_folder(void **unused) {
  (void)unused;
  return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **unused) {
  (void)unused;
  return rmdir(folder); /* fails when anything was left behind */
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(one_holds_it_until_it_is_closed),
                                     cmocka_unit_test(what_was_left_in_it_is_found_by_the_next),
                                     cmocka_unit_test(one_that_was_moved_or_replaced_is_not_held),
                                     cmocka_unit_test(a_fork_neither_keeps_nor_removes_it),
                                     cmocka_unit_test(a_fork_outlives_a_holder_that_was_killed),
                                     cmocka_unit_test(of_many_processes_one_at_a_time_is_inside),
                                     cmocka_unit_test(a_draft_is_its_owners_alone)};
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
