/* A process that forks with a client open: the child is told "forked" at once, whatever it tries, and can end its
 * Lua state; the parent goes on unharmed.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "arvak.h"
#include "arvak_lua.h"

enum { CHILD_SECONDS = 20 };

static char address[64];

static lua_State *open_state(void) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  luaL_requiref(L, "arvak", luaopen_arvak, 1);
  lua_pushstring(L, address);
  lua_setglobal(L, "address");
  return L;
}

static void must(lua_State *L, const char *source) {
  if (luaL_dostring(L, source) != LUA_OK) fail_msg("%s", luaL_tolstring(L, -1, NULL));
}

/* Runs source in a fork of this process; its exit status, or 99 when it hung. */
static int in_child(lua_State *L, const char *source) {
  pid_t pid = fork();
  if (pid == 0) {
    alarm(CHILD_SECONDS);
    int failed = luaL_dostring(L, source) != LUA_OK;
    if (failed) fprintf(stderr, "in the child: %s\n", luaL_tolstring(L, -1, NULL));
    lua_close(L);
    _exit(failed);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

static void the_child_gets_forked_and_the_parent_goes_on(void **state) {
  (void)state;
  lua_State *L = open_state();
  must(L, "client = arvak.connect(address) assert(client:list_backends())\n"
          "future = client.async:list_backends()");
  assert_int_equal(in_child(L, "local value, err = client:list_backends()\n"
                               "assert(value == nil and err.kind == 'forked', tostring(err))\n"
                               "value, err = client.async:list_backends():result()\n"
                               "assert(value == nil and err.kind == 'forked', tostring(err))\n"
                               "assert(not pcall(arvak.run, function() arvak.sleep(1) end))\n"
                               "assert(client:stats().calls >= 1)\n"
                               "local ok, raised = pcall(arvak.connect, address)\n"
                               "assert(not ok and raised.kind == 'forked', tostring(raised))\n"
                               "client:close()"),
                   0);
  assert_int_equal(in_child(L, "client = nil collectgarbage()"), 0);
  must(L, "assert(future:result()) assert(client:list_backends()) client:close()");
  lua_close(L);
}

/* Notes that wait at the fork are written by the parent, once, whatever the child does to its copy. */
static void a_ledger_is_the_parents_alone(void **state) {
  (void)state;
  lua_State *L = open_state();
  must(L, "path = os.tmpname() client = arvak.connect(address, { ledger = path })\n"
          "bell = 'OPENQASM 3.0; qubit[2] q; h q[0]; cx q[0], q[1];'\n"
          "for i = 1, 20 do assert(client:submit_qasm(bell, 'simulator', { shots = i })) end");
  assert_int_equal(in_child(L, "local id, err = client:submit_qasm(bell, 'simulator')\n"
                               "assert(id == nil and err.kind == 'forked', tostring(err))\n"
                               "assert(client:stats().ledger) client:close()"),
                   0);
  assert_int_equal(in_child(L, "client = nil collectgarbage()"), 0);
  assert_int_equal(in_child(L, "return"), 0);
  must(L, "assert(client:submit_qasm(bell, 'simulator', { shots = 21 })) client:close()\n"
          "repeat until not arvak.poll(0.01)\n"
          "local seen, ledger = {}, assert(arvak.ledger(path))\n"
          "for item in ledger:items() do assert(not seen[item.shots]) seen[item.shots] = true end\n"
          "assert(#seen == 21, #seen) ledger:close() os.remove(path)");
  lua_close(L);
}

/* The answer comes half a second after the fork; a child that cancels, closes or ends must not touch the connection. */
static void calls_in_flight_are_the_parents_alone(void **state) {
  (void)state;
  static const char *const sources[] = {"client:close()", "future:cancel()", "client = nil collectgarbage()",
                                        "for _ = 1, 3 do pcall(arvak.poll, 0.01) end"};
  for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
    lua_State *L = open_state();
    must(L, "client = arvak.connect(address, { timeout = 10 }) assert(client:list_backends())\n"
            "future = client.async:get_backend_info('simulator') arvak.poll() arvak.poll()");
    assert_int_equal(in_child(L, sources[i]), 0);
    must(L, "assert(future:result().max_qubits == 20) client:close()");
    lua_close(L);
  }
}

/* A stream in the middle of its writing: a child that goes on with it must not write to the parent's connection. */
static void streams_are_the_parents_alone(void **state) {
  (void)state;
  static const char *const sources[] = {
      "local before = drawn\n"
      "for _, stream in ipairs { batch, watch, batch } do\n"
      "  local ok, err = pcall(stream.next, stream)\n"
      "  assert(not ok and err.kind == 'forked', tostring(err))\n"
      "end\n"
      "assert(drawn == before, 'an input was drawn')",
      "batch:cancel() watch:cancel()", "batch = nil watch = nil collectgarbage()", "client:close()"};
  for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
    lua_State *L = open_state();
    must(L, "client = arvak.connect(address, { timeout = 10 })\n"
            "local bell = 'OPENQASM 3.0; qubit[2] q; h q[0]; cx q[0], q[1];'\n"
            "drawn = 0\n"
            "batch = client:submit_batch_stream(function()\n"
            "  drawn = drawn + 1 if drawn <= 1000 then return { bell, drawn } end end, 'simulator')\n"
            "assert(batch:next() == 'submitted')\n"
            "repeat watch = client:watch_job(assert(client:submit_qasm(bell, 'simulator', 1)))\n"
            "until assert(watch:next()) ~= 'COMPLETED'\n"
            "for _ = 1, 10 do arvak.poll() end assert(drawn < 1000)");
    assert_int_equal(in_child(L, sources[i]), 0);
    must(L, "local completed = 0\n"
            "for kind, index, _, result in batch.next, batch do\n"
            "  if kind == 'completed' then completed = completed + 1 assert(result.shots == index) end\n"
            "  assert(kind ~= 'error', tostring(result)) end\n"
            "assert(completed == 1000, completed) watch:cancel() client:close()");
    lua_close(L);
  }
}

static int push_fork(lua_State *L) {
  pid_t pid = fork();
  if (pid == 0) alarm(CHILD_SECONDS);
  lua_pushinteger(L, pid);
  return 1;
}

/* As os.exit(0, true), but for what else exit does in a process that holds what is its parent's. */
static int end_child(lua_State *L) {
  lua_close(L);
  _exit(0);
}

/* Before another attempt a function gives headers, and forks. The child comes out of it in the middle of a step, and
 * may also end its Lua state there. */
static void a_function_for_headers_may_fork(void **state) {
  (void)state;
  static const char *const ends[] = {"", "end_child()", "error('no headers')"};
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
    lua_State *L = open_state();
    lua_register(L, "fork", push_fork);
    lua_register(L, "end_child", end_child);
    lua_pushstring(L, ends[i]);
    lua_setglobal(L, "ending");
    must(L, "local retry = { max_attempts = 3, initial_backoff = 0.001 }\n"
            "client = arvak.connect('unix:/nonexistent/socket', { retry = retry, api_key = function()\n"
            "  asked = (asked or 0) + 1\n"
            "  if asked == 2 then pid = fork() end\n"
            "  if pid == 0 then assert(load(ending))() end\n"
            "  return 'key'\n"
            "end })\n"
            "ok, value, err = pcall(client.list_backends, client)");
    lua_getglobal(L, "pid");
    pid_t pid = (pid_t)lua_tointeger(L, -1);
    if (pid == 0) {
      int failed = luaL_dostring(L, "assert(not ok and value.kind == 'forked' and asked == 2)") != LUA_OK;
      lua_close(L);
      _exit(failed);
    }
    int status = 1;
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    must(L, "assert(ok and err.kind == 'unavailable' and err.attempts == 3, tostring(err)) client:close()");
    lua_close(L);
  }
}

static void a_fork_before_the_first_client_is_no_matter(void **state) {
  (void)state;
  lua_State *L = open_state();
  assert_int_equal(in_child(L, "local c = arvak.connect(address) assert(c:list_backends()) c:close()"), 0);
  must(L, "client = arvak.connect(address) assert(client:list_backends()) client:close()");
  lua_close(L);
}

/* ---- a host's client ---- */

static arvak_client *shared;

static int push_shared(lua_State *L) {
  arvak_lua_pushclient(L, shared);
  return 1;
}

/* push_in_new_state(): the kind of the error, or "none". */
static int push_in_new_state(lua_State *L) {
  lua_State *other = luaL_newstate();
  luaL_openlibs(other);
  lua_pushcfunction(other, push_shared);
  const char *kind = "none";
  if (lua_pcall(other, 0, 1, 0) != LUA_OK && lua_getfield(other, -1, "kind") == LUA_TSTRING)
    kind = lua_tostring(other, -1);
  lua_pushstring(L, kind);
  lua_close(other);
  return 1;
}

static void the_client_of_a_host_stays_with_the_parent(void **state) {
  (void)state;
  arvak_client_options options = {.address = address};
  assert_int_equal(arvak_client_new(&options, &shared, NULL), ARVAK_OK);
  lua_State *L = open_state();
  lua_register(L, "push", push_shared);
  lua_register(L, "push_in_new_state", push_in_new_state);
  must(L, "client = push() assert(client:list_backends()) assert(push_in_new_state() == 'none')");
  assert_int_equal(in_child(L, "assert(push_in_new_state() == 'forked', push_in_new_state())\n"
                               "local _, err = client:list_backends() assert(err.kind == 'forked', tostring(err))\n"
                               "_, err = push():list_backends() assert(err.kind == 'forked', tostring(err))"),
                   0);
  must(L, "assert(client:list_backends() and push():list_backends())");
  lua_close(L);
  arvak_client_unref(shared);
}

/* The server runs in a process of its own: its threads would not survive a fork either. */
static pid_t start_server(void) {
  int fds[2];
  if (pipe(fds) != 0) return -1;
  pid_t pid = fork();
  if (pid == 0) {
    dup2(fds[1], 1);
    char path[512];
    const char *build = getenv("ARVAK_BUILD");
    snprintf(path, sizeof path, "%s/bin/arvak-devserver", build ? build : "build");
    execl(path, path, "--address", "127.0.0.1:0", "--rate-limit", "0", "--fault", "rpc=GetBackendInfo,latency=0.5",
          "--job-latency", "0.3", "--max-concurrent-jobs", "0", "--watch-interval", "0.05",
          (char *)NULL);
    _exit(127);
  }
  close(fds[1]);
  FILE *out = fdopen(fds[0], "r");
  if (fscanf(out, "listening on %63s", address) != 1) return -1;
  fclose(out);
  return pid;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_fork_before_the_first_client_is_no_matter),
                                     cmocka_unit_test(the_child_gets_forked_and_the_parent_goes_on),
                                     cmocka_unit_test(a_ledger_is_the_parents_alone),
                                     cmocka_unit_test(calls_in_flight_are_the_parents_alone),
                                     cmocka_unit_test(streams_are_the_parents_alone),
                                     cmocka_unit_test(a_function_for_headers_may_fork),
                                     cmocka_unit_test(the_client_of_a_host_stays_with_the_parent)};
  pid_t server = start_server();
  if (server < 0) {
    fprintf(stderr, "the dev server does not start\n");
    return 1;
  }
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  kill(server, SIGTERM);
  waitpid(server, NULL, 0);
  return failed;
}
