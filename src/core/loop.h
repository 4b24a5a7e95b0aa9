/* A loop: a completion queue, timers and an inbox, driven by one thread. It knows tags, timers, postings and members,
 * and nothing of calls. Invariant: the loop is not freed before gRPC has given back every tag (cq.pending_tags), and
 * before every member has left. Owner thread, where a field does not say otherwise.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_LOOP_H
#define ARVAK_LOOP_H

#include <grpc/grpc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arvak.h"
#include "bridge.h"
#include "cq.h"
#include "inbox.h"
#include "link.h"
#include "tag.h"
#include "timer.h"

/* What is under way on a loop and can be canceled; embedded in a call or stream. */
typedef struct arvak__member arvak__member;
struct arvak__member {
  arvak__link link; /* loop->members; first: its address is the member's */
  const void *owner;
  /* Makes it end soon, running nobody's function. Returns how many events that takes. Set once. */
  size_t (*cancel)(arvak__member *member, arvak_kind kind);
};

struct arvak_loop {
  arvak__cq cq;
  grpc_channel *wake_channel; /* owned; lame; lives to carry wake_call */
  grpc_call *wake_call;       /* owned; never started; an empty batch on it is an event in cq; any thread */
  arvak__tag wake_tag;
  arvak__timers timers;
  arvak__inbox inbox;   /* any thread */
  arvak__list members;  /* every call and stream that has not ended */
  size_t member_count;
  arvak__list asking;   /* members that ask for headers, by links of their own */
  int64_t now_ns;       /* when what is being done began; the clock is read once for all of it */
  int64_t last_end_ns;  /* when a member last left */
  atomic_bool is_waking; /* any thread: a wake is in cq */
  atomic_bool is_driven; /* any thread: a step is under way */
  arvak__bridge bridge;
  int fd_users; /* opened and not closed */
  unsigned fork_generation;
};

/* Reads the clock, for whatever is begun outside a step, or in it by a function of the application's. */
int64_t arvak__loop_begin(arvak_loop *loop);
/* In a fork of the process that made it; then nothing of gRPC may be touched. */
bool arvak__loop_is_foreign(const arvak_loop *loop);

void arvak__loop_join(arvak_loop *loop, arvak__member *member);
void arvak__loop_leave(arvak_loop *loop, arvak__member *member);

static inline bool arvak__loop_is_driven(const arvak_loop *loop) { return atomic_load(&loop->is_driven); }

/* Hands a posting to its loop's owner thread, whose next step runs it. From another thread only while the loop cannot
 * go away, since it is woken when the posting may already have run: see slots.c. */
void arvak__loop_post(arvak_loop *loop, arvak__posting *posting);

/* Lets gRPC notice what happened to idle connections while nobody polled. Only while no member is on the loop: then
 * there is no callback that could run. */
void arvak__loop_catch_up(arvak_loop *loop, int connections);

#endif
