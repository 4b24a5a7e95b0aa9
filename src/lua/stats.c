/* The statistics of a client as a table. Invariant: the core's numbers are read before a table is made, since to make
 * one may run a finalizer that closes the client.
 * SPDX-License-Identifier: Apache-2.0 */
#include "stats.h"

#include <lauxlib.h>

#include "client.h"
#include "misuse.h"
#include "names.h"
#include "set.h"

static void set_retries(lua_State *L, const arvak_client_stats *stats) {
  lua_newtable(L);
  for (size_t code = 0; code < sizeof stats->retries / sizeof *stats->retries; code++)
    if (stats->retries[code] > 0) larvak_set_integer(L, arvak_code_name((int)code), (lua_Integer)stats->retries[code]);
  lua_setfield(L, -2, "retries");
}

static void set_latency(lua_State *L, const arvak_latency *latencies) {
  lua_newtable(L);
  for (int rpc = 0; rpc < ARVAK_WATCH_JOB; rpc++) {
    const arvak_latency *latency = &latencies[rpc];
    if (latency->count == 0) continue;
    lua_createtable(L, 0, 5);
    larvak_set_integer(L, "count", (lua_Integer)latency->count);
    larvak_set_seconds(L, "p50", latency->p50_ns);
    larvak_set_seconds(L, "p90", latency->p90_ns);
    larvak_set_seconds(L, "p99", latency->p99_ns);
    larvak_set_seconds(L, "max", latency->max_ns);
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
  bool is_hidden = client->limits && client->limits->most.breaker == ARVAK_LUA_BREAKER_NONE &&
                   client->breaker == arvak_client_breaker(client->core);
  if (!client->breaker || is_hidden) return;
  arvak_breaker_info info;
  arvak_breaker_get_info(client->breaker, arvak_now_ns(), &info);
  lua_createtable(L, 0, 4);
  lua_pushstring(L, larvak_breaker_state_name(info.state));
  lua_setfield(L, -2, "state");
  larvak_set_integer(L, "opened", (lua_Integer)info.changes[ARVAK_BREAKER_OPEN]);
  larvak_set_integer(L, "half_opened", (lua_Integer)info.changes[ARVAK_BREAKER_HALF_OPEN]);
  larvak_set_integer(L, "closed", (lua_Integer)info.changes[ARVAK_BREAKER_CLOSED]);
  lua_setfield(L, -2, "breaker");
}

/* What a plugin may know: of its own calls. */
static int push_own(lua_State *L, const larvak_client *client) {
  const larvak_quota *limits = client->limits;
  const arvak_lua_stats stats = limits->stats;
  int under_way = limits->calls;
  lua_createtable(L, 0, 6);
  larvak_set_integer(L, "calls", (lua_Integer)stats.calls);
  larvak_set_integer(L, "failures", (lua_Integer)stats.failures);
  larvak_set_integer(L, "refused", (lua_Integer)stats.refused);
  larvak_set_integer(L, "jobs", (lua_Integer)stats.jobs);
  larvak_set_integer(L, "bytes_sent", (lua_Integer)stats.bytes_sent);
  larvak_set_integer(L, "bytes_received", (lua_Integer)stats.bytes_received);
  larvak_set_integer(L, "under_way", under_way);
  return 1;
}

static void set_pace(lua_State *L, const arvak_client_stats *stats) {
  lua_createtable(L, 0, 3);
  larvak_set_integer(L, "refused", (lua_Integer)stats->refused);
  larvak_set_integer(L, "held", (lua_Integer)stats->held);
  if (stats->submit_rate >= 0) {
    lua_pushnumber(L, stats->submit_rate);
    lua_setfield(L, -2, "rate");
  }
  lua_setfield(L, -2, "pace");
}

static int client_stats(lua_State *L) {
  larvak_client *client = larvak_client_check(L, 1, "stats");
  larvak_misuse_check_count(L, "stats", lua_gettop(L), 2, 1, "");
  if (client->limits && client->limits->most.has_own_stats) return push_own(L, client);
  arvak_client_stats stats;
  arvak_latency latencies[ARVAK_WATCH_JOB];
  arvak_client_get_stats(client->core, &stats); /* all of it before a table is made: that may close the client */
  for (int rpc = 0; rpc < ARVAK_WATCH_JOB; rpc++)
    arvak_client_get_latency(client->core, (arvak_rpc)rpc, &latencies[rpc]);
  lua_createtable(L, 0, 16);
  larvak_set_integer(L, "calls", (lua_Integer)stats.calls);
  larvak_set_integer(L, "attempts", (lua_Integer)stats.attempts);
  larvak_set_integer(L, "failures", (lua_Integer)stats.failures);
  larvak_set_integer(L, "in_flight", (lua_Integer)stats.in_flight);
  larvak_set_integer(L, "queued", (lua_Integer)stats.queued);
  larvak_set_integer(L, "bytes_sent", (lua_Integer)stats.bytes_sent);
  larvak_set_integer(L, "bytes_received", (lua_Integer)stats.bytes_received);
  lua_createtable(L, 0, 5);
  larvak_set_integer(L, "open", (lua_Integer)stats.channels);
  larvak_set_integer(L, "ready", (lua_Integer)stats.ready);
  larvak_set_integer(L, "connecting", (lua_Integer)stats.connecting);
  larvak_set_integer(L, "failing", (lua_Integer)stats.failing);
  larvak_set_integer(L, "idle", (lua_Integer)stats.idle);
  lua_setfield(L, -2, "connections");
  larvak_set_integer(L, "in_flight_limit", (lua_Integer)stats.in_flight_limit);
  if (stats.limiter_tokens >= 0) {
    lua_pushnumber(L, stats.limiter_tokens);
    lua_setfield(L, -2, "limiter_tokens");
  }
  if (stats.refused > 0) set_pace(L, &stats);
  set_retries(L, &stats);
  set_latency(L, latencies);
  set_policies(L, client);
  return 1;
}

void larvak_stats_open(lua_State *L) {
  lua_pushcfunction(L, client_stats);
  lua_setfield(L, -2, "stats");
}
