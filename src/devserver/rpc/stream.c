/* See stream.h. Messages wait in a list, one is on its way at a time, and whoever adds to the list or ends a
 * stream sends what can be sent.
 * SPDX-License-Identifier: Apache-2.0 */
#include "stream.h"

#include <stdarg.h>
#include <stdlib.h>

#include "inject.h"
#include "wire.h"

static void on_sent(tag *t, bool ok);
static void on_received(tag *t, bool ok);

void stream_open(call *c) {
  c->sent.fn = on_sent;
  c->received.fn = on_received;
  c->sent.takes_turns = c->received.takes_turns = true;
  c->headers_due = true; /* nobody else knows the stream yet */
  call_watch(c);
}

/* What goes out in one batch. */
typedef struct flight {
  grpc_op ops[3];
  size_t count;
  bool drop; /* the connection, by a fault */
  grpc_slice text;
} flight;

/* Under the lock: takes from the call what can be sent now. */
static void flight_load(call *c, flight *f) {
  if (c->closed || c->sending || c->status_sent) return;
  if (inject_due(c)) f->drop = inject_end(c);
  if (c->status_sent) return;
  if (c->headers_due) f->ops[f->count++] = call_headers_op();
  c->headers_due = false;
  if (c->first) {
    outgoing *message = c->first;
    c->messages++;
    c->on_wire = message->bytes;
    c->first = message->next;
    if (!c->first) c->last = NULL;
    free(message);
    /* More is waiting: let gRPC gather it into one write. A fault may see to it that nothing follows. */
    uint32_t flags = c->first && !c->fault ? GRPC_WRITE_BUFFER_HINT : 0;
    f->ops[f->count++] =
        (grpc_op){.op = GRPC_OP_SEND_MESSAGE, .flags = flags, .data.send_message.send_message = c->on_wire};
  }
  if (c->ending && !c->first && !inject_due(c)) {
    c->status_sent = true;
    if (c->status_text) f->text = grpc_slice_from_copied_string(c->status_text);
    f->ops[f->count++] = call_status_op(c, c->status, c->status_text ? &f->text : NULL);
  }
  if (!f->count) return;
  c->sending = true;
  c->batches++;
}

void stream_flush(call *c) {
  flight f = {.count = 0, .text = grpc_empty_slice()};
  pthread_mutex_lock(&c->mu);
  flight_load(c, &f);
  pthread_mutex_unlock(&c->mu);
  if (f.count) call_start(c, f.ops, f.count, &c->sent);
  if (f.drop) inject_drop_soon(c);
  grpc_slice_unref(f.text);
}

static void on_sent(tag *t, bool ok) {
  (void)ok; /* a failure to send is followed by the end of the RPC, which on_gone hears of */
  call *c = CALL_OF(t, sent);
  pthread_mutex_lock(&c->mu);
  c->sending = false;
  if (c->on_wire && c->queued) c->queued--;
  call_wire_clear(c);
  pthread_mutex_unlock(&c->mu);
  stream_flush(c);
  if (c->method->sent) c->method->sent(c);
  call_batch_done(c);
}

static void enqueue(call *c, const ProtobufCMessage *message, bool last) {
  outgoing *next = malloc(sizeof *next);
  if (!next) return; /* dropped, like everything else when memory is out */
  *next = (outgoing){.bytes = wire_pack(message)};
  pthread_mutex_lock(&c->mu);
  bool wanted = !c->closed && !c->ending;
  if (wanted) {
    *(c->last ? &c->last->next : &c->first) = next;
    c->last = next;
    c->queued++;
    c->ending = last;
    c->status = GRPC_STATUS_OK;
  }
  pthread_mutex_unlock(&c->mu);
  if (wanted) {
    stream_flush(c);
  } else {
    grpc_byte_buffer_destroy(next->bytes);
    free(next);
  }
}

static bool fits(call *c, const ProtobufCMessage *message) {
  size_t length = protobuf_c_message_get_packed_size(message), limit = c->owner->max_message_size;
  if (length <= limit) return true;
  stream_end(c, GRPC_STATUS_OUT_OF_RANGE, MESSAGE_TOO_LARGE, "encoded", length, limit);
  return false;
}

bool stream_send(call *c, const ProtobufCMessage *message) {
  if (!fits(c, message)) return false;
  enqueue(c, message, false);
  return true;
}

void stream_last(call *c, const ProtobufCMessage *message) {
  if (fits(c, message)) enqueue(c, message, true);
}

void stream_end(call *c, grpc_status_code code, const char *format, ...) {
  va_list args;
  va_start(args, format);
  char *text = call_format(format, args);
  va_end(args);
  pthread_mutex_lock(&c->mu);
  if (!c->ending) {
    c->ending = true;
    c->status = code;
    c->status_text = text;
    text = NULL;
  }
  pthread_mutex_unlock(&c->mu);
  free(text);
  stream_flush(c);
}

bool stream_closed(call *c) {
  pthread_mutex_lock(&c->mu);
  bool closed = c->closed;
  pthread_mutex_unlock(&c->mu);
  return closed;
}

size_t stream_queued(call *c) {
  pthread_mutex_lock(&c->mu);
  size_t queued = c->queued;
  pthread_mutex_unlock(&c->mu);
  return queued;
}

bool stream_read(call *c) {
  pthread_mutex_lock(&c->mu);
  bool open = !c->closed;
  if (open) c->batches++;
  pthread_mutex_unlock(&c->mu);
  if (!open) return false;
  grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &c->incoming};
  call_start(c, &op, 1, &c->received);
  return true;
}

static void on_received(tag *t, bool ok) {
  call *c = CALL_OF(t, received);
  grpc_byte_buffer *message = c->incoming;
  c->incoming = NULL;
  c->method->received(c, ok ? message : NULL);
  if (message) grpc_byte_buffer_destroy(message);
  call_batch_done(c);
}
