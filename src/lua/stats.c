/* The statistics of a client as a table. Invariant: the core's numbers are read before a table is made, since to make
 * one may run a finalizer that closes the client.
 * SPDX-License-Identifier: Apache-2.0 */
#include "stats.h"

#include <lauxlib.h>

#include "client.h"
#include "names.h"

static void set_count(lua_State *L, const char *name, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, name);
}

static void set_seconds(lua_State *L, const char *name, int64_t ns) {
  lua_pushnumber(L, (lua_Number)ns * 1e-9);
  lua_setfield(L, -2, name);
}

static void set_retries(lua_State *L, const arvak_client_stats *stats) {
  lua_newtable(L);
  for (size_t code = 0; code < sizeof stats->retries / sizeof *stats->retries; code++)
    if (stats->retries[code] > 0) set_count(L, arvak_code_name((int)code), stats->retries[code]);
  lua_setfield(L, -2, "retries");
}

static void set_latency(lua_State *L, const arvak_latency *latencies) {
  lua_newtable(L);
  for (int rpc = 0; rpc < ARVAK_WATCH_JOB; rpc++) {
    const arvak_latency *latency = &latencies[rpc];
    if (latency->count == 0) continue;
    lua_createtable(L, 0, 5);
    set_count(L, "count", latency->count);
    set_seconds(L, "p50", latency->p50_ns);
    set_seconds(L, "p90", latency->p90_ns);
    set_seconds(L, "p99", latency->p99_ns);
    set_seconds(L, "max", latency->max_ns);
    lua_setfield(L, -2, arvak_rpc_name((arvak_rpc)rpc));
  }
  lua_setfield(L, -2, "latency");
}

static void set_policies(lua_State *L, const larvak_client *client) {
  double tokens = client->retry ? arvak_retry_tokens(client->retry) : -1;
  if (tokens >= 0) {
    lua_pushnumber(L, tokens);
    lua_setfield(L, -2, "tokens");
  }
  if (!client->breaker) return;
  arvak_breaker_info info;
  arvak_breaker_get_info(client->breaker, arvak_now_ns(), &info);
  lua_createtable(L, 0, 4);
  lua_pushstring(L, larvak_breaker_state_name(info.state));
  lua_setfield(L, -2, "state");
  set_count(L, "opened", info.changes[ARVAK_BREAKER_OPEN]);
  set_count(L, "half_opened", info.changes[ARVAK_BREAKER_HALF_OPEN]);
  set_count(L, "closed", info.changes[ARVAK_BREAKER_CLOSED]);
  lua_setfield(L, -2, "breaker");
}

static int client_stats(lua_State *L) {
  larvak_client *client = larvak_client_check(L, 1, "stats");
  arvak_client_stats stats;
  arvak_latency latencies[ARVAK_WATCH_JOB];
  arvak_client_get_stats(client->core, &stats); /* all of it before a table is made: that may close the client */
  for (int rpc = 0; rpc < ARVAK_WATCH_JOB; rpc++)
    arvak_client_get_latency(client->core, (arvak_rpc)rpc, &latencies[rpc]);
  lua_createtable(L, 0, 16);
  set_count(L, "calls", stats.calls);
  set_count(L, "attempts", stats.attempts);
  set_count(L, "failures", stats.failures);
  set_count(L, "in_flight", (uint64_t)stats.in_flight);
  set_count(L, "queued", (uint64_t)stats.queued);
  set_count(L, "bytes_sent", stats.bytes_sent);
  set_count(L, "bytes_received", stats.bytes_received);
  lua_createtable(L, 0, 5);
  set_count(L, "open", (uint64_t)stats.channels);
  set_count(L, "ready", (uint64_t)stats.ready);
  set_count(L, "connecting", (uint64_t)stats.connecting);
  set_count(L, "failing", (uint64_t)stats.failing);
  set_count(L, "idle", (uint64_t)stats.idle);
  lua_setfield(L, -2, "connections");
  set_count(L, "in_flight_limit", (uint64_t)stats.in_flight_limit);
  if (stats.limiter_tokens >= 0) {
    lua_pushnumber(L, stats.limiter_tokens);
    lua_setfield(L, -2, "limiter_tokens");
  }
  set_retries(L, &stats);
  set_latency(L, latencies);
  set_policies(L, client);
  return 1;
}

void larvak_stats_open(lua_State *L) {
  lua_pushcfunction(L, client_stats);
  lua_setfield(L, -2, "stats");
}
