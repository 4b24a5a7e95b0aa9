/* One logical unary RPC. Invariant: the call is the op struct of its own batch, and belongs to its loop from start
 * until its end is reported. Owner thread of the loop, where a field does not say otherwise.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_CALL_H
#define ARVAK_CALL_H

#include <grpc/grpc.h>
#include <stdatomic.h>

#include "arvak.h"
#include "attempt.h"
#include "headers.h"
#include "tag.h"

typedef enum arvak__call_state {
  CALL_PACED,      /* waits for tokens of the limiter */
  CALL_QUEUED,     /* in client's queue, or granted and in the loop's inbox */
  CALL_ASKING,     /* holds a slot; in the loop's list of those that ask for headers */
  CALL_CONNECTING, /* holds a slot, waits for a connection */
  CALL_ACTIVE,     /* its batch is with gRPC, which owns the op struct until the event */
  CALL_SLEEPING,   /* between two attempts, without a slot */
  CALL_REFUSED,    /* its outcome is there, and its end in the loop's inbox */
  CALL_ENDED
} arvak__call_state;

struct arvak_call {
  arvak__tag tag;
  arvak__attempt attempt;
  atomic_int refs; /* the loop's until the end, the starter's, and the inbox's */
  arvak__call_state state;
  bool granted;     /* client->mu: a slot is this call's */
  bool posted;      /* loop->mu: in the inbox */
  arvak_loop *loop; /* borrowed: outlives the call */
  const void *owner;
  arvak_call_fn fn;
  void *ud;
  arvak_call *next, *prev;             /* loop->calls */
  arvak_call *queue_next, *queue_prev; /* client's queue */
  arvak_call *inbox_next;
  arvak_timer timer; /* for what its state waits for */
  grpc_slice request; /* owned until the end, as are the headers */
  arvak__headers headers;
  int64_t timeout_ns, attempt_timeout_ns, queue_timeout_ns, started_ns;
  int64_t deadline_ns; /* of all attempts; 0: it has not held a slot yet */
  int64_t connect_until_ns, look_ns;
  arvak_retry *retry;     /* shared, or NULL, as the next */
  arvak_breaker *breaker;
  arvak_pass pass;        /* with which the breaker let the attempt through */
  bool asks_headers, has_waited; /* since the headers were given */
  size_t fixed_header_count;
  bool is_released;
  grpc_byte_buffer *send, *recv; /* owned while active */
  arvak_response *response;      /* owned */
  arvak_outcome outcome;
};

void arvak__call_ref(arvak_call *call);
void arvak__call_unref(arvak_call *call);
/* Moves a call on after something happened to it: a slot granted, or a cancellation while queued. Owner thread. */
void arvak__call_advance(arvak_call *call);

#endif
