/* A client: a configuration that never changes, and what its calls share: connections, slots, figures. Any thread may
 * use it. Invariant: what stands here itself never changes; each part that does has a lock of its own.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_CLIENT_H
#define ARVAK_CLIENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "arvak.h"
#include "headers.h"
#include "pool.h"
#include "slots.h"
#include "stats.h"
#include "turns.h"

struct arvak_client {
  atomic_int refs; /* of handles and calls */
  unsigned fork_generation;
  char *address; /* as given; owned */
  arvak__client_headers headers;
  bool is_tls;
  int64_t timeout_ns, attempt_timeout_ns, queue_timeout_ns;
  bool is_adaptive;   /* a limit in flight that moves */
  arvak_retry *retry;         /* shared, or NULL, as the next */
  arvak_breaker *breaker;
  arvak__pool *pool; /* owned */
  arvak__slots slots;
  arvak__turns turns;
  arvak__stats stats;
};

#endif
