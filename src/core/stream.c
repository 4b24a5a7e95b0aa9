/* One streaming RPC. `move` alone moves a stream on; what follows depends on its state and the event:
 *
 *   state    with gRPC             STARTED, WRITTEN        READ                           STATUS    POSTED
 *   OPEN     up to three tags      -                       a message, or → ENDING         -         -
 *   ENDING   and the status's      -                       a message that came before     → OVER    -
 *   OVER     tags that are late    → ENDED with the last   the same                       -         -
 *   DENIED   nothing: no headers   -                       -                              -         → ENDED
 *   ENDED    nothing               -                       -                              -         -
 *
 * A cancel ends the RPC and leads from OPEN to ENDING; from OVER on it is too late. Besides, PROBED in any state: the
 * stream is not to be a probe any longer.
 *
 * Invariants: a stream ends when its status has come and every tag handed to gRPC has come back, and until then it
 * belongs to its loop, whatever the reader does. User code (the breaker's hook, fn) runs last, when the stream has its
 * next state. The stream requests its status when there is nothing more to read: requested earlier, it makes gRPC
 * forget the messages that came before a connection died, and with them the word of the server that it accepted a job.
 * SPDX-License-Identifier: Apache-2.0 */
#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "attempt.h"
#include "client.h"
#include "clock.h"
#include "codec.h"
#include "headers.h"
#include "loop.h"
#include "outcome.h"
#include "policies.h"
#include "runtime.h"
#include "stats.h"
#include "tag.h"

/* How long a stream may be a probe: one that nobody reads, or that the server leaves without a word, would otherwise
 * keep its place, and the breaker half open, for ever. */
#define PROBE_NS 1000000000

typedef enum stream_state {
  STREAM_OPEN,
  STREAM_ENDING, /* the status has been requested */
  STREAM_OVER,   /* the status is there */
  STREAM_DENIED, /* the client's function gave no headers; the end is in the loop's inbox */
  STREAM_ENDED
} stream_state;

typedef enum stream_event {
  EVENT_STARTED,
  EVENT_READ,
  EVENT_WRITTEN,
  EVENT_STATUS,
  EVENT_POSTED,
  EVENT_PROBED
} stream_event;

/* What it writes. */
typedef enum write_state {
  WRITE_FREE,
  WRITE_BUSY,
  WRITE_CLOSING, /* busy with the last */
  WRITE_CLOSED
} write_state;

/* What is to be told when the stream has left its state, in this order. */
typedef struct stream_news {
  arvak__changes changes;
  enum { THEN_NOTHING, THEN_NOTIFY, THEN_FINISH } then;
} stream_news;

typedef struct stream_tag {
  arvak__tag tag; /* first: its address is the completion-queue tag */
  arvak_stream *stream;
} stream_tag;

struct arvak_stream {
  arvak__member member; /* of the loop, until the end; first: its address is the stream's */
  arvak__attempt attempt;
  int refs; /* owner thread: the loop's until the end, the reader's, and that of a transition */
  stream_state state;
  write_state writes;
  arvak_loop *loop;
  arvak_stream_fn fn;
  void *ud;
  arvak__posting posting;
  arvak__headers headers; /* until the end */
  stream_tag start_tag, read_tag, write_tag, status_tag;
  int pending; /* tags with gRPC */
  bool is_reading;
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

static void move(arvak_stream *stream, stream_event event, bool success);

static void stream_unref(arvak_stream *stream) {
  if (--stream->refs > 0) return;
  arvak_response_unref(stream->message);
  arvak_client_unref(stream->attempt.client);
  arvak_retry_unref(stream->retry);
  arvak_breaker_unref(stream->breaker);
  free(stream->attempt.message);
  free(stream);
}

/* ---- batches ---- */

static void on_start(arvak__tag *tag, bool success) { move(((stream_tag *)tag)->stream, EVENT_STARTED, success); }

static void on_read(arvak__tag *tag, bool success) { move(((stream_tag *)tag)->stream, EVENT_READ, success); }

static void on_write(arvak__tag *tag, bool success) { move(((stream_tag *)tag)->stream, EVENT_WRITTEN, success); }

static void on_status(arvak__tag *tag, bool success) { move(((stream_tag *)tag)->stream, EVENT_STATUS, success); }

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
    arvak__stats_count_bytes(&stream->attempt.client->stats, (arvak__traffic){.sent = size});
    ops[n++].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    stream->writes = WRITE_CLOSED;
  }
  ops[n].op = GRPC_OP_RECV_INITIAL_METADATA;
  ops[n++].data.recv_initial_metadata.recv_initial_metadata = &stream->attempt.initial;
  start_batch(stream, ops, n, &stream->start_tag, on_start);
}

static void request_status(arvak_stream *stream) {
  if (stream->state != STREAM_OPEN) return;
  grpc_op op;
  memset(&op, 0, sizeof op);
  op.op = GRPC_OP_RECV_STATUS_ON_CLIENT;
  op.data.recv_status_on_client.trailing_metadata = &stream->attempt.trailing;
  op.data.recv_status_on_client.status = &stream->attempt.status;
  op.data.recv_status_on_client.status_details = &stream->attempt.details;
  stream->state = STREAM_ENDING;
  start_batch(stream, &op, 1, &stream->status_tag, on_status);
}

static void cancel_rpc(arvak_stream *stream) {
  grpc_call_cancel(stream->attempt.grpc, NULL);
  request_status(stream);
}

/* ---- the one function that moves a stream ---- */

/* A probe's place is given back with the first verdict. One that has said well and then fails says that as well. */
static void tell_breaker(arvak_stream *stream, arvak_verdict verdict, stream_news *news) {
  if (stream->pass.generation == 0) return;
  arvak__breaker_leave(stream->breaker, stream->loop->now_ns, stream->pass, verdict, &news->changes);
  stream->pass.is_probe = false;
  if (stream->state == STREAM_OVER) stream->pass.generation = 0;
}

static void settle(arvak_stream *stream, stream_news *news) {
  if (stream->outcome.kind == ARVAK_KIND_NONE)
    arvak__attempt_judge(&stream->attempt, &stream->outcome, stream->loop->now_ns);
  arvak_verdict verdict = stream->attempt.verdict;
  bool is_hasty = stream->headers.is_guest && stream->outcome.kind == ARVAK_KIND_TIMEOUT; /* its own idea of time */
  if (is_hasty) verdict = ARVAK_VERDICT_NEUTRAL;
  if (!stream->has_brought || verdict == ARVAK_VERDICT_FAILURE) tell_breaker(stream, verdict, news);
  if (stream->retry && stream->outcome.kind == ARVAK_KIND_NONE) arvak_retry_earn(stream->retry);
  arvak__attempt_close(&stream->attempt, stream->loop->now_ns);
}

static void end(arvak_stream *stream, stream_news *news) {
  arvak_loop *loop = stream->loop;
  arvak_loop_stop_timer(loop, &stream->probe_timer);
  if (stream->state == STREAM_OVER) settle(stream, news);
  if (stream->outcome.kind != ARVAK_KIND_NONE && stream->has_brought) stream->outcome.maybe_executed = true;
  if (!stream->outcome.message) stream->outcome.message = "";
  stream->outcome.elapsed_ns = loop->now_ns - stream->started_ns;
  stream->state = STREAM_ENDED;
  arvak__headers_fini(&stream->headers);
  grpc_slice_unref(stream->packed);
  arvak__loop_leave(loop, &stream->member);
  news->then = THEN_FINISH;
}

/* A message that cannot be decoded ends the stream; its own status would hide why. */
static void decode(arvak_stream *stream, stream_news *news) {
  size_t size = grpc_byte_buffer_length(stream->recv);
  arvak__stats_count_bytes(&stream->attempt.client->stats, (arvak__traffic){.received = size});
  int status = arvak__response_decode_buffer(stream->attempt.rpc, stream->recv, &stream->message);
  if (status == ARVAK_OK) status = arvak__response_match(stream->message, stream->packed);
  grpc_byte_buffer_destroy(stream->recv);
  stream->recv = NULL;
  news->then = THEN_NOTIFY;
  if (status == ARVAK_OK) {
    if (!stream->has_brought) tell_breaker(stream, ARVAK_VERDICT_SUCCESS, news);
    stream->has_brought = true;
    return;
  }
  arvak_response_unref(stream->message);
  stream->message = NULL;
  arvak__attempt_refuse_answer(&stream->attempt, &stream->outcome, status);
  cancel_rpc(stream);
}

static void on_written(arvak_stream *stream, bool success, stream_news *news) {
  bool is_last = stream->writes == WRITE_CLOSING || !success; /* it is over; its status says why */
  stream->writes = is_last ? WRITE_CLOSED : WRITE_FREE;
  if (stream->send) grpc_byte_buffer_destroy(stream->send);
  stream->send = NULL;
  news->then = THEN_NOTIFY;
}

static void on_started(arvak_stream *stream) {
  if (stream->request) grpc_byte_buffer_destroy(stream->request);
  stream->request = NULL;
}

static void transit(arvak_stream *stream, stream_event event, bool success, stream_news *news) {
  switch (event) {
    case EVENT_STARTED: on_started(stream); break;
    case EVENT_WRITTEN: on_written(stream, success, news); break;
    case EVENT_READ:
      stream->is_reading = false;
      if (stream->recv) decode(stream, news);
      else request_status(stream); /* the server has said all */
      break;
    case EVENT_STATUS: stream->state = STREAM_OVER; break;
    case EVENT_POSTED:
      if (stream->state == STREAM_DENIED) end(stream, news);
      return;
    case EVENT_PROBED:
      if (stream->pass.is_probe) tell_breaker(stream, ARVAK_VERDICT_NEUTRAL, news);
      return;
  }
  if (--stream->pending == 0 && stream->state == STREAM_OVER) end(stream, news);
}

/* User code, which may do anything; in a fork the rest is the parent's. */
static void tell(arvak_stream *stream, const stream_news *news) {
  if (news->then == THEN_FINISH) stream->refs--; /* the loop's; the transition has another */
  if (news->changes.count > 0) arvak__breaker_report(stream->breaker, &news->changes);
  if (news->then != THEN_NOTHING && stream->fn && !arvak__loop_is_foreign(stream->loop))
    stream->fn(stream, stream->ud);
}

static void move(arvak_stream *stream, stream_event event, bool success) {
  stream_news news = {.then = THEN_NOTHING};
  stream->refs++;
  transit(stream, event, success, &news);
  tell(stream, &news);
  stream_unref(stream);
}

static void on_posting(arvak__posting *posting) {
  move((arvak_stream *)((char *)posting - offsetof(arvak_stream, posting)), EVENT_POSTED, true);
}

static void on_probe_end(arvak_timer *timer, void *ud) {
  (void)timer;
  move(ud, EVENT_PROBED, true);
}

/* ---- start ---- */

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

/* Nobody knows the stream yet, so what the function does cannot meet it. False: there are no headers. */
static bool query_headers(arvak_stream *stream, size_t fixed_count) {
  arvak_header_sink sink;
  const arvak__client_headers *common = &stream->attempt.client->headers;
  if (!common->fn) return true;
  bool is_given = arvak__headers_query(common, stream->attempt.rpc, &sink) && !arvak__loop_is_foreign(stream->loop);
  if (is_given) is_given = arvak__headers_renew(&stream->headers, common, fixed_count, sink.list, sink.count) == 0;
  arvak__header_sink_fini(&sink);
  return is_given;
}

static void start_probe(arvak_stream *stream, stream_news *news) {
  arvak_timer *timer = &stream->probe_timer;
  arvak_client_hurry(stream->attempt.client);
  timer->fn = on_probe_end;
  timer->ud = stream;
  if (arvak_loop_set_timer(stream->loop, timer, stream->started_ns + PROBE_NS) != ARVAK_OK)
    tell_breaker(stream, ARVAK_VERDICT_NEUTRAL, news);
}

static void set_out(arvak_stream *stream, bool is_given, stream_news *news) {
  arvak_loop *loop = stream->loop;
  arvak__pool *pool = stream->attempt.client->pool;
  stream->refs = 2;
  if (loop->member_count == 0) arvak__loop_catch_up(loop, arvak__pool_channel_count(pool));
  arvak__loop_join(loop, &stream->member);
  if (stream->pass.is_probe) start_probe(stream, news);
  if (is_given) {
    stream->outcome.attempts = 1;
    arvak__attempt_open(&stream->attempt, &loop->cq, stream->started_ns);
    start_sending(stream);
    return;
  }
  if (stream->request) grpc_byte_buffer_destroy(stream->request);
  stream->request = NULL;
  arvak__set_denied(&stream->outcome, ARVAK_KIND_UNAUTHENTICATED, GRPC_STATUS_UNAUTHENTICATED, arvak__refused_message);
  stream->state = STREAM_DENIED;
  arvak__loop_post(loop, &stream->posting);
}

static size_t cancel_member(arvak__member *member, arvak_kind kind) {
  arvak_stream *stream = (arvak_stream *)member;
  arvak_stream_cancel(stream, kind);
  return stream->state == STREAM_DENIED ? 1 : (size_t)stream->pending;
}

static void configure(arvak_stream *stream, const arvak_call_options *options, arvak_stream_fn fn) {
  stream->retry = arvak_retry_ref(options->retry);
  stream->breaker = arvak_breaker_ref(options->breaker);
  stream->fn = fn;
  stream->ud = options->ud;
  stream->posting.fn = on_posting;
  stream->member.owner = options->owner;
  stream->member.cancel = cancel_member;
}

/* Of a stream that has not set out. In a fork its parts are the parent's. */
static void discard(arvak_stream *stream) {
  bool is_foreign = arvak__loop_is_foreign(stream->loop);
  if (stream->request && !is_foreign) grpc_byte_buffer_destroy(stream->request);
  if (!is_foreign) arvak__headers_fini(&stream->headers);
  if (!is_foreign) grpc_slice_unref(stream->packed);
  stream->refs = 1;
  stream_unref(stream);
}

/* Headers, then the breaker, so that nothing the function does comes between the breaker and the attempt. */
static int admit(arvak_stream *stream, const arvak_call_options *options, bool *is_given, stream_news *news) {
  int64_t retry_after;
  *is_given = query_headers(stream, options->header_count);
  if (arvak__loop_is_foreign(stream->loop)) return ARVAK_EFORKED;
  stream->started_ns = arvak__loop_begin(stream->loop);
  if (options->timeout_ns > 0) stream->attempt.deadline_ns = arvak__after_ns(stream->started_ns, options->timeout_ns);
  if (!*is_given || !stream->breaker) return ARVAK_OK;
  bool is_admitted = arvak__breaker_enter(stream->breaker, stream->started_ns, stream->started_ns + PROBE_NS,
                                          &stream->pass, &retry_after, &news->changes);
  return is_admitted ? ARVAK_OK : ARVAK_EREFUSED;
}

int arvak_stream_start(arvak_loop *loop, arvak_client *client, const arvak_request *request,
                       const arvak_call_options *options, arvak_stream_fn fn, arvak_stream **out) {
  bool is_given;
  stream_news news = {.then = THEN_NOTHING};
  if (arvak__loop_is_foreign(loop) || client->fork_generation != loop->fork_generation) return ARVAK_EFORKED;
  if (loop->cq.closed) return ARVAK_ECLOSED;
  if (request->rpc < ARVAK_WATCH_JOB || !arvak__headers_are_sound(options)) return ARVAK_EINVAL;
  arvak_stream *stream = calloc(1, sizeof *stream);
  if (!stream) return ARVAK_ENOMEM;
  stream->loop = loop;
  stream->attempt.client = client;
  stream->attempt.rpc = request->rpc;
  stream->attempt.deadline_ns = ARVAK_NEVER;
  int status = prepare(stream, request, options);
  if (status != ARVAK_OK) {
    free(stream);
    return status;
  }
  arvak_client_ref(client);
  configure(stream, options, fn);
  status = admit(stream, options, &is_given, &news);
  if (status != ARVAK_OK) {
    discard(stream);
    return status;
  }
  set_out(stream, is_given, &news);
  *out = stream;
  stream->refs++;
  tell(stream, &news);
  stream_unref(stream);
  return ARVAK_OK;
}

/* ---- reading and writing ---- */

/* In a fork the stream is the parent's, and a write would go to the parent's connection. Its client tells, since a
 * child may close its loop first. */
static bool is_foreign(const arvak_stream *stream) {
  return stream->state != STREAM_ENDED && stream->attempt.client->fork_generation != arvak__fork_generation();
}

void arvak_stream_read(arvak_stream *stream) {
  if (stream->is_reading || stream->message || stream->state != STREAM_OPEN || is_foreign(stream)) return;
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
  return stream->state == STREAM_OPEN && stream->writes == WRITE_FREE && !is_foreign(stream);
}

int arvak_stream_write(arvak_stream *stream, const arvak_submission *submission) {
  if (!arvak_stream_can_write(stream)) return ARVAK_EINVAL;
  grpc_slice slice;
  int status = arvak__submission_encode(submission, &slice);
  if (status != ARVAK_OK) return status;
  stream->send = grpc_raw_byte_buffer_create(&slice, 1);
  arvak__stats_count_bytes(&stream->attempt.client->stats, (arvak__traffic){.sent = GRPC_SLICE_LENGTH(slice)});
  grpc_slice_unref(slice);
  grpc_op op;
  memset(&op, 0, sizeof op);
  op.op = GRPC_OP_SEND_MESSAGE;
  op.data.send_message.send_message = stream->send;
  stream->writes = WRITE_BUSY;
  start_batch(stream, &op, 1, &stream->write_tag, on_write);
  return ARVAK_OK;
}

void arvak_stream_close_writes(arvak_stream *stream) {
  if (!arvak_stream_can_write(stream)) return;
  grpc_op op;
  memset(&op, 0, sizeof op);
  op.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
  stream->writes = WRITE_CLOSING;
  start_batch(stream, &op, 1, &stream->write_tag, on_write);
}

void arvak_stream_cancel(arvak_stream *stream, arvak_kind kind) {
  if (stream->state >= STREAM_OVER || stream->attempt.cancel_kind != ARVAK_KIND_NONE || is_foreign(stream)) return;
  stream->attempt.cancel_kind = kind;
  cancel_rpc(stream);
}

void arvak_stream_release(arvak_stream *stream) {
  arvak_stream_cancel(stream, ARVAK_KIND_CANCELED);
  stream->fn = NULL;
  stream_unref(stream);
}

const arvak_outcome *arvak_stream_outcome(const arvak_stream *stream) {
  return stream->state == STREAM_ENDED && !stream->message ? &stream->outcome : NULL;
}

bool arvak_stream_plan_retry(arvak_stream *stream, int attempts, int64_t *delay_ns) {
  bool has_failed = stream->state == STREAM_ENDED && stream->outcome.kind != ARVAK_KIND_NONE;
  if (!has_failed || !stream->retry || stream->has_brought) return false;
  stream->outcome.attempts = attempts;
  if (!arvak__attempt_may_retry(&stream->attempt, &stream->outcome, stream->retry, delay_ns)) return false;
  int64_t at = arvak__after_ns(arvak_now_ns(), *delay_ns);
  if (stream->attempt.deadline_ns != ARVAK_NEVER && at >= stream->attempt.deadline_ns) return false;
  arvak__stats_count_retry(&stream->attempt.client->stats, stream->outcome.code);
  stream->refs++; /* the hook may release it */
  arvak__attempt_report_retry(&stream->attempt, &stream->outcome, stream->retry, *delay_ns);
  stream_unref(stream);
  return true;
}

arvak_rpc arvak_stream_rpc(const arvak_stream *stream) { return stream->attempt.rpc; }

const char *arvak_stream_address(const arvak_stream *stream) { return stream->attempt.client->address; }
