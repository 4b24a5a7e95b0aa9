/* The slots of a client. A slot is a permit to have a call with gRPC; calls without one wait in the client's queue,
 * first in first out. Tokens are the limiter's permission to submit jobs, one each.
 * Thread-safe: the client's mu guards all of it. Clients and calls are borrowed.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_SLOTS_H
#define ARVAK_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "arvak.h"

/* Takes a slot for call, or queues it. True: taken. */
bool arvak__slots_acquire(arvak_client *client, arvak_call *call);
/* Gives a slot back: to the first call waiting, which is posted to its loop, or to the client. */
void arvak__slots_release(arvak_client *client);
/* Takes a call out of the queue. False: it is not there any more, its slot is granted and on the way. */
bool arvak__slots_unqueue(arvak_client *client, arvak_call *call);

/* When tokens for so many jobs are to be had; see arvak__limiter_reserve. */
int64_t arvak__tokens_reserve(arvak_client *client, int jobs, int64_t now_ns, int64_t latest_ns);
/* Of a call that does not use its tokens, which would have come at at_ns. */
void arvak__tokens_give_back(arvak_client *client, int jobs, int64_t at_ns);
/* What an attempt says of the limit of calls in flight. */
void arvak__slots_adapt(arvak_client *client, bool is_overload, int64_t started_ns);

#endif
