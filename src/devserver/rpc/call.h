/* One RPC on the server, from its arrival to its status, and the means to answer it.
 * A unary handler ends with exactly one call_reply or call_fail. A stream opens with stream_open, hands over messages
 * with stream_send in any thread, and ends with stream_end; its methods hear of what was sent and of the end.
 * Invariant: gRPC's half lives until the client has been told or has gone and no batch is out; the struct lives until
 * the last reference, so a job or a timer may outlast the RPC.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_CALL_H
#define ARVAK_DEVSERVER_CALL_H

#include <grpc/grpc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/arena.h"
#include "faults/faults.h"
#include "rpc/listener.h"
#include "service/service.h"
#include "base/timer.h"

/* For call_fail and stream_end: "decoded" or "encoded", the length, the limit. */
#define MESSAGE_TOO_LARGE "Error, %s message length too large: found %zu bytes, the limit is: %zu bytes"

typedef struct outgoing {
  grpc_byte_buffer *bytes; /* owned */
  struct outgoing *next;
} outgoing;

struct call {
  service *owner;
  const method *method;      /* NULL: a method that the service does not have */
  grpc_call *rpc;            /* owned; guarded by mu once several threads know the call */
  grpc_call_details details; /* of an unknown method only */
  grpc_metadata_array metadata;
  grpc_byte_buffer *payload; /* owned; NULL once read */
  gpr_timespec deadline;
  arena memory; /* of the thread that runs the handler */
  tag accepted, finished, gone, sent, received;
  int cancelled;
  call *next_free;

  atomic_int refs;
  pthread_mutex_t mu;
  /* Guarded by mu. */
  int batches;              /* given to gRPC and not back */
  bool watched;             /* the batch that tells of the end is out, or back */
  bool closed;              /* the end of the RPC is known: nothing more can be sent */
  bool headers_due;         /* not sent yet: they go with the first message */
  bool sending;             /* a message is on its way */
  bool ending, status_sent; /* nothing follows the queued messages but the status; it has been sent too */
  outgoing *first, *last;
  size_t queued;             /* with the one on its way */
  grpc_byte_buffer *on_wire; /* owned: gRPC's until its batch is back */
  grpc_status_code status;
  char *status_text; /* owned */

  fault *fault;       /* owned, constant; NULL: nothing goes wrong */
  bool fault_done;    /* it has acted; guarded by mu, as is the next */
  uint64_t messages;  /* of a stream, sent */
  connection *doomed; /* reference: what the fault will drop; constant */
  timer hold;         /* a fault's latency or hang; running, it has a reference */
  timer turn;         /* of a large request, on the side lane; the same */
  grpc_metadata trailer;

  void *stream;               /* a stream's own state; owned, the last reference frees it after method->release */
  grpc_byte_buffer *incoming; /* owned: where stream_read puts a message */
};

/* Posts a request for the next call of a method (NULL: of any unknown one). */
void call_expect(service *s, const method *m);

void call_reply(call *c, const ProtobufCMessage *message);
void call_fail(call *c, grpc_status_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Runs the method: what a fault delays. From another thread than the poller's only between call_pin and call_unpin:
 * the RPC may end at any moment. */
void call_execute(call *c);
bool call_pin(call *c); /* false: it has ended */
void call_unpin(call *c);

/* Makes gRPC tell of the end before there is an answer. Once or more. */
void call_watch(call *c);

call *call_ref(call *c);
void call_unref(call *c);
void calls_free(service *s); /* the spare ones */

/* The connection it came by; shared, NULL when it has gone. */
connection *call_connection(call *c);

/* From now on method->closed tells of the end. The headers go with the first message, or by stream_flush. */
void stream_open(call *c);
void stream_flush(call *c);

/* False: the message is longer than the service sends; the stream was ended for it. After stream_end messages are
 * dropped. stream_last sends and ends with OK, in one go. */
bool stream_send(call *c, const ProtobufCMessage *message);
void stream_last(call *c, const ProtobufCMessage *message);
void stream_end(call *c, grpc_status_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));
size_t stream_queued(call *c); /* messages given and not yet on the wire */
bool stream_read(call *c);     /* method->received follows; false: the stream is closed, nothing follows */
bool stream_closed(call *c);
void stream_clear(call *c); /* under the lock: forgets the messages not yet sent */

#endif
