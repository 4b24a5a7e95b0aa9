/* See batch.h. Invariant: at most one read is out, and none while 16 replies wait for the client or OPEN_JOBS_MAX jobs
 * run, so that what a stream holds in memory is bounded whatever the client does.
 * SPDX-License-Identifier: Apache-2.0 */
#include "batch.h"

#include <stdlib.h>
#include <string.h>

#include "arvak.pb-c.h"
#include "context.h"
#include "rpc/answer.h"
#include "rpc/stream.h"
#include "rpc/wire.h"
#include "submit.h"
#include "unary.h"

/* The second is well under the store's capacity, or the stream's own jobs would push each other out unfinished. */
enum { REPLIES_MAX = 16, OPEN_JOBS_MAX = 4096 };

typedef struct batch {
  pthread_mutex_t mu;
  /* Guarded by mu. */
  size_t open_jobs;
  bool reading, half_closed, ended;
} batch;

/* What a job needs to report back; owned by the job's on_end. */
typedef struct batch_job {
  call *owner; /* reference */
  char request_id[];
} batch_job;

/* Reads or ends, whichever is due now. */
static void go_on(call *c) {
  batch *b = c->stream;
  size_t queued = stream_queued(c);
  pthread_mutex_lock(&b->mu);
  bool end = b->half_closed && !b->open_jobs && !b->ended;
  bool read = !b->half_closed && !b->reading && queued < REPLIES_MAX && b->open_jobs < OPEN_JOBS_MAX;
  if (end) b->ended = true;
  if (read) b->reading = true;
  pthread_mutex_unlock(&b->mu);
  if (end) stream_end(c, GRPC_STATUS_OK, "%s", "");
  if (read) stream_read(c);
}

static void count_jobs(call *c, int change) {
  batch *b = c->stream;
  pthread_mutex_lock(&b->mu);
  b->open_jobs += (size_t)change;
  pthread_mutex_unlock(&b->mu);
}

static void send_completed(call *c, const job *j, const job_view *view, char *request_id) {
  arena memory;
  Arvak__V1__JobResult result;
  Arvak__V1__BatchJobResult message = ARVAK__V1__BATCH_JOB_RESULT__INIT;
  arena_init(&memory);
  if (unary_fill_result(&memory, j, view, &result)) {
    message.job_id = (char *)j->id;
    message.client_request_id = request_id;
    message.result_case = ARVAK__V1__BATCH_JOB_RESULT__RESULT_COMPLETED;
    message.completed = &result;
    stream_send(c, &message.base);
  }
  arena_fini(&memory);
}

/* A job that failed, was canceled or vanished is not mentioned: contract 2.4. */
static void job_ended(job *j, void *ud) {
  batch_job *one = ud;
  call *c = one->owner;
  job_view view;
  jobs_view(context_of(c)->store, j, &view);
  if (view.state == JOB_COMPLETED && view.result) send_completed(c, j, &view, one->request_id);
  count_jobs(c, -1);
  go_on(c);
  call_unref(c);
  free(one);
}

static void send_submitted(call *c, const job *j, char *request_id) {
  Arvak__V1__BatchJobResult message = ARVAK__V1__BATCH_JOB_RESULT__INIT;
  message.job_id = (char *)j->id;
  message.client_request_id = request_id;
  message.result_case = ARVAK__V1__BATCH_JOB_RESULT__RESULT_SUBMITTED;
  message.submitted = (char *)"Job submitted successfully";
  stream_send(c, &message.base);
}

static void send_error(call *c, const refusal *why, char *request_id) {
  static const char *const prefixes[] = {[REFUSED_CIRCUIT] = "Circuit parsing failed: Invalid circuit: ",
                                         [REFUSED_QASM] = "Circuit parsing failed: QASM parsing error: ",
                                         [REFUSED_COMPLEXITY] = "Circuit rejected: ",
                                         [REFUSED_BACKEND] = "Backend not found: ",
                                         [REFUSED_COMPILE] = "Compilation failed: ",
                                         [REFUSED_LIMIT] = "Job creation failed: ",
                                         [REFUSED_STORE] = "Job creation failed: "};
  Arvak__V1__BatchJobResult message = ARVAK__V1__BATCH_JOB_RESULT__INIT;
  char *text = arena_printf(&c->memory, "%s%s", prefixes[why->kind], why->text);
  message.client_request_id = request_id;
  message.result_case = ARVAK__V1__BATCH_JOB_RESULT__RESULT_ERROR;
  message.error = text ? text : (char *)prefixes[why->kind];
  stream_send(c, &message.base);
}

/* Makes the job report to its stream. False: out of memory. */
static bool attach(call *c, job *j, const char *request_id) {
  size_t length = strlen(request_id) + 1;
  batch_job *one = malloc(sizeof *one + length);
  if (!one) return false;
  one->owner = call_ref(c);
  memcpy(one->request_id, request_id, length);
  j->on_end = job_ended;
  j->ud = one;
  return true;
}

static void detach(job *j) {
  batch_job *one = j->ud;
  call_unref(one->owner);
  free(one);
  j->on_end = NULL;
}

/* The acknowledgement is queued before the job can end, so it always comes first. */
static bool submit(call *c, const Arvak__V1__BatchJobSubmission *request, refusal *why) {
  submission what = {.circuit = request->circuit,
                     .backend = request->backend_id,
                     .shots = request->shots,
                     .level = request->optimization_level};
  job *j = submit_prepare(c, &what, why);
  if (!j) return false;
  bool ok = attach(c, j, request->client_request_id);
  if (!ok) *why = (refusal){.kind = REFUSED_STORE, .text = "out of memory"};
  if (ok) {
    count_jobs(c, 1);
    ok = submit_store(c, j, NULL, why);
    if (!ok) {
      count_jobs(c, -1);
      detach(j);
    }
  }
  if (ok) {
    send_submitted(c, j, request->client_request_id);
    runner_start(context_of(c)->runner, j);
  }
  job_unref(j);
  return ok;
}

/* Nothing follows but what is queued; the jobs run on, and nobody will hear of them. */
static void break_off(call *c, const char *code, const char *problem) {
  batch *b = c->stream;
  pthread_mutex_lock(&b->mu);
  b->half_closed = b->ended = true;
  pthread_mutex_unlock(&b->mu);
  stream_end(c, GRPC_STATUS_INTERNAL, "Stream error: status: %s, message: \"%s\"", code, problem);
}

static void take_in(call *c, grpc_byte_buffer *bytes) {
  size_t length = grpc_byte_buffer_length(bytes), limit = c->owner->max_message_size;
  const char *problem;
  if (length > limit) {
    const char *text = arena_printf(&c->memory, MESSAGE_TOO_LARGE, "decoded", length, limit);
    break_off(c, "OutOfRange", text ? text : "message too large");
    return;
  }
  ProtobufCMessage *message = wire_unpack(&c->memory, c->method->request, bytes, &problem);
  if (!message) {
    break_off(c, "Internal", problem);
    return;
  }
  Arvak__V1__BatchJobSubmission *request = (Arvak__V1__BatchJobSubmission *)message;
  refusal why;
  if (!submit(c, request, &why)) send_error(c, &why, request->client_request_id);
}

void batch_received(call *c, grpc_byte_buffer *bytes) {
  batch *b = c->stream;
  if (bytes) take_in(c, bytes);
  arena_fini(&c->memory);
  pthread_mutex_lock(&b->mu);
  b->reading = false;
  if (!bytes) b->half_closed = true;
  pthread_mutex_unlock(&b->mu);
  go_on(c);
}

void batch_sent(call *c) { go_on(c); }

void batch_release(void *stream) { pthread_mutex_destroy(&((batch *)stream)->mu); }

void batch_run(call *c, const ProtobufCMessage *request) {
  (void)request;
  batch *b = calloc(1, sizeof *b);
  if (!b) {
    answer_fail(c, GRPC_STATUS_INTERNAL, "out of memory");
    return;
  }
  pthread_mutex_init(&b->mu, NULL);
  c->stream = b;
  stream_open(c);
  stream_flush(c);
  go_on(c);
}
