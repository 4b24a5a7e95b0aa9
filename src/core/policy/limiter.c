/* The bucket is kept as a time: of the tokens given out, when the last would be due at the bare rate (GCRA). Nothing
 * has to be refilled, and calls that reserve get their turns in the order in which they came.
 * SPDX-License-Identifier: Apache-2.0 */
#include "policy/limiter.h"

#include "clock.h"

#define BILLION 1000000000.0

static int64_t later(int64_t a, int64_t b) { return a > b ? a : b; }

void arvak__limiter_init(arvak__limiter *limiter, const arvak_limiter_options *options, int max_in_flight) {
  *limiter = (arvak__limiter){0};
  if (options->rate > 0) limiter->interval_ns = later(arvak__to_ns(BILLION / options->rate), 1);
  int burst = options->burst > 0 ? options->burst : 1;
  limiter->slack_ns = arvak__times_ns(limiter->interval_ns, burst - 1);
  limiter->is_adaptive = options->is_adaptive;
  limiter->max_in_flight = max_in_flight;
  if (options->max_in_flight > 0 && options->max_in_flight < max_in_flight)
    limiter->max_in_flight = options->max_in_flight;
  limiter->limit = limiter->max_in_flight;
}

int64_t arvak__limiter_reserve(arvak__limiter *limiter, int cost, int64_t now_ns, int64_t latest_ns) {
  if (limiter->interval_ns == 0) return now_ns;
  int64_t length = arvak__times_ns(limiter->interval_ns, cost), due = later(limiter->free_from_ns, now_ns);
  bool is_given_back = arvak__after_ns(due, length) <= limiter->free_to_ns;
  if (!is_given_back) due = later(limiter->next_ns, now_ns);
  int64_t at = later(due - limiter->slack_ns, now_ns);
  if (at > latest_ns || due == ARVAK_NEVER) return ARVAK_NEVER;
  if (is_given_back) limiter->free_from_ns = arvak__after_ns(due, length);
  else limiter->next_ns = arvak__after_ns(due, length);
  return at;
}

int64_t arvak__limiter_due(const arvak__limiter *limiter, int64_t ahead, int64_t now_ns) {
  bool is_given_back = ahead == 0 && limiter->free_from_ns + limiter->interval_ns <= limiter->free_to_ns;
  int64_t due = later(is_given_back ? limiter->free_from_ns : limiter->next_ns, now_ns);
  due = arvak__after_ns(due, arvak__times_ns(limiter->interval_ns, ahead));
  return later(due - limiter->slack_ns, now_ns);
}

/* The run grows at both ends; one that reaches the last token given out is none any more. */
void arvak__limiter_give_back(arvak__limiter *limiter, int cost, int64_t at_ns) {
  int64_t from = arvak__after_ns(at_ns, limiter->slack_ns);
  int64_t to = arvak__after_ns(from, arvak__times_ns(limiter->interval_ns, cost));
  bool is_behind = from == limiter->free_to_ns, is_before = to == limiter->free_from_ns;
  if (is_behind) from = limiter->free_from_ns;
  if (is_before) to = limiter->free_to_ns;
  bool is_last = to == limiter->next_ns;
  if (is_last) limiter->next_ns = from;
  if (is_last && !is_behind && !is_before) return;
  limiter->free_from_ns = is_last ? 0 : from;
  limiter->free_to_ns = is_last ? 0 : to;
}

double arvak__limiter_tokens(const arvak__limiter *limiter, int64_t now_ns) {
  if (limiter->interval_ns == 0) return 0;
  int64_t ahead = later(limiter->next_ns - now_ns, 0);
  int64_t left = arvak__after_ns(limiter->slack_ns, limiter->interval_ns) - ahead;
  return left > 0 ? (double)left / (double)limiter->interval_ns : 0;
}

int arvak__limiter_in_flight(const arvak__limiter *limiter) { return (int)limiter->limit; }

void arvak__limiter_raise(arvak__limiter *limiter, int in_flight) {
  if (!limiter->is_adaptive || in_flight < (int)limiter->limit) return;
  limiter->limit += 1 / limiter->limit;
  if (limiter->limit > limiter->max_in_flight) limiter->limit = limiter->max_in_flight;
}

void arvak__limiter_lower(arvak__limiter *limiter, int64_t started_ns, int64_t now_ns) {
  if (!limiter->is_adaptive || started_ns < limiter->lowered_ns) return;
  limiter->lowered_ns = now_ns;
  limiter->limit = limiter->limit > 2 ? limiter->limit / 2 : 1;
}
