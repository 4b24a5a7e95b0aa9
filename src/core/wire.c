/* Varints, and lengths that must lie within what is there. A span that has been read to its end is empty; one that
 * turned out to be broken has a beginning behind its end, which no other has.
 * SPDX-License-Identifier: Apache-2.0 */
#include "wire.h"

/* The types that a field may have besides; groups, 3 and 4, are of no use to anybody since protobuf 2. */
enum { FIXED64 = 1, FIXED32 = 5, MAX_VARINT = 10 };

/* So that no arithmetic is done with NULL. */
static const uint8_t nothing;

arvak__span arvak__span_of(const uint8_t *data, size_t size) {
  return data ? (arvak__span){data, data + size} : (arvak__span){&nothing, &nothing};
}

static bool is_broken(arvak__span *span) {
  *span = (arvak__span){&nothing + 1, &nothing};
  return false;
}

bool arvak__wire_is_whole(const arvak__span *span) { return span->at == span->end; }

static bool read_varint(arvak__span *span, uint64_t *out) {
  uint64_t value = 0;
  for (int i = 0; i < MAX_VARINT && span->at < span->end; i++) {
    uint8_t byte = *span->at++;
    value |= (uint64_t)(byte & 0x7f) << (7 * i);
    if (byte & 0x80) continue;
    *out = value;
    return true;
  }
  return false;
}

static bool read_bytes(arvak__span *span, uint64_t size, arvak__span *out) {
  if (size > (uint64_t)(span->end - span->at)) return false;
  *out = (arvak__span){span->at, span->at + size};
  span->at += size;
  return true;
}

static bool read_value(arvak__span *span, arvak__field *field) {
  switch (field->tag & 7) {
    case ARVAK__WIRE_VARINT: return read_varint(span, &field->value);
    case ARVAK__WIRE_BYTES: return read_varint(span, &field->value) && read_bytes(span, field->value, &field->bytes);
    case FIXED64: return read_bytes(span, 8, &field->bytes);
    case FIXED32: return read_bytes(span, 4, &field->bytes);
    default: return false;
  }
}

bool arvak__wire_next(arvak__span *span, arvak__field *field) {
  if (span->at == span->end) return false;
  uint64_t tag;
  if (!read_varint(span, &tag) || tag >> 3 == 0 || tag > UINT32_MAX) return is_broken(span);
  field->tag = (uint32_t)tag;
  return read_value(span, field) || is_broken(span);
}
