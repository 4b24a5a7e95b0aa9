/* A host for fuzz_plugin.lua: each state has a client with limits at random, hooks, deadlines and interrupts at random
 * moments, and is closed in the middle. Nothing may crash, hang or be left behind; closing waits for nothing.
 * Usage, in the top directory: fuzz_host SEED SECONDS [FIRST_ROUND]. Rounds of a seed differ in their moments alone.
 * SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "arvak.h"
#include "arvak_lua.h"
#include "../lua/spent.h"

#define MS 1000000LL
#define HANG_NS (180 * 1000 * MS)  /* of a round, on a machine with other work */
#define SLOW_NS (200 * MS)         /* worth a look */
#define CLOSE_NS (10 * 1000 * MS)  /* 50 ms are promised, sanitizers and a busy machine are slow */
enum { PLAYS = 12, MAX_NOTE = 120 };

typedef struct round {
  uint64_t random;
  arvak_client *client;
  arvak_lua_limits limits;
  int submits; /* that the host has seen */
} round_state;

/* What the stopper shares with the thread of the states. */
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static arvak_lua_handle *target; /* mu; shared */
static char last[MAX_NOTE];      /* mu */
static int64_t began_ns;         /* mu */
static int number, played, interrupted;
static int64_t longest_close_ns;
static atomic_bool is_over;

static uint64_t next_random(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  return *state ^= *state << 17;
}

static int pick(round_state *r, int count) { return (int)((next_random(&r->random) >> 8) % (unsigned)count); }
static bool chance(round_state *r, int percent) { return pick(r, 100) < percent; }

/* ---- what the plugin gets ---- */

static const char *watch_submit(const arvak_lua_submit *submit, void *ud) {
  round_state *r = ud;
  r->submits += submit->jobs;
  return submit->shots % 7 == 3 ? "no sevens and threes" : NULL;
}

static int some(round_state *r, int percent, int most) { return chance(r, percent) ? 1 + pick(r, most) : 0; }

static void choose_limits(round_state *r) {
  static const char *const names[] = {"x-a", "x-b"};
  r->limits = (arvak_lua_limits){
      .max_in_flight = some(r, 60, 6), .max_queued = some(r, 50, 10), .max_request_bytes = (size_t)some(r, 40, 20000),
      .max_answer_bytes = (size_t)some(r, 40, 20000), .max_streams = some(r, 40, 4), .max_futures = some(r, 40, 8),
      .max_tasks = some(r, 40, 8), .max_timeout_ns = some(r, 30, 400) * MS,
      .max_queue_timeout_ns = some(r, 30, 400) * MS, .max_wait_ns = some(r, 30, 400) * MS,
      .max_sleep_ns = some(r, 30, 100) * MS, .submit_rate = some(r, 30, 200), .submit_burst = some(r, 50, 5),
      .protected_headers = names, .protected_header_count = (size_t)pick(r, 3), .may_replace_headers = chance(r, 20),
      .has_no_policies = chance(r, 30), .has_own_stats = chance(r, 50), .cancels_own_jobs_only = chance(r, 50),
      .has_no_connect = chance(r, 30), .breaker = (arvak_lua_breaker_use)pick(r, 3),
      .on_submit = chance(r, 50) ? watch_submit : NULL, .ud = r};
}

/* adopt(): a client of the host's. Upvalue 1: the round. */
static int adopt(lua_State *L) {
  round_state *r = lua_touserdata(L, lua_upvalueindex(1));
  arvak_lua_pushlimited(L, r->client, chance(r, 90) ? &r->limits : NULL);
  return 1;
}

static int note(lua_State *L) {
  const char *text = luaL_checkstring(L, 1);
  pthread_mutex_lock(&mu);
  snprintf(last, sizeof last, "%s", text);
  pthread_mutex_unlock(&mu);
  return 0;
}

static void on_count(lua_State *L, lua_Debug *ar) {
  (void)ar;
  arvak_lua_check(L);
}

/* (round, path, address, seed): the functions of the plugin, as a table. */
static int open_plugin(lua_State *L) {
  round_state *r = lua_touserdata(L, 1);
  luaL_openlibs(L);
  luaL_requiref(L, "arvak", luaopen_arvak, 1);
  if (chance(r, 50)) arvak_lua_guard_coroutines(L);
  if (chance(r, 30)) arvak_lua_set_hook_interval(L, 1 + pick(r, 10));
  lua_pushvalue(L, 1);
  lua_pushcclosure(L, adopt, 1);
  lua_setglobal(L, "adopt");
  lua_pushcfunction(L, note);
  lua_setglobal(L, "note");
  if (luaL_loadfile(L, "spec/long/fuzz_plugin.lua") != LUA_OK) return lua_error(L);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 3);
  lua_pushinteger(L, number);
  lua_call(L, 3, 1);
  return 1;
}

/* ---- stopping it ---- */

static void complain(const char *what) {
  fprintf(stderr, "round %d: %s, in %s\n", number, what, last);
  fflush(stderr);
  abort();
}

static void aim(arvak_lua_handle *handle) {
  pthread_mutex_lock(&mu);
  target = handle;
  began_ns = arvak_now_ns();
  pthread_mutex_unlock(&mu);
}

/* The thread that interrupts whatever runs, and sees that a round ends. */
static void *stop_at_random(void *ud) {
  uint64_t random = *(uint64_t *)ud | 1;
  while (!is_over) {
    nanosleep(&(struct timespec){.tv_nsec = (long)(next_random(&random) % 40) * MS}, NULL);
    pthread_mutex_lock(&mu);
    if (began_ns > 0 && arvak_now_ns() - began_ns > HANG_NS) complain("hangs");
    uint64_t what = next_random(&random) >> 8;
    if (target && what % 3 == 0) {
      arvak_lua_stats stats;
      arvak_lua_get_stats(target, &stats);
      if (what % 2) arvak_lua_interrupt(target, what % 5 ? "at random" : NULL);
      else arvak_lua_set_deadline(target, arvak_now_ns() + (int64_t)(what % 3000) * 10000);
    }
    pthread_mutex_unlock(&mu);
  }
  return NULL;
}

/* ---- a round ---- */

/* Calls a function of the plugin's table, which is at 1. */
static void call(lua_State *L, const char *function, int count) {
  lua_settop(L, 1);
  lua_getfield(L, 1, function);
  lua_pushinteger(L, count);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK && lua_istable(L, -1)) {
    lua_pushliteral(L, "kind");
    if (lua_rawget(L, -2) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "interrupted") == 0) interrupted++;
  }
  lua_settop(L, 1);
  arvak_lua_clear_interrupt(L);
}

static void play(round_state *r, const char *address, uint64_t seed) {
  lua_State *L = luaL_newstate();
  if (!L) abort();
  lua_pushcfunction(L, open_plugin);
  lua_pushlightuserdata(L, r);
  lua_pushstring(L, address);
  lua_pushinteger(L, (lua_Integer)seed);
  if (lua_pcall(L, 3, 1, 0) != LUA_OK) {
    fprintf(stderr, "%s\n", luaL_tolstring(L, -1, NULL));
    exit(1);
  }
  arvak_lua_handle *handle = arvak_lua_get_handle(L);
  lua_sethook(L, on_count, LUA_MASKCOUNT, 1000 * (1 + pick(r, 20)));
  aim(handle);
  for (int i = chance(r, 50) ? PLAYS : pick(r, PLAYS); i > 0; i--, played++) call(L, "play", 1 + pick(r, 20));
  if (chance(r, 50)) call(L, "finish", 0);
  aim(chance(r, 50) ? handle : NULL); /* while it closes, too */
  spent before = spent_now();
  lua_close(L);
  spent all = spent_since(&before);
  int64_t waited = spent_waiting_ns(&all); /* the finalizers of the plugin compute as long as they like */
  if (waited > longest_close_ns) longest_close_ns = waited;
  if (waited > SLOW_NS)
    fprintf(stderr, "round %d: lua_close waited for %.0f of %.0f ms, after %s\n", number, (double)waited / MS,
            (double)all.wall_ns / MS, last);
  if (waited > CLOSE_NS) complain("lua_close waits");
  aim(NULL);
  arvak_lua_handle_unref(handle);
}

static lua_State *start_server(char *address, size_t size) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  if (luaL_dostring(L, "server = require('arvak.devserver').start { rate_limit = 0, max_concurrent_jobs = 0,\n"
                       "  max_queued_jobs = 0, seed = 1 } return server.address") != LUA_OK) {
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    exit(1);
  }
  snprintf(address, size, "%s", lua_tostring(L, -1));
  return L;
}

static void set_fault(lua_State *server, round_state *r) {
  static const char *const faults[] = {
      "", "{ status = 'UNAVAILABLE', rate = 0.5 }", "{ hang = true, rate = 0.3 }", "{ latency = 0.01 }",
      "{ drop = true, rate = 0.3 }", "{ status = 'RESOURCE_EXHAUSTED', rate = 0.5 }", "{ job = 'hang', rate = 0.5 }",
      "{ job = 'fail', rate = 0.5 }", "{ rpc = 'WatchJob', drop = 'after', messages = 1 }"};
  const char *fault = faults[pick(r, (int)(sizeof faults / sizeof *faults))];
  lua_pushfstring(server, "server:clear_faults() %s%s", *fault ? "server:fault " : "", fault);
  if (luaL_dostring(server, lua_tostring(server, -1)) != LUA_OK) abort();
  lua_settop(server, 0);
}

static arvak_client *new_client(const char *address, round_state *r) {
  static const arvak_header headers[] = {{"x-tenant", {"host", 4}}};
  arvak_breaker *breaker = NULL;
  arvak_client *client = NULL;
  if (arvak_breaker_new(&(arvak_breaker_options){.timeout_ns = 10 * MS}, &breaker) != ARVAK_OK) abort();
  arvak_client_options options = {.address = address, .pool_size = 2, .max_concurrent_rpcs = 1 + pick(r, 8),
                                  .headers = headers, .header_count = 1, .breaker = chance(r, 50) ? breaker : NULL,
                                  .timeout_ns = 300 * MS};
  if (arvak_client_new(&options, &client, NULL) != ARVAK_OK) abort();
  arvak_breaker_unref(breaker);
  return client;
}

/* Several states after each other on one client; then nothing of them is left in it. */
static void run_round(uint64_t seed, lua_State *server, const char *address) {
  round_state r = {.random = (seed * 0x9E3779B97F4A7C15u + (uint64_t)number * 0xBF58476D1CE4E5B9u) | 1};
  for (int i = 0; i < 10; i++) next_random(&r.random);
  r.client = new_client(address, &r);
  for (int i = 0; i < 3; i++) {
    set_fault(server, &r);
    choose_limits(&r);
    play(&r, address, seed + (uint64_t)i);
  }
  arvak_client_stats stats;
  arvak_client_get_stats(r.client, &stats);
  if (stats.in_flight + stats.queued != 0) complain("calls are left behind");
  arvak_client_unref(r.client);
}

int main(int argc, char **argv) {
  uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : (uint64_t)time(NULL);
  int seconds = argc > 2 ? atoi(argv[2]) : 60;
  char address[64];
  lua_State *server = start_server(address, sizeof address);
  pthread_t stopper;
  pthread_create(&stopper, NULL, stop_at_random, &seed);
  number = argc > 3 ? atoi(argv[3]) - 1 : 0;
  time_t ends_at = time(NULL) + seconds;
  do {
    number++;
    run_round(seed, server, address);
  } while (time(NULL) < ends_at);
  is_over = true;
  pthread_join(stopper, NULL);
  lua_close(server);
  printf("seed %llu: %d rounds, %d plays, %d interrupted, lua_close waited for %.1f ms at most, nothing found\n",
         (unsigned long long)seed, number, played, interrupted, (double)longest_close_ns / MS);
  return 0;
}
