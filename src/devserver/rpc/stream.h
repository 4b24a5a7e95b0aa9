/* A call that answers with a stream: it opens with stream_open, takes messages by stream_send in any thread, and ends
 * with stream_end or stream_last; its method hears of what was sent and of the end.
 * Invariant: one message at a time is with gRPC, the others wait in the call, guarded by its mu.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_STREAM_H
#define ARVAK_DEVSERVER_STREAM_H

#include "call.h"

/* From now on method->closed tells of the end. The headers go with the first message, or by stream_flush. */
void stream_open(call *c);
void stream_flush(call *c);

/* False: the message is longer than the service sends; the stream was ended for it. After stream_end messages are
 * dropped. stream_last sends and ends with OK, in one go. */
bool stream_send(call *c, const ProtobufCMessage *message);
void stream_last(call *c, const ProtobufCMessage *message);
void stream_end(call *c, grpc_status_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));
size_t stream_queued(call *c); /* messages given and not yet on the wire */
bool stream_read(call *c);     /* method->received follows; false: the stream is closed, nothing follows */
bool stream_closed(call *c);

#endif
