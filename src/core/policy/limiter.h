/* Pacing: a token bucket for what is submitted, and a limit on calls in flight that adapts itself. Pure: time is passed
 * in. Invariant: 1 <= limit <= max_in_flight.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_LIMITER_H
#define ARVAK_LIMITER_H

#include "arvak.h"

typedef struct arvak__limiter {
  int64_t interval_ns; /* between two tokens; 0: no rate */
  int64_t slack_ns;    /* how far ahead of the rate a burst may run */
  int64_t next_ns;     /* when the token after all that are given out would be due without a burst */
  int64_t free_from_ns, free_to_ns; /* a run of tokens before next_ns that were given back */
  bool is_adaptive;
  double limit;
  int max_in_flight;
  int64_t lowered_ns;
} arvak__limiter;

/* max_in_flight: what the options may not exceed. */
void arvak__limiter_init(arvak__limiter *limiter, const arvak_limiter_options *options, int max_in_flight);

/* When cost tokens are to be had: now or later; they are taken. ARVAK_NEVER: not until latest_ns, and none is taken. */
int64_t arvak__limiter_reserve(arvak__limiter *limiter, int cost, int64_t now_ns, int64_t latest_ns);
/* When the next token is to be had after so many others; nothing is taken. */
int64_t arvak__limiter_due(const arvak__limiter *limiter, int64_t ahead, int64_t now_ns);
/* Tokens that were to be had only at at_ns, and will not be used, go to whoever comes next. Of several runs of such
 * tokens one is remembered. */
void arvak__limiter_give_back(arvak__limiter *limiter, int cost, int64_t at_ns);
double arvak__limiter_tokens(const arvak__limiter *limiter, int64_t now_ns);

int arvak__limiter_in_flight(const arvak__limiter *limiter);
/* An attempt has ended well, with so many in flight: one more than the limit is allowed for each full round. */
void arvak__limiter_raise(arvak__limiter *limiter, int in_flight);
/* An attempt that started at started_ns met the server's limits: halved, once for all that were under way. */
void arvak__limiter_lower(arvak__limiter *limiter, int64_t started_ns, int64_t now_ns);

#endif
