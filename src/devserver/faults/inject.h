/* Faults at work on a call. What happens before the method runs, or in place of its answer, is decided here; call.c
 * asks at the moments that matter.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_INJECT_H
#define ARVAK_DEVSERVER_INJECT_H

#include "rpc/call.h"

void inject_begin(call *c);           /* a call with a fault has arrived */
void inject_closed(call *c);          /* the RPC is over: nothing is waited for any more */
bool inject_replaces_answer(call *c); /* true: the fault has dealt with the call, the answer is not wanted */
void inject_drop_soon(call *c);       /* cuts the connection, when what was sent has had time to arrive */
void inject_release(call *c);         /* the call's last reference is gone */

/* Fills the trailing metadata of a status; returns how many entries. */
size_t inject_trailer(call *c, grpc_metadata *trailer);

/* Of a stream, under its lock: whether the fault is to end it now; and the end. True: drop the connection after. */
bool inject_due(const call *c);
bool inject_end(call *c);

#endif
