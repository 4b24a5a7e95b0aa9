/* The retry budget: tokens of a target, shared by every policy of the process that names it (gRFC A6).
 * A failed attempt costs one token, a success gives a fraction of one, and below half of them nothing is retried; so
 * retries are at most half of max_tokens plus token_ratio for each success. Policies may disagree about max_tokens:
 * what is kept is how full the bucket is. Thread-safe: one mutex guards the table and every entry.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_BUDGET_H
#define ARVAK_BUDGET_H

#include "arvak.h"

typedef struct arvak__budget arvak__budget;

/* The entry of a target, made full at first; NULL: one that nobody else finds. Shared. NULL: out of memory. */
arvak__budget *arvak__budget_get(const char *target);
void arvak__budget_unref(arvak__budget *budget); /* NULL is fine; forgotten with its last reference */

/* options: with max_tokens and token_ratio above 0. */
bool arvak__budget_spend(arvak__budget *budget, const arvak_budget_options *options); /* true: a retry is allowed */
void arvak__budget_earn(arvak__budget *budget, const arvak_budget_options *options);
double arvak__budget_tokens(arvak__budget *budget, const arvak_budget_options *options);

#endif
