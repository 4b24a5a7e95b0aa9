/* The bridge of a loop: a thread that waits inside gRPC in the owner's place, who waits on a descriptor instead.
 * Invariant: the descriptor is readable, or about to be, whenever an event has arrived that the owner has not taken. The loop is
 * borrowed; owner thread, but for signal.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_BRIDGE_H
#define ARVAK_BRIDGE_H

#include <stdint.h>

#include "arvak.h"

typedef struct arvak__bridge arvak__bridge;

/* Starts the thread that takes the loop's events for it, or ends it; both by the owner. */
int arvak__bridge_start(arvak_loop *loop);
void arvak__bridge_stop(arvak_loop *loop);
void arvak__bridge_abandon(arvak_loop *loop); /* in a fork, where its thread does not exist */
void arvak__bridge_signal(arvak_loop *loop);  /* makes event_fd readable; thread-safe */
/* Waits until event_fd is readable, until_ns at most, and moves what has arrived to loop->taken. */
void arvak__bridge_take(arvak_loop *loop, int64_t until_ns);

#endif
