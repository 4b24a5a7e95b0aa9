/* A client of a few lines for the server's tests: one call at a time, everything bounded by DEADLINE_S.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_SPEC_DEVSERVER_PEER_H
#define ARVAK_SPEC_DEVSERVER_PEER_H

#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/support/alloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arvak.pb-c.h"
#include "compat.h"

enum { DEADLINE_S = 10 };

typedef struct peer {
  grpc_completion_queue *queue;
  grpc_channel *channel;
} peer;

/* A call under way, and what is known of its end. */
typedef struct peer_call {
  peer *owner;
  grpc_call *call;
  grpc_metadata_array headers, trailers;
  grpc_status_code code;
  grpc_slice details;
  char text[512];    /* of the status, after peer_finish */
  char pushback[16]; /* trailing grpc-retry-pushback-ms */
} peer_call;

static inline gpr_timespec peer_deadline(double seconds) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_micros((int64_t)(seconds * 1e6), GPR_TIMESPAN));
}

static inline peer peer_connect(const char *address) {
  grpc_arg list[] = {{.type = GRPC_ARG_INTEGER, .key = (char *)"grpc.use_local_subchannel_pool", .value.integer = 1},
                     {.type = GRPC_ARG_INTEGER, .key = (char *)"grpc.initial_reconnect_backoff_ms",
                      .value.integer = 100},
                     {.type = GRPC_ARG_INTEGER, .key = (char *)"grpc.enable_http_proxy", .value.integer = 0},
                     {.type = GRPC_ARG_INTEGER, .key = (char *)"grpc.max_receive_message_length", .value.integer = -1}};
  grpc_channel_args args = {.num_args = 4, .args = list};
  grpc_channel_credentials *plain = grpc_insecure_credentials_create();
  peer p = {.queue = grpc_completion_queue_create_for_pluck(NULL),
            .channel = grpc_channel_create(address, plain, &args)};
  grpc_channel_credentials_release(plain);
  return p;
}

static inline void peer_close(peer *p) {
  grpc_channel_destroy(p->channel);
  grpc_completion_queue_shutdown(p->queue);
  grpc_completion_queue_destroy(p->queue);
}

/* Starts ops under a tag; false when that is not done within the time. */
static inline bool peer_do(peer_call *c, const grpc_op *ops, size_t count, void *tag, double seconds) {
  if (count && grpc_call_start_batch(c->call, ops, count, tag, NULL) != GRPC_CALL_OK) abort();
  return grpc_completion_queue_pluck(c->owner->queue, tag, peer_deadline(seconds), NULL).type == GRPC_OP_COMPLETE;
}

/* The path is a method's name, or begins with a slash. */
static inline peer_call *peer_start(peer *p, const char *path, double seconds, const char *key) {
  char full[128];
  peer_call *c = calloc(1, sizeof *c);
  snprintf(full, sizeof full, "%s%s", *path == '/' ? "" : "/arvak.v1.ArvakService/", path);
  grpc_slice name = grpc_slice_from_copied_string(full);
  c->owner = p;
  c->call = grpc_channel_create_call(p->channel, NULL, GRPC_PROPAGATE_DEFAULTS, p->queue, name, NULL,
                                     peer_deadline(seconds), NULL);
  grpc_slice_unref(name);
  grpc_metadata_array_init(&c->headers);
  grpc_metadata_array_init(&c->trailers);
  grpc_metadata entry = {.key = grpc_slice_from_static_string("x-api-key"),
                         .value = grpc_slice_from_static_string(key ? key : "")};
  grpc_op first = {.op = GRPC_OP_SEND_INITIAL_METADATA,
                   .data.send_initial_metadata = {.count = key ? 1 : 0, .metadata = &entry}};
  grpc_op end = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
                 .data.recv_status_on_client = {
                     .trailing_metadata = &c->trailers, .status = &c->code, .status_details = &c->details}};
  grpc_op headers = {.op = GRPC_OP_RECV_INITIAL_METADATA,
                     .data.recv_initial_metadata.recv_initial_metadata = &c->headers};
  if (grpc_call_start_batch(c->call, &end, 1, &c->code, NULL) != GRPC_CALL_OK) abort();
  if (grpc_call_start_batch(c->call, &headers, 1, &c->headers, NULL) != GRPC_CALL_OK) abort();
  peer_do(c, &first, 1, c, DEADLINE_S);
  return c;
}

/* False: it could not be written within the time; then the call is good for peer_cancel only. */
static inline bool peer_write_bytes(peer_call *c, const void *bytes, size_t length, double seconds) {
  grpc_slice slice = grpc_slice_from_copied_buffer(bytes, length);
  grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
  grpc_slice_unref(slice);
  grpc_op op = {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = buffer};
  bool ok = peer_do(c, &op, 1, &c->text, seconds);
  grpc_byte_buffer_destroy(buffer);
  return ok;
}

static inline bool peer_write(peer_call *c, const void *message, double seconds) {
  size_t length = protobuf_c_message_get_packed_size(message);
  uint8_t *bytes = malloc(length + 1);
  protobuf_c_message_pack(message, bytes);
  bool ok = peer_write_bytes(c, bytes, length, seconds);
  free(bytes);
  return ok;
}

static inline void peer_half_close(peer_call *c) {
  grpc_op op = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};
  peer_do(c, &op, 1, c, DEADLINE_S);
}

/* The next message, to be freed by protobuf_c_message_free_unpacked; NULL: there is none. */
static inline void *peer_read(peer_call *c, const ProtobufCMessageDescriptor *type) {
  grpc_byte_buffer *buffer = NULL;
  grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &buffer};
  if (!peer_do(c, &op, 1, &c->pushback, DEADLINE_S)) abort();
  if (!buffer) return NULL;
  grpc_byte_buffer_reader reader;
  grpc_byte_buffer_reader_init(&reader, buffer);
  grpc_slice all = grpc_byte_buffer_reader_readall(&reader);
  void *message = protobuf_c_message_unpack(type, NULL, GRPC_SLICE_LENGTH(all), GRPC_SLICE_START_PTR(all));
  grpc_slice_unref(all);
  grpc_byte_buffer_reader_destroy(&reader);
  grpc_byte_buffer_destroy(buffer);
  return message;
}

/* Waits for the status. */
static inline grpc_status_code peer_finish(peer_call *c) {
  if (!peer_do(c, NULL, 0, &c->headers, DEADLINE_S) || !peer_do(c, NULL, 0, &c->code, DEADLINE_S)) abort();
  snprintf(c->text, sizeof c->text, "%.*s", (int)GRPC_SLICE_LENGTH(c->details), GRPC_SLICE_START_PTR(c->details));
  for (size_t i = 0; i < c->trailers.count; i++) {
    const grpc_metadata *m = &c->trailers.metadata[i];
    if (grpc_slice_str_cmp(m->key, "grpc-retry-pushback-ms") != 0) continue;
    snprintf(c->pushback, sizeof c->pushback, "%.*s", (int)GRPC_SLICE_LENGTH(m->value), GRPC_SLICE_START_PTR(m->value));
  }
  return c->code;
}

static inline void peer_free(peer_call *c) {
  grpc_metadata_array_destroy(&c->headers);
  grpc_metadata_array_destroy(&c->trailers);
  grpc_slice_unref(c->details);
  grpc_call_unref(c->call);
  free(c);
}

static inline void peer_cancel(peer_call *c) {
  grpc_call_cancel(c->call, NULL);
  peer_finish(c);
}

#endif
