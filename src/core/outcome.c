/* What calls and streams come to when we end them. Invariant: once an attempt has failed, its error is what the call
 * comes to, whatever stops the next one; but for a cancel and headers that are denied.
 * SPDX-License-Identifier: Apache-2.0 */
#include "outcome.h"

#include <grpc/status.h>

static const char closed_message[] = "the client was closed";
static const char canceled_message[] = "the call was canceled";

void arvak__set_failure(arvak_outcome *outcome, arvak_kind kind, int code, const char *message) {
  outcome->kind = kind;
  outcome->code = code;
  outcome->message = message;
}

void arvak__set_canceled(arvak_outcome *outcome, arvak_kind kind) {
  *outcome = (arvak_outcome){.attempts = outcome->attempts, .maybe_executed = outcome->maybe_executed};
  arvak__set_failure(outcome, kind, GRPC_STATUS_CANCELLED,
                     kind == ARVAK_KIND_CLOSED ? closed_message : canceled_message);
}

static void refuse(arvak_outcome *outcome, arvak_scope scope, const char *message) {
  if (outcome->attempts > 0) return;
  arvak__set_failure(outcome, ARVAK_KIND_TIMEOUT, GRPC_STATUS_DEADLINE_EXCEEDED, message);
  outcome->scope = scope;
  outcome->retryable = scope == ARVAK_SCOPE_QUEUE;
}

void arvak__set_timeout(arvak_outcome *outcome, const char *message) { refuse(outcome, ARVAK_SCOPE_CALL, message); }

void arvak__set_queue_timeout(arvak_outcome *outcome, const char *message) {
  refuse(outcome, ARVAK_SCOPE_QUEUE, message);
}

void arvak__set_open(arvak_outcome *outcome, int64_t retry_after_ns) {
  if (outcome->attempts == 0) arvak_breaker_explain(retry_after_ns, outcome);
  if (retry_after_ns == ARVAK_NEVER) return;
  outcome->has_retry_after = true;
  outcome->retry_after_ns = retry_after_ns;
}

void arvak__set_denied(arvak_outcome *outcome, arvak_kind kind, int code, const char *message) {
  outcome->retryable = outcome->has_retry_after = false;
  outcome->scope = ARVAK_SCOPE_NONE;
  arvak__set_failure(outcome, kind, code, message);
}
