/* StreamResults: the counts of a completed job, in chunks.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_RESULTS_H
#define ARVAK_DEVSERVER_RESULTS_H

#include "rpc/call.h"

void results_run(call *c, const ProtobufCMessage *request);
void results_sent(call *c);
void results_release(void *stream);

#endif
