/* What other plugins of a host do to the calls of one: its latency alone, beside plugins whose calls wait, beside
 * plugins that compute. Two yardsticks: the same plugins with a client of their own, which share the machine and the
 * server with the one, and nothing of the library's; and threads that compute without arvak. Usage: fairness [CALLS].
 * SPDX-License-Identifier: Apache-2.0 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "arvak.h"
#include "arvak_lua.h"
#include "../spec/lua/spent.h"

#define MS 1000000LL
enum { MOST_CALLS = 100000, MOST_THREADS = 64, WAITING = 10000 };

static arvak_client *client, *apart;
static int calls = 300;
static atomic_bool is_over;
static atomic_int ready;

static void must(lua_State *L, const char *source) {
  if (luaL_dostring(L, source) == LUA_OK) return;
  fprintf(stderr, "%s\n", luaL_tolstring(L, -1, NULL));
  exit(1);
}

static lua_State *open_plugin(arvak_client *of, int max_in_flight) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  luaL_requiref(L, "arvak", luaopen_arvak, 1);
  lua_settop(L, 0);
  arvak_lua_pushlimited(L, of, &(arvak_lua_limits){.max_in_flight = max_in_flight});
  lua_setglobal(L, "client");
  return L;
}

/* ---- the others ---- */

static void stop_when_over(lua_State *L, lua_Debug *ar) {
  (void)ar;
  if (is_over) luaL_error(L, "over");
}

typedef struct other {
  const char *what;
  const char *source; /* NULL: counts in C */
  bool is_apart;      /* with a client of its own */
  int max_in_flight;  /* 0: all slots of the client */
  bool is_on_each_core;
} other;

/* Calls that take 20 ms each at the server, of which ten thousand wait at any time. */
#define WAITS_MUCH "local left = 0 local function on_end() left = left - 1 end\n" \
  "while true do\n" \
  "  while left < waiting do left = left + 1\n" \
  "    client.async:get_backend_info('simulator'):add_done_callback(on_end) end\n" \
  "  arvak.poll(0.01)\n" \
  "end"

/* As fast as the server answers. */
#define CALLS_MUCH "arvak.run(function() for i = 1, 64 do arvak.spawn(function()\n" \
  "  while true do client:get_job_status('none') end end) end end)"

static const other others[] = {
    {"one whose 10,000 calls wait", WAITS_MUCH, false, 0, false},
    {"the same with 16 in flight at most", WAITS_MUCH, false, 16, false},
    {"the same with a client of its own", WAITS_MUCH, true, 0, false},
    {"one on each core whose 10,000 calls wait", WAITS_MUCH, false, 0, true},
    {"one that calls from 64 tasks", CALLS_MUCH, false, 0, false},
    {"the same with 16 in flight at most", CALLS_MUCH, false, 16, false},
    {"the same with a client of its own", CALLS_MUCH, true, 0, false},
    {"one on each core that counts in Lua", "local n = 0 while true do n = n + 1 end", false, 0, true},
    {"a thread on each core that counts in C", NULL, true, 0, true},
};
enum { OTHERS = sizeof others / sizeof *others };

static void run_plugin(const other *o) {
  lua_State *L = open_plugin(o->is_apart ? apart : client, o->max_in_flight);
  lua_sethook(L, stop_when_over, LUA_MASKCOUNT, 10000);
  arvak_lua_set_hook_interval(L, 10);
  lua_pushinteger(L, WAITING);
  lua_setglobal(L, "waiting");
  ready++;
  if (luaL_dostring(L, o->source) == LUA_OK || !strstr(luaL_tolstring(L, -1, NULL), "over")) {
    fprintf(stderr, "%s\n", luaL_tolstring(L, -1, NULL));
    exit(1);
  }
  lua_close(L);
}

static void *run(void *ud) {
  const other *o = ud;
  if (o->source) {
    run_plugin(o);
    return NULL;
  }
  volatile unsigned long n = 0;
  ready++;
  while (!is_over) n = n + 1;
  return NULL;
}

/* ---- the one ---- */

static int compare(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

/* Median and 99 % of a call, and how long its thread stood without a processor. */
static double measure(const char *what, const char *call, double alone) {
  static int64_t took[MOST_CALLS];
  lua_State *L = open_plugin(client, 0);
  if (luaL_loadstring(L, call) != LUA_OK) exit(1);
  spent before = spent_now();
  for (int i = 0; i < calls; i++) {
    int64_t start = arvak_now_ns();
    lua_pushvalue(L, 1);
    if (lua_pcall(L, 0, 0, 0) != LUA_OK) {
      fprintf(stderr, "%s: %s\n", what, luaL_tolstring(L, -1, NULL));
      exit(1);
    }
    took[i] = arvak_now_ns() - start;
  }
  spent all = spent_since(&before);
  lua_close(L);
  qsort(took, (size_t)calls, sizeof *took, compare);
  double median = (double)took[calls / 2] / MS;
  printf("  %-40s %7.2f ms, 99 %% %7.2f ms, %5.1f times alone; %.2f ms ready without a processor\n", what, median,
         (double)took[calls - 1 - calls / 100] / MS, alone > 0 ? median / alone : 1.0,
         (double)all.ready_ns / MS / calls);
  fflush(stdout);
  return median;
}

static void measure_beside(const other *o, const char *call, double alone) {
  pthread_t threads[MOST_THREADS];
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  int count = !o->is_on_each_core ? 1 : cores < MOST_THREADS ? (int)cores : MOST_THREADS;
  is_over = false;
  ready = 0;
  for (int i = 0; i < count; i++) pthread_create(&threads[i], NULL, run, (void *)o);
  while (ready < count) usleep(1000);
  usleep(300000);
  measure(o->what, call, alone);
  is_over = true;
  for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
}

static void measure_all(const char *title, const char *call) {
  printf("%s, beside\n", title);
  double alone = measure("nobody", call, 0);
  for (int i = 0; i < OTHERS; i++) measure_beside(&others[i], call, alone);
}

int main(int argc, char **argv) {
  if (argc > 1) calls = atoi(argv[1]);
  if (calls < 1 || calls > MOST_CALLS) return fprintf(stderr, "expected 1 to %d calls\n", MOST_CALLS), 2;
  lua_State *server = luaL_newstate();
  luaL_openlibs(server);
  must(server, "server = require('arvak.devserver').start { rate_limit = 0, max_concurrent_jobs = 0,\n"
               "  faults = { { rpc = 'ListBackends', latency = 0.02 }, { rpc = 'GetBackendInfo', latency = 0.02 } } }\n"
               "address = server.address");
  lua_getglobal(server, "address");
  arvak_client_options options = {.address = lua_tostring(server, -1), .max_concurrent_rpcs = 64};
  if (arvak_client_new(&options, &client, NULL) != ARVAK_OK) return 1;
  if (arvak_client_new(&options, &apart, NULL) != ARVAK_OK) return 1;
  measure_all("a call that takes 20 ms at the server", "assert(client:list_backends())");
  measure_all("a call that is answered at once", "client:get_job_status('none')");
  arvak_client_unref(client);
  arvak_client_unref(apart);
  lua_close(server);
  return 0;
}
