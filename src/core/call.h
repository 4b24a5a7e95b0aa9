/* One logical unary RPC, as the two files that deal with it see it: call.c, which alone moves it from state to state,
 * and starter.c, which makes it and tells it what its starter wants. Invariant: state changes in arvak__call_move only.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_CALL_H
#define ARVAK_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arvak.h"
#include "attempt.h"
#include "exchange.h"
#include "link.h"
#include "loop.h"
#include "slots.h"
#include "tag.h"
#include "turns.h"

typedef enum arvak__call_state {
  CALL_NEW,
  CALL_HELD,       /* waits for its turn, since the server has refused submits for their rate */
  CALL_PACED,      /* waits for tokens of the limiter */
  CALL_QUEUED,     /* waits for a slot, or for the posting that one is granted */
  CALL_ASKING,     /* in the loop's list of those that ask for headers */
  CALL_QUERYING,   /* the client's function for headers runs, or is about to */
  CALL_CONNECTING, /* waits for a connection */
  CALL_ACTIVE,     /* its batch is with gRPC, which owns the op struct until the event */
  CALL_SLEEPING,   /* between two attempts */
  CALL_ENDING,     /* its end is about to be reported, or in the loop's inbox */
  CALL_ENDED
} arvak__call_state;

typedef enum arvak__call_event {
  EVENT_START,
  EVENT_TIMER,
  EVENT_POSTED, /* to the loop: a slot is granted, a cancel is noted, or the end is to be reported */
  EVENT_GIVEN,  /* it has its headers */
  EVENT_DENIED, /* it gets none; the outcome says why */
  EVENT_ANSWERED
} arvak__call_event;

struct arvak_call {
  arvak__tag tag;       /* first: its address is the completion-queue tag */
  arvak__member member; /* of the loop, until the end */
  arvak__posting posting;
  arvak__turn turn;    /* a submit's */
  arvak__place place;  /* in the client's queue */
  arvak__link asking;  /* in loop->asking */
  arvak__attempt attempt;
  int refs; /* the loop's until the end, the starter's, and that of a transition */
  arvak__call_state state;
  arvak_loop *loop; /* borrowed: outlives the call */
  arvak_call_fn fn;
  void *ud;
  arvak_timer timer;  /* for what its state waits for */
  arvak__exchange exchange;
  int64_t timeout_ns, attempt_timeout_ns, queue_timeout_ns, started_ns;
  int64_t deadline_ns; /* of all attempts; 0: it has not held a slot yet */
  int64_t connect_until_ns, look_ns;
  int64_t not_before_ns; /* as in the options */
  arvak_retry *retry; /* shared, or NULL, as the next */
  arvak_breaker *breaker;
  arvak_pass pass; /* with which the breaker let the attempt through */
  bool asks_headers, has_waited; /* since the headers were given */
  size_t fixed_header_count;
  bool is_released;
  arvak_outcome outcome;
};

/* An event happens to the call. User code may run, and the call may be gone. */
void arvak__call_move(arvak_call *call, arvak__call_event event);
/* How the loop and the client's queues find it. */
void arvak__call_attach(arvak_call *call, arvak_loop *loop, const void *owner);
void arvak__call_unref(arvak_call *call);
bool arvak__call_is_foreign(const arvak_call *call); /* in a fork of the process that made it */

#endif
