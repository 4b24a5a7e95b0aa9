/* What call.c and stream.c share: batches for gRPC.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_BATCHES_H
#define ARVAK_DEVSERVER_BATCHES_H

#include <stdarg.h>
#include <stddef.h>

#include "rpc/call.h"

#define CALL_OF(t, member) ((call *)(void *)((char *)(t)-offsetof(call, member)))

grpc_op call_headers_op(void);
grpc_op call_status_op(call *c, grpc_status_code code, grpc_slice *text); /* borrows text until the batch is started */

/* The caller has counted the batch under the lock, and call_batch_done undoes that when it is back. */
void call_start(call *c, const grpc_op *ops, size_t count, tag *t);
void call_batch_done(call *c);

void call_wire_clear(call *c);                       /* under the lock: the message is no longer gRPC's */
char *call_format(const char *format, va_list args); /* Returns owned, or NULL. */

void stream_on_sent(tag *t, bool ok);
void stream_on_received(tag *t, bool ok);

#endif
