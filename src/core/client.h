/* A client: a configuration that never changes, and what its calls share: connections, slots, figures. Any thread may
 * use it; mu guards what changes. Invariant: its memory is there while it has holds, its connections while it has refs.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_CLIENT_H
#define ARVAK_CLIENT_H

#include <grpc/grpc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "arvak.h"
#include "compat.h"
#include "headers.h"
#include "policy/histogram.h"
#include "policy/limiter.h"

typedef struct arvak_channel arvak_channel; /* pool.h */

struct arvak_client {
  atomic_int refs;  /* of handles and calls: without them the connections are closed */
  atomic_int holds; /* one of all refs, and one of each watch: without them the memory is freed */
  unsigned fork_generation;
  char *address; /* as given; owned */
  char *target;  /* spelled so that no peer can equal it, see address.c; owned */
  grpc_channel_credentials *credentials; /* owned */
  grpc_channel_args *args;               /* owned, with all strings */
  arvak__client_headers headers;
  bool is_tls;
  int64_t timeout_ns, attempt_timeout_ns, queue_timeout_ns;
  int pool_size, max_concurrent_rpcs;
  bool is_paced, is_adaptive; /* limiter has a rate; a limit in flight that moves */
  arvak_retry *retry;         /* shared, or NULL, as the next */
  arvak_breaker *breaker;

  pthread_mutex_t mu;
  arvak_channel **channels; /* mu: pool_size places, the first channel_count in use */
  int channel_count;       /* mu */
  int active, slots;       /* mu: slots taken, and how many there are */
  arvak__limiter limiter;  /* mu */
  arvak_call *queue_head, *queue_tail; /* mu: calls waiting for a slot, linked by queue_next and queue_prev */
  int queued;                          /* mu */
  arvak_client_stats stats;            /* mu: the counters */
  arvak__histogram latency[ARVAK_WATCH_JOB]; /* mu: of unary calls */
};

int arvak__client_channel_count(arvak_client *client);
/* For a watch, which outlives the references. The last reference is dropped in pool.c, where connections are closed. */
void arvak__client_hold(arvak_client *client);
void arvak__client_drop(arvak_client *client);

#endif
