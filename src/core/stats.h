/* What calls, attempts and streams add to the figures of their client. Thread-safe. Invariant: a counter never falls.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_STATS_H
#define ARVAK_STATS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "arvak.h"
#include "policy/histogram.h"

typedef struct arvak__stats {
  atomic_uint_fast64_t attempts; /* of calls, handed to gRPC */
  pthread_mutex_t mu;
  arvak_client_stats counts;                 /* mu: its counters, but for attempts */
  arvak__histogram latency[ARVAK_WATCH_JOB]; /* mu: of unary calls */
} arvak__stats;

/* Bytes of messages, without framing. */
typedef struct arvak__traffic {
  size_t sent, received;
} arvak__traffic;

void arvak__stats_init(arvak__stats *stats);
void arvak__stats_fini(arvak__stats *stats);
/* An attempt of a call goes to gRPC. */
void arvak__stats_count_attempt(arvak__stats *stats);
/* A unary call has ended like this. */
void arvak__stats_count_call(arvak__stats *stats, arvak_rpc rpc, const arvak_outcome *outcome, arvak__traffic traffic);
/* A stream has sent or received a message. */
void arvak__stats_count_bytes(arvak__stats *stats, arvak__traffic traffic);
/* An attempt that ended with this status will be followed by another. */
void arvak__stats_count_retry(arvak__stats *stats, int code);
void arvak__stats_get_counts(arvak__stats *stats, arvak_client_stats *out);
void arvak__stats_get_latency(arvak__stats *stats, arvak_rpc rpc, arvak_latency *out);

#endif
