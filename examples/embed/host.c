/* A host application with plugins in Lua: eight threads, each with one Lua state at a time, and one client for all of
 * them, so that connections and limits are those of the application however many plugins it runs. A state serves fifty
 * jobs and is closed; the next one is opened meanwhile elsewhere. The host checks the counts of every job.
 *
 * Build: cc -o host host.c $(pkg-config --cflags --libs arvak lua5.4)
 * Usage: host PLUGIN [JOBS]; ARVAK_ADDRESS names the server, which must not limit the rate of submits
 *        (arvak-devserver --rate-limit 0).
 * SPDX-License-Identifier: Apache-2.0 */
#include <arvak_lua.h>
#include <lauxlib.h>
#include <lualib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 8, JOBS_PER_STATE = 50, POOL_SIZE = 4, SHOTS = 100 };

typedef struct host {
  arvak_client *client;
  const char *plugin;
  int jobs;
  atomic_int next, right, states; /* jobs given out, jobs with right counts, states opened */
} host;

typedef struct work {
  host *h;
  int first, last;
} work;

/* A plugin needs no io, no os and no package; what it does not get it cannot misuse. */
static void open_libraries(lua_State *L) {
  static const luaL_Reg libraries[] = {{LUA_GNAME, luaopen_base},       {LUA_COLIBNAME, luaopen_coroutine},
                                       {LUA_STRLIBNAME, luaopen_string}, {LUA_TABLIBNAME, luaopen_table},
                                       {LUA_MATHLIBNAME, luaopen_math},  {"arvak", luaopen_arvak}};
  for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
    luaL_requiref(L, libraries[i].name, libraries[i].func, 1);
    lua_pop(L, 1);
  }
}

/* The table of one job, on top: the number with either value of the ninth qubit, and nothing else. */
static int is_right(lua_State *L, int number) {
  lua_Integer total = 0;
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    if (lua_tointeger(L, -2) % 256 != number) return 0;
    total += lua_tointeger(L, -1);
  }
  return total == SHOTS;
}

/* The life of one state, from its libraries to the counts; protected, since Lua raises. */
static int run_plugin(lua_State *L) {
  work *w = lua_touserdata(L, 1);
  open_libraries(L);
  arvak_lua_pushclient(L, w->h->client);
  lua_setglobal(L, "client");
  if (luaL_dofile(L, w->h->plugin) != LUA_OK) return lua_error(L);
  lua_settop(L, 1);
  lua_getglobal(L, "run");
  lua_newtable(L);
  for (int job = w->first; job < w->last; job++) {
    lua_pushinteger(L, job % 256);
    lua_rawseti(L, -2, job - w->first + 1);
  }
  lua_pushinteger(L, SHOTS);
  lua_call(L, 2, 1);
  for (int job = w->first; job < w->last; job++) {
    int type = lua_rawgeti(L, -1, job - w->first + 1);
    if (type == LUA_TTABLE && is_right(L, job % 256)) atomic_fetch_add(&w->h->right, 1);
    else fprintf(stderr, "job %d: wrong counts\n", job);
    lua_settop(L, 2);
  }
  return 0;
}

static void run_state(host *h, int first) {
  work w = {h, first, first + JOBS_PER_STATE < h->jobs ? first + JOBS_PER_STATE : h->jobs};
  lua_State *L = luaL_newstate();
  if (!L) return;
  atomic_fetch_add(&h->states, 1);
  lua_pushcfunction(L, run_plugin);
  lua_pushlightuserdata(L, &w);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) fprintf(stderr, "%s: %s\n", h->plugin, luaL_tolstring(L, -1, NULL));
  lua_close(L);
}

static void *run_thread(void *ud) {
  host *h = ud;
  for (int first; (first = atomic_fetch_add(&h->next, JOBS_PER_STATE)) < h->jobs;) run_state(h, first);
  return NULL;
}

int main(int argc, char **argv) {
  if (argc < 2) return fprintf(stderr, "usage: %s PLUGIN [JOBS]\n", argv[0]), 2;
  host h = {.plugin = argv[1], .jobs = argc > 2 ? atoi(argv[2]) : 20000};
  const char *address = getenv("ARVAK_ADDRESS"), *reason = NULL;
  arvak_client_options options = {.address = address ? address : "localhost:50051", .pool_size = POOL_SIZE};
  if (arvak_client_new(&options, &h.client, &reason) != ARVAK_OK)
    return fprintf(stderr, "no client: %s\n", reason ? reason : "out of memory"), 2;
  int64_t start = arvak_now_ns();
  pthread_t threads[THREADS];
  int started = 0;
  while (started < THREADS && pthread_create(&threads[started], NULL, run_thread, &h) == 0) started++;
  for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
  double seconds = (double)(arvak_now_ns() - start) * 1e-9;
  arvak_client_stats stats;
  arvak_client_get_stats(h.client, &stats);
  arvak_client_unref(h.client);
  printf("%d of %d jobs right, %d Lua states in %d threads, %d connections, %.1f s, %.0f jobs/s\n", h.right, h.jobs,
         h.states, started, stats.channels, seconds, h.jobs / seconds);
  return h.right == h.jobs && stats.channels <= POOL_SIZE && stats.in_flight + stats.queued == 0 ? 0 : 1;
}
