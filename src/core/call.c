/* One logical unary RPC, from its start to its one report. Invariant: the op struct, which is the call itself,
 * belongs to the loop from start until the end is reported, whatever the starter does meanwhile.
 *
 * The result of an attempt is its status, never event.success. What a failure says about the request follows from
 * the peer: until something came back over a transport, grpc_call_get_peer returns the channel's target, and no
 * peer is spelled like a target of ours (address.c).
 * SPDX-License-Identifier: Apache-2.0 */
#include <grpc/support/alloc.h>
#include <grpc/support/string_util.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static const char closed_message[] = "the client was closed";
static const char canceled_message[] = "the call was canceled";

/* After this long without a call, a connection may have died unnoticed: see arvak__loop_catch_up. */
#define IDLE_NS 50000

static gpr_timespec to_timespec(int64_t ns) {
  return (gpr_timespec){ns / 1000000000, (int32_t)(ns % 1000000000), GPR_CLOCK_MONOTONIC};
}

/* ---- lifetime ---- */

void arvak__call_ref(arvak_call *call) { atomic_fetch_add_explicit(&call->refs, 1, memory_order_relaxed); }

void arvak__call_unref(arvak_call *call) {
  if (atomic_fetch_sub_explicit(&call->refs, 1, memory_order_acq_rel) != 1) return;
  arvak_response_free(call->response);
  arvak_client_unref(call->client);
  free(call->message);
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
  for (size_t i = call->header_count - call->own_header_count; i < call->header_count; i++) {
    grpc_slice_unref(call->headers[i].key);
    grpc_slice_unref(call->headers[i].value);
  }
  if (call->own_header_count > 0) free(call->headers);
}

/* ---- the end ---- */

static void count_end(arvak_call *call, size_t received) {
  arvak_client *client = call->client;
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

static void set_failure(arvak_call *call, arvak_kind kind, int code, const char *message) {
  call->outcome.kind = kind;
  call->outcome.code = code;
  call->outcome.message = message;
}

/* An end without any attempt: canceled or timed out in the queue. */
static void end_unsent(arvak_call *call) {
  if (call->cancel_kind == ARVAK_KIND_NONE) {
    set_failure(call, ARVAK_KIND_TIMEOUT, GRPC_STATUS_DEADLINE_EXCEEDED,
                "no slot came free within queue_timeout (all max_concurrent_rpcs are in flight)");
    call->outcome.scope = ARVAK_SCOPE_QUEUE;
    call->outcome.retryable = true;
  } else {
    set_failure(call, call->cancel_kind, GRPC_STATUS_CANCELLED,
                call->cancel_kind == ARVAK_KIND_CLOSED ? closed_message : canceled_message);
  }
  count_end(call, 0);
  end_call(call);
}

/* ---- what an attempt came to ---- */

static arvak__delivery delivery_of(arvak_call *call, const char *message) {
  char *peer = grpc_call_get_peer(call->grpc);
  bool sent = strcmp(peer, call->client->target) != 0;
  gpr_free(peer);
  if (!sent) return call->status == GRPC_STATUS_UNAVAILABLE ? DELIVERY_NOT_SENT : DELIVERY_BROKEN;
  if (arvak__is_transport_message(message)) return DELIVERY_BROKEN;
  if (call->status == GRPC_STATUS_UNAVAILABLE && !arvak__channel_is_ready(call->channel)) return DELIVERY_BROKEN;
  return DELIVERY_ANSWERED;
}

/* Our own deadline or cancellation: the outcome is unknown. A server that notices the deadline first says CANCELLED
 * (contract 2.1); any other status is a true answer, even when it is read late. */
static bool judge_own_end(arvak_call *call) {
  if (call->cancel_kind != ARVAK_KIND_NONE && call->status == GRPC_STATUS_CANCELLED) {
    set_failure(call, call->cancel_kind, GRPC_STATUS_CANCELLED,
                call->cancel_kind == ARVAK_KIND_CLOSED ? closed_message : canceled_message);
  } else if ((call->status == GRPC_STATUS_CANCELLED || call->status == GRPC_STATUS_DEADLINE_EXCEEDED) &&
             arvak_now_ns() >= call->deadline_ns) {
    set_failure(call, ARVAK_KIND_TIMEOUT, GRPC_STATUS_DEADLINE_EXCEEDED, "no answer within the call's timeout");
    call->outcome.scope = ARVAK_SCOPE_CALL;
    call->outcome.retryable = call->rpc != ARVAK_SUBMIT_JOB && call->rpc != ARVAK_SUBMIT_BATCH;
  } else {
    return false;
  }
  call->outcome.maybe_executed = true;
  return true;
}

/* The status's message as a string of our own. */
static const char *copy_message(arvak_call *call) {
  size_t length = GRPC_SLICE_LENGTH(call->details);
  call->message = malloc(length + 1);
  if (!call->message) return "out of memory";
  memcpy(call->message, GRPC_SLICE_START_PTR(call->details), length);
  call->message[length] = '\0';
  return call->message;
}

/* Adds, to the message of a connection that could not be made, what may be wrong. */
static const char *add_hint(arvak_call *call, const char *message) {
  const char *hint = arvak__connect_hint(call->client->is_tls, message);
  char *longer = hint ? realloc(call->message, strlen(message) + strlen(hint) + sizeof " ()") : NULL;
  if (!longer) return message;
  char *end = longer + strlen(longer);
  stpcpy(stpcpy(stpcpy(end, " ("), hint), ")");
  return call->message = longer;
}

static void judge_failure(arvak_call *call) {
  if (judge_own_end(call)) return;
  const char *message = copy_message(call);
  arvak__delivery delivery = delivery_of(call, message);
  call->is_broken = delivery == DELIVERY_BROKEN && call->status == GRPC_STATUS_UNAVAILABLE;
  if (delivery == DELIVERY_NOT_SENT && call->message) message = add_hint(call, message);
  set_failure(call, arvak__kind_of(call->rpc, call->status, message), call->status, message);
  call->outcome.retryable = arvak__is_retryable(call->rpc, call->status, message, delivery);
  call->outcome.maybe_executed = arvak__maybe_executed(call->rpc, call->circuit_count, call->status, delivery);
  if (call->outcome.kind == ARVAK_KIND_TIMEOUT) call->outcome.scope = ARVAK_SCOPE_CALL;
}

static void judge_success(arvak_call *call) {
  int status = call->recv ? arvak__response_decode_buffer(call->rpc, call->recv, &call->response) : ARVAK_EINVAL;
  if (status == ARVAK_OK) return;
  set_failure(call, ARVAK_KIND_RPC, GRPC_STATUS_INTERNAL,
              status == ARVAK_ENOMEM ? "out of memory while decoding the answer"
              : call->recv           ? "the server's answer is not a valid protobuf message"
                                     : "the server ended the call with OK and without an answer");
  call->outcome.maybe_executed = true;
}

static void on_attempt_end(arvak__tag *tag, bool success) {
  (void)success;
  arvak_call *call = (arvak_call *)tag;
  size_t received = call->recv ? grpc_byte_buffer_length(call->recv) : 0;
  if (call->status == GRPC_STATUS_OK) judge_success(call);
  else judge_failure(call);
  arvak__pool_release(call->channel, call->is_broken);
  grpc_call_unref(call->grpc);
  grpc_byte_buffer_destroy(call->send);
  if (call->recv) grpc_byte_buffer_destroy(call->recv);
  grpc_metadata_array_destroy(&call->initial);
  grpc_metadata_array_destroy(&call->trailing);
  grpc_slice_unref(call->details);
  count_end(call, received);
  arvak__client_release(call->client);
  end_call(call);
}

/* ---- an attempt ---- */

static grpc_call_error start_batch(arvak_call *call) {
  grpc_op ops[6];
  memset(ops, 0, sizeof ops);
  ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
  ops[0].data.send_initial_metadata.count = call->header_count;
  ops[0].data.send_initial_metadata.metadata = call->headers;
  ops[1].op = GRPC_OP_SEND_MESSAGE;
  ops[1].data.send_message.send_message = call->send;
  ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
  ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
  ops[3].data.recv_initial_metadata.recv_initial_metadata = &call->initial;
  ops[4].op = GRPC_OP_RECV_MESSAGE;
  ops[4].data.recv_message.recv_message = &call->recv;
  ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
  ops[5].data.recv_status_on_client.trailing_metadata = &call->trailing;
  ops[5].data.recv_status_on_client.status = &call->status;
  ops[5].data.recv_status_on_client.status_details = &call->details;
  return grpc_call_start_batch(call->grpc, ops, 6, &call->tag, NULL);
}

static void start_attempt(arvak_call *call) {
  call->deadline_ns = arvak_now_ns() + call->timeout_ns;
  call->channel = arvak__pool_pick(call->client, call->loop);
  call->tag.fn = on_attempt_end;
  call->state = CALL_ACTIVE;
  call->outcome.attempts++;
  grpc_metadata_array_init(&call->initial);
  grpc_metadata_array_init(&call->trailing);
  call->send = grpc_raw_byte_buffer_create(&call->request, 1);
  call->grpc =
      grpc_channel_create_registered_call(call->channel->channel, NULL, GRPC_PROPAGATE_DEFAULTS, call->loop->cq,
                                          call->channel->methods[call->rpc], to_timespec(call->deadline_ns), NULL);
  /* Cannot fail: the operations are fixed and the headers were checked when they were taken. */
  grpc_call_error error = start_batch(call);
  if (error != GRPC_CALL_OK) abort();
  call->loop->pending_tags++;
}

void arvak__call_advance(arvak_call *call) {
  if (call->state != CALL_QUEUED) return;
  arvak_loop_stop_timer(call->loop, &call->queue_timer);
  if (call->cancel_kind == ARVAK_KIND_NONE && call->granted) {
    start_attempt(call);
    return;
  }
  if (!arvak__client_unqueue(call->client, call)) arvak__client_release(call->client);
  end_unsent(call);
}

static void on_queue_timeout(arvak_timer *timer, void *ud) {
  (void)timer;
  arvak_call *call = ud;
  /* Granted in this very moment: it is in the inbox and goes on. */
  if (arvak__client_unqueue(call->client, call)) end_unsent(call);
}

/* ---- start ---- */

static bool is_overridden(const grpc_metadata *header, const arvak_call_options *options) {
  for (size_t i = 0; i < options->header_count; i++)
    if (grpc_slice_str_cmp(header->key, options->headers[i].name) == 0) return true;
  return false;
}

/* Most calls have no headers of their own and borrow the client's. */
static int copy_headers(arvak_call *call, const arvak_call_options *options) {
  const arvak_client *client = call->client;
  call->headers = client->headers;
  call->header_count = client->header_count;
  if (options->header_count == 0) return ARVAK_OK;
  grpc_metadata *all = calloc(client->header_count + options->header_count, sizeof *all);
  if (!all) return ARVAK_ENOMEM;
  size_t n = 0;
  for (size_t i = 0; i < client->header_count; i++)
    if (!is_overridden(&client->headers[i], options)) all[n++] = client->headers[i];
  for (size_t i = 0; i < options->header_count; i++) {
    const arvak_header *header = &options->headers[i];
    all[n].key = grpc_slice_from_copied_string(header->name);
    all[n++].value = grpc_slice_from_copied_buffer(header->value.data, header->value.size);
  }
  call->headers = all;
  call->header_count = n;
  call->own_header_count = options->header_count;
  return ARVAK_OK;
}

static int prepare(arvak_call *call, const arvak_request *request, const arvak_call_options *options) {
  int status = arvak__request_encode(request, &call->request);
  if (status != ARVAK_OK) return status;
  status = copy_headers(call, options);
  if (status != ARVAK_OK) grpc_slice_unref(call->request);
  return status;
}

static bool options_are_sound(const arvak_request *request, const arvak_call_options *options) {
  if (request->rpc == ARVAK_SUBMIT_JOB && request->circuit_count != 1) return false;
  for (size_t i = 0; i < options->header_count; i++)
    if (arvak_header_check(options->headers[i].name, options->headers[i].value)) return false;
  return true;
}

static int enqueue(arvak_call *call) {
  call->queue_timer.fn = on_queue_timeout;
  call->queue_timer.ud = call;
  return arvak_loop_set_timer(call->loop, &call->queue_timer, call->started_ns + call->client->queue_timeout_ns);
}

int arvak_call_start(arvak_loop *loop, arvak_client *client, const arvak_request *request,
                     const arvak_call_options *options, arvak_call **out) {
  unsigned generation = arvak__fork_generation();
  if (loop->fork_generation != generation || client->fork_generation != generation) return ARVAK_EFORKED;
  if (loop->closed) return ARVAK_ECLOSED;
  if (!options_are_sound(request, options)) return ARVAK_EINVAL;
  arvak_call *call = calloc(1, sizeof *call);
  if (!call) return ARVAK_ENOMEM;
  call->rpc = request->rpc;
  call->circuit_count = request->circuit_count;
  call->client = client;
  call->loop = loop;
  call->owner = options->owner;
  call->fn = options->fn;
  call->ud = options->ud;
  call->timeout_ns = options->timeout_ns > 0 ? options->timeout_ns : client->timeout_ns;
  int status = prepare(call, request, options);
  if (status != ARVAK_OK) {
    free(call);
    return status;
  }
  atomic_init(&call->refs, out ? 2 : 1);
  arvak_client_ref(client);
  call->started_ns = arvak_now_ns();
  if (loop->call_count == 0 && call->started_ns - loop->last_end_ns > IDLE_NS) arvak__loop_catch_up(loop);
  link_call(loop, call);
  if (arvak__client_acquire(client, call)) start_attempt(call);
  else if (enqueue(call) != ARVAK_OK) arvak_call_cancel(call, ARVAK_KIND_CANCELED);
  if (out) *out = call;
  return ARVAK_OK;
}

void arvak_call_cancel(arvak_call *call, arvak_kind kind) {
  if (call->state == CALL_ENDED || call->cancel_kind != ARVAK_KIND_NONE) return;
  call->cancel_kind = kind;
  if (call->state == CALL_ACTIVE) grpc_call_cancel(call->grpc, NULL);
  else arvak__loop_post(call->loop, call);
}

void arvak_call_release(arvak_call *call) {
  call->fn = NULL;
  arvak__call_unref(call);
}

const arvak_outcome *arvak_call_outcome(const arvak_call *call) {
  return call->state == CALL_ENDED ? &call->outcome : NULL;
}

arvak_rpc arvak_call_rpc(const arvak_call *call) { return call->rpc; }

bool arvak_call_is_sent(const arvak_call *call) { return call->outcome.attempts > 0; }

const char *arvak_call_address(const arvak_call *call) { return call->client->address; }

const arvak_response *arvak_call_response(const arvak_call *call) { return call->response; }

arvak_response *arvak_call_take_response(arvak_call *call) {
  arvak_response *response = call->response;
  call->response = NULL;
  return response;
}
