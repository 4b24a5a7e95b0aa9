/* What the measurements in Lua need to know of their process and Lua does not tell: bench/clock.lua loads it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <lauxlib.h>
#include <sys/resource.h>
#include <time.h>

static int push_seconds(lua_State *L, clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  lua_pushnumber(L, (lua_Number)t.tv_sec + (lua_Number)t.tv_nsec * 1e-9);
  return 1;
}

/* Seconds on the monotonic clock. */
static int clock_wall(lua_State *L) { return push_seconds(L, CLOCK_MONOTONIC); }

/* CPU seconds of this process, all threads. */
static int clock_cpu(lua_State *L) { return push_seconds(L, CLOCK_PROCESS_CPUTIME_ID); }

/* Peak resident memory in MB. */
static int clock_peak_rss(lua_State *L) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  lua_pushnumber(L, (lua_Number)usage.ru_maxrss / 1024);
  return 1;
}

__attribute__((visibility("default"))) int luaopen_clock(lua_State *L);

int luaopen_clock(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"wall", clock_wall}, {"cpu", clock_cpu}, {"peak_rss", clock_peak_rss}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
