/* Faults at work on a call: what happens before its method runs, in place of its answer, or in the middle of a stream.
 * Those who begin, answer and send look here at the moments that matter, for a call with a fault.
 * Invariant: a fault acts on its call at most once.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_INJECT_H
#define ARVAK_DEVSERVER_INJECT_H

#include "call.h"

/* A call with a fault has arrived. Runs execute at once, after the fault's latency, or never. */
void inject_begin(call *c, void (*execute)(call *c));

bool inject_replaces_answer(call *c); /* true: the fault has dealt with the call, the answer is not wanted */
void inject_drop_soon(call *c);       /* cuts the connection, when what was sent has had time to arrive */

/* Of a stream, under its lock: whether the fault is to end it now; and the end. True: drop the connection after. */
bool inject_due(const call *c);
bool inject_end(call *c);

#endif
