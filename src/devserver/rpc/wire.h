/* Messages in and out of gRPC's byte buffers: decoding as strict as the service's (every string is UTF-8), strings
 * with their true length, nothing allocated but from the request's arena.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_WIRE_H
#define ARVAK_DEVSERVER_WIRE_H

#include <grpc/byte_buffer.h>
#include <grpc/slice.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

#include "base/arena.h"

/* For answer_fail and stream_end: "decoded" or "encoded", the length, the limit. */
#define MESSAGE_TOO_LARGE "Error, %s message length too large: found %zu bytes, the limit is: %zu bytes"

bool utf8_valid(const char *text, size_t length);

/* Returns borrowed until arena_fini, or NULL with *problem set to a static text. */
ProtobufCMessage *wire_unpack(arena *a, const ProtobufCMessageDescriptor *type, grpc_byte_buffer *bytes,
                              const char **problem);

/* Bytes of a string field of a message from wire_unpack, without the final NUL. */
size_t wire_length(const char *field);

/* Returns owned, NULL when out of memory. */
grpc_byte_buffer *wire_pack(const ProtobufCMessage *message);

#endif
