/* WatchJob: the job's state at once, then at every interval whether it changed or not, until it is terminal.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_WATCH_H
#define ARVAK_DEVSERVER_WATCH_H

#include "rpc/call.h"

void watch_run(call *c, const ProtobufCMessage *request);
void watch_closed(call *c);

#endif
