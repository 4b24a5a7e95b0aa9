/* What a status means: its kind, whether to try again, whether the server may have acted. Pure. Invariant: a message
 * decides only where the documents say so; see the tables in status.c.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_STATUS_H
#define ARVAK_STATUS_H

#include <stdbool.h>
#include <stddef.h>

#include "arvak.h"

/* What became of a request that failed: see "Sent? Answered?" in docs/design.md. */
typedef enum arvak__delivery { DELIVERY_NOT_SENT, DELIVERY_ANSWERED, DELIVERY_BROKEN } arvak__delivery;

/* What tells who made a status. PEER: the answer itself, it was the server. TEXTS: the tests know all texts of this
 * version of gRPC, so one that is not among them is the server's. UNKNOWN: nothing. */
typedef enum arvak__origin { ORIGIN_PEER, ORIGIN_TEXTS, ORIGIN_UNKNOWN } arvak__origin;

/* What is known of a request that failed. */
typedef struct arvak__evidence {
  bool was_sent; /* a transport has had it */
  bool is_ready; /* the channel is, after the failure */
  arvak__origin origin;
  int code;
  const char *message;
} arvak__evidence;

bool arvak__is_submit(arvak_rpc rpc);
const char *arvak__rpc_method(arvak_rpc rpc);
/* What may be wrong when a connection could not be made with this message; static, or NULL. Only words for people. */
const char *arvak__connect_hint(bool tls, const char *message);
arvak__delivery arvak__delivery_of(const arvak__evidence *evidence);
bool arvak__is_local_message(const char *message);
/* The server's words for too many unfinished jobs, as opposed to too many in a second. */
bool arvak__is_full_message(const char *message); /* about an answer that gRPC would not take */
arvak_kind arvak__kind_of(arvak_rpc rpc, int code, const char *message);
bool arvak__is_retryable(arvak_rpc rpc, int code, const char *message, arvak__delivery delivery);
bool arvak__maybe_executed(arvak_rpc rpc, size_t circuits, int code, arvak__delivery delivery);

#endif
