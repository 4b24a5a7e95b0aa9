/* The answer of a unary call, or the refusal of one that would be a stream. A unary handler ends with exactly one
 * answer_ok or answer_fail. A fault may take the answer's place.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_ANSWER_H
#define ARVAK_DEVSERVER_ANSWER_H

#include "call.h"

void answer_ok(call *c, const ProtobufCMessage *message);
void answer_fail(call *c, grpc_status_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
