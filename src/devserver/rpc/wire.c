/* See wire.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "wire.h"

#include <grpc/byte_buffer_reader.h>
#include <string.h>

/* Bytes that one UTF-8 sequence takes, 0 if it is not one: overlong forms, surrogates and numbers past the end
 * of Unicode are refused by the bounds of the second byte. */
static size_t sequence_length(const unsigned char *p, size_t left) {
  unsigned char low = 0x80, high = 0xbf;
  size_t length;
  if (p[0] >= 0xc2 && p[0] <= 0xdf) {
    length = 2;
  } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
    length = 3;
    if (p[0] == 0xe0) low = 0xa0;
    if (p[0] == 0xed) high = 0x9f;
  } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
    length = 4;
    if (p[0] == 0xf0) low = 0x90;
    if (p[0] == 0xf4) high = 0x8f;
  } else {
    return 0;
  }
  if (length > left || p[1] < low || p[1] > high) return 0;
  for (size_t i = 2; i < length; i++) {
    if ((p[i] & 0xc0) != 0x80) return 0;
  }
  return length;
}

bool utf8_valid(const char *text, size_t length) {
  const unsigned char *p = (const unsigned char *)text, *end = p + length;
  while (p < end) {
    uint64_t word;
    if (end - p >= 8 && (memcpy(&word, p, 8), !(word & 0x8080808080808080u))) {
      p += 8;
    } else if (*p < 0x80) {
      p++;
    } else {
      size_t taken = sequence_length(p, (size_t)(end - p));
      if (!taken) return false;
      p += taken;
    }
  }
  return true;
}

size_t wire_length(const char *field) { return field == protobuf_c_empty_string ? 0 : arena_size(field) - 1; }

static bool strings_valid(const ProtobufCMessage *message);

static bool member_valid(const ProtobufCFieldDescriptor *field, const void *member) {
  const void *value = *(const void *const *)member;
  if (!value) return true;
  if (field->type == PROTOBUF_C_TYPE_MESSAGE) return strings_valid(value);
  return utf8_valid(value, wire_length(value));
}

static bool field_valid(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field) {
  if (field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_MESSAGE) return true;
  const char *base = (const char *)message;
  const void *member = base + field->offset;
  if (field->label == PROTOBUF_C_LABEL_REPEATED) {
    size_t count = *(const size_t *)(const void *)(base + field->quantifier_offset);
    const void *const *list = *(const void *const *const *)member;
    for (size_t i = 0; i < count; i++) {
      if (!member_valid(field, &list[i])) return false;
    }
    return true;
  }
  if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
    uint32_t chosen = *(const uint32_t *)(const void *)(base + field->quantifier_offset);
    if (chosen != field->id) return true;
  }
  return member_valid(field, member);
}

/* The interface's messages nest three deep, so this does too. */
static bool strings_valid(const ProtobufCMessage *message) {
  for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
    if (!field_valid(message, &message->descriptor->fields[i])) return false;
  }
  return true;
}

static void *allocator_alloc(void *ud, size_t size) { return arena_alloc(ud, size); }

/* Pieces are released together, by arena_fini. */
static void allocator_free(void *ud, void *piece) {
  (void)ud;
  (void)piece;
}

static ProtobufCMessage *unpack_slice(arena *a, const ProtobufCMessageDescriptor *type, grpc_slice slice) {
  ProtobufCAllocator allocator = {.alloc = allocator_alloc, .free = allocator_free, .allocator_data = a};
  return protobuf_c_message_unpack(type, &allocator, GRPC_SLICE_LENGTH(slice), GRPC_SLICE_START_PTR(slice));
}

ProtobufCMessage *wire_unpack(arena *a, const ProtobufCMessageDescriptor *type, grpc_byte_buffer *bytes,
                              const char **problem) {
  ProtobufCMessage *message = NULL;
  grpc_byte_buffer_reader reader;
  *problem = "failed to decode Protobuf message: not a valid encoding of the request";
  if (!bytes || !grpc_byte_buffer_reader_init(&reader, bytes)) return NULL;
  grpc_slice *only;
  if (bytes->type == GRPC_BB_RAW && bytes->data.raw.slice_buffer.count == 1 &&
      grpc_byte_buffer_reader_peek(&reader, &only)) {
    message = unpack_slice(a, type, *only);
  } else {
    grpc_slice joined = grpc_byte_buffer_reader_readall(&reader);
    message = unpack_slice(a, type, joined);
    grpc_slice_unref(joined);
  }
  grpc_byte_buffer_reader_destroy(&reader);
  if (message && !strings_valid(message)) {
    *problem = "failed to decode Protobuf message: invalid string value: data is not UTF-8 encoded";
    return NULL;
  }
  return message;
}

grpc_byte_buffer *wire_pack(const ProtobufCMessage *message) {
  grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(message));
  protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
  grpc_byte_buffer *bytes = grpc_raw_byte_buffer_create(&slice, 1);
  grpc_slice_unref(slice);
  return bytes;
}
