/* One streaming RPC. Invariant: it ends when its status has come and every tag handed to gRPC has come back; until
 * then it belongs to its loop, whatever the reader does.
 * The stream requests its status when there is nothing more to read: requested earlier, it makes gRPC forget the
 * messages that came before a connection died, and with them the word of the server that a job was accepted.
 * SPDX-License-Identifier: Apache-2.0 */
#include "stream.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "attempt.h"
#include "client.h"
#include "clock.h"
#include "codec.h"
#include "headers.h"
#include "loop.h"
#include "runtime.h"
#include "stats.h"

/* How long a stream may be a probe: one that nobody reads, or that the server leaves without a word, would otherwise
 * keep its place, and the breaker half open, for ever. */
#define PROBE_NS 1000000000

typedef struct stream_tag {
  arvak__tag tag; /* first: its address is the completion-queue tag */
  arvak_stream *stream;
} stream_tag;

struct arvak_stream {
  arvak__attempt attempt;
  int refs; /* owner thread: the loop's until the end, and the reader's */
  arvak_loop *loop;
  const void *owner;
  arvak_stream_fn fn;
  void *ud;
  arvak_stream *next, *prev; /* loop->streams */
  arvak__headers headers;    /* until the end */
  stream_tag start_tag, read_tag, write_tag, status_tag;
  int pending; /* tags with gRPC */
  bool is_reading, is_writing, has_closed_writes;
  bool is_ending; /* the status has been requested */
  bool has_status, has_ended;
  bool has_brought; /* a message */
  grpc_slice packed;         /* the request of a stream that only reads; until the end */
  grpc_byte_buffer *request; /* the same, until its start is through */
  grpc_byte_buffer *recv, *send;
  arvak_response *message; /* owned until taken */
  int64_t started_ns;
  arvak_retry *retry; /* shared, or NULL, as the next */
  arvak_breaker *breaker;
  arvak_pass pass;
  arvak_timer probe_timer;
  arvak_outcome outcome;
};

/* ---- lifetime ---- */

static void stream_unref(arvak_stream *stream) {
  if (--stream->refs > 0) return;
  arvak_response_unref(stream->message);
  arvak_client_unref(stream->attempt.client);
  arvak_retry_unref(stream->retry);
  arvak_breaker_unref(stream->breaker);
  free(stream->attempt.message);
  free(stream);
}

static void link_stream(arvak_loop *loop, arvak_stream *stream) {
  stream->next = loop->streams;
  if (loop->streams) loop->streams->prev = stream;
  loop->streams = stream;
  loop->call_count++;
}

static void unlink_stream(arvak_loop *loop, arvak_stream *stream) {
  if (stream->prev) stream->prev->next = stream->next;
  else loop->streams = stream->next;
  if (stream->next) stream->next->prev = stream->prev;
  loop->call_count--;
}

static void notify(arvak_stream *stream) {
  if (stream->fn) stream->fn(stream, stream->ud);
}

/* A probe's place is given back with the first verdict. One that has said well and then fails says that as well. */
static void tell_breaker(arvak_stream *stream, arvak_verdict verdict) {
  if (stream->pass.generation == 0) return;
  arvak_breaker_leave(stream->breaker, stream->pass, verdict);
  stream->pass.is_probe = false;
  if (stream->has_status) stream->pass.generation = 0;
}

static void settle(arvak_stream *stream, bool has_brought) {
  arvak_verdict verdict = stream->attempt.verdict;
  if (!has_brought || verdict == ARVAK_VERDICT_FAILURE) tell_breaker(stream, verdict);
  if (stream->retry && stream->outcome.kind == ARVAK_KIND_NONE) arvak_retry_earn(stream->retry);
}

static void end_stream(arvak_stream *stream) {
  arvak_loop_stop_timer(stream->loop, &stream->probe_timer);
  if (stream->outcome.kind == ARVAK_KIND_NONE) arvak__attempt_judge(&stream->attempt, &stream->outcome);
  settle(stream, stream->has_brought);
  if (stream->outcome.kind != ARVAK_KIND_NONE && stream->has_brought) stream->outcome.maybe_executed = true;
  if (!stream->outcome.message) stream->outcome.message = "";
  stream->loop->last_end_ns = arvak_now_ns();
  stream->outcome.elapsed_ns = stream->loop->last_end_ns - stream->started_ns;
  stream->has_ended = true;
  arvak__attempt_close(&stream->attempt);
  arvak__headers_fini(&stream->headers);
  grpc_slice_unref(stream->packed);
  unlink_stream(stream->loop, stream);
  notify(stream);
  stream_unref(stream);
}

/* ---- tags that come back ---- */

static void after_tag(arvak_stream *stream, bool is_news) {
  stream->pending--;
  if (stream->has_status && stream->pending == 0) end_stream(stream);
  else if (is_news) notify(stream);
}

static void on_start(arvak__tag *tag, bool success) {
  (void)success;
  arvak_stream *stream = ((stream_tag *)tag)->stream;
  if (stream->request) grpc_byte_buffer_destroy(stream->request);
  stream->request = NULL;
  after_tag(stream, false);
}

static void on_write(arvak__tag *tag, bool success) {
  arvak_stream *stream = ((stream_tag *)tag)->stream;
  stream->is_writing = false;
  if (!success) stream->has_closed_writes = true; /* the stream is over; its status says why */
  if (stream->send) grpc_byte_buffer_destroy(stream->send);
  stream->send = NULL;
  after_tag(stream, true);
}

static void on_status(arvak__tag *tag, bool success) {
  (void)success;
  arvak_stream *stream = ((stream_tag *)tag)->stream;
  stream->has_status = true;
  after_tag(stream, false);
}

/* ---- batches ---- */

static void start_batch(arvak_stream *stream, const grpc_op *ops, size_t count, stream_tag *tag,
                        void (*fn)(arvak__tag *, bool)) {
  tag->tag.fn = fn;
  tag->stream = stream;
  stream->pending++;
  stream->loop->cq.pending_tags++;
  /* Cannot fail: one operation of each kind at a time, with headers that were checked. */
  if (grpc_call_start_batch(stream->attempt.grpc, ops, count, tag, NULL) != GRPC_CALL_OK) abort();
}

static void start_sending(arvak_stream *stream) {
  grpc_op ops[4];
  size_t n = 0;
  memset(ops, 0, sizeof ops);
  ops[n].op = GRPC_OP_SEND_INITIAL_METADATA;
  ops[n].data.send_initial_metadata.count = stream->headers.count;
  ops[n++].data.send_initial_metadata.metadata = stream->headers.list;
  if (stream->request) {
    ops[n].op = GRPC_OP_SEND_MESSAGE;
    ops[n++].data.send_message.send_message = stream->request;
    size_t size = grpc_byte_buffer_length(stream->request);
    arvak__stats_count_bytes(stream->attempt.client, (arvak__traffic){.sent = size});
    ops[n++].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    stream->has_closed_writes = true;
  }
  ops[n].op = GRPC_OP_RECV_INITIAL_METADATA;
  ops[n++].data.recv_initial_metadata.recv_initial_metadata = &stream->attempt.initial;
  start_batch(stream, ops, n, &stream->start_tag, on_start);
}

static void start_status(arvak_stream *stream) {
  grpc_op op;
  memset(&op, 0, sizeof op);
  op.op = GRPC_OP_RECV_STATUS_ON_CLIENT;
  op.data.recv_status_on_client.trailing_metadata = &stream->attempt.trailing;
  op.data.recv_status_on_client.status = &stream->attempt.status;
  op.data.recv_status_on_client.status_details = &stream->attempt.details;
  start_batch(stream, &op, 1, &stream->status_tag, on_status);
}

/* ---- reading, and the end of it ---- */

static void start_ending(arvak_stream *stream) {
  if (stream->is_ending) return;
  stream->is_ending = true;
  start_status(stream);
}

static void cancel_rpc(arvak_stream *stream) {
  grpc_call_cancel(stream->attempt.grpc, NULL);
  start_ending(stream);
}

/* A message that cannot be decoded ends the stream; its own status would hide why. */
static void decode(arvak_stream *stream) {
  size_t size = grpc_byte_buffer_length(stream->recv);
  arvak__stats_count_bytes(stream->attempt.client, (arvak__traffic){.received = size});
  int status = arvak__response_decode_buffer(stream->attempt.rpc, stream->recv, &stream->message);
  if (status == ARVAK_OK) status = arvak__response_match(stream->message, stream->packed);
  grpc_byte_buffer_destroy(stream->recv);
  stream->recv = NULL;
  if (status == ARVAK_OK) {
    if (!stream->has_brought) tell_breaker(stream, ARVAK_VERDICT_SUCCESS);
    stream->has_brought = true;
    return;
  }
  arvak_response_unref(stream->message);
  stream->message = NULL;
  arvak__attempt_refuse_answer(&stream->attempt, &stream->outcome, status);
  cancel_rpc(stream);
}

static void on_read(arvak__tag *tag, bool success) {
  (void)success;
  arvak_stream *stream = ((stream_tag *)tag)->stream;
  stream->is_reading = false;
  bool has_message = stream->recv != NULL; /* none: the server has said all */
  if (has_message) decode(stream);
  else start_ending(stream);
  after_tag(stream, has_message);
}

/* Nothing is sent on a call that is canceled before its first batch. */
static void refuse(arvak_stream *stream) {
  arvak__set_failure(&stream->outcome, ARVAK_KIND_UNAUTHENTICATED, GRPC_STATUS_UNAUTHENTICATED, arvak__refused_message);
  stream->outcome.attempts = 0;
  grpc_call_cancel(stream->attempt.grpc, NULL);
}

/* ---- as a probe ---- */

static void on_probe_end(arvak_timer *timer, void *ud) {
  (void)timer;
  arvak_stream *stream = ud;
  if (stream->pass.is_probe) tell_breaker(stream, ARVAK_VERDICT_NEUTRAL);
}

static void start_probe(arvak_stream *stream) {
  arvak_timer *timer = &stream->probe_timer;
  arvak_client_hurry(stream->attempt.client);
  timer->fn = on_probe_end;
  timer->ud = stream;
  if (arvak_loop_set_timer(stream->loop, timer, stream->started_ns + PROBE_NS) != ARVAK_OK)
    tell_breaker(stream, ARVAK_VERDICT_NEUTRAL);
}

/* ---- public ---- */

static int prepare(arvak_stream *stream, const arvak_request *request, const arvak_call_options *options) {
  int status = arvak__headers_init(&stream->headers, &stream->attempt.client->headers, options);
  if (status != ARVAK_OK || request->rpc == ARVAK_SUBMIT_BATCH_STREAM) return status;
  status = arvak__request_encode(request, &stream->packed);
  if (status != ARVAK_OK) {
    arvak__headers_fini(&stream->headers);
    return status;
  }
  stream->request = grpc_raw_byte_buffer_create(&stream->packed, 1);
  return ARVAK_OK;
}

static void free_request(arvak_stream *stream) {
  if (stream->request) grpc_byte_buffer_destroy(stream->request);
  grpc_slice_unref(stream->packed);
  arvak__headers_fini(&stream->headers);
}

int arvak_stream_start(arvak_loop *loop, arvak_client *client, const arvak_request *request,
                       const arvak_call_options *options, arvak_stream_fn fn, arvak_stream **out) {
  unsigned generation = arvak__fork_generation();
  if (loop->fork_generation != generation || client->fork_generation != generation) return ARVAK_EFORKED;
  if (loop->cq.closed) return ARVAK_ECLOSED;
  if (request->rpc < ARVAK_WATCH_JOB || !arvak__headers_are_sound(options)) return ARVAK_EINVAL;
  arvak_stream *stream = calloc(1, sizeof *stream);
  if (!stream) return ARVAK_ENOMEM;
  stream->attempt.client = client;
  stream->attempt.random = &loop->random;
  stream->attempt.rpc = request->rpc;
  int status = prepare(stream, request, options);
  if (status != ARVAK_OK) {
    free(stream);
    return status;
  }
  stream->started_ns = arvak_now_ns();
  int64_t probe_end = arvak__after_ns(stream->started_ns, PROBE_NS), retry_after;
  if (options->breaker && !arvak_breaker_enter(options->breaker, probe_end, &stream->pass, &retry_after)) {
    free_request(stream);
    free(stream);
    return ARVAK_EREFUSED;
  }
  stream->retry = arvak_retry_ref(options->retry);
  stream->breaker = arvak_breaker_ref(options->breaker);
  stream->refs = 2;
  stream->loop = loop;
  stream->owner = options->owner;
  stream->fn = fn;
  stream->ud = options->ud;
  stream->outcome.attempts = 1;
  stream->attempt.deadline_ns =
      options->timeout_ns > 0 ? arvak__after_ns(stream->started_ns, options->timeout_ns) : ARVAK_NEVER;
  arvak_client_ref(client);
  if (loop->call_count == 0) arvak__loop_catch_up(loop, arvak__client_channel_count(client));
  link_stream(loop, stream);
  if (stream->pass.is_probe) start_probe(stream);
  bool is_refused = arvak__headers_query(&stream->headers, &client->headers, options->header_count,
                                         stream->attempt.rpc) != ARVAK_OK;
  arvak__attempt_open(&stream->attempt, &loop->cq);
  if (is_refused) refuse(stream);
  start_sending(stream);
  if (is_refused) start_ending(stream);
  *out = stream;
  return ARVAK_OK;
}

/* In a fork the stream is the parent's, and a write would go to the parent's connection. */
static bool is_foreign(const arvak_stream *stream) {
  return !stream->has_ended && stream->loop->fork_generation != arvak__fork_generation();
}

void arvak_stream_read(arvak_stream *stream) {
  if (stream->is_reading || stream->message || stream->is_ending || is_foreign(stream)) return;
  grpc_op op;
  memset(&op, 0, sizeof op);
  op.op = GRPC_OP_RECV_MESSAGE;
  op.data.recv_message.recv_message = &stream->recv;
  stream->is_reading = true;
  start_batch(stream, &op, 1, &stream->read_tag, on_read);
}

arvak_response *arvak_stream_take(arvak_stream *stream) {
  arvak_response *message = stream->message;
  stream->message = NULL;
  return message;
}

bool arvak_stream_can_write(const arvak_stream *stream) {
  return !stream->is_writing && !stream->has_closed_writes && !stream->is_ending && !is_foreign(stream);
}

int arvak_stream_write(arvak_stream *stream, const arvak_submission *submission) {
  if (!arvak_stream_can_write(stream)) return ARVAK_EINVAL;
  grpc_slice slice;
  int status = arvak__submission_encode(submission, &slice);
  if (status != ARVAK_OK) return status;
  stream->send = grpc_raw_byte_buffer_create(&slice, 1);
  arvak__stats_count_bytes(stream->attempt.client, (arvak__traffic){.sent = GRPC_SLICE_LENGTH(slice)});
  grpc_slice_unref(slice);
  grpc_op op;
  memset(&op, 0, sizeof op);
  op.op = GRPC_OP_SEND_MESSAGE;
  op.data.send_message.send_message = stream->send;
  stream->is_writing = true;
  start_batch(stream, &op, 1, &stream->write_tag, on_write);
  return ARVAK_OK;
}

void arvak_stream_close_writes(arvak_stream *stream) {
  if (!arvak_stream_can_write(stream)) return;
  grpc_op op;
  memset(&op, 0, sizeof op);
  op.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
  stream->is_writing = stream->has_closed_writes = true;
  start_batch(stream, &op, 1, &stream->write_tag, on_write);
}

void arvak_stream_cancel(arvak_stream *stream, arvak_kind kind) {
  if (stream->has_ended || stream->attempt.cancel_kind != ARVAK_KIND_NONE || is_foreign(stream)) return;
  stream->attempt.cancel_kind = kind;
  cancel_rpc(stream);
}

void arvak_stream_release(arvak_stream *stream) {
  arvak_stream_cancel(stream, ARVAK_KIND_CANCELED);
  stream->fn = NULL;
  stream_unref(stream);
}

const arvak_outcome *arvak_stream_outcome(const arvak_stream *stream) {
  return stream->has_ended && !stream->message ? &stream->outcome : NULL;
}

bool arvak_stream_plan_retry(arvak_stream *stream, int attempts, int64_t *delay_ns) {
  if (!stream->has_ended || !stream->retry || stream->has_brought || stream->outcome.kind == ARVAK_KIND_NONE)
    return false;
  stream->outcome.attempts = attempts;
  if (!arvak__attempt_may_retry(&stream->attempt, &stream->outcome, stream->retry, delay_ns)) return false;
  int64_t at = arvak__after_ns(arvak_now_ns(), *delay_ns);
  if (stream->attempt.deadline_ns != ARVAK_NEVER && at >= stream->attempt.deadline_ns) return false;
  arvak__attempt_report_retry(&stream->attempt, &stream->outcome, stream->retry, *delay_ns);
  return true;
}

arvak_rpc arvak_stream_rpc(const arvak_stream *stream) { return stream->attempt.rpc; }

const char *arvak_stream_address(const arvak_stream *stream) { return stream->attempt.client->address; }

size_t arvak__streams_cancel(arvak_loop *loop, const void *owner, arvak_kind kind) {
  size_t count = 0;
  for (arvak_stream *stream = loop->streams; stream; stream = stream->next) {
    if (owner && stream->owner != owner) continue;
    arvak_stream_cancel(stream, kind);
    count += (size_t)stream->pending;
  }
  return count;
}
