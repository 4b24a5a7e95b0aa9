/* Lua states in several threads share a client with one slot: each grant comes from another thread, and wakes whoever
 * waits for it, whether he blocks, runs tasks, or polls a descriptor; also when the state before it is closed.
 * SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "arvak.h"
#include "arvak_lua.h"

enum { STATES = 12 };

/* A call takes 2 ms, and at most a dozen are in line before it; the bound is for a busy machine. */
static const char server_source[] =
    "local devserver = require 'arvak.devserver'\n"
    "server = assert(devserver.start { rate_limit = 0, faults = { { rpc = 'ListBackends', latency = 0.002 } } })\n"
    "return server.address";

static const char measure[] =
    "worst, ends = 0, 0\n"
    "function take(since, value, err)\n"
    "  assert(value, err)\n"
    "  worst, ends = math.max(worst, now() - since), ends + 1\n"
    "end\n";

static const char blocking[] =
    "for _ = 1, 100 do local since = now() take(since, client:list_backends()) end";

static const char tasks[] =
    "arvak.run(function()\n"
    "  for _ = 1, 4 do\n"
    "    arvak.spawn(function()\n"
    "      for _ = 1, 25 do local since = now() take(since, client:list_backends()) end\n"
    "    end)\n"
    "  end\n"
    "end)";

static const char polling[] =
    "local p <close> = arvak.pollable()\n"
    "local function start(left)\n"
    "  if left == 0 then return end\n"
    "  local since = now()\n"
    "  client.async:list_backends():add_done_callback(function(f)\n"
    "    take(since, f:result())\n"
    "    start(left - 1)\n"
    "  end)\n"
    "end\n"
    "for _ = 1, 4 do start(25) end\n"
    "while ends < 100 do wait_readable(p:pollfd(), p:timeout() or 20) p:step() end";

/* Its call is in line, or has the slot, when the state closes. */
static const char leaving[] = "for _ = 1, 3 do client.async:list_backends() end arvak.poll(0.001)";

typedef struct host {
  arvak_client *client;
  const char *source;
  int states;
  double worst; /* seconds that a call took */
  char error[300];
} host;

static int now(lua_State *L) {
  lua_pushnumber(L, (lua_Number)arvak_now_ns() * 1e-9);
  return 1;
}

static int wait_readable(lua_State *L) {
  struct pollfd item = {.fd = (int)luaL_checkinteger(L, 1), .events = POLLIN};
  poll(&item, 1, (int)(luaL_checknumber(L, 2) * 1000) + 1);
  return 0;
}

static lua_State *open_state(arvak_client *client) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  luaL_requiref(L, "arvak", luaopen_arvak, 1);
  lua_register(L, "now", now);
  lua_register(L, "wait_readable", wait_readable);
  arvak_lua_pushclient(L, client);
  lua_setglobal(L, "client");
  lua_settop(L, 0);
  return L;
}

static void *run(void *ud) {
  host *h = ud;
  for (int i = 0; i < h->states; i++) {
    lua_State *L = open_state(h->client);
    if (luaL_dostring(L, measure) != LUA_OK || luaL_dostring(L, h->source) != LUA_OK)
      snprintf(h->error, sizeof h->error, "%s", luaL_tolstring(L, -1, NULL));
    lua_getglobal(L, "worst");
    h->worst = lua_tonumber(L, -1);
    lua_close(L);
  }
  return NULL;
}

static void grants_wake_every_state(void **state) {
  lua_State *server = *state;
  assert_int_equal(luaL_dostring(server, server_source), LUA_OK);
  arvak_client_options options = {.address = lua_tostring(server, -1), .max_concurrent_rpcs = 1};
  arvak_client *client = NULL;
  assert_int_equal(arvak_client_new(&options, &client, NULL), ARVAK_OK);
  host hosts[] = {{.source = blocking, .states = 1}, {.source = tasks, .states = 1}, {.source = polling, .states = 1},
                  {.source = leaving, .states = STATES}};
  enum { HOSTS = sizeof hosts / sizeof *hosts };
  pthread_t threads[HOSTS];
  for (int i = 0; i < HOSTS; i++) {
    hosts[i].client = client;
    pthread_create(&threads[i], NULL, run, &hosts[i]);
  }
  for (int i = 0; i < HOSTS; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < HOSTS; i++) {
    print_message("# longest call: %.1f ms\n", hosts[i].worst * 1e3);
    assert_string_equal(hosts[i].error, "");
    assert_true(hosts[i].worst < 5.0);
  }
  arvak_client_unref(client);
}

static int open_server(void **state) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  *state = L;
  return 0;
}

static int close_server(void **state) {
  lua_close(*state);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(grants_wake_every_state, open_server, close_server)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
