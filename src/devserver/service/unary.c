/* See unary.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "unary.h"

#include <stdio.h>
#include <string.h>

#include "backend.h"
#include "context.h"
#include "rpc/answer.h"
#include "rpc/wire.h"
#include "submit.h"

/* Who pays for a submit; all that came over the unix socket are one. */
static void peer_name(call *c, char *out) {
  connection *from = context_of(c)->options.rate_limit ? call_connection(c) : NULL;
  snprintf(out, PEER_NAME_BYTES, "%s", from ? connection_peer(from) : "");
  if (from) connection_unref(from);
}

void unary_submit_job(call *c, const ProtobufCMessage *message) {
  const Arvak__V1__SubmitJobRequest *request = (const Arvak__V1__SubmitJobRequest *)message;
  submission what = {.circuit = request->circuit,
                     .backend = request->backend_id,
                     .shots = request->shots,
                     .level = request->optimization_level};
  char peer[PEER_NAME_BYTES];
  refusal why;
  peer_name(c, peer);
  job *j = submit_admit(c, peer, &why) ? submit_prepare(c, &what, &why) : NULL;
  if (j && submit_store(c, j, peer, &why)) {
    Arvak__V1__SubmitJobResponse response = ARVAK__V1__SUBMIT_JOB_RESPONSE__INIT;
    response.job_id = j->id;
    runner_start(context_of(c)->runner, j);
    answer_ok(c, &response.base);
  } else {
    submit_fail(c, &why);
  }
  if (j) job_unref(j);
}

/* Admission to start, for one job of a batch. Returns its id in the arena, or NULL with *why filled. */
static char *submit_one(call *c, const submission *what, const char *peer, refusal *why) {
  job *j = submit_admit(c, peer, why) ? submit_prepare(c, what, why) : NULL;
  if (!j) return NULL;
  char *id = NULL;
  if (submit_store(c, j, peer, why)) {
    id = arena_printf(&c->memory, "%s", j->id);
    runner_start(context_of(c)->runner, j);
    if (!id) *why = (refusal){.kind = REFUSED_STORE, .text = "out of memory"};
  }
  job_unref(j);
  return id;
}

/* The first refusal ends the call; the jobs before it run on, and their ids are lost: contract 2.4. */
void unary_submit_batch(call *c, const ProtobufCMessage *message) {
  const Arvak__V1__SubmitBatchRequest *request = (const Arvak__V1__SubmitBatchRequest *)message;
  Arvak__V1__SubmitBatchResponse response = ARVAK__V1__SUBMIT_BATCH_RESPONSE__INIT;
  char peer[PEER_NAME_BYTES];
  refusal why = {.kind = REFUSED_STORE, .text = "out of memory"};
  peer_name(c, peer);
  response.job_ids = arena_alloc(&c->memory, request->n_jobs * sizeof *response.job_ids);
  bool ok = response.job_ids && submit_backend(c, request->backend_id, &why);
  for (size_t i = 0; ok && i < request->n_jobs; i++) {
    const Arvak__V1__BatchJobRequest *one = request->jobs[i];
    submission what = {
        .circuit = one->circuit, .backend = request->backend_id, .shots = one->shots, .level = one->optimization_level};
    response.job_ids[i] = submit_one(c, &what, peer, &why);
    ok = response.job_ids[i] != NULL;
  }
  response.n_job_ids = request->n_jobs;
  if (ok) {
    answer_ok(c, &response.base);
  } else {
    submit_fail(c, &why);
  }
}

void unary_no_job(call *c, const char *id) {
  answer_fail(c, GRPC_STATUS_NOT_FOUND, "[permanent] Job not found: %s", submit_quote(c, id));
}

void unary_get_job_status(call *c, const ProtobufCMessage *message) {
  const Arvak__V1__GetJobStatusRequest *request = (const Arvak__V1__GetJobStatusRequest *)message;
  job_view view;
  job *j = jobs_get(context_of(c)->store, request->job_id, wire_length(request->job_id), &view);
  if (!j) {
    unary_no_job(c, request->job_id);
    return;
  }
  Arvak__V1__Job about = ARVAK__V1__JOB__INIT;
  about.job_id = j->id;
  about.state = (Arvak__V1__JobState)view.state;
  about.submitted_at = view.submitted_at;
  about.started_at = view.started_at;
  about.completed_at = view.completed_at;
  about.backend_id = (char *)backend_id;
  about.shots = j->shots;
  about.error_message = (char *)view.error;
  Arvak__V1__GetJobStatusResponse response = ARVAK__V1__GET_JOB_STATUS_RESPONSE__INIT;
  response.job = &about;
  answer_ok(c, &response.base);
  job_unref(j);
}

bool unary_has_result(call *c, const char *id, const job_view *view) {
  switch (view->state) {
    case JOB_COMPLETED:
      if (view->result) return true;
      answer_fail(c, GRPC_STATUS_INTERNAL, "[permanent] Completed job has no result");
      return false;
    case JOB_FAILED: answer_fail(c, GRPC_STATUS_ABORTED, "[permanent] %s", view->error); return false;
    default:
      answer_fail(c, GRPC_STATUS_FAILED_PRECONDITION, "[transient] Job %s has no result: it is %s", submit_quote(c, id),
                  job_state_name(view->state));
      return false;
  }
}

bool unary_fill_result(arena *memory, const job *j, const job_view *view, Arvak__V1__JobResult *out) {
  const counts *result = view->result;
  size_t key_bytes = result->width + 1;
  Arvak__V1__JobResult__CountsEntry *entries = arena_alloc(memory, result->size * sizeof *entries);
  Arvak__V1__JobResult__CountsEntry **list = arena_alloc(memory, result->size * sizeof *list);
  char *keys = arena_alloc(memory, result->size * key_bytes);
  if (!entries || !list || !keys) return false;
  for (size_t i = 0; i < result->size; i++) {
    char *key = keys + i * key_bytes;
    counts_key(result, result->outcomes[i].bits, key);
    arvak__v1__job_result__counts_entry__init(&entries[i]);
    entries[i].key = key;
    entries[i].value = result->outcomes[i].count;
    list[i] = &entries[i];
  }
  arvak__v1__job_result__init(out);
  out->job_id = (char *)j->id;
  out->counts = list;
  out->n_counts = result->size;
  out->shots = j->shots;
  out->execution_time_ms = view->execution_ms;
  out->metadata_json = (char *)"null";
  return true;
}

void unary_get_job_result(call *c, const ProtobufCMessage *message) {
  const Arvak__V1__GetJobResultRequest *request = (const Arvak__V1__GetJobResultRequest *)message;
  job_view view;
  job *j = jobs_get(context_of(c)->store, request->job_id, wire_length(request->job_id), &view);
  if (!j) {
    unary_no_job(c, request->job_id);
    return;
  }
  Arvak__V1__JobResult result;
  if (unary_has_result(c, j->id, &view)) {
    if (unary_fill_result(&c->memory, j, &view, &result)) {
      Arvak__V1__GetJobResultResponse response = ARVAK__V1__GET_JOB_RESULT_RESPONSE__INIT;
      response.result = &result;
      answer_ok(c, &response.base);
    } else {
      answer_fail(c, GRPC_STATUS_INTERNAL, "[transient] Storage error: out of memory");
    }
  }
  job_unref(j);
}

/* The words of the reference, with their two spellings of canceled. */
static const char *cancel_refused(call *c, const job_view *before) {
  switch (before->state) {
    case JOB_COMPLETED: return "Job already in terminal state: Completed";
    case JOB_CANCELED: return "Job already in terminal state: Cancelled";
    case JOB_FAILED: return arena_printf(&c->memory, "Job already in terminal state: Failed: %s", before->error);
    default: return "Job already in terminal state: ResultExpired";
  }
}

void unary_cancel_job(call *c, const ProtobufCMessage *message) {
  const Arvak__V1__CancelJobRequest *request = (const Arvak__V1__CancelJobRequest *)message;
  job_view before;
  job *j = jobs_get(context_of(c)->store, request->job_id, wire_length(request->job_id), &before);
  if (!j) {
    unary_no_job(c, request->job_id);
    return;
  }
  Arvak__V1__CancelJobResponse response = ARVAK__V1__CANCEL_JOB_RESPONSE__INIT;
  response.success = jobs_cancel(context_of(c)->store, j, clock_unix_s(), &before);
  const char *text = response.success ? "Job cancelled successfully" : cancel_refused(c, &before);
  response.message = (char *)(text ? text : "");
  answer_ok(c, &response.base);
  job_unref(j);
}

void unary_list_backends(call *c, const ProtobufCMessage *message) {
  (void)message;
  Arvak__V1__BackendInfo info, *list[] = {&info};
  Arvak__V1__ListBackendsResponse response = ARVAK__V1__LIST_BACKENDS_RESPONSE__INIT;
  backend_describe(&info, context_of(c)->topology);
  response.n_backends = 1;
  response.backends = list;
  answer_ok(c, &response.base);
}

void unary_get_backend_info(call *c, const ProtobufCMessage *message) {
  const Arvak__V1__GetBackendInfoRequest *request = (const Arvak__V1__GetBackendInfoRequest *)message;
  refusal why;
  if (!submit_backend(c, request->backend_id, &why)) {
    submit_fail(c, &why);
    return;
  }
  Arvak__V1__BackendInfo info;
  Arvak__V1__GetBackendInfoResponse response = ARVAK__V1__GET_BACKEND_INFO_RESPONSE__INIT;
  backend_describe(&info, context_of(c)->topology);
  response.backend = &info;
  answer_ok(c, &response.base);
}
