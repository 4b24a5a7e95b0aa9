/* One logical unary RPC, from its start to its one report. Invariant: the op struct, which is the call itself,
 * belongs to the loop from start until the end is reported, whatever the starter does meanwhile.
 * SPDX-License-Identifier: Apache-2.0 */
#include "call.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "client.h"
#include "clock.h"
#include "codec.h"
#include "loop.h"
#include "runtime.h"
#include "slots.h"
#include "stats.h"

/* After this long without a call, a connection may have died unnoticed: see arvak__loop_catch_up. */
#define IDLE_NS 50000

/* How long an attempt waits for a connection, and the pauses between looking. Longer would keep the call from its
 * other attempts, and the breaker from learning. */
#define CONNECT_NS 1000000000
#define FIRST_LOOK_NS 1000000
#define LAST_LOOK_NS 32000000

/* ---- lifetime ---- */

void arvak__call_ref(arvak_call *call) { atomic_fetch_add_explicit(&call->refs, 1, memory_order_relaxed); }

void arvak__call_unref(arvak_call *call) {
  if (atomic_fetch_sub_explicit(&call->refs, 1, memory_order_acq_rel) != 1) return;
  arvak_response_unref(call->response);
  arvak_client_unref(call->attempt.client);
  arvak_retry_unref(call->retry);
  arvak_breaker_unref(call->breaker);
  free(call->attempt.message);
  free(call);
}

static void link_call(arvak_loop *loop, arvak_call *call) {
  call->next = loop->calls;
  if (loop->calls) loop->calls->prev = call;
  loop->calls = call;
  loop->call_count++;
}

static void unlink_call(arvak_loop *loop, arvak_call *call) {
  if (call->prev) call->prev->next = call->next;
  else loop->calls = call->next;
  if (call->next) call->next->prev = call->prev;
  loop->call_count--;
}

static void free_request(arvak_call *call) {
  grpc_slice_unref(call->request);
  arvak__headers_fini(&call->headers);
}

/* ---- the end ---- */

/* Reports the end. The slot must be given back before. */
static void finish(arvak_call *call, size_t received) {
  call->state = CALL_ENDED;
  call->loop->last_end_ns = arvak_now_ns();
  call->outcome.elapsed_ns = call->loop->last_end_ns - call->started_ns;
  if (!call->outcome.message) call->outcome.message = "";
  size_t sent = GRPC_SLICE_LENGTH(call->request) * (size_t)call->outcome.attempts;
  arvak__stats_count_call(call->attempt.client, call->attempt.rpc, &call->outcome, (arvak__traffic){sent, received});
  free_request(call);
  unlink_call(call->loop, call);
  if (call->fn) call->fn(call, call->ud);
  arvak__call_unref(call);
}

/* Reports, soon, an end that was found where fn may not run. */
static void finish_soon(arvak_call *call) {
  call->state = CALL_REFUSED;
  arvak__loop_post(call->loop, call);
}

static void finish_canceled(arvak_call *call) {
  bool maybe_executed = call->outcome.maybe_executed; /* in an attempt before */
  call->outcome = (arvak_outcome){.attempts = call->outcome.attempts, .maybe_executed = maybe_executed};
  arvak__set_canceled(&call->outcome, call->attempt.cancel_kind);
  finish(call, 0);
}

/* There will be no attempt, or no other. After one that failed, its error is what the call comes to. */
static void set_refusal(arvak_call *call, arvak_kind kind, int code, const char *message) {
  if (call->outcome.attempts > 0) return;
  arvak__set_failure(&call->outcome, kind, code, message);
}

static void set_queue_timeout(arvak_call *call, const char *message) {
  set_refusal(call, ARVAK_KIND_TIMEOUT, GRPC_STATUS_DEADLINE_EXCEEDED, message);
  if (call->outcome.attempts > 0) return;
  call->outcome.scope = ARVAK_SCOPE_QUEUE;
  call->outcome.retryable = true;
}

static void set_open(arvak_call *call, int64_t retry_after_ns) {
  if (call->outcome.attempts == 0) arvak_breaker_explain(retry_after_ns, &call->outcome);
  if (retry_after_ns == ARVAK_NEVER) return;
  call->outcome.has_retry_after = true;
  call->outcome.retry_after_ns = retry_after_ns;
}

static void set_timer(arvak_call *call, int64_t at_ns, arvak_timer_fn fn) {
  call->timer.fn = fn;
  call->timer.ud = call;
  if (arvak_loop_set_timer(call->loop, &call->timer, at_ns) != ARVAK_OK)
    arvak_call_cancel(call, ARVAK_KIND_CANCELED); /* out of memory; there is no other way to end it */
}

/* ---- after an attempt ---- */

/* Of a batch with too few ids those that came stay in the response. */
static void decode_answer(arvak_call *call) {
  int status = ARVAK__EABSENT;
  if (call->recv) status = arvak__response_decode_buffer(call->attempt.rpc, call->recv, &call->response);
  if (status == ARVAK_OK) status = arvak__response_match(call->response, call->request);
  if (status != ARVAK_OK) arvak__attempt_refuse_answer(&call->attempt, &call->outcome, status);
}

/* A proxy's word that a submit was not executed is none, where the policy says so. */
static void distrust(arvak_call *call) {
  const arvak__attempt *attempt = &call->attempt;
  bool is_word = attempt->status == GRPC_STATUS_UNAVAILABLE && attempt->delivery == DELIVERY_ANSWERED;
  if (!is_word || !arvak__is_submit(attempt->rpc)) return;
  if (!arvak_retry_get_options(call->retry)->distrust_unavailable) return;
  call->outcome.maybe_executed = true;
  call->outcome.retryable = false;
}

static void adapt(const arvak_call *call) {
  const arvak__attempt *attempt = &call->attempt;
  int code = call->outcome.code;
  bool is_overload = (code == GRPC_STATUS_RESOURCE_EXHAUSTED && attempt->delivery == DELIVERY_ANSWERED) ||
                     call->outcome.kind == ARVAK_KIND_TIMEOUT;
  if (is_overload || call->outcome.kind == ARVAK_KIND_NONE)
    arvak__slots_adapt(attempt->client, is_overload, attempt->opened_ns);
}

/* What would only be refused is not waited for. */
static bool would_be_refused(arvak_call *call, int64_t at_ns, int64_t delay_ns) {
  if (!call->breaker) return false;
  arvak_breaker_info info;
  arvak_breaker_get_info(call->breaker, at_ns, &info);
  if (!info.would_admit) set_open(call, arvak__after_ns(delay_ns, info.retry_after_ns));
  return !info.would_admit;
}

static void begin(arvak_call *call, int64_t now_ns);

static void on_slept(arvak_timer *timer, void *ud) {
  (void)timer;
  begin(ud, arvak_now_ns());
}

/* Sets the call to sleep before another attempt. False: the one that failed was the last. */
static bool retry_later(arvak_call *call) {
  arvak__attempt *attempt = &call->attempt;
  int64_t delay;
  if (!arvak__attempt_may_retry(attempt, &call->outcome, call->retry, &delay) || call->is_released) return false;
  int64_t now = arvak_now_ns();
  int64_t next = arvak__after_ns(now, delay);
  if (next >= call->deadline_ns || would_be_refused(call, next, delay)) return false;
  call->outcome.elapsed_ns = now - call->started_ns;
  arvak__attempt_report_retry(attempt, &call->outcome, call->retry, delay);
  call->state = CALL_SLEEPING;
  call->has_waited = true;
  set_timer(call, next, on_slept);
  return true;
}

/* Tells the policies how an attempt went. */
static void settle(arvak_call *call) {
  if (call->pass.generation != 0) arvak_breaker_leave(call->breaker, call->pass, call->attempt.verdict);
  call->pass.generation = 0;
  if (call->attempt.client->is_adaptive) adapt(call);
  if (call->retry && call->outcome.kind == ARVAK_KIND_NONE) arvak_retry_earn(call->retry);
}

static void on_attempt_end(arvak__tag *tag, bool success) {
  (void)success;
  arvak_call *call = (arvak_call *)tag;
  size_t received = call->recv ? grpc_byte_buffer_length(call->recv) : 0;
  arvak__attempt_judge(&call->attempt, &call->outcome);
  if (call->attempt.status == GRPC_STATUS_OK) decode_answer(call);
  else if (call->retry) distrust(call);
  arvak__attempt_close(&call->attempt);
  grpc_byte_buffer_destroy(call->send);
  if (call->recv) grpc_byte_buffer_destroy(call->recv);
  call->recv = NULL;
  settle(call);
  arvak__slots_release(call->attempt.client);
  if (call->outcome.kind != ARVAK_KIND_NONE && call->retry && retry_later(call)) return;
  finish(call, received);
}

/* ---- an attempt ---- */

static grpc_call_error start_batch(arvak_call *call) {
  arvak__attempt *attempt = &call->attempt;
  grpc_op ops[6];
  memset(ops, 0, sizeof ops);
  ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
  ops[0].data.send_initial_metadata.count = call->headers.count;
  ops[0].data.send_initial_metadata.metadata = call->headers.list;
  ops[1].op = GRPC_OP_SEND_MESSAGE;
  ops[1].data.send_message.send_message = call->send;
  ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
  ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
  ops[3].data.recv_initial_metadata.recv_initial_metadata = &attempt->initial;
  ops[4].op = GRPC_OP_RECV_MESSAGE;
  ops[4].data.recv_message.recv_message = &call->recv;
  ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
  ops[5].data.recv_status_on_client.trailing_metadata = &attempt->trailing;
  ops[5].data.recv_status_on_client.status = &attempt->status;
  ops[5].data.recv_status_on_client.status_details = &attempt->details;
  return grpc_call_start_batch(attempt->grpc, ops, 6, &call->tag, NULL);
}

static void start_attempt(arvak_call *call, int64_t now_ns) {
  arvak__attempt *attempt = &call->attempt;
  attempt->deadline_ns = call->deadline_ns;
  int64_t cut = call->attempt_timeout_ns > 0 ? arvak__after_ns(now_ns, call->attempt_timeout_ns) : ARVAK_NEVER;
  attempt->is_cut = cut < call->deadline_ns;
  if (attempt->is_cut) attempt->deadline_ns = cut;
  call->tag.fn = on_attempt_end;
  call->state = CALL_ACTIVE;
  call->outcome.attempts++;
  call->send = grpc_raw_byte_buffer_create(&call->request, 1);
  arvak__attempt_open(attempt, &call->loop->cq);
  /* Cannot fail: the operations are fixed and the headers were checked when they were taken. */
  grpc_call_error error = start_batch(call);
  if (error != GRPC_CALL_OK) abort();
  call->loop->cq.pending_tags++;
}

/* ---- the way to an attempt: breaker, rate, slot, headers, breaker again, connection ---- */

/* Gives back what a call held on its way, for one that ends there. */
static void step_back(arvak_call *call, arvak_verdict verdict) {
  if (call->pass.generation != 0) arvak_breaker_leave(call->breaker, call->pass, verdict);
  call->pass.generation = 0;
  arvak__slots_release(call->attempt.client);
}

static void look_for_connection(arvak_call *call);

static void on_look(arvak_timer *timer, void *ud) {
  (void)timer;
  look_for_connection(ud);
}

/* The attempt then starts all the same, so that its error is gRPC's; but not after the deadline, when nobody could tell
 * any more whether it was sent. */
static void stop_looking(arvak_call *call, int64_t now_ns) {
  if (now_ns < call->deadline_ns) {
    start_attempt(call, now_ns);
    return;
  }
  set_refusal(call, ARVAK_KIND_TIMEOUT, GRPC_STATUS_DEADLINE_EXCEEDED, "no connection within the call's timeout");
  if (call->outcome.attempts == 0) call->outcome.scope = ARVAK_SCOPE_CALL;
  step_back(call, ARVAK_VERDICT_FAILURE);
  finish_soon(call);
}

static void look_for_connection(arvak_call *call) {
  int64_t now = arvak_now_ns();
  if (now >= call->connect_until_ns) {
    stop_looking(call, now);
  } else if (arvak_client_connect(call->attempt.client, call->loop)) {
    start_attempt(call, now);
  } else {
    int64_t next = now + call->look_ns;
    if (call->look_ns < LAST_LOOK_NS) call->look_ns *= 2;
    set_timer(call, next < call->connect_until_ns ? next : call->connect_until_ns, on_look);
  }
}

/* Where the attempt before was not sent, or where all depends on this one, gRPC's own pauses between its attempts to
 * connect would fail it for nothing. */
static void wait_for_connection(arvak_call *call, int64_t now_ns) {
  int64_t longest = CONNECT_NS;
  if (call->attempt_timeout_ns > 0 && call->attempt_timeout_ns < longest) longest = call->attempt_timeout_ns;
  call->state = CALL_CONNECTING;
  int64_t end = arvak__after_ns(now_ns, longest);
  call->connect_until_ns = end < call->deadline_ns ? end : call->deadline_ns;
  call->look_ns = FIRST_LOOK_NS;
  arvak_client_hurry(call->attempt.client);
  look_for_connection(call);
}

static bool was_not_sent(const arvak_call *call) {
  return call->outcome.attempts > 0 && call->attempt.delivery == DELIVERY_NOT_SENT;
}

/* It holds a slot, and no attempt is to come. */
static void refuse(arvak_call *call, arvak_kind kind, int code, const char *message) {
  arvak__slots_release(call->attempt.client);
  call->outcome.retryable = call->outcome.has_retry_after = false;
  call->outcome.scope = ARVAK_SCOPE_NONE;
  arvak__set_failure(&call->outcome, kind, code, message);
  finish_soon(call);
}

static void enter(arvak_call *call, int64_t now_ns) {
  int64_t retry_after;
  arvak_client *client = call->attempt.client;
  if (call->deadline_ns != 0 && now_ns >= call->deadline_ns) { /* the loop was not driven in time: as in retry_later */
    arvak__slots_release(client);
    finish_soon(call);
    return;
  }
  if (arvak__headers_query(&call->headers, &client->headers, call->fixed_header_count, call->attempt.rpc) != ARVAK_OK) {
    refuse(call, ARVAK_KIND_UNAUTHENTICATED, GRPC_STATUS_UNAUTHENTICATED, arvak__refused_message);
    return;
  }
  int64_t end = call->deadline_ns ? call->deadline_ns : arvak__after_ns(now_ns, call->timeout_ns);
  if (call->breaker && !arvak_breaker_enter(call->breaker, end, &call->pass, &retry_after)) {
    arvak__slots_release(client);
    set_open(call, retry_after);
    finish_soon(call);
    return;
  }
  call->deadline_ns = end;
  if (call->pass.is_probe || was_not_sent(call)) wait_for_connection(call, now_ns);
  else start_attempt(call, now_ns);
}

static void on_slot(arvak_call *call, int64_t now_ns) {
  if (!call->asks_headers || !call->has_waited || call->is_released) {
    enter(call, now_ns);
    return;
  }
  call->state = CALL_ASKING;
  call->queue_next = NULL;
  arvak_call **end = &call->loop->asking;
  while (*end) end = &(*end)->queue_next;
  *end = call;
}

static void on_queue_timeout(arvak_timer *timer, void *ud) {
  (void)timer;
  arvak_call *call = ud;
  /* Granted in this very moment: it is in the inbox and goes on. */
  if (!arvak__slots_unqueue(call->attempt.client, call)) return;
  set_queue_timeout(call, "no slot came free within queue_timeout (as many calls as may be are in flight)");
  finish(call, 0);
}

/* Between attempts the call's own deadline runs as well. */
static int64_t queue_end(const arvak_call *call, int64_t now_ns) {
  int64_t end = arvak__after_ns(now_ns, call->queue_timeout_ns);
  return call->deadline_ns != 0 && call->deadline_ns < end ? call->deadline_ns : end;
}

static void take_slot(arvak_call *call, int64_t now_ns) {
  call->state = CALL_QUEUED;
  if (arvak__slots_acquire(call->attempt.client, call)) {
    on_slot(call, now_ns);
    return;
  }
  call->has_waited = true;
  set_timer(call, queue_end(call, now_ns), on_queue_timeout);
}

static void on_tokens(arvak_timer *timer, void *ud) {
  (void)timer;
  take_slot(ud, arvak_now_ns());
}

/* Waits for the tokens of its jobs, which come at the rate of the limiter. */
static void take_tokens(arvak_call *call, int64_t now_ns) {
  int jobs = (int)call->attempt.circuit_count;
  int64_t at = arvak__tokens_reserve(call->attempt.client, jobs, now_ns, queue_end(call, now_ns));
  if (at == ARVAK_NEVER) {
    set_queue_timeout(call, "the limiter's rate has no place for it within queue_timeout");
    finish_soon(call);
  } else if (at <= now_ns) {
    take_slot(call, now_ns);
  } else {
    call->state = CALL_PACED;
    call->has_waited = true;
    set_timer(call, at, on_tokens);
  }
}

static void begin(arvak_call *call, int64_t now_ns) {
  if (would_be_refused(call, now_ns, 0)) finish_soon(call);
  else if (call->attempt.client->is_paced && call->attempt.circuit_count > 0) take_tokens(call, now_ns);
  else take_slot(call, now_ns);
}

static void stop_asking(arvak_call *call) {
  arvak_call **place = &call->loop->asking;
  while (*place != call) place = &(*place)->queue_next;
  *place = call->queue_next;
}

/* Moves a canceled call out of what it waits in. */
static void end_waiting(arvak_call *call) {
  arvak_loop_stop_timer(call->loop, &call->timer);
  if (call->state == CALL_PACED)
    arvak__tokens_give_back(call->attempt.client, (int)call->attempt.circuit_count, call->timer.deadline_ns);
  if (call->state == CALL_ASKING) stop_asking(call);
  bool holds_slot = call->state == CALL_ASKING || call->state == CALL_CONNECTING;
  if (call->state == CALL_QUEUED) holds_slot = !arvak__slots_unqueue(call->attempt.client, call);
  if (holds_slot) step_back(call, ARVAK_VERDICT_NEUTRAL);
  finish_canceled(call);
}

void arvak__call_advance(arvak_call *call) {
  switch (call->state) {
    case CALL_ACTIVE: case CALL_ENDED: return;
    case CALL_REFUSED: finish(call, 0); return;
    default: break;
  }
  if (call->attempt.cancel_kind != ARVAK_KIND_NONE) {
    end_waiting(call);
  } else if (call->state == CALL_QUEUED && call->granted) {
    arvak_loop_stop_timer(call->loop, &call->timer);
    on_slot(call, arvak_now_ns());
  }
}

/* ---- headers that a call asks for ---- */

arvak_call *arvak_loop_next_asking(arvak_loop *loop) { return loop->asking; }

int arvak_call_proceed(arvak_call *call, const arvak_header *headers, size_t count) {
  if (call->state != CALL_ASKING) return ARVAK_EINVAL;
  if (headers) {
    arvak_call_options options = {.headers = headers, .header_count = count};
    if (!arvak__headers_are_sound(&options)) return ARVAK_EINVAL;
    int status = arvak__headers_renew(&call->headers, &call->attempt.client->headers, call->fixed_header_count,
                                      &options);
    if (status != ARVAK_OK) return status;
  }
  stop_asking(call);
  enter(call, arvak_now_ns());
  return ARVAK_OK;
}

void arvak_call_refuse(arvak_call *call, arvak_kind kind, int code, const char *message) {
  if (call->state != CALL_ASKING) return;
  stop_asking(call);
  refuse(call, kind, code, message);
}

/* ---- start ---- */

static int prepare(arvak_call *call, const arvak_request *request, const arvak_call_options *options) {
  int status = arvak__request_encode(request, &call->request);
  if (status != ARVAK_OK) return status;
  status = arvak__headers_init(&call->headers, &call->attempt.client->headers, options);
  if (status != ARVAK_OK) grpc_slice_unref(call->request);
  return status;
}

static bool is_sound(const arvak_request *request, const arvak_call_options *options) {
  if (request->rpc >= ARVAK_WATCH_JOB) return false;
  if (request->rpc == ARVAK_SUBMIT_JOB && request->circuit_count != 1) return false;
  return arvak__headers_are_sound(options);
}

static int64_t or_default(int64_t value, int64_t standard) { return value > 0 ? value : standard; }

static void configure(arvak_call *call, const arvak_call_options *options) {
  const arvak_client *client = call->attempt.client;
  call->owner = options->owner;
  call->fn = options->fn;
  call->ud = options->ud;
  call->timeout_ns = or_default(options->timeout_ns, client->timeout_ns);
  call->attempt_timeout_ns = or_default(options->attempt_timeout_ns, client->attempt_timeout_ns);
  call->queue_timeout_ns = or_default(options->queue_timeout_ns, client->queue_timeout_ns);
  call->retry = arvak_retry_ref(options->retry);
  call->breaker = arvak_breaker_ref(options->breaker);
  bool has_fn = client->headers.fn != NULL;
  call->asks_headers = options->asks_headers && !has_fn;
  call->fixed_header_count = has_fn ? options->header_count : options->fixed_header_count;
}

int arvak_call_start(arvak_loop *loop, arvak_client *client, const arvak_request *request,
                     const arvak_call_options *options, arvak_call **out) {
  unsigned generation = arvak__fork_generation();
  if (loop->fork_generation != generation || client->fork_generation != generation) return ARVAK_EFORKED;
  if (loop->cq.closed) return ARVAK_ECLOSED;
  if (!is_sound(request, options)) return ARVAK_EINVAL;
  arvak_call *call = calloc(1, sizeof *call);
  if (!call) return ARVAK_ENOMEM;
  call->attempt.rpc = request->rpc;
  call->attempt.circuit_count = request->circuit_count;
  call->attempt.client = client;
  call->attempt.random = &loop->random;
  call->loop = loop;
  int status = prepare(call, request, options);
  if (status != ARVAK_OK) {
    free(call);
    return status;
  }
  configure(call, options);
  atomic_init(&call->refs, out ? 2 : 1);
  arvak_client_ref(client);
  call->started_ns = arvak_now_ns();
  if (loop->call_count == 0 && call->started_ns - loop->last_end_ns > IDLE_NS)
    arvak__loop_catch_up(loop, arvak__client_channel_count(client));
  link_call(loop, call);
  begin(call, call->started_ns);
  if (out) *out = call;
  return ARVAK_OK;
}

void arvak_call_cancel(arvak_call *call, arvak_kind kind) {
  if (call->state == CALL_ENDED || call->attempt.cancel_kind != ARVAK_KIND_NONE) return;
  if (call->loop->fork_generation != arvak__fork_generation()) return; /* it is the parent's */
  call->attempt.cancel_kind = kind;
  if (call->state == CALL_ACTIVE) grpc_call_cancel(call->attempt.grpc, NULL);
  else arvak__loop_post(call->loop, call);
}

/* Nobody is there who could give headers, or read what another attempt would bring. */
void arvak_call_release(arvak_call *call) {
  if (call->state == CALL_ASKING) arvak_call_cancel(call, ARVAK_KIND_CANCELED);
  call->is_released = true;
  call->fn = NULL;
  arvak__call_unref(call);
}

const arvak_outcome *arvak_call_outcome(const arvak_call *call) {
  return call->state == CALL_ENDED ? &call->outcome : NULL;
}

const void *arvak_call_owner(const arvak_call *call) { return call->owner; }

arvak_rpc arvak_call_rpc(const arvak_call *call) { return call->attempt.rpc; }

bool arvak_call_is_sent(const arvak_call *call) {
  return call->state == CALL_ACTIVE || call->outcome.maybe_executed ||
         (call->state == CALL_ENDED && call->outcome.attempts > 0);
}

const char *arvak_call_address(const arvak_call *call) { return call->attempt.client->address; }

arvak_response *arvak_call_response(const arvak_call *call) { return call->response; }
