/* The one table of retry budgets. Invariant: an entry is in the table exactly as long as somebody holds it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "policy/budget.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Of a bucket. Whole numbers, so that ten tenths are one. */
#define FULL INT64_C(1000000000000)

struct arvak__budget {
  arvak__budget *next;
  char *target; /* owned; NULL: not in the table */
  int refs;
  int64_t fill;
};

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static arvak__budget *table; /* mu, with all entries */

static arvak__budget *budget_new(const char *target) {
  arvak__budget *budget = calloc(1, sizeof *budget);
  char *copy = budget && target ? strdup(target) : NULL;
  if (!budget || (target && !copy)) {
    free(budget);
    return NULL;
  }
  budget->target = copy;
  budget->fill = FULL;
  return budget;
}

static arvak__budget *find_or_make(const char *target) {
  for (arvak__budget *entry = target ? table : NULL; entry; entry = entry->next)
    if (strcmp(entry->target, target) == 0) return entry;
  arvak__budget *budget = budget_new(target);
  if (budget && target) {
    budget->next = table;
    table = budget;
  }
  return budget;
}

arvak__budget *arvak__budget_get(const char *target) {
  pthread_mutex_lock(&mu);
  arvak__budget *budget = find_or_make(target);
  if (budget) budget->refs++;
  pthread_mutex_unlock(&mu);
  return budget;
}

static void unlink_entry(const arvak__budget *budget) {
  arvak__budget **place = &table;
  while (*place != budget) place = &(*place)->next;
  *place = budget->next;
}

void arvak__budget_unref(arvak__budget *budget) {
  if (!budget) return;
  pthread_mutex_lock(&mu);
  bool is_last = --budget->refs == 0;
  if (is_last && budget->target) unlink_entry(budget);
  pthread_mutex_unlock(&mu);
  if (!is_last) return;
  free(budget->target);
  free(budget);
}

/* Rounded against the caller: a token is never cheaper, and never earned faster, than it should be. */
bool arvak__budget_spend(arvak__budget *budget, const arvak_budget_options *options) {
  int64_t token = (int64_t)fmin(ceil((double)FULL / options->max_tokens), (double)FULL);
  pthread_mutex_lock(&mu);
  budget->fill = budget->fill > token ? budget->fill - token : 0;
  bool allowed = budget->fill > FULL / 2;
  pthread_mutex_unlock(&mu);
  return allowed;
}

void arvak__budget_earn(arvak__budget *budget, const arvak_budget_options *options) {
  int64_t share = (int64_t)fmin((double)FULL / options->max_tokens * options->token_ratio, (double)FULL);
  pthread_mutex_lock(&mu);
  budget->fill = FULL - budget->fill > share ? budget->fill + share : FULL;
  pthread_mutex_unlock(&mu);
}

double arvak__budget_tokens(arvak__budget *budget, const arvak_budget_options *options) {
  pthread_mutex_lock(&mu);
  int64_t fill = budget->fill;
  pthread_mutex_unlock(&mu);
  return (double)fill / (double)FULL * options->max_tokens;
}
