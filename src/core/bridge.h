/* The bridge of a loop: a thread that waits inside gRPC in the owner's place, who waits on a descriptor instead. It is
 * part of the loop. Invariant: the descriptor is readable, or about to be, whenever an event has arrived that the owner
 * has not taken, unless the thread rests, and the owner looks for himself. Owner thread of the loop, where a field or a
 * function does not say otherwise.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_BRIDGE_H
#define ARVAK_BRIDGE_H

#include <grpc/grpc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "tag.h"

typedef struct arvak__bridge_thread arvak__bridge_thread;

typedef struct arvak__bridge {
  grpc_completion_queue *cq;    /* borrowed from the loop, as the next */
  grpc_call *wake_call;         /* an empty batch on it is an event in cq */
  arvak__bridge_thread *thread; /* owned; NULL: the owner waits inside gRPC itself */
  int event_fd;                 /* owned; made with the first thread, -1 before; any thread */
  atomic_bool is_running;       /* any thread: wakes go to event_fd */
  atomic_bool is_signaled;      /* any thread: event_fd is readable, or about to be */
  arvak__tag_link taken, *taken_end; /* what came over the bridge and has not run */
} arvak__bridge;

void arvak__bridge_init(arvak__bridge *bridge, grpc_completion_queue *cq, grpc_call *wake_call);
/* Where the thread was not stopped this is a fork, and the thread does not exist. */
void arvak__bridge_fini(arvak__bridge *bridge);
/* Starts the thread that takes the loop's events for it. ARVAK_ELIMIT, ARVAK_ENOMEM. */
int arvak__bridge_start(arvak__bridge *bridge);
/* Ends the thread. A wake that was given to the descriptor only, a moment ago, is lost: wake the loop afterwards. */
void arvak__bridge_stop(arvak__bridge *bridge);
void arvak__bridge_signal(arvak__bridge *bridge); /* makes event_fd readable; thread-safe */
/* The owner will not come for events at once: from now on the thread waits for them. */
void arvak__bridge_arm(arvak__bridge *bridge);
/* Whether nobody waits for events inside gRPC: then the owner has to look. */
bool arvak__bridge_is_resting(const arvak__bridge *bridge); /* which has a thread */
/* Moves what has arrived to taken. Where that is nothing the thread waits from now on; and so does the owner, until_ns
 * at most, until event_fd is readable, unless it was already. */
void arvak__bridge_take(arvak__bridge *bridge, int64_t until_ns);

#endif
