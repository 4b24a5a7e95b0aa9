/* The figures of a client: what its calls, attempts and streams have counted, and what its connections are doing now.
 * Invariant: a counter changes under the client's lock and never falls.
 * SPDX-License-Identifier: Apache-2.0 */
#include "stats.h"

#include <pthread.h>
#include <string.h>

#include "client.h"
#include "policy/histogram.h"
#include "policy/limiter.h"
#include "pool.h"
#include "runtime.h"

void arvak__stats_count_call(arvak_client *client, arvak_rpc rpc, const arvak_outcome *outcome,
                             arvak__traffic traffic) {
  pthread_mutex_lock(&client->mu);
  client->stats.calls++;
  if (outcome->kind != ARVAK_KIND_NONE) client->stats.failures++;
  client->stats.bytes_sent += traffic.sent;
  client->stats.bytes_received += traffic.received;
  if (outcome->attempts > 0) arvak__histogram_add(&client->latency[rpc], outcome->elapsed_ns);
  pthread_mutex_unlock(&client->mu);
}

void arvak__stats_count_bytes(arvak_client *client, arvak__traffic traffic) {
  pthread_mutex_lock(&client->mu);
  client->stats.bytes_sent += traffic.sent;
  client->stats.bytes_received += traffic.received;
  pthread_mutex_unlock(&client->mu);
}

void arvak__stats_count_retry(arvak_client *client, int code) {
  size_t place = (size_t)code;
  pthread_mutex_lock(&client->mu);
  if (place < sizeof client->stats.retries / sizeof *client->stats.retries) client->stats.retries[place]++;
  pthread_mutex_unlock(&client->mu);
}

void arvak_client_get_stats(arvak_client *client, arvak_client_stats *out) {
  pthread_mutex_lock(&client->mu);
  *out = client->stats;
  out->in_flight = client->active;
  out->queued = client->queued;
  out->channels = client->channel_count;
  out->in_flight_limit = client->slots;
  out->limiter_tokens = client->is_paced ? arvak__limiter_tokens(&client->limiter, arvak_now_ns()) : -1;
  int count = client->fork_generation == arvak__fork_generation() ? client->channel_count : 0;
  for (int i = 0; i < count; i++) {
    switch (grpc_channel_check_connectivity_state(client->channels[i]->channel, 0)) {
      case GRPC_CHANNEL_READY: out->ready++; break;
      case GRPC_CHANNEL_CONNECTING: out->connecting++; break;
      case GRPC_CHANNEL_TRANSIENT_FAILURE: out->failing++; break;
      default: out->idle++;
    }
  }
  pthread_mutex_unlock(&client->mu);
}

void arvak_client_get_latency(arvak_client *client, arvak_rpc rpc, arvak_latency *out) {
  memset(out, 0, sizeof *out);
  if (rpc >= ARVAK_WATCH_JOB) return;
  pthread_mutex_lock(&client->mu);
  const arvak__histogram *latency = &client->latency[rpc];
  out->count = latency->count;
  out->p50_ns = arvak__histogram_quantile(latency, 0.5);
  out->p90_ns = arvak__histogram_quantile(latency, 0.9);
  out->p99_ns = arvak__histogram_quantile(latency, 0.99);
  out->max_ns = latency->max_ns;
  pthread_mutex_unlock(&client->mu);
}
