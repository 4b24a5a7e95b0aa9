/* The fields of a protobuf message, one after the other, where they lie. Invariant: nothing outside the span is read,
 * and nothing is allocated. Pure.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_WIRE_H
#define ARVAK_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The types of fields that our messages have. */
enum { ARVAK__WIRE_VARINT = 0, ARVAK__WIRE_BYTES = 2 };

/* Bytes, borrowed; what has been read is cut off at the front. */
typedef struct arvak__span {
  const uint8_t *at, *end;
} arvak__span;

typedef struct arvak__field {
  uint32_t tag;      /* number << 3 | type */
  uint64_t value;    /* of a varint */
  arvak__span bytes; /* of ARVAK__WIRE_BYTES: a text, or another message */
} arvak__field;

/* NULL is fine where size is 0. */
arvak__span arvak__span_of(const uint8_t *data, size_t size);
/* Reads the next field. False: there is none, or what comes is none, as arvak__wire_is_whole tells. */
bool arvak__wire_next(arvak__span *span, arvak__field *field);
/* After next has returned false: whether all of the span were fields. */
bool arvak__wire_is_whole(const arvak__span *span);

#endif
