/* What calls, attempts and streams add to the figures of their client. Thread-safe: guarded by the client's mu. The
 * client is borrowed. The pool counts attempts itself, under the same lock.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_STATS_H
#define ARVAK_STATS_H

#include <stddef.h>

#include "arvak.h"

/* Bytes of messages, without framing. */
typedef struct arvak__traffic {
  size_t sent, received;
} arvak__traffic;

/* A unary call has ended like this. */
void arvak__stats_count_call(arvak_client *client, arvak_rpc rpc, const arvak_outcome *outcome,
                             arvak__traffic traffic);
/* A stream has sent or received a message. */
void arvak__stats_count_bytes(arvak_client *client, arvak__traffic traffic);
/* An attempt that ended with this status will be followed by another. */
void arvak__stats_count_retry(arvak_client *client, int code);

#endif
