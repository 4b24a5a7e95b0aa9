/* The figures of a client: what its calls, attempts and streams have counted. Invariant: a counter never falls.
 * SPDX-License-Identifier: Apache-2.0 */
#include "stats.h"

#include <string.h>

void arvak__stats_init(arvak__stats *stats) {
  atomic_init(&stats->attempts, 0);
  pthread_mutex_init(&stats->mu, NULL);
}

void arvak__stats_fini(arvak__stats *stats) { pthread_mutex_destroy(&stats->mu); }

void arvak__stats_count_attempt(arvak__stats *stats) {
  atomic_fetch_add_explicit(&stats->attempts, 1, memory_order_relaxed);
}

void arvak__stats_count_call(arvak__stats *stats, arvak_rpc rpc, const arvak_outcome *outcome,
                             arvak__traffic traffic) {
  pthread_mutex_lock(&stats->mu);
  stats->counts.calls++;
  if (outcome->kind != ARVAK_KIND_NONE) stats->counts.failures++;
  stats->counts.bytes_sent += traffic.sent;
  stats->counts.bytes_received += traffic.received;
  if (outcome->attempts > 0) arvak__histogram_add(&stats->latency[rpc], outcome->elapsed_ns);
  pthread_mutex_unlock(&stats->mu);
}

void arvak__stats_count_bytes(arvak__stats *stats, arvak__traffic traffic) {
  pthread_mutex_lock(&stats->mu);
  stats->counts.bytes_sent += traffic.sent;
  stats->counts.bytes_received += traffic.received;
  pthread_mutex_unlock(&stats->mu);
}

void arvak__stats_count_retry(arvak__stats *stats, int code) {
  size_t place = (size_t)code;
  pthread_mutex_lock(&stats->mu);
  if (place < sizeof stats->counts.retries / sizeof *stats->counts.retries) stats->counts.retries[place]++;
  pthread_mutex_unlock(&stats->mu);
}

void arvak__stats_get_counts(arvak__stats *stats, arvak_client_stats *out) {
  pthread_mutex_lock(&stats->mu);
  *out = stats->counts;
  pthread_mutex_unlock(&stats->mu);
  out->attempts = atomic_load_explicit(&stats->attempts, memory_order_relaxed);
}

void arvak__stats_get_latency(arvak__stats *stats, arvak_rpc rpc, arvak_latency *out) {
  memset(out, 0, sizeof *out);
  if (rpc >= ARVAK_WATCH_JOB) return;
  pthread_mutex_lock(&stats->mu);
  const arvak__histogram *latency = &stats->latency[rpc];
  out->count = latency->count;
  out->p50_ns = arvak__histogram_quantile(latency, 0.5);
  out->p90_ns = arvak__histogram_quantile(latency, 0.9);
  out->p99_ns = arvak__histogram_quantile(latency, 0.99);
  out->max_ns = latency->max_ns;
  pthread_mutex_unlock(&stats->mu);
}
