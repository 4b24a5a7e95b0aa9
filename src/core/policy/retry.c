/* The three strategies, jitter, and what may be repeated. SPDX-License-Identifier: Apache-2.0 */
#include "policy/retry.h"

#include <math.h>

#include "clock.h"

enum { DEFAULT_ATTEMPTS = 3, UNAVAILABLE = 14, MAX_PUSHBACK_DIGITS = 12 };
#define PATIENCE_NS 60000000000
#define DEFAULT_INITIAL_NS 1000000000
#define DEFAULT_MAX_NS 60000000000
#define DEFAULT_MULTIPLIER 2.0

arvak_retry_options arvak__retry_resolve(const arvak_retry_options *options) {
  arvak_retry_options all = *options;
  if (all.max_attempts <= 0) all.max_attempts = DEFAULT_ATTEMPTS;
  if (all.initial_backoff_ns <= 0) all.initial_backoff_ns = DEFAULT_INITIAL_NS;
  if (all.max_backoff_ns <= 0) all.max_backoff_ns = DEFAULT_MAX_NS;
  if (!(all.backoff_multiplier > 0)) all.backoff_multiplier = DEFAULT_MULTIPLIER;
  return all;
}

/* A list of codes says what is worth repeating; what may be repeated without doing a job twice is another question. */
bool arvak__retry_is_worth(const arvak_retry_options *options, const arvak_failure *failure) {
  if (failure->is_ours) return false;
  if (failure->is_submit && !options->assume_idempotent) {
    if (failure->maybe_executed) return false;
    bool is_answered = failure->code == UNAVAILABLE && !failure->is_unanswered;
    if (is_answered && options->distrust_unavailable) return false;
  }
  if (options->codes) return failure->code >= 0 && failure->code < 32 && (options->codes >> failure->code & 1);
  return options->assume_idempotent ? failure->as_read : failure->by_table;
}

static double grown(const arvak_retry_options *options, int attempt) {
  double initial = (double)options->initial_backoff_ns;
  switch (options->strategy) {
    case ARVAK_STRATEGY_LINEAR: return initial * attempt;
    case ARVAK_STRATEGY_CONSTANT: return initial;
    default: return initial * pow(options->backoff_multiplier, attempt - 1);
  }
}

int64_t arvak__retry_delay_ns(const arvak_retry_options *options, int attempt, double random) {
  double delay = fmin(grown(options, attempt), (double)options->max_backoff_ns);
  switch (options->jitter) {
    case ARVAK_JITTER_FULL: delay *= random; break;
    case ARVAK_JITTER_EQUAL: delay = delay / 2 * (1 + random); break;
    case ARVAK_JITTER_NONE: break;
  }
  int64_t whole = arvak__to_ns(delay);
  return whole < options->max_backoff_ns ? whole : options->max_backoff_ns; /* a double rounds, up too */
}

bool arvak__retry_obeys(const arvak_retry_options *options, int64_t pushback_ns) {
  return pushback_ns <= PATIENCE_NS || pushback_ns <= options->max_backoff_ns;
}

bool arvak__retry_read_pushback(const char *text, size_t size, int64_t *ns) {
  int64_t ms = 0;
  if (size == 0 || size > MAX_PUSHBACK_DIGITS) return false;
  for (size_t i = 0; i < size; i++) {
    if (text[i] < '0' || text[i] > '9') return false;
    ms = ms * 10 + (text[i] - '0');
  }
  *ns = ms * 1000000;
  return true;
}
