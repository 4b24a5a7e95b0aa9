/* See answer.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "answer.h"

#include <stdlib.h>

#include "inject.h"
#include "wire.h"

/* Takes body. */
static void answer(call *c, grpc_byte_buffer *body, grpc_status_code code, const char *text) {
  if (!inject_replaces_answer(c)) {
    call_finish(c, body, code, text);
  } else if (body) {
    grpc_byte_buffer_destroy(body);
  }
}

void answer_ok(call *c, const ProtobufCMessage *message) {
  size_t length = protobuf_c_message_get_packed_size(message), limit = c->owner->max_message_size;
  if (length > limit) {
    answer_fail(c, GRPC_STATUS_OUT_OF_RANGE, MESSAGE_TOO_LARGE, "encoded", length, limit);
  } else {
    answer(c, wire_pack(message), GRPC_STATUS_OK, NULL);
  }
}

void answer_fail(call *c, grpc_status_code code, const char *format, ...) {
  va_list args;
  va_start(args, format);
  char *text = call_format(format, args);
  va_end(args);
  answer(c, NULL, code, text);
  free(text);
}
