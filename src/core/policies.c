/* The two policies as objects that calls share: retry, which never changes, and the breaker, which lives. Invariant: a
 * breaker's hook runs without its lock, in the thread that made the change.
 * SPDX-License-Identifier: Apache-2.0 */
#include <grpc/status.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "arvak.h"
#include "policies.h"
#include "policy/breaker.h"
#include "policy/budget.h"
#include "policy/retry.h"

/* ---- retry ---- */

struct arvak_retry {
  atomic_int refs;
  arvak_retry_options options; /* resolved */
  arvak__budget *budget;       /* shared, or NULL */
};

static int open_budget(arvak_retry *retry, const char *address) {
  char *target = NULL;
  if (!(retry->options.budget.max_tokens > 0)) return ARVAK_OK;
  const char *reason;
  int status = address ? arvak__address_spell(address, &target, &reason) : ARVAK_OK;
  if (status != ARVAK_OK) return status;
  retry->budget = arvak__budget_get(target);
  free(target);
  return retry->budget ? ARVAK_OK : ARVAK_ENOMEM;
}

int arvak_retry_new(const arvak_retry_options *options, const char *address, arvak_retry **out) {
  arvak_retry *retry = calloc(1, sizeof *retry);
  if (!retry) return ARVAK_ENOMEM;
  atomic_init(&retry->refs, 1);
  retry->options = arvak__retry_resolve(options);
  int status = open_budget(retry, address);
  if (status == ARVAK_OK) *out = retry;
  else free(retry);
  return status;
}

arvak_retry *arvak_retry_ref(arvak_retry *retry) {
  if (retry) atomic_fetch_add_explicit(&retry->refs, 1, memory_order_relaxed);
  return retry;
}

void arvak_retry_unref(arvak_retry *retry) {
  if (!retry || atomic_fetch_sub_explicit(&retry->refs, 1, memory_order_acq_rel) != 1) return;
  if (retry->options.release) retry->options.release(retry->options.ud);
  arvak__budget_unref(retry->budget);
  free(retry);
}

const arvak_retry_options *arvak_retry_get_options(const arvak_retry *retry) { return &retry->options; }

double arvak_retry_tokens(const arvak_retry *retry) {
  return retry->budget ? arvak__budget_tokens(retry->budget, &retry->options.budget) : -1;
}

int64_t arvak_retry_delay_ns(const arvak_retry *retry, int attempt, double random) {
  return arvak__retry_delay_ns(&retry->options, attempt, random);
}

bool arvak_retry_obeys(const arvak_retry *retry, int64_t pushback_ns) {
  return arvak__retry_obeys(&retry->options, pushback_ns);
}

bool arvak_retry_is_worth(const arvak_retry *retry, const arvak_failure *failure) {
  return arvak__retry_is_worth(&retry->options, failure);
}

bool arvak_retry_spend(arvak_retry *retry) {
  return !retry->budget || arvak__budget_spend(retry->budget, &retry->options.budget);
}

void arvak_retry_earn(arvak_retry *retry) {
  if (retry->budget) arvak__budget_earn(retry->budget, &retry->options.budget);
}

/* ---- breaker ---- */

struct arvak_breaker {
  atomic_int refs;
  pthread_mutex_t mu;
  arvak__breaker core; /* mu */
};

int arvak_breaker_new(const arvak_breaker_options *options, arvak_breaker **out) {
  arvak_breaker *breaker = calloc(1, sizeof *breaker);
  if (!breaker) return ARVAK_ENOMEM;
  atomic_init(&breaker->refs, 1);
  pthread_mutex_init(&breaker->mu, NULL);
  arvak__breaker_init(&breaker->core, options);
  *out = breaker;
  return ARVAK_OK;
}

arvak_breaker *arvak_breaker_ref(arvak_breaker *breaker) {
  if (breaker) atomic_fetch_add_explicit(&breaker->refs, 1, memory_order_relaxed);
  return breaker;
}

void arvak_breaker_unref(arvak_breaker *breaker) {
  if (!breaker || atomic_fetch_sub_explicit(&breaker->refs, 1, memory_order_acq_rel) != 1) return;
  const arvak_breaker_options *options = &breaker->core.options;
  if (options->release) options->release(options->ud);
  pthread_mutex_destroy(&breaker->mu);
  free(breaker);
}

static arvak_breaker_state lock(arvak_breaker *breaker) {
  pthread_mutex_lock(&breaker->mu);
  return breaker->core.state;
}

static void note_and_unlock(arvak_breaker *breaker, arvak_breaker_state before, arvak__changes *changes) {
  arvak_breaker_state after = breaker->core.state;
  pthread_mutex_unlock(&breaker->mu);
  if (after == before || changes->count == sizeof changes->list / sizeof *changes->list) return;
  changes->list[changes->count].from = before;
  changes->list[changes->count++].to = after;
}

void arvak__breaker_report(arvak_breaker *breaker, const arvak__changes *changes) {
  const arvak_breaker_options *options = &breaker->core.options; /* never changes */
  for (int i = 0; i < changes->count && options->on_change; i++)
    options->on_change(changes->list[i].from, changes->list[i].to, options->ud);
}

static void unlock(arvak_breaker *breaker, arvak_breaker_state before) {
  arvak__changes changes = {0};
  note_and_unlock(breaker, before, &changes);
  arvak__breaker_report(breaker, &changes);
}

void arvak_breaker_get_info(arvak_breaker *breaker, int64_t at_ns, arvak_breaker_info *out) {
  memset(out, 0, sizeof *out);
  pthread_mutex_lock(&breaker->mu);
  out->state = arvak__breaker_state_at(&breaker->core, at_ns);
  out->would_admit = arvak__breaker_would_admit(&breaker->core, at_ns, &out->retry_after_ns);
  memcpy(out->changes, breaker->core.changes, sizeof out->changes);
  pthread_mutex_unlock(&breaker->mu);
}

bool arvak__breaker_enter(arvak_breaker *breaker, int64_t now_ns, int64_t until_ns, arvak_pass *pass,
                          int64_t *retry_after_ns, arvak__changes *changes) {
  arvak_breaker_state before = lock(breaker);
  bool is_admitted = arvak__breaker_admit(&breaker->core, now_ns, until_ns, pass, retry_after_ns);
  note_and_unlock(breaker, before, changes);
  return is_admitted;
}

bool arvak_breaker_enter(arvak_breaker *breaker, int64_t until_ns, arvak_pass *pass, int64_t *retry_after_ns) {
  arvak__changes changes = {0};
  bool is_admitted = arvak__breaker_enter(breaker, arvak_now_ns(), until_ns, pass, retry_after_ns, &changes);
  arvak__breaker_report(breaker, &changes);
  return is_admitted;
}

void arvak__breaker_leave(arvak_breaker *breaker, int64_t now_ns, arvak_pass pass, arvak_verdict verdict,
                          arvak__changes *changes) {
  arvak_breaker_state before = lock(breaker);
  arvak__breaker_record(&breaker->core, pass, verdict, now_ns);
  note_and_unlock(breaker, before, changes);
}

void arvak_breaker_leave(arvak_breaker *breaker, arvak_pass pass, arvak_verdict verdict) {
  arvak__changes changes = {0};
  arvak__breaker_leave(breaker, arvak_now_ns(), pass, verdict, &changes);
  arvak__breaker_report(breaker, &changes);
}

/* Two changes are possible, from open to half open to the next; each is told. */
void arvak_breaker_record(arvak_breaker *breaker, arvak_verdict verdict) {
  int64_t now = arvak_now_ns();
  arvak_breaker_state before = lock(breaker);
  arvak__breaker_advance(&breaker->core, now);
  unlock(breaker, before);
  before = lock(breaker);
  arvak__breaker_record(&breaker->core, arvak__breaker_uncounted(&breaker->core), verdict, now);
  unlock(breaker, before);
}

void arvak_breaker_force(arvak_breaker *breaker, arvak_breaker_state state) {
  arvak_breaker_state before = lock(breaker);
  arvak__breaker_force(&breaker->core, state, arvak_now_ns());
  unlock(breaker, before);
}

void arvak_breaker_reset(arvak_breaker *breaker) {
  arvak_breaker_state before = lock(breaker);
  arvak__breaker_reset(&breaker->core);
  unlock(breaker, before);
}

void arvak_breaker_explain(int64_t retry_after_ns, arvak_outcome *out) {
  bool is_forced = retry_after_ns == ARVAK_NEVER;
  out->kind = ARVAK_KIND_CIRCUIT_OPEN;
  out->code = GRPC_STATUS_UNAVAILABLE;
  out->message = is_forced ? "the circuit breaker is forced open until it is reset, nothing was sent"
                           : "the circuit breaker is open, nothing was sent";
  out->retryable = out->has_retry_after = !is_forced;
  out->retry_after_ns = is_forced ? 0 : retry_after_ns;
}
