/* A loop: a completion queue, a heap of timers and an inbox, driven by one thread. Invariant: the loop is not
 * freed before gRPC has given back every tag (cq.pending_tags). Owner thread, where a field does not say otherwise.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_LOOP_H
#define ARVAK_LOOP_H

#include <grpc/grpc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "arvak.h"
#include "bridge.h"
#include "cq.h"
#include "tag.h"
#include "timer.h"

struct arvak_loop {
  arvak__cq cq;
  grpc_channel *wake_channel; /* owned; lame; lives to carry wake_call */
  grpc_call *wake_call;       /* owned; never started; an empty batch on it is an event in cq; any thread */
  arvak__tag wake_tag;
  arvak__timers timers;
  arvak_call *calls;     /* every call not ended, linked by next and prev */
  arvak_stream *streams; /* every stream not ended, the same */
  size_t call_count;     /* of both */
  arvak_call *asking;    /* calls that ask for headers, linked by queue_next */
  uint64_t random;       /* for jitter */
  int64_t last_end_ns;   /* when a call last ended here */
  pthread_mutex_t mu;
  arvak_call *inbox, **inbox_end; /* mu: calls to be advanced by the owner, first in first out */
  atomic_bool is_waking;          /* any thread: a wake is in cq */
  arvak__bridge bridge;
  int fd_users; /* opened and not closed */
  unsigned fork_generation;
};

/* Hands a call to its loop's owner thread, which will run arvak__call_advance on it. From another thread only under
 * the mu of the call's client: the owner needs that lock before the call can end, and so the loop cannot go away
 * while it is being woken. */
void arvak__loop_post(arvak_loop *loop, arvak_call *call);

/* Lets gRPC notice what happened to idle connections while nobody polled. Only while no call is on the loop: then
 * there is no callback that could run. */
void arvak__loop_catch_up(arvak_loop *loop, int connections);

#endif
