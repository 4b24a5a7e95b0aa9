/* SubmitBatchStream: submissions in, acknowledgements and results out.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_BATCH_H
#define ARVAK_DEVSERVER_BATCH_H

#include "rpc/call.h"

void batch_run(call *c, const ProtobufCMessage *request);
void batch_sent(call *c);
void batch_received(call *c, grpc_byte_buffer *message);
void batch_release(void *stream);

#endif
