/* Closed until too many failures, open for timeout, half open for probes. `change` alone changes the state.
 *
 *                CLOSED             OPEN, not forced           OPEN, forced   HALF_OPEN
 *   admit        let through        refused; after timeout     refused        let through while a place is free or the
 *                                   → HALF_OPEN, as a probe                   places taken have expired, else refused
 *   success      row of failures    -                          -              enough of them → CLOSED
 *                starts anew
 *   failure      a row, or the      -                          -              → OPEN; of a probe whose place has
 *                rate → OPEN                                                  expired: -
 *   neutral      -                  -                          -              -
 *   force        → forced: OPEN or CLOSED, where nothing that is recorded counts
 *   reset        → CLOSED
 *
 * Success, failure and neutral of a probe give its place back, unless the place has expired. They count only in the
 * generation in which the call was let through. A failure that comes after its place has expired says less about the
 * server than about a loop that nobody drove, so it does not count. A late success does: else a breaker in front of
 * functions that take longer than their places last would never close.
 * SPDX-License-Identifier: Apache-2.0 */
#include "policy/breaker.h"

#include <string.h>

#include "clock.h"

enum { DEFAULT_FAILURES = 5, DEFAULT_SUCCESSES = 2, DEFAULT_PROBES = 1, DEFAULT_MINIMUM = 10 };
#define DEFAULT_TIMEOUT_NS 60000000000
#define DEFAULT_WINDOW_NS 30000000000
/* While every probe is under way: when to try again. */
#define PROBES_NS 1000000000
/* A probe keeps its place a little longer than its call may take, so that the call's own verdict comes first; and for a
 * minute at most, whatever the call's timeout is. */
#define GRACE_NS 1000000000
#define LONGEST_PROBE_NS 60000000000
/* What stands for a timeout of ARVAK_NEVER. Only a breaker that is forced open names no time. */
#define CENTURY_NS 3155760000000000000

static arvak_breaker_options resolve(const arvak_breaker_options *options) {
  arvak_breaker_options all = *options;
  /* With a window, a few failures in a row decide only if failure_threshold is given as well. */
  if (all.failure_threshold <= 0 && !(all.failure_rate > 0)) all.failure_threshold = DEFAULT_FAILURES;
  if (all.success_threshold <= 0) all.success_threshold = DEFAULT_SUCCESSES;
  if (all.half_open_max_calls <= 0) all.half_open_max_calls = DEFAULT_PROBES;
  if (all.minimum_calls <= 0) all.minimum_calls = DEFAULT_MINIMUM;
  if (all.timeout_ns <= 0) all.timeout_ns = DEFAULT_TIMEOUT_NS;
  if (all.timeout_ns > CENTURY_NS) all.timeout_ns = CENTURY_NS;
  if (all.window_ns < ARVAK__BUCKETS) all.window_ns = DEFAULT_WINDOW_NS;
  return all;
}

void arvak__breaker_init(arvak__breaker *breaker, const arvak_breaker_options *options) {
  *breaker = (arvak__breaker){.options = resolve(options), .state = ARVAK_BREAKER_CLOSED, .generation = 1};
}

static void change(arvak__breaker *breaker, arvak_breaker_state state, int64_t now_ns) {
  if (state != breaker->state) breaker->changes[state]++;
  breaker->state = state;
  breaker->generation++;
  breaker->failures = breaker->successes = breaker->probes = 0;
  memset(breaker->window, 0, sizeof breaker->window);
  if (state == ARVAK_BREAKER_OPEN) breaker->opened_ns = now_ns;
}

/* ---- queries ---- */

static bool is_ripe(const arvak__breaker *breaker, int64_t now_ns) {
  return breaker->state == ARVAK_BREAKER_OPEN && !breaker->is_forced &&
         now_ns >= arvak__after_ns(breaker->opened_ns, breaker->options.timeout_ns);
}

arvak_breaker_state arvak__breaker_state_at(const arvak__breaker *breaker, int64_t now_ns) {
  return is_ripe(breaker, now_ns) ? ARVAK_BREAKER_HALF_OPEN : breaker->state;
}

static int64_t shorter(int64_t a, int64_t b) { return a < b ? a : b; }

static bool has_expired(const arvak__breaker *breaker, int64_t now_ns) {
  return breaker->probes > 0 && now_ns >= breaker->probes_until_ns;
}

bool arvak__breaker_would_admit(const arvak__breaker *breaker, int64_t now_ns, int64_t *retry_after_ns) {
  if (breaker->state == ARVAK_BREAKER_CLOSED || is_ripe(breaker, now_ns)) return true;
  const arvak_breaker_options *options = &breaker->options;
  if (breaker->state == ARVAK_BREAKER_HALF_OPEN) {
    if (breaker->probes < options->half_open_max_calls || has_expired(breaker, now_ns)) return true;
    *retry_after_ns = shorter(shorter(options->timeout_ns, PROBES_NS), breaker->probes_until_ns - now_ns);
    return false;
  }
  int64_t until = breaker->is_forced ? ARVAK_NEVER : arvak__after_ns(breaker->opened_ns, options->timeout_ns);
  *retry_after_ns = arvak__until_ns(until, now_ns);
  return false;
}

/* ---- calls ---- */

void arvak__breaker_advance(arvak__breaker *breaker, int64_t now_ns) {
  if (is_ripe(breaker, now_ns)) change(breaker, ARVAK_BREAKER_HALF_OPEN, now_ns);
}

/* The places of a round expire together, with the last of them: while one that is free goes from call to call, nobody
 * needs the others. */
static void take_place(arvak__breaker *breaker, int64_t now_ns, int64_t until_ns) {
  if (has_expired(breaker, now_ns)) {
    breaker->round++;
    breaker->probes = 0;
  }
  int64_t guess = breaker->options.timeout_ns > GRACE_NS ? breaker->options.timeout_ns : GRACE_NS;
  int64_t end = until_ns ? arvak__after_ns(until_ns, GRACE_NS) : arvak__after_ns(now_ns, guess);
  end = shorter(end, arvak__after_ns(now_ns, LONGEST_PROBE_NS));
  if (breaker->probes == 0 || end > breaker->probes_until_ns) breaker->probes_until_ns = end;
  breaker->probes++;
}

bool arvak__breaker_admit(arvak__breaker *breaker, int64_t now_ns, int64_t until_ns, arvak_pass *pass,
                          int64_t *retry_after_ns) {
  if (!arvak__breaker_would_admit(breaker, now_ns, retry_after_ns)) return false;
  arvak__breaker_advance(breaker, now_ns);
  bool is_probe = breaker->state == ARVAK_BREAKER_HALF_OPEN;
  if (is_probe) take_place(breaker, now_ns, until_ns);
  *pass = (arvak_pass){breaker->generation, breaker->round, is_probe};
  return true;
}

static void count_in_window(arvak__breaker *breaker, bool is_failure, int64_t now_ns) {
  int64_t number = now_ns / (breaker->options.window_ns / ARVAK__BUCKETS);
  arvak__bucket *bucket = &breaker->window[number % ARVAK__BUCKETS];
  if (bucket->number != number) *bucket = (arvak__bucket){.number = number};
  if (is_failure) bucket->failures++;
  else bucket->successes++;
}

static bool is_over_rate(const arvak__breaker *breaker, int64_t now_ns) {
  int64_t number = now_ns / (breaker->options.window_ns / ARVAK__BUCKETS);
  uint64_t failures = 0, all = 0;
  for (int i = 0; i < ARVAK__BUCKETS; i++) {
    const arvak__bucket *bucket = &breaker->window[i];
    if (bucket->number <= number - ARVAK__BUCKETS) continue;
    failures += bucket->failures;
    all += (uint64_t)bucket->failures + bucket->successes;
  }
  return all >= (uint64_t)breaker->options.minimum_calls &&
         (double)failures >= breaker->options.failure_rate * (double)all;
}

static void record_closed(arvak__breaker *breaker, bool is_failure, int64_t now_ns) {
  const arvak_breaker_options *options = &breaker->options;
  breaker->failures = is_failure ? breaker->failures + 1 : 0;
  if (options->failure_rate > 0) count_in_window(breaker, is_failure, now_ns);
  if (!is_failure) return;
  bool is_row = options->failure_threshold > 0 && breaker->failures >= options->failure_threshold;
  if (is_row || (options->failure_rate > 0 && is_over_rate(breaker, now_ns)))
    change(breaker, ARVAK_BREAKER_OPEN, now_ns);
}

static void record_half_open(arvak__breaker *breaker, bool is_failure, int64_t now_ns) {
  if (is_failure) change(breaker, ARVAK_BREAKER_OPEN, now_ns);
  else if (++breaker->successes >= breaker->options.success_threshold) change(breaker, ARVAK_BREAKER_CLOSED, now_ns);
}

void arvak__breaker_record(arvak__breaker *breaker, arvak_pass pass, arvak_verdict verdict, int64_t now_ns) {
  if (pass.generation != breaker->generation) return;
  bool is_late = pass.is_probe && pass.round != breaker->round, is_failure = verdict == ARVAK_VERDICT_FAILURE;
  if (pass.is_probe && !is_late) breaker->probes--;
  if (verdict == ARVAK_VERDICT_NEUTRAL || breaker->is_forced || (is_late && is_failure)) return;
  if (breaker->state == ARVAK_BREAKER_CLOSED) record_closed(breaker, is_failure, now_ns);
  else if (breaker->state == ARVAK_BREAKER_HALF_OPEN) record_half_open(breaker, is_failure, now_ns);
}

arvak_pass arvak__breaker_uncounted(const arvak__breaker *breaker) {
  return (arvak_pass){.generation = breaker->generation, .round = breaker->round};
}

/* ---- by hand ---- */

void arvak__breaker_force(arvak__breaker *breaker, arvak_breaker_state state, int64_t now_ns) {
  change(breaker, state, now_ns);
  breaker->is_forced = true;
}

void arvak__breaker_reset(arvak__breaker *breaker) {
  breaker->is_forced = false;
  change(breaker, ARVAK_BREAKER_CLOSED, 0);
}
