/* The arithmetic of retry budgets, their table, and the bound on retries that they promise.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/budget.h"

enum { CALLS = 200000, THREADS = 4 };

static const arvak_budget_options standard = {10, 0.1};

static void half_of_the_tokens_are_for_retries(void **state) {
  (void)state;
  arvak__budget *budget = arvak__budget_get(NULL);
  assert_true(arvak__budget_tokens(budget, &standard) == 10);
  for (int i = 0; i < 4; i++) assert_true(arvak__budget_spend(budget, &standard));
  assert_false(arvak__budget_spend(budget, &standard)); /* 5 left is not more than half */
  assert_true(arvak__budget_tokens(budget, &standard) == 5);
  for (int i = 0; i < 9; i++) assert_false(arvak__budget_spend(budget, &standard));
  assert_true(arvak__budget_tokens(budget, &standard) == 0);
  for (int i = 0; i < 60; i++) arvak__budget_earn(budget, &standard); /* 6 */
  assert_false(arvak__budget_spend(budget, &standard));
  for (int i = 0; i < 11; i++) arvak__budget_earn(budget, &standard); /* 6.1 */
  assert_true(arvak__budget_spend(budget, &standard));
  for (int i = 0; i < 1000; i++) arvak__budget_earn(budget, &standard);
  assert_true(arvak__budget_tokens(budget, &standard) == 10);
  arvak__budget_unref(budget);
}

static void it_may_be_of_any_size(void **state) {
  (void)state;
  static const double sizes[] = {1e-300, 1e-9, 1, 1e300, INFINITY};
  for (int n = 0; n < 25; n++) {
    arvak_budget_options options = {sizes[n % 5], sizes[n / 5]};
    arvak__budget *budget = arvak__budget_get(NULL);
    assert_int_equal(arvak__budget_spend(budget, &options), options.max_tokens > 2);
    for (int i = 0; i < 10; i++) arvak__budget_earn(budget, &options);
    for (int i = 0; i < 10; i++) arvak__budget_spend(budget, &options);
    assert_true(arvak__budget_tokens(budget, &options) >= 0);
    arvak__budget_unref(budget);
  }
}

static void a_target_has_one_budget(void **state) {
  (void)state;
  arvak__budget *a = arvak__budget_get("dns:///a:1"), *again = arvak__budget_get("dns:///a:1");
  arvak__budget *b = arvak__budget_get("dns:///b:1"), *own = arvak__budget_get(NULL);
  assert_ptr_equal(a, again);
  assert_ptr_not_equal(a, b);
  assert_ptr_not_equal(own, a);
  arvak__budget_spend(a, &standard);
  assert_true(arvak__budget_tokens(again, &standard) == 9);
  assert_true(arvak__budget_tokens(b, &standard) == 10);
  const arvak_budget_options larger = {100, 0.1}; /* another policy sees the same bucket, as full as it is */
  assert_true(arvak__budget_tokens(a, &larger) == 90);
  arvak__budget_unref(a);
  arvak__budget_unref(b);
  arvak__budget_unref(own);
  assert_true(arvak__budget_tokens(again, &standard) == 9);
  arvak__budget_unref(again);
  arvak__budget *fresh = arvak__budget_get("dns:///a:1");
  assert_true(arvak__budget_tokens(fresh, &standard) == 10); /* forgotten with its last holder */
  arvak__budget_unref(fresh);
}

/* Every number of tokens: rounding never allows one retry too many. */
static void the_threshold_is_exact(void **state) {
  (void)state;
  for (int max = 1; max <= 1000; max++) {
    const arvak_budget_options options = {max, 0.1};
    arvak__budget *budget = arvak__budget_get(NULL);
    int allowed = 0;
    while (arvak__budget_spend(budget, &options)) allowed++;
    assert_int_equal(allowed, (max - 1) / 2);
    arvak__budget_unref(budget);
  }
}

static void retries_stay_within_the_bound(void **state) {
  (void)state;
  srand(5);
  for (int percent = 0; percent <= 100; percent += 10) {
    arvak__budget *budget = arvak__budget_get(NULL);
    int retries = 0, successes = 0;
    for (int i = 0; i < CALLS; i++) {
      bool again = true;
      while (again) {
        bool failed = rand() % 100 < percent;
        again = failed && arvak__budget_spend(budget, &standard);
        if (!failed) arvak__budget_earn(budget, &standard);
        successes += !failed;
        retries += again;
      }
    }
    assert_true(retries <= 5 + 0.1 * successes);
    arvak__budget_unref(budget);
  }
}

static void *take_part(void *ud) {
  (void)ud;
  for (int i = 0; i < 2000; i++) {
    arvak__budget *budget = arvak__budget_get(i % 2 ? "dns:///shared:1" : "dns:///shared:2");
    arvak__budget_spend(budget, &standard);
    arvak__budget_earn(budget, &standard);
    arvak__budget_unref(budget);
  }
  return NULL;
}

static void threads_share_the_table(void **state) {
  (void)state;
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, take_part, NULL), 0);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  arvak__budget *budget = arvak__budget_get("dns:///shared:1");
  assert_true(arvak__budget_tokens(budget, &standard) == 10);
  arvak__budget_unref(budget);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(half_of_the_tokens_are_for_retries), cmocka_unit_test(a_target_has_one_budget),
      cmocka_unit_test(the_threshold_is_exact),             cmocka_unit_test(retries_stay_within_the_bound),
      cmocka_unit_test(threads_share_the_table),            cmocka_unit_test(it_may_be_of_any_size),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
