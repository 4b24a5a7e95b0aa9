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

bool arvak__is_submit(arvak_rpc rpc);
const char *arvak__rpc_method(arvak_rpc rpc);
/* What may be wrong when a connection could not be made with this message; static, or NULL. Only words for people. */
const char *arvak__connect_hint(bool tls, const char *message);
bool arvak__is_own_message(const char *message); /* one that gRPC made itself, and not the server */
bool arvak__is_local_message(const char *message); /* about an answer that gRPC would not take */
arvak_kind arvak__kind_of(arvak_rpc rpc, int code, const char *message);
bool arvak__is_retryable(arvak_rpc rpc, int code, const char *message, arvak__delivery delivery);
bool arvak__maybe_executed(arvak_rpc rpc, size_t circuits, int code, arvak__delivery delivery);

#endif
