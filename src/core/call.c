/* One logical unary RPC, from its start to its one report. Invariant: the op struct, which is the call itself,
 * belongs to the loop from start until the end is reported, whatever the starter does meanwhile.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* After this long without a call, a connection may have died unnoticed: see arvak__loop_catch_up. */
#define IDLE_NS 50000

/* ---- lifetime ---- */

void arvak__call_ref(arvak_call *call) { atomic_fetch_add_explicit(&call->refs, 1, memory_order_relaxed); }

void arvak__call_unref(arvak_call *call) {
  if (atomic_fetch_sub_explicit(&call->refs, 1, memory_order_acq_rel) != 1) return;
  arvak_response_unref(call->response);
  arvak_client_unref(call->attempt.client);
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

static void count_end(arvak_call *call, size_t received) {
  arvak_client *client = call->attempt.client;
  pthread_mutex_lock(&client->mu);
  client->stats.calls++;
  if (call->outcome.kind != ARVAK_KIND_NONE) client->stats.failures++;
  if (call->outcome.attempts > 0) client->stats.bytes_sent += GRPC_SLICE_LENGTH(call->request);
  client->stats.bytes_received += received;
  pthread_mutex_unlock(&client->mu);
}

/* Reports the end. The slot must be given back before. */
static void end_call(arvak_call *call) {
  call->state = CALL_ENDED;
  call->loop->last_end_ns = arvak_now_ns();
  call->outcome.elapsed_ns = call->loop->last_end_ns - call->started_ns;
  if (!call->outcome.message) call->outcome.message = "";
  free_request(call);
  unlink_call(call->loop, call);
  if (call->fn) call->fn(call, call->ud);
  arvak__call_unref(call);
}

/* An end without any attempt: canceled or timed out in the queue. */
static void end_unsent(arvak_call *call) {
  if (call->attempt.cancel_kind == ARVAK_KIND_NONE) {
    arvak__set_failure(&call->outcome, ARVAK_KIND_TIMEOUT, GRPC_STATUS_DEADLINE_EXCEEDED,
                       "no slot came free within queue_timeout (all max_concurrent_rpcs are in flight)");
    call->outcome.scope = ARVAK_SCOPE_QUEUE;
    call->outcome.retryable = true;
  } else {
    arvak__set_canceled(&call->outcome, call->attempt.cancel_kind);
  }
  count_end(call, 0);
  end_call(call);
}

/* Ids are missing: those that came stay in the response. */
static bool is_short_batch(const arvak_call *call) {
  return call->attempt.rpc == ARVAK_SUBMIT_BATCH && call->response->as.jobs.size != call->attempt.circuit_count;
}

static void decode_answer(arvak_call *call) {
  int status = ARVAK__EABSENT;
  if (call->recv) status = arvak__response_decode_buffer(call->attempt.rpc, call->recv, &call->response);
  if (status == ARVAK_OK && is_short_batch(call)) status = ARVAK__EABSENT;
  if (status != ARVAK_OK) arvak__attempt_refuse_answer(&call->outcome, status);
}

static void on_attempt_end(arvak__tag *tag, bool success) {
  (void)success;
  arvak_call *call = (arvak_call *)tag;
  size_t received = call->recv ? grpc_byte_buffer_length(call->recv) : 0;
  if (call->attempt.status == GRPC_STATUS_OK) decode_answer(call);
  else arvak__attempt_judge(&call->attempt, &call->outcome);
  arvak__attempt_close(&call->attempt);
  grpc_byte_buffer_destroy(call->send);
  if (call->recv) grpc_byte_buffer_destroy(call->recv);
  count_end(call, received);
  arvak__client_release(call->attempt.client);
  end_call(call);
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

static void start_attempt(arvak_call *call) {
  call->attempt.deadline_ns = arvak_now_ns() + call->timeout_ns;
  call->tag.fn = on_attempt_end;
  call->state = CALL_ACTIVE;
  call->outcome.attempts++;
  call->send = grpc_raw_byte_buffer_create(&call->request, 1);
  arvak__attempt_open(&call->attempt, call->loop);
  /* Cannot fail: the operations are fixed and the headers were checked when they were taken. */
  grpc_call_error error = start_batch(call);
  if (error != GRPC_CALL_OK) abort();
  call->loop->pending_tags++;
}

void arvak__call_advance(arvak_call *call) {
  if (call->state != CALL_QUEUED) return;
  arvak_loop_stop_timer(call->loop, &call->queue_timer);
  if (call->attempt.cancel_kind == ARVAK_KIND_NONE && call->granted) {
    start_attempt(call);
    return;
  }
  if (!arvak__client_unqueue(call->attempt.client, call)) arvak__client_release(call->attempt.client);
  end_unsent(call);
}

static void on_queue_timeout(arvak_timer *timer, void *ud) {
  (void)timer;
  arvak_call *call = ud;
  /* Granted in this very moment: it is in the inbox and goes on. */
  if (arvak__client_unqueue(call->attempt.client, call)) end_unsent(call);
}

/* ---- start ---- */

static int prepare(arvak_call *call, const arvak_request *request, const arvak_call_options *options) {
  int status = arvak__request_encode(request, &call->request);
  if (status != ARVAK_OK) return status;
  status = arvak__headers_init(&call->headers, call->attempt.client, options);
  if (status != ARVAK_OK) grpc_slice_unref(call->request);
  return status;
}

static bool is_sound(const arvak_request *request, const arvak_call_options *options) {
  if (request->rpc >= ARVAK_WATCH_JOB) return false;
  if (request->rpc == ARVAK_SUBMIT_JOB && request->circuit_count != 1) return false;
  return arvak__headers_are_sound(options);
}

static int enqueue(arvak_call *call) {
  call->queue_timer.fn = on_queue_timeout;
  call->queue_timer.ud = call;
  return arvak_loop_set_timer(call->loop, &call->queue_timer, call->started_ns + call->queue_timeout_ns);
}

int arvak_call_start(arvak_loop *loop, arvak_client *client, const arvak_request *request,
                     const arvak_call_options *options, arvak_call **out) {
  unsigned generation = arvak__fork_generation();
  if (loop->fork_generation != generation || client->fork_generation != generation) return ARVAK_EFORKED;
  if (loop->closed) return ARVAK_ECLOSED;
  if (!is_sound(request, options)) return ARVAK_EINVAL;
  arvak_call *call = calloc(1, sizeof *call);
  if (!call) return ARVAK_ENOMEM;
  call->attempt.rpc = request->rpc;
  call->attempt.circuit_count = request->circuit_count;
  call->attempt.client = client;
  call->loop = loop;
  call->owner = options->owner;
  call->fn = options->fn;
  call->ud = options->ud;
  call->timeout_ns = options->timeout_ns > 0 ? options->timeout_ns : client->timeout_ns;
  call->queue_timeout_ns = options->queue_timeout_ns > 0 ? options->queue_timeout_ns : client->queue_timeout_ns;
  int status = prepare(call, request, options);
  if (status != ARVAK_OK) {
    free(call);
    return status;
  }
  atomic_init(&call->refs, out ? 2 : 1);
  arvak_client_ref(client);
  call->started_ns = arvak_now_ns();
  if (loop->call_count == 0 && call->started_ns - loop->last_end_ns > IDLE_NS)
    arvak__loop_catch_up(loop, arvak__client_channel_count(client));
  link_call(loop, call);
  if (arvak__client_acquire(client, call)) start_attempt(call);
  else if (enqueue(call) != ARVAK_OK) arvak_call_cancel(call, ARVAK_KIND_CANCELED);
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

void arvak_call_release(arvak_call *call) {
  call->fn = NULL;
  arvak__call_unref(call);
}

const arvak_outcome *arvak_call_outcome(const arvak_call *call) {
  return call->state == CALL_ENDED ? &call->outcome : NULL;
}

arvak_rpc arvak_call_rpc(const arvak_call *call) { return call->attempt.rpc; }

bool arvak_call_is_sent(const arvak_call *call) { return call->outcome.attempts > 0; }

const char *arvak_call_address(const arvak_call *call) { return call->attempt.client->address; }

arvak_response *arvak_call_response(const arvak_call *call) { return call->response; }
