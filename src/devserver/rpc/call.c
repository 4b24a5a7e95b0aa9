/* See call.h. Batches are counted under the lock and started outside it: a count above zero keeps the RPC alive.
 * SPDX-License-Identifier: Apache-2.0 */
#include "call.h"

#include <grpc/support/alloc.h>
#include <stdio.h>
#include <stdlib.h>

enum { SPARES_MAX = 1024 };

static void on_finished(tag *t, bool ok);
static void on_gone(tag *t, bool ok);

void calls_init(calls *all) { pthread_mutex_init(&all->spare_mu, NULL); }

static call *call_create(calls *all) {
  call *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  c->owner = all;
  pthread_mutex_init(&c->mu, NULL);
  arena_init(&c->memory);
  c->finished.fn = on_finished;
  c->gone.fn = on_gone;
  return c;
}

static void call_destroy(call *c) {
  pthread_mutex_destroy(&c->mu);
  free(c);
}

void calls_fini(calls *all) {
  while (all->spare) {
    call *next = all->spare->next_free;
    call_destroy(all->spare);
    all->spare = next;
  }
  pthread_mutex_destroy(&all->spare_mu);
}

static call *call_take(calls *all) {
  pthread_mutex_lock(&all->spare_mu);
  call *c = all->spare;
  if (c) {
    all->spare = c->next_free;
    all->spares--;
  }
  pthread_mutex_unlock(&all->spare_mu);
  return c ? c : call_create(all);
}

call *call_new(calls *all, const method *m) {
  call *c = call_take(all);
  if (!c) return NULL;
  c->method = m;
  atomic_store_explicit(&c->refs, 1, memory_order_relaxed);
  c->rpc = NULL;
  c->payload = c->incoming = c->on_wire = NULL;
  c->cancelled = 0;
  c->batches = 0;
  c->watched = c->closed = c->headers_due = c->sending = c->ending = c->status_sent = false;
  c->first = c->last = NULL;
  c->queued = 0;
  c->messages = 0;
  c->trailers = 0;
  c->fault = NULL;
  c->fault_done = false;
  c->doomed = NULL;
  c->stream = NULL;
  grpc_metadata_array_init(&c->metadata);
  if (!m) grpc_call_details_init(&c->details);
  atomic_fetch_add_explicit(&all->open, 1, memory_order_relaxed);
  return c;
}

call *call_ref(call *c) {
  atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
  return c;
}

void call_queue_clear(call *c) {
  while (c->first) {
    outgoing *next = c->first->next;
    grpc_byte_buffer_destroy(c->first->bytes);
    free(c->first);
    c->first = next;
  }
  c->last = NULL;
  c->queued = 0;
}

void call_unref(call *c) {
  if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1) return;
  calls *all = c->owner;
  call_queue_clear(c);
  free(c->status_text);
  c->status_text = NULL;
  if (c->stream && c->method->release) c->method->release(c->stream);
  free(c->stream);
  if (c->doomed) connection_unref(c->doomed);
  free(c->fault);
  arena_fini(&c->memory);
  if (!c->method) grpc_call_details_destroy(&c->details);
  grpc_metadata_array_destroy(&c->metadata);
  pthread_mutex_lock(&all->spare_mu);
  bool keep = all->spares < SPARES_MAX;
  if (keep) {
    c->next_free = all->spare;
    all->spare = c;
    all->spares++;
  }
  pthread_mutex_unlock(&all->spare_mu);
  if (!keep) call_destroy(c);
}

void call_over(call *c) {
  calls *all = c->owner;
  call_unref(c);
  atomic_fetch_sub_explicit(&all->open, 1, memory_order_release);
}

connection *call_connection(call *c) {
  char *peer = grpc_call_get_peer(c->rpc);
  connection *found = peer ? listener_find(c->owner->listener, peer) : NULL;
  gpr_free(peer);
  return found;
}

void call_start(call *c, const grpc_op *ops, size_t count, tag *t) {
  TAG_GIVEN(t);
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

bool call_pin(call *c) {
  pthread_mutex_lock(&c->mu);
  bool ok = !c->closed;
  if (ok) c->batches++;
  pthread_mutex_unlock(&c->mu);
  return ok;
}

void call_unpin(call *c) { call_batch_done(c); }

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

/* The end may have come already; then the timer finds the call closed, and nothing happens. */
void call_hold(call *c, uint64_t due_us, timer_fn fn) {
  call_watch(c);
  call_ref(c);
  timer_start(c->owner->clock, &c->hold, due_us, fn);
}

static void on_gone(tag *t, bool ok) {
  (void)ok;
  call *c = CALL_OF(t, gone);
  pthread_mutex_lock(&c->mu);
  c->closed = true;
  call_queue_clear(c);
  pthread_mutex_unlock(&c->mu);
  if (c->fault && timer_cancel(c->owner->clock, &c->hold)) call_unref(c);
  if (c->stream && c->method->closed) c->method->closed(c);
  call_batch_done(c);
}

grpc_op call_headers_op(void) { return (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA}; }

/* Any thread that sends a status is the only one to. */
grpc_op call_status_op(call *c, grpc_status_code code, grpc_slice *text) {
  return (grpc_op){.op = GRPC_OP_SEND_STATUS_FROM_SERVER,
                   .data.send_status_from_server = {.status = code,
                                                    .status_details = text,
                                                    .trailing_metadata_count = c->trailers,
                                                    .trailing_metadata = &c->trailer}};
}

void call_wire_clear(call *c) {
  if (c->on_wire) grpc_byte_buffer_destroy(c->on_wire);
  c->on_wire = NULL;
}

/* In one batch, with the watch for the end unless that is out already. */
void call_finish(call *c, grpc_byte_buffer *body, grpc_status_code code, const char *text) {
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

static void on_finished(tag *t, bool ok) {
  (void)ok;
  call *c = CALL_OF(t, finished);
  pthread_mutex_lock(&c->mu);
  if (!c->watched) c->closed = true;
  call_wire_clear(c);
  pthread_mutex_unlock(&c->mu);
  call_batch_done(c);
}

char *call_format(const char *format, va_list args) {
  char *text = NULL;
  return vasprintf(&text, format, args) < 0 ? NULL : text;
}
