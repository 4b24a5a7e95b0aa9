/* One RPC on the server, from its arrival to its status: what gRPC gave, the batches that are out, and its end. How it
 * begins is in dispatch.h, how it is answered in answer.h and stream.h, what goes wrong on purpose in inject.h.
 * Invariant: gRPC's half lives until the client has been told or has gone and no batch is out; the struct lives until
 * the last reference, so a job or a timer may outlast the RPC.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_CALL_H
#define ARVAK_DEVSERVER_CALL_H

#include <grpc/grpc.h>
#include <protobuf-c/protobuf-c.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/rpcs.h"
#include "base/timer.h"
#include "listener.h"

typedef struct call call;
typedef struct calls calls;

/* What gRPC gives back when a batch is done; in the completion queue a tag is a pointer to one of these. */
typedef struct tag {
  void (*fn)(struct tag *t, bool ok);
  bool takes_turns; /* what follows from it may go on for ever: poller.c */
  /* While it waits for its turn; the thread's that polls. */
  bool ok;
  struct tag *next;
} tag;

/* gRPC orders what a thread does before it hands a tag over and what another does after it has taken it. It is not
 * built for ThreadSanitizer, which has to be told. */
#ifdef __SANITIZE_THREAD__
void __tsan_release(void *address);
void __tsan_acquire(void *address);
#define TAG_GIVEN(t) __tsan_release(t)
#define TAG_TAKEN(t) __tsan_acquire(t)
#else
#define TAG_GIVEN(t) ((void)(t))
#define TAG_TAKEN(t) ((void)(t))
#endif

/* What is done about an RPC. Comes from above: this room does not know what the RPCs mean. */
typedef struct method {
  int rpc; /* its number */
  const ProtobufCMessageDescriptor *request;
  void (*run)(call *c, const ProtobufCMessage *request); /* the request is NULL when it is a stream */
  /* Of streams; NULL when not wanted. Never with the call's lock held. */
  void (*sent)(call *c);                                /* a message has left the queue */
  void (*received)(call *c, grpc_byte_buffer *message); /* borrowed; NULL: the client has ended its half */
  void (*closed)(call *c);                              /* once: the RPC is over, however it ended */
  void (*release)(void *stream);                        /* last of all: drops what call.stream holds, not itself */
} method;

/* What the calls of a server share. */
struct calls {
  /* Borrowed, and constant while any call is open. */
  void *context; /* what the methods work with, unknown here */
  listener *listener;
  timers *clock;
  struct faults *faults;
  const char *api_key; /* NULL: anybody may call */
  uint64_t max_message_size;
  double server_timeout; /* seconds */
  /* Owned by the rpc_server around this, and as constant. */
  grpc_server *server;
  grpc_completion_queue *queue, *looks; /* the second has never an event: poller.c */
  void *registered[RPCS];
  timers *side_lane; /* a thread for large requests, which are due at once */
  /* Each guards itself. */
  atomic_ullong begun[RPCS], unknown; /* calls that have arrived */
  atomic_int open; /* calls of which gRPC holds anything, those expected included: while any is, the queue stays */
  pthread_mutex_t spare_mu;
  call *spare; /* guarded by spare_mu, as is the next */
  int spares;
};

typedef struct outgoing {
  grpc_byte_buffer *bytes; /* owned */
  struct outgoing *next;
} outgoing;

struct call {
  calls *owner;
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

  struct fault *fault; /* owned, constant; NULL: nothing goes wrong */
  bool fault_done;     /* it has acted; guarded by mu, as are the next three */
  uint64_t messages;   /* of a stream, sent */
  size_t trailers;     /* 1: the status comes with trailer */
  grpc_metadata trailer;
  connection *doomed;       /* reference: what the fault will drop; constant */
  void (*execute)(call *c); /* what the fault delays; constant */
  timer hold;               /* a fault's latency or hang; running, it has a reference */
  timer turn;               /* of a large request, on the side lane; the same */

  void *stream;               /* a stream's own state; owned, the last reference frees it after method->release */
  grpc_byte_buffer *incoming; /* owned: where stream_read puts a message */
};

#define CALL_OF(t, member) ((call *)(void *)((char *)(t)-offsetof(call, member)))

void calls_init(calls *all); /* *all is zero; its constants are filled in later */
void calls_fini(calls *all); /* when no call is left but spare ones */

/* A call that gRPC is about to know: counted as open, with one reference, which call_over drops. NULL: no memory. */
call *call_new(calls *all, const method *m);
void call_over(call *c); /* gRPC holds nothing of it any more, and will not be given anything */

call *call_ref(call *c);
void call_unref(call *c);

/* The connection it came by; shared, NULL when it has gone. */
connection *call_connection(call *c);

/* The caller has counted the batch under the lock, and call_batch_done undoes that when it is back. */
void call_start(call *c, const grpc_op *ops, size_t count, tag *t);
void call_batch_done(call *c);

/* Between these the RPC stays, though it may end at any moment. */
bool call_pin(call *c); /* false: it has ended */
void call_unpin(call *c);

/* Makes gRPC tell of the end before there is an answer. Once or more. */
void call_watch(call *c);

/* Only for a call with a fault, whose end takes the timer back: runs fn with c->hold and a reference to the call, which
 * fn drops. */
void call_hold(call *c, uint64_t due_us, timer_fn fn);

grpc_op call_headers_op(void);
grpc_op call_status_op(call *c, grpc_status_code code, grpc_slice *text); /* borrows text until the batch is started */

/* The whole answer of a unary call. Takes body; it and text may be NULL. */
void call_finish(call *c, grpc_byte_buffer *body, grpc_status_code code, const char *text);

void call_wire_clear(call *c);                       /* under the lock: the message is no longer gRPC's */
void call_queue_clear(call *c);                      /* under the lock: forgets the messages not yet sent */
char *call_format(const char *format, va_list args); /* Returns owned, or NULL. */

#endif
