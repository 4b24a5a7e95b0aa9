/* The seven unary methods. Each ends its call before it returns.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_UNARY_H
#define ARVAK_DEVSERVER_UNARY_H

#include "arvak.pb-c.h"
#include "base/arena.h"
#include "jobs/jobs.h"
#include "rpc/call.h"

void unary_submit_job(call *c, const ProtobufCMessage *request);
void unary_submit_batch(call *c, const ProtobufCMessage *request);
void unary_get_job_status(call *c, const ProtobufCMessage *request);
void unary_get_job_result(call *c, const ProtobufCMessage *request);
void unary_cancel_job(call *c, const ProtobufCMessage *request);
void unary_list_backends(call *c, const ProtobufCMessage *request);
void unary_get_backend_info(call *c, const ProtobufCMessage *request);

/* Whether a job has a result to give; if not, the call has been ended with the reason. */
bool unary_has_result(call *c, const char *id, const job_view *view);

/* Ends the call: no such job. */
void unary_no_job(call *c, const char *id);

/* Fills *out with borrowed data, keys and entries from the arena. False: out of memory. */
bool unary_fill_result(arena *memory, const job *j, const job_view *view, Arvak__V1__JobResult *out);

#endif
