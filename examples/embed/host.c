/* A host application with plugins in Lua: eight threads, each with one Lua state at a time, and one client for all of
 * them, so that connections and limits are those of the application however many plugins it runs. A state serves fifty
 * jobs and is closed; the next one is opened meanwhile elsewhere. The host checks the counts of every job.
 *
 * It trusts no plugin: each state is a sandbox, the client that it gets has limits, each plugin has a deadline, and
 * Ctrl-C interrupts them all. docs/guide/embedding.md says what is left to a plugin.
 *
 * Build: cc -o host host.c $(pkg-config --cflags --libs arvak lua5.4)
 * Usage: host PLUGIN [JOBS]; ARVAK_ADDRESS names the server.
 * SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L
#include <arvak_lua.h>
#include <lauxlib.h>
#include <lualib.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 8, JOBS_PER_STATE = 50, POOL_SIZE = 4, SHOTS = 100 };
enum { HEAP_BYTES = 64 << 20, HOOK_COUNT = 1000 };
enum { MOST_TOLD = 10 }; /* a plugin that fails in each of its states says nothing new after that */
#define SECOND 1000000000LL
#define PLUGIN_NS (300 * SECOND) /* the whole life of a plugin */

static const arvak_lua_limits limits = {
    .max_in_flight = 16,
    .max_queued = 200,
    .max_request_bytes = 4 << 20,
    .max_answer_bytes = 16 << 20,
    .max_streams = 8,
    .max_futures = 200,
    .max_tasks = 200,
    .max_timeout_ns = 60 * SECOND,
    .max_queue_timeout_ns = 300 * SECOND,
    .max_wait_ns = 300 * SECOND,
    .max_sleep_ns = 10 * SECOND,
    .has_no_policies = true,
    .has_own_stats = true,
    .cancels_own_jobs_only = true,
    .has_no_connect = true,
};

typedef struct host {
  arvak_client *client;
  const char *plugin;
  int jobs;
  atomic_int next, right;    /* jobs given out, jobs with right counts */
  atomic_int states, failed; /* states opened, states whose plugin has raised */
  pthread_mutex_t mu;
  arvak_lua_handle *running[THREADS]; /* mu: of the plugins that run now, shared; or NULL */
  bool is_stopped;                    /* mu */
} host;

typedef struct work {
  host *h;
  int thread, first, last;
} work;

/* ---- the sandbox ---- */

/* Lua's heap of one plugin; what the client holds for it is bounded by the limits. */
static void *allocate(void *ud, void *block, size_t old, size_t size) {
  size_t *used = ud, before = block ? old : 0;
  if (size > before && *used + (size - before) > HEAP_BYTES) return NULL;
  void *moved = size > 0 ? realloc(block, size) : NULL;
  if (size == 0) free(block);
  if (moved || size == 0) *used += size - before;
  return moved;
}

/* Lua's own load reads bytecode, which can crash the interpreter. Arguments: chunk, name, mode, environment. */
static int load_text(lua_State *L) {
  const char *mode = luaL_optstring(L, 3, "t");
  if (strchr(mode, 'b')) return luaL_error(L, "load: this host takes no bytecode; expected the mode \"t\"");
  int count = lua_isnone(L, 4) ? 3 : 4; /* no environment, or one that may be nil */
  lua_settop(L, count);
  lua_pushliteral(L, "t");
  lua_replace(L, 3);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, count, LUA_MULTRET);
  return lua_gettop(L);
}

/* Lua runs a message handler and a finalizer without debug hooks, so a loop in one would not end. */
static int finish_xpcall(lua_State *L, int status, lua_KContext context) {
  (void)context;
  if (status == LUA_OK || status == LUA_YIELD) {
    lua_pushboolean(L, 1);
    lua_replace(L, 1);
    return lua_gettop(L);
  }
  lua_pushvalue(L, 1); /* the handler, after the fact */
  lua_insert(L, -2);
  lua_call(L, 1, 1);
  lua_pushboolean(L, 0);
  lua_insert(L, -2);
  return 2;
}

static int call_xpcall(lua_State *L) {
  luaL_checkany(L, 2);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 1);
  lua_replace(L, 2);
  lua_replace(L, 1); /* handler, function, arguments */
  return finish_xpcall(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, finish_xpcall), 0);
}

static int set_metatable(lua_State *L) {
  if (lua_istable(L, 2)) {
    lua_pushliteral(L, "__gc");
    if (lua_rawget(L, 2) != LUA_TNIL) return luaL_error(L, "setmetatable: this host takes no __gc; use __close");
    lua_pop(L, 1);
  }
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, 1);
  return 1;
}

static void replace(lua_State *L, const char *name, lua_CFunction fn) {
  lua_getglobal(L, name);
  lua_pushcclosure(L, fn, 1);
  lua_setglobal(L, name);
}

/* A plugin needs no io, no os and no package; what it does not get it cannot misuse. */
static void open_libraries(lua_State *L) {
  static const luaL_Reg libraries[] = {{LUA_GNAME, luaopen_base},       {LUA_COLIBNAME, luaopen_coroutine},
                                       {LUA_STRLIBNAME, luaopen_string}, {LUA_TABLIBNAME, luaopen_table},
                                       {LUA_MATHLIBNAME, luaopen_math},  {"arvak", luaopen_arvak}};
  static const char *const missing[] = {"loadfile", "dofile", "collectgarbage"};
  for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
    luaL_requiref(L, libraries[i].name, libraries[i].func, 1);
    lua_pop(L, 1);
  }
  for (size_t i = 0; i < sizeof missing / sizeof *missing; i++) {
    lua_pushnil(L);
    lua_setglobal(L, missing[i]);
  }
  lua_getglobal(L, LUA_STRLIBNAME);
  lua_pushnil(L);
  lua_setfield(L, -2, "dump");
  lua_pop(L, 1);
  replace(L, "load", load_text);
  replace(L, "xpcall", call_xpcall);
  replace(L, "setmetatable", set_metatable);
  arvak_lua_guard_coroutines(L);
}

/* Inherited by every coroutine of the plugin: while it computes, it is stopped here; while it waits, by the library. */
static void on_count(lua_State *L, lua_Debug *ar) {
  (void)ar;
  arvak_lua_check(L);
}

/* ---- one plugin ---- */

/* The table of one job, on top: the number with either value of the ninth qubit, and nothing else. */
static int is_right(lua_State *L, int number) {
  lua_Integer total = 0;
  if (!lua_istable(L, -1)) return 0;
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    if (!lua_isinteger(L, -2) || lua_tointeger(L, -2) % 256 != number) return lua_pop(L, 2), 0;
    total += lua_tointeger(L, -1);
  }
  return total == SHOTS;
}

static void check_counts(lua_State *L, const work *w) {
  if (!lua_istable(L, -1)) luaL_error(L, "run gave a %s, expected a table", luaL_typename(L, -1));
  for (int job = w->first; job < w->last; job++) {
    lua_rawgeti(L, -1, job - w->first + 1); /* raw: the table may have a metatable of the plugin's */
    if (is_right(L, job % 256)) atomic_fetch_add(&w->h->right, 1);
    else fprintf(stderr, "job %d: wrong counts\n", job);
    lua_pop(L, 1);
  }
}

static int make_sandbox(lua_State *L) {
  arvak_lua_handle **handle = lua_touserdata(L, 1);
  open_libraries(L);
  *handle = arvak_lua_get_handle(L);
  return 0;
}

/* The life of one plugin, from its client to the counts; protected, since Lua raises, as the one before does. */
static int run_plugin(lua_State *L) {
  work *w = lua_touserdata(L, 1);
  arvak_lua_pushlimited(L, w->h->client, &limits);
  lua_setglobal(L, "client");
  if (luaL_loadfilex(L, w->h->plugin, "t") != LUA_OK) return lua_error(L);
  lua_call(L, 0, 0);
  lua_settop(L, 1);
  lua_getglobal(L, "run");
  lua_newtable(L);
  for (int job = w->first; job < w->last; job++) {
    lua_pushinteger(L, job % 256);
    lua_rawseti(L, -2, job - w->first + 1);
  }
  lua_pushinteger(L, SHOTS);
  lua_call(L, 2, 1);
  check_counts(L, w);
  return 0;
}

/* Of an error that a plugin has raised: its __tostring is the plugin's as well, so this is called protected. */
static int describe(lua_State *L) {
  luaL_tolstring(L, 1, NULL);
  return 1;
}

static void print_error(lua_State *L, const char *plugin) {
  lua_pushcfunction(L, describe);
  lua_insert(L, -2);
  const char *text = lua_pcall(L, 1, 1, 0) == LUA_OK ? lua_tostring(L, -1) : "an error that cannot be printed";
  fprintf(stderr, "%s: %.500s\n", plugin, text ? text : "an error without words");
}

/* Under mu, so that an interrupt meets the plugin either here or there. False: the host is being stopped. */
static bool announce(host *h, int thread, arvak_lua_handle *handle) {
  pthread_mutex_lock(&h->mu);
  bool goes_on = !h->is_stopped;
  h->running[thread] = goes_on ? handle : NULL;
  pthread_mutex_unlock(&h->mu);
  return goes_on;
}

static void bill(const arvak_lua_handle *handle, const char *plugin) {
  arvak_lua_stats stats;
  arvak_lua_get_stats((arvak_lua_handle *)handle, &stats);
  unsigned long long refused = stats.refused;
  if (refused > 0) fprintf(stderr, "%s: %llu calls beyond its limits\n", plugin, refused);
}

static void run_state(host *h, int thread, int first) {
  work w = {h, thread, first, first + JOBS_PER_STATE < h->jobs ? first + JOBS_PER_STATE : h->jobs};
  size_t used = 0;
  arvak_lua_handle *handle = NULL;
  lua_State *L = lua_newstate(allocate, &used);
  if (!L) return;
  atomic_fetch_add(&h->states, 1);
  lua_pushcfunction(L, make_sandbox);
  lua_pushlightuserdata(L, &handle);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
    print_error(L, "the sandbox");
  } else if (announce(h, thread, handle)) {
    lua_sethook(L, on_count, LUA_MASKCOUNT, HOOK_COUNT);
    arvak_lua_set_deadline(handle, arvak_now_ns() + PLUGIN_NS);
    lua_pushcfunction(L, run_plugin);
    lua_pushlightuserdata(L, &w);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK && atomic_fetch_add(&h->failed, 1) < MOST_TOLD) print_error(L, h->plugin);
    bill(handle, h->plugin);
  }
  announce(h, thread, NULL);
  lua_close(L); /* while it closes, nothing in it waits */
  arvak_lua_handle_unref(handle);
}

/* ---- threads ---- */

typedef struct worker {
  host *h;
  int thread;
} worker;

static void *run_thread(void *ud) {
  worker *me = ud;
  host *h = me->h;
  for (int first; (first = atomic_fetch_add(&h->next, JOBS_PER_STATE)) < h->jobs;) run_state(h, me->thread, first);
  return NULL;
}

static void stop_all(host *h) {
  pthread_mutex_lock(&h->mu);
  h->is_stopped = true;
  atomic_store(&h->next, h->jobs);
  for (int i = 0; i < THREADS; i++)
    if (h->running[i]) arvak_lua_interrupt(h->running[i], "the host was stopped");
  pthread_mutex_unlock(&h->mu);
}

static sigset_t keys; /* Ctrl-C; set once */

static void block_keys(void) {
  sigemptyset(&keys);
  sigaddset(&keys, SIGINT);
  pthread_sigmask(SIG_BLOCK, &keys, NULL);
}

static void *watch_keys(void *ud) {
  int key;
  while (sigwait(&keys, &key) == 0) stop_all(ud);
  return NULL;
}

static int run_all(host *h) {
  pthread_t threads[THREADS], watcher;
  worker workers[THREADS];
  if (pthread_create(&watcher, NULL, watch_keys, h) == 0) pthread_detach(watcher);
  int started = 0;
  for (; started < THREADS; started++) {
    workers[started] = (worker){h, started};
    if (pthread_create(&threads[started], NULL, run_thread, &workers[started]) != 0) break;
  }
  for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
  return started;
}

int main(int argc, char **argv) {
  if (argc < 2) return fprintf(stderr, "usage: %s PLUGIN [JOBS]\n", argv[0]), 2;
  static host h; /* the thread that watches keys may outlive main */
  h.plugin = argv[1];
  h.jobs = argc > 2 ? atoi(argv[2]) : 20000;
  pthread_mutex_init(&h.mu, NULL);
  block_keys(); /* before gRPC starts threads of its own */
  const char *address = getenv("ARVAK_ADDRESS"), *reason = NULL;
  arvak_client_options options = {.address = address ? address : "localhost:50051", .pool_size = POOL_SIZE};
  if (arvak_client_new(&options, &h.client, &reason) != ARVAK_OK)
    return fprintf(stderr, "no client: %s\n", reason ? reason : "out of memory"), 2;
  int64_t start = arvak_now_ns();
  int started = run_all(&h);
  double seconds = (double)(arvak_now_ns() - start) * 1e-9;
  arvak_client_stats stats;
  arvak_client_get_stats(h.client, &stats);
  arvak_client_unref(h.client);
  if (h.failed > MOST_TOLD) fprintf(stderr, "%s: failed in %d of %d states\n", h.plugin, h.failed, h.states);
  printf("%d of %d jobs right, %d Lua states in %d threads, %d connections, %.1f s, %.0f jobs/s\n", h.right, h.jobs,
         h.states, started, stats.channels, seconds, h.jobs / seconds);
  return h.right == h.jobs && stats.channels <= POOL_SIZE && stats.in_flight + stats.queued == 0 ? 0 : 1;
}
