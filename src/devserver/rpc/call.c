/* See call.h. Batches are counted under the lock and started outside it: a count above zero keeps the RPC alive.
 * SPDX-License-Identifier: Apache-2.0 */
#include "rpc/call.h"

#include <grpc/support/alloc.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/batches.h"
#include "faults/inject.h"
#include "rpc/wire.h"

/* A request past this takes its time to be parsed, and is not parsed on the poller's thread. */
enum { SPARES_MAX = 1024, LARGE_REQUEST_BYTES = 64 << 10 };

static const char service_prefix[] = "/arvak.v1.ArvakService/";

static void on_accepted(tag *t, bool ok);
static void on_finished(tag *t, bool ok);
static void on_gone(tag *t, bool ok);

static call *call_create(service *s) {
  call *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  c->owner = s;
  pthread_mutex_init(&c->mu, NULL);
  arena_init(&c->memory);
  c->accepted.fn = on_accepted;
  c->finished.fn = on_finished;
  c->gone.fn = on_gone;
  c->sent.fn = stream_on_sent;
  c->received.fn = stream_on_received;
  return c;
}

static void call_destroy(call *c) {
  pthread_mutex_destroy(&c->mu);
  free(c);
}

static call *call_take(service *s) {
  pthread_mutex_lock(&s->spare_mu);
  call *c = s->spare;
  if (c) {
    s->spare = c->next_free;
    s->spares--;
  }
  pthread_mutex_unlock(&s->spare_mu);
  if (!c) c = call_create(s);
  if (!c) return NULL;
  atomic_store_explicit(&c->refs, 1, memory_order_relaxed);
  c->rpc = NULL;
  c->payload = c->incoming = c->on_wire = NULL;
  c->cancelled = 0;
  c->batches = 0;
  c->watched = c->closed = c->headers_due = c->sending = c->ending = c->status_sent = false;
  c->first = c->last = NULL;
  c->queued = 0;
  c->messages = 0;
  c->fault = NULL;
  c->fault_done = false;
  c->doomed = NULL;
  c->stream = NULL;
  grpc_metadata_array_init(&c->metadata);
  return c;
}

call *call_ref(call *c) {
  atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
  return c;
}

void call_unref(call *c) {
  if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1) return;
  service *s = c->owner;
  stream_clear(c);
  free(c->status_text);
  c->status_text = NULL;
  if (c->stream && c->method->release) c->method->release(c->stream);
  free(c->stream);
  inject_release(c);
  arena_fini(&c->memory);
  if (!c->method) grpc_call_details_destroy(&c->details);
  grpc_metadata_array_destroy(&c->metadata);
  pthread_mutex_lock(&s->spare_mu);
  bool keep = s->spares < SPARES_MAX;
  if (keep) {
    c->next_free = s->spare;
    s->spare = c;
    s->spares++;
  }
  pthread_mutex_unlock(&s->spare_mu);
  if (!keep) call_destroy(c);
}

void calls_free(service *s) {
  while (s->spare) {
    call *next = s->spare->next_free;
    call_destroy(s->spare);
    s->spare = next;
  }
}

/* gRPC holds nothing of it any more, and will not be given anything. */
static void call_over(call *c) {
  service *s = c->owner;
  call_unref(c);
  atomic_fetch_sub_explicit(&s->open, 1, memory_order_release);
}

void call_expect(service *s, const method *m) {
  call *c = call_take(s);
  if (!c) return; /* one request fewer is out; those that are out still serve */
  c->method = m;
  atomic_fetch_add_explicit(&s->open, 1, memory_order_relaxed);
  grpc_call_error error;
  if (m) {
    error = grpc_server_request_registered_call(s->server, s->registered[m->index], &c->rpc, &c->deadline, &c->metadata,
                                                m->reads_many ? NULL : &c->payload, s->queue, s->queue, &c->accepted);
  } else {
    grpc_call_details_init(&c->details);
    error = grpc_server_request_call(s->server, &c->rpc, &c->details, &c->metadata, s->queue, s->queue, &c->accepted);
  }
  if (error != GRPC_CALL_OK) call_over(c);
}

connection *call_connection(call *c) {
  char *peer = grpc_call_get_peer(c->rpc);
  connection *found = peer ? listener_find(c->owner->listener, peer) : NULL;
  gpr_free(peer);
  return found;
}

/* The time it takes says nothing about where two keys differ. */
static bool same_key(const char *key, grpc_slice given) {
  size_t length = strlen(key);
  if (GRPC_SLICE_LENGTH(given) != length) return false;
  unsigned char difference = 0;
  for (size_t i = 0; i < length; i++) difference |= (unsigned char)key[i] ^ GRPC_SLICE_START_PTR(given)[i];
  return !difference;
}

static bool authorized(const call *c) {
  const char *key = c->owner->options.api_key;
  if (!key) return true;
  if (!c->method) {
    size_t length = sizeof service_prefix - 1;
    grpc_slice path = c->details.method;
    if (GRPC_SLICE_LENGTH(path) < length || memcmp(GRPC_SLICE_START_PTR(path), service_prefix, length) != 0)
      return true;
  }
  for (size_t i = 0; i < c->metadata.count; i++) {
    const grpc_metadata *entry = &c->metadata.metadata[i];
    if (grpc_slice_str_cmp(entry->key, "x-api-key") == 0) return same_key(key, entry->value);
  }
  return false;
}

void call_execute(call *c) {
  const method *m = c->method;
  if (m->reads_many) {
    m->run(c, NULL);
    return;
  }
  size_t length = c->payload ? grpc_byte_buffer_length(c->payload) : 0;
  if (length > c->owner->options.max_message_size) {
    call_fail(c, GRPC_STATUS_OUT_OF_RANGE, MESSAGE_TOO_LARGE, "decoded", length,
              (size_t)c->owner->options.max_message_size);
    return;
  }
  const char *problem;
  ProtobufCMessage *request = wire_unpack(&c->memory, m->request, c->payload, &problem);
  if (request) {
    m->run(c, request);
  } else {
    call_fail(c, GRPC_STATUS_INTERNAL, "%s", problem);
  }
}

bool call_pin(call *c) {
  pthread_mutex_lock(&c->mu);
  bool ok = !c->closed;
  if (ok) c->batches++;
  pthread_mutex_unlock(&c->mu);
  return ok;
}

void call_unpin(call *c) { call_batch_done(c); }

static void turn_come(timer *t, bool fired) {
  call *c = CALL_OF(t, turn);
  if (fired && call_pin(c)) {
    call_execute(c);
    call_unpin(c);
  }
  call_unref(c);
}

static void execute_soon(call *c) {
  if (!c->payload || grpc_byte_buffer_length(c->payload) < LARGE_REQUEST_BYTES) {
    call_execute(c);
    return;
  }
  call_watch(c);
  timer_start(c->owner->side_lane, &call_ref(c)->turn, clock_us(), turn_come);
}

static void call_dispatch(call *c) {
  if (!authorized(c)) {
    call_fail(c, GRPC_STATUS_UNAUTHENTICATED, "Invalid or missing API key");
  } else if (!c->method) {
    call_fail(c, GRPC_STATUS_UNIMPLEMENTED, "%s", "");
  } else {
    c->fault = faults_call(c->owner->faults, c->method->index);
    if (c->fault) {
      inject_begin(c);
    } else {
      execute_soon(c);
    }
  }
}

static void on_accepted(tag *t, bool ok) {
  call *c = CALL_OF(t, accepted);
  service *s = c->owner;
  if (!ok) {
    call_over(c);
    return;
  }
  call_expect(s, c->method);
  atomic_fetch_add_explicit(c->method ? &s->calls[c->method->index] : &s->unknown_calls, 1, memory_order_relaxed);
  call_ref(c); /* an answer may be through before call_dispatch returns */
  call_dispatch(c);
  call_unref(c);
}

void call_start(call *c, const grpc_op *ops, size_t count, tag *t) {
  grpc_call_error error = grpc_call_start_batch(c->rpc, ops, count, t, NULL);
  if (error == GRPC_CALL_OK) return;
  fprintf(stderr, "arvak-devserver: gRPC refused a batch: error %d\n", (int)error);
  abort(); /* our own misuse: the counts of batches would never add up again */
}

void call_batch_done(call *c) {
  pthread_mutex_lock(&c->mu);
  c->batches--;
  bool over = c->closed && c->batches == 0;
  pthread_mutex_unlock(&c->mu);
  if (!over) return;
  grpc_call_unref(c->rpc);
  if (c->payload) grpc_byte_buffer_destroy(c->payload);
  c->payload = NULL;
  call_over(c);
}

grpc_op call_headers_op(void) { return (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA}; }

/* Any thread that sends a status is the only one to. */
grpc_op call_status_op(call *c, grpc_status_code code, grpc_slice *text) {
  return (grpc_op){.op = GRPC_OP_SEND_STATUS_FROM_SERVER,
                   .data.send_status_from_server = {.status = code,
                                                    .status_details = text,
                                                    .trailing_metadata_count = inject_trailer(c, &c->trailer),
                                                    .trailing_metadata = &c->trailer}};
}

/* The whole answer of a unary call in one batch, with the watch for its end unless that is out already. */
static void answer(call *c, grpc_byte_buffer *body, grpc_status_code code, const char *text) {
  if (inject_replaces_answer(c)) {
    if (body) grpc_byte_buffer_destroy(body);
    return;
  }
  grpc_slice details = text ? grpc_slice_from_copied_string(text) : grpc_empty_slice();
  grpc_op ops[4] = {call_headers_op(), call_status_op(c, code, text ? &details : NULL)};
  size_t count = 2;
  if (body) ops[count++] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = body};
  pthread_mutex_lock(&c->mu);
  bool closed = c->closed;
  if (!c->watched) {
    ops[count++] = (grpc_op){.op = GRPC_OP_RECV_CLOSE_ON_SERVER, .data.recv_close_on_server.cancelled = &c->cancelled};
  }
  if (!closed) {
    c->batches++;
    c->on_wire = body;
  }
  pthread_mutex_unlock(&c->mu);
  if (!closed) {
    call_start(c, ops, count, &c->finished);
  } else if (body) {
    grpc_byte_buffer_destroy(body);
  }
  grpc_slice_unref(details);
}

void call_wire_clear(call *c) {
  if (c->on_wire) grpc_byte_buffer_destroy(c->on_wire);
  c->on_wire = NULL;
}

static void on_finished(tag *t, bool ok) {
  (void)ok;
  call *c = CALL_OF(t, finished);
  pthread_mutex_lock(&c->mu);
  if (!c->watched) c->closed = true;
  call_wire_clear(c);
  pthread_mutex_unlock(&c->mu);
  call_batch_done(c);
}

void call_reply(call *c, const ProtobufCMessage *message) {
  size_t length = protobuf_c_message_get_packed_size(message), limit = c->owner->options.max_message_size;
  if (length > limit) {
    call_fail(c, GRPC_STATUS_OUT_OF_RANGE, MESSAGE_TOO_LARGE, "encoded", length, limit);
  } else {
    answer(c, wire_pack(message), GRPC_STATUS_OK, NULL);
  }
}

char *call_format(const char *format, va_list args) {
  char *text = NULL;
  return vasprintf(&text, format, args) < 0 ? NULL : text;
}

void call_fail(call *c, grpc_status_code code, const char *format, ...) {
  va_list args;
  va_start(args, format);
  char *text = call_format(format, args);
  va_end(args);
  answer(c, NULL, code, text);
  free(text);
}

void call_watch(call *c) {
  pthread_mutex_lock(&c->mu);
  bool again = c->watched;
  c->watched = true;
  if (!again) c->batches++;
  pthread_mutex_unlock(&c->mu);
  if (again) return;
  grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER, .data.recv_close_on_server.cancelled = &c->cancelled};
  call_start(c, &op, 1, &c->gone);
}

static void on_gone(tag *t, bool ok) {
  (void)ok;
  call *c = CALL_OF(t, gone);
  pthread_mutex_lock(&c->mu);
  c->closed = true;
  stream_clear(c);
  pthread_mutex_unlock(&c->mu);
  inject_closed(c);
  if (c->stream && c->method->closed) c->method->closed(c);
  call_batch_done(c);
}
