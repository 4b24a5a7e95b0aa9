/* What the starter of a call does: makes it, lets go of it, gives it headers, looks at it. Invariant: what happens to
 * the call is told to arvak__call_move, as an event.
 * SPDX-License-Identifier: Apache-2.0 */
#include <grpc/grpc.h>
#include <stddef.h>
#include <stdlib.h>

#include "call.h"
#include "client.h"
#include "headers.h"
#include "outcome.h"
#include "runtime.h"

/* After this long without a call, a connection may have died unnoticed: see arvak__loop_catch_up. */
#define IDLE_NS 50000

/* ---- start ---- */

static bool is_sound(const arvak_request *request, const arvak_call_options *options) {
  if (request->rpc >= ARVAK_WATCH_JOB) return false;
  if (request->rpc == ARVAK_SUBMIT_JOB && request->circuit_count != 1) return false;
  return options->header_count == 0 || arvak__headers_are_sound(options);
}

static bool is_share_of(const arvak_share *share, const arvak_client *client, const arvak_loop *loop) {
  return !share || (share->client == client && (!share->loop || share->loop == loop));
}

static int64_t or_default(int64_t value, int64_t standard) { return value > 0 ? value : standard; }

static void configure(arvak_call *call, const arvak_call_options *options) {
  const arvak_client *client = call->attempt.client;
  call->fn = options->fn;
  call->ud = options->ud;
  call->timeout_ns = or_default(options->timeout_ns, client->timeout_ns);
  call->attempt_timeout_ns = or_default(options->attempt_timeout_ns, client->attempt_timeout_ns);
  call->queue_timeout_ns = or_default(options->queue_timeout_ns, client->queue_timeout_ns);
  call->turn.left_ns = call->queue_timeout_ns;
  call->not_before_ns = options->not_before_ns;
  if (options->share) {
    call->place.share = arvak__share_join(options->share);
    call->turn.rank = &call->place.share->rank;
  }
  if (options->retry) call->retry = arvak_retry_ref(options->retry);
  if (options->breaker) call->breaker = arvak_breaker_ref(options->breaker);
  bool has_fn = client->headers.fn != NULL;
  call->asks_headers = options->asks_headers && !has_fn;
  call->fixed_header_count = has_fn ? options->header_count : options->fixed_header_count;
}

int arvak_call_start(arvak_loop *loop, arvak_client *client, const arvak_request *request,
                     const arvak_call_options *options, arvak_call **out) {
  unsigned generation = arvak__fork_generation();
  if (loop->fork_generation != generation || client->fork_generation != generation) return ARVAK_EFORKED;
  if (loop->cq.closed) return ARVAK_ECLOSED;
  if (!is_sound(request, options) || !is_share_of(options->share, client, loop)) return ARVAK_EINVAL;
  arvak_call *call = calloc(1, sizeof *call);
  if (!call) return ARVAK_ENOMEM;
  call->attempt.rpc = request->rpc;
  call->attempt.circuit_count = request->circuit_count;
  call->attempt.client = client;
  int status = arvak__exchange_init(&call->exchange, client, request, options);
  if (status != ARVAK_OK) {
    free(call);
    return status;
  }
  arvak_client_ref(client);
  configure(call, options);
  call->refs = out ? 2 : 1;
  call->started_ns = arvak__loop_begin(loop);
  if (loop->member_count == 0 && call->started_ns - loop->last_end_ns > IDLE_NS)
    arvak__loop_catch_up(loop, arvak__pool_channel_count(client->pool));
  arvak__loop_join(loop, &call->member);
  arvak__call_attach(call, loop, options->owner);
  if (out) *out = call;
  arvak__call_move(call, EVENT_START);
  return ARVAK_OK;
}

/* ---- for the starter ---- */

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

const void *arvak_call_owner(const arvak_call *call) { return call->member.owner; }

arvak_rpc arvak_call_rpc(const arvak_call *call) { return call->attempt.rpc; }

bool arvak_call_is_sent(const arvak_call *call) {
  return call->state == CALL_ACTIVE || call->outcome.maybe_executed ||
         (call->state == CALL_ENDED && call->outcome.attempts > 0);
}

const char *arvak_call_address(const arvak_call *call) { return call->attempt.client->address; }

arvak_response *arvak_call_response(const arvak_call *call) { return call->exchange.response; }

/* ---- headers that a call asks for ---- */

arvak_call *arvak_loop_next_asking(arvak_loop *loop) {
  arvak__link *first = loop->asking.first;
  return first && !arvak__loop_is_foreign(loop) ? (arvak_call *)((char *)first - offsetof(arvak_call, asking)) : NULL;
}

int arvak_call_proceed(arvak_call *call, const arvak_header *headers, size_t count) {
  if (arvak__call_is_foreign(call)) return ARVAK_EFORKED;
  if (call->state != CALL_ASKING) return ARVAK_EINVAL;
  int status = headers ? arvak__headers_renew(&call->exchange.headers, &call->attempt.client->headers,
                                              call->fixed_header_count, headers, count)
                       : ARVAK_OK;
  if (status != ARVAK_OK) return status;
  arvak__loop_begin(call->loop);
  arvak__call_move(call, EVENT_GIVEN);
  return ARVAK_OK;
}

void arvak_call_refuse(arvak_call *call, arvak_kind kind, int code, const char *message) {
  if (call->state != CALL_ASKING || arvak__call_is_foreign(call)) return;
  arvak__set_denied(&call->outcome, kind, code, message);
  arvak__loop_begin(call->loop);
  arvak__call_move(call, EVENT_DENIED);
}
