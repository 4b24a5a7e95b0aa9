/* One attempt of an RPC, unary or not: its gRPC call, and what its status means. Invariant: between open and close the
 * channel counts it as outstanding.
 *
 * The result of an attempt is its status, never event.success. What a failure says about the request follows from
 * the peer: until something came back over a transport, grpc_call_get_peer returns the channel's target, and no
 * peer is spelled like a target of ours (address.c).
 * SPDX-License-Identifier: Apache-2.0 */
#include "attempt.h"

#include <grpc/grpc.h>
#include <grpc/support/alloc.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "compat.h"
#include "outcome.h"
#include "policy/retry.h"

/* ---- open and close ---- */

void arvak__attempt_open(arvak__attempt *attempt, arvak__cq *cq, int64_t now_ns) {
  attempt->opened_ns = now_ns;
  attempt->never_left = false;
  attempt->channel = arvak__pool_pick(attempt->client->pool, cq, &attempt->is_crowded);
  if (attempt->rpc < ARVAK_WATCH_JOB) arvak__stats_count_attempt(&attempt->client->stats);
  grpc_metadata_array_init(&attempt->initial);
  grpc_metadata_array_init(&attempt->trailing);
  attempt->grpc = grpc_channel_create_registered_call(
      attempt->channel->channel, NULL, GRPC_PROPAGATE_DEFAULTS, cq->grpc, attempt->channel->methods[attempt->rpc],
      grpc_compat_timespec(attempt->deadline_ns), NULL);
}

void arvak__attempt_close(arvak__attempt *attempt, int64_t now_ns) {
  arvak__pool_release(attempt->channel, attempt->contact, attempt->opened_ns, now_ns);
  grpc_call_unref(attempt->grpc);
  grpc_metadata_array_destroy(&attempt->initial);
  grpc_metadata_array_destroy(&attempt->trailing);
  grpc_slice_unref(attempt->details);
}

/* ---- what it came to ---- */

/* Trailers of gRPC's own come from a server that speaks it; others may be a proxy's. */
static bool has_grpc_trailers(const grpc_metadata_array *trailing) {
  for (size_t i = 0; i < trailing->count; i++)
    if (grpc_slice_buf_start_eq(trailing->metadata[i].key, "grpc-", 5)) return true;
  return false;
}

static arvak__origin origin_of(const arvak__attempt *attempt) {
  if (has_grpc_trailers(&attempt->trailing)) return ORIGIN_PEER;
  return grpc_compat_is_tested() ? ORIGIN_TEXTS : ORIGIN_UNKNOWN;
}

/* gRPC forgets the peer of a call that has been canceled, so then the peer says nothing. */
static bool was_sent(const arvak__attempt *attempt, int64_t now_ns) {
  if (attempt->cancel_kind != ARVAK_KIND_NONE || now_ns >= attempt->deadline_ns) return true;
  char *peer = grpc_call_get_peer(attempt->grpc);
  bool sent = strcmp(peer, attempt->client->pool->target) != 0;
  gpr_free(peer);
  return sent;
}

static arvak__delivery delivery_of(const arvak__attempt *attempt, const char *message, int64_t now_ns) {
  arvak__evidence evidence = {.was_sent = was_sent(attempt, now_ns),
                              .is_ready = arvak__channel_is_ready(attempt->channel),
                              .origin = origin_of(attempt),
                              .code = (int)attempt->status,
                              .message = message};
  return arvak__delivery_of(&evidence);
}

/* What the server requests with its refusal: to wait so long, or not to come again. */
static void read_pushback(arvak__attempt *attempt) {
  for (size_t i = 0; i < attempt->trailing.count; i++) {
    const grpc_metadata *entry = &attempt->trailing.metadata[i];
    if (grpc_slice_str_cmp(entry->key, "grpc-retry-pushback-ms") != 0) continue;
    const char *text = (const char *)GRPC_SLICE_START_PTR(entry->value);
    attempt->has_pushback = true;
    if (!arvak__retry_read_pushback(text, GRPC_SLICE_LENGTH(entry->value), &attempt->pushback_ns))
      attempt->pushback_ns = -1;
  }
}

static const char *timeout_text(const arvak__attempt *attempt) {
  if (attempt->never_left)
    return "not sent within its timeout: the server lets a connection have no more calls at once";
  return attempt->is_cut ? "no answer within attempt_timeout" : "no answer within the call's timeout";
}

/* Our own deadline or cancellation: the outcome is unknown. A server that notices the deadline first says CANCELLED
 * (contract 2.1); any other status is a true answer, even when it is read late. */
static bool judge_own_end(arvak__attempt *attempt, arvak_outcome *outcome, int64_t now_ns) {
  bool is_cancelled = attempt->status == GRPC_STATUS_CANCELLED;
  if (attempt->cancel_kind != ARVAK_KIND_NONE && is_cancelled) {
    attempt->contact = CONTACT_NONE;
    attempt->verdict = ARVAK_VERDICT_NEUTRAL;
    attempt->is_ours = true;
    arvak__set_canceled(outcome, attempt->cancel_kind);
  } else if ((is_cancelled || attempt->status == GRPC_STATUS_DEADLINE_EXCEEDED) &&
             now_ns >= attempt->deadline_ns) {
    attempt->contact = CONTACT_SILENT;
    attempt->verdict = ARVAK_VERDICT_FAILURE;
    attempt->as_read = true;
    arvak__set_failure(outcome, ARVAK_KIND_TIMEOUT, GRPC_STATUS_DEADLINE_EXCEEDED, timeout_text(attempt));
    outcome->scope = ARVAK_SCOPE_CALL;
    outcome->retryable = arvak__is_retryable(attempt->rpc, GRPC_STATUS_DEADLINE_EXCEEDED, "", attempt->delivery);
  } else {
    return false;
  }
  if (!attempt->never_left) outcome->maybe_executed = true;
  return true;
}

/* The status's message as a string of our own. */
static const char *copy_message(arvak__attempt *attempt) {
  size_t length = GRPC_SLICE_LENGTH(attempt->details);
  free(attempt->message); /* of an attempt before */
  attempt->message = malloc(length + 1);
  if (!attempt->message) return "out of memory";
  memcpy(attempt->message, GRPC_SLICE_START_PTR(attempt->details), length);
  attempt->message[length] = '\0';
  return attempt->message;
}

/* Adds, to the message of a connection that could not be made, what may be wrong. */
static const char *add_hint(arvak__attempt *attempt, const char *message) {
  const char *hint = arvak__connect_hint(attempt->client->is_tls, message);
  char *longer = hint ? realloc(attempt->message, strlen(message) + strlen(hint) + sizeof " ()") : NULL;
  if (!longer) return message;
  char *end = longer + strlen(longer);
  stpcpy(stpcpy(stpcpy(end, " ("), hint), ")");
  return attempt->message = longer;
}

static arvak__contact contact_of(arvak__delivery delivery, int code) {
  if (delivery == DELIVERY_ANSWERED) return CONTACT_ANSWERED;
  return delivery == DELIVERY_BROKEN && code == GRPC_STATUS_UNAVAILABLE ? CONTACT_BROKEN : CONTACT_NONE;
}

/* As if there had been no attempt before this one. */
static void forget(arvak__attempt *attempt, arvak_outcome *outcome) {
  attempt->contact = CONTACT_ANSWERED;
  attempt->delivery = attempt->never_left ? DELIVERY_NOT_SENT : DELIVERY_BROKEN;
  attempt->verdict = ARVAK_VERDICT_SUCCESS;
  attempt->is_ours = attempt->as_read = attempt->has_pushback = false;
  outcome->kind = ARVAK_KIND_NONE;
  outcome->code = GRPC_STATUS_OK;
  outcome->message = NULL;
  outcome->scope = ARVAK_SCOPE_NONE;
  outcome->retryable = outcome->has_retry_after = false;
}

void arvak__attempt_judge(arvak__attempt *attempt, arvak_outcome *outcome, int64_t now_ns) {
  forget(attempt, outcome);
  if (attempt->status == GRPC_STATUS_OK || judge_own_end(attempt, outcome, now_ns)) return;
  const char *message = copy_message(attempt);
  int code = attempt->status < 0 ? GRPC_STATUS_UNKNOWN : (int)attempt->status; /* a number of the server's own */
  /* Without its text a status cannot be told from one of gRPC's own: when in doubt it is broken. */
  arvak__delivery delivery = attempt->message ? delivery_of(attempt, message, now_ns) : DELIVERY_BROKEN;
  attempt->contact = contact_of(delivery, code);
  if (delivery == DELIVERY_NOT_SENT && attempt->message) message = add_hint(attempt, message);
  arvak__set_failure(outcome, arvak__kind_of(attempt->rpc, code, message), code, message);
  attempt->delivery = delivery;
  attempt->verdict = arvak_verdict_of(attempt->rpc, code, message);
  attempt->is_ours = arvak__is_local_message(message);
  attempt->as_read = arvak__is_retryable(ARVAK_GET_JOB_STATUS, code, message, delivery);
  outcome->retryable = arvak__is_retryable(attempt->rpc, code, message, delivery);
  if (arvak__maybe_executed(attempt->rpc, attempt->circuit_count, code, delivery)) outcome->maybe_executed = true;
  if (outcome->kind == ARVAK_KIND_TIMEOUT) outcome->scope = ARVAK_SCOPE_CALL;
  read_pushback(attempt);
  if (!attempt->has_pushback) return;
  outcome->has_retry_after = attempt->pushback_ns >= 0;
  outcome->retry_after_ns = attempt->pushback_ns;
  if (!outcome->has_retry_after) outcome->retryable = false;
}

void arvak__attempt_distrust(const arvak__attempt *attempt, arvak_outcome *outcome, const arvak_retry *retry) {
  bool is_word = attempt->status == GRPC_STATUS_UNAVAILABLE && attempt->delivery == DELIVERY_ANSWERED;
  if (!is_word || !arvak__is_submit(attempt->rpc)) return;
  if (!arvak_retry_get_options(retry)->distrust_unavailable) return;
  outcome->maybe_executed = true;
  outcome->retryable = false;
}

/* ---- what the limiter learns from it ---- */

/* A server that wants a longer pause is not waited for. */
#define PUSHBACK_NS INT64_C(60000000000)

enum { STATE_QUEUED = 1, STATE_RUNNING = 2 };

static void adapt(const arvak__attempt *attempt, const arvak_outcome *outcome, int64_t now_ns) {
  bool is_overload = (outcome->code == GRPC_STATUS_RESOURCE_EXHAUSTED && attempt->delivery == DELIVERY_ANSWERED) ||
                     outcome->kind == ARVAK_KIND_TIMEOUT;
  if (is_overload || outcome->kind == ARVAK_KIND_NONE)
    arvak__slots_adapt(&attempt->client->slots, is_overload, attempt->opened_ns, now_ns);
}

/* Of a batch some jobs may run already, so it is not sent again; but it says the same of the rate. */
static bool is_refused(const arvak__attempt *attempt, const arvak_outcome *outcome) {
  bool is_answer = outcome->code == GRPC_STATUS_RESOURCE_EXHAUSTED && attempt->delivery == DELIVERY_ANSWERED;
  bool is_about_rate = attempt->rpc == ARVAK_SUBMIT_JOB ||
                       (attempt->rpc == ARVAK_SUBMIT_BATCH && atomic_load(&attempt->client->turns.is_on));
  return is_answer && is_about_rate && !attempt->is_ours;
}

static arvak__refused refuse(arvak__attempt *attempt, const arvak_outcome *outcome, int64_t now_ns, int64_t left_ns) {
  int64_t pushback = attempt->has_pushback ? attempt->pushback_ns : 0;
  bool is_obeyed = pushback >= 0 && pushback <= PUSHBACK_NS;
  arvak__refusal refusal = {attempt->opened_ns, is_obeyed ? pushback : 0, arvak__is_full_message(outcome->message)};
  bool has_hope = arvak__turns_refuse(&attempt->client->turns, &refusal, outcome->message, now_ns);
  if (attempt->rpc != ARVAK_SUBMIT_JOB) return ARVAK__NOT_REFUSED;
  attempt->refusals++;
  bool is_worth = has_hope && is_obeyed && pushback < left_ns && attempt->cancel_kind == ARVAK_KIND_NONE;
  return is_worth ? ARVAK__REFUSED_FOR_NOW : ARVAK__REFUSED_FOR_GOOD;
}

static bool is_unfinished(const arvak__attempt *attempt, const arvak_response *response) {
  if (attempt->rpc != ARVAK_GET_JOB_STATUS || !response) return false;
  return response->as.job.state == STATE_QUEUED || response->as.job.state == STATE_RUNNING;
}

arvak__refused arvak__attempt_tell_limiter(arvak__attempt *attempt, const arvak_outcome *outcome,
                                           const arvak_response *response, int64_t now_ns, int64_t left_ns) {
  arvak_client *client = attempt->client;
  if (client->is_adaptive && !attempt->is_hasty) adapt(attempt, outcome, now_ns);
  if (!client->turns.is_auto) return ARVAK__NOT_REFUSED;
  if (is_refused(attempt, outcome)) return refuse(attempt, outcome, now_ns, left_ns);
  if (is_unfinished(attempt, response)) arvak__turns_note_unfinished(&client->turns, now_ns);
  if (attempt->circuit_count == 0) return ARVAK__NOT_REFUSED;
  if (outcome->kind == ARVAK_KIND_NONE)
    arvak__turns_accept(&client->turns, (int)attempt->circuit_count, attempt->opened_ns, now_ns);
  else
    arvak__turns_fail(&client->turns, attempt->opened_ns, now_ns);
  return ARVAK__NOT_REFUSED;
}

/* ---- and whether there is another ---- */

/* What the retries have tried: the limiter's repetitions are none of theirs. */
static int tries(const arvak__attempt *attempt, const arvak_outcome *outcome) {
  return outcome->attempts - attempt->refusals;
}

static arvak_failure failure_of(const arvak__attempt *attempt, const arvak_outcome *outcome) {
  return (arvak_failure){.code = outcome->code,
                         .is_submit = arvak__is_submit(attempt->rpc),
                         .is_ours = attempt->is_ours,
                         .is_unanswered = attempt->delivery != DELIVERY_ANSWERED,
                         .maybe_executed = outcome->maybe_executed,
                         .by_table = outcome->retryable,
                         .as_read = attempt->as_read};
}

/* For jitter, from 0 to below 1: attempts differ in when they were opened, or in where they are. By the last steps of
 * splitmix64, which spread the least difference over all bits. */
static double draw(const arvak__attempt *attempt) {
  uint64_t x = (uint64_t)attempt->opened_ns * UINT64_C(0x9e3779b97f4a7c15) ^ (uint64_t)(uintptr_t)attempt;
  x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
  return (double)((x ^ x >> 31) >> 11) * 0x1p-53;
}

/* A failure that is worth a retry, or that the server wants no retry of, costs a token of the budget whether or not
 * there are attempts left (gRFC A6). */
bool arvak__attempt_may_retry(const arvak__attempt *attempt, const arvak_outcome *outcome, arvak_retry *retry,
                              int64_t *delay_ns) {
  bool is_unwanted = attempt->has_pushback && attempt->pushback_ns < 0;
  arvak_failure failure = failure_of(attempt, outcome);
  failure.by_table |= is_unwanted; /* only for what it costs */
  if (!arvak_retry_is_worth(retry, &failure) || !arvak_retry_spend(retry) || is_unwanted) return false;
  if (attempt->cancel_kind != ARVAK_KIND_NONE) return false;
  if (tries(attempt, outcome) >= arvak_retry_get_options(retry)->max_attempts) return false;
  if (attempt->has_pushback && !arvak_retry_obeys(retry, attempt->pushback_ns)) return false;
  *delay_ns = attempt->has_pushback ? attempt->pushback_ns
                                    : arvak_retry_delay_ns(retry, tries(attempt, outcome), draw(attempt));
  return true;
}

void arvak__attempt_report_retry(const arvak__attempt *attempt, const arvak_outcome *outcome, const arvak_retry *retry,
                                 int64_t delay_ns) {
  const arvak_retry_options *options = arvak_retry_get_options(retry);
  if (!options->on_retry) return;
  arvak_outcome shown = *outcome;
  char *message = strdup(outcome->message);
  shown.message = message ? message : "out of memory";
  arvak_retry_event event = {attempt->rpc, tries(attempt, outcome), delay_ns, attempt->client->address, &shown};
  options->on_retry(&event, options->ud);
  free(message);
}

static const char *refusal_text(int status) {
  switch (status) {
    case ARVAK_ENOMEM: return "out of memory while decoding the answer";
    case ARVAK__EOTHER: return "the server's answer is about another job than the one it was asked about";
    case ARVAK__ECOMPRESSED: return "the server's answer is compressed, which it was not asked to be";
    case ARVAK__EBLOATED: return "the server's answer would take more than 4 times its size in memory";
    case ARVAK__EABSENT: return "the server answered with OK, but without what was asked for";
    default: return "the server's answer is not a valid protobuf message, or holds a count over 2^63 - 1";
  }
}

void arvak__attempt_refuse_answer(arvak__attempt *attempt, arvak_outcome *outcome, int status) {
  attempt->verdict = ARVAK_VERDICT_FAILURE;
  attempt->is_ours = true;
  arvak__set_failure(outcome, ARVAK_KIND_RPC, GRPC_STATUS_INTERNAL, refusal_text(status));
  outcome->maybe_executed = true;
}
