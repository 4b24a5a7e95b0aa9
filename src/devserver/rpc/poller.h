/* The threads that take gRPC's events and run what follows from them.
 * Invariant: no connection keeps the others from being served, whatever its client does, but for what it costs to serve
 * it: streams take turns, and where gRPC itself is busy with one connection another thread takes over the rest.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_POLLER_H
#define ARVAK_DEVSERVER_POLLER_H

#include "call.h"

typedef struct poller poller;

poller *poller_start(calls *all); /* Borrows all, with both queues. Owned: poller_end. NULL: no memory or threads. */
void poller_end(poller *p);       /* when no call is open and both queues are shut down */
void poller_drain(calls *all);    /* the same where no poller has started: takes what the queues hold */

#endif
