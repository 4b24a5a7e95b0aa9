/* Token arithmetic against a plain bucket, and AIMD. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/limiter.h"

#define MS INT64_C(1000000)
#define START (INT64_C(12345) * 1000 * MS)

static arvak__limiter paced(double rate, int burst) {
  arvak__limiter limiter;
  arvak_limiter_options options = {.rate = rate, .burst = burst};
  arvak__limiter_init(&limiter, &options, 128);
  return limiter;
}

static void a_burst_goes_at_once_and_the_rest_at_the_rate(void **state) {
  (void)state;
  arvak__limiter limiter = paced(100, 3);
  assert_true(arvak__limiter_tokens(&limiter, START) == 3);
  for (int i = 0; i < 3; i++) assert_int_equal(arvak__limiter_reserve(&limiter, 1, START, ARVAK_NEVER), START);
  assert_true(arvak__limiter_tokens(&limiter, START) == 0);
  for (int i = 1; i <= 5; i++)
    assert_int_equal(arvak__limiter_reserve(&limiter, 1, START, ARVAK_NEVER), START + i * 10 * MS);
  int64_t later = START + 5 * 10 * MS; /* all are through; the bucket fills from here */
  assert_int_equal(arvak__limiter_reserve(&limiter, 1, later + 10 * MS, ARVAK_NEVER), later + 10 * MS);
  assert_int_equal(arvak__limiter_reserve(&limiter, 1, later + 10 * MS, ARVAK_NEVER), later + 20 * MS);
  assert_true(arvak__limiter_tokens(&limiter, later + 35 * MS) == 1.5);
  assert_true(arvak__limiter_tokens(&limiter, later + 1000 * MS) == 3);
}

static void without_a_burst_the_first_goes_at_once(void **state) {
  (void)state;
  arvak__limiter limiter = paced(10, 0);
  assert_int_equal(arvak__limiter_reserve(&limiter, 1, START, ARVAK_NEVER), START);
  assert_int_equal(arvak__limiter_reserve(&limiter, 1, START, ARVAK_NEVER), START + 100 * MS);
}

static void a_batch_costs_as_many_tokens_as_it_has_jobs(void **state) {
  (void)state;
  arvak__limiter limiter = paced(100, 10);
  assert_int_equal(arvak__limiter_reserve(&limiter, 50, START, ARVAK_NEVER), START);
  assert_int_equal(arvak__limiter_reserve(&limiter, 1, START, ARVAK_NEVER), START + 410 * MS);
}

static void what_comes_too_late_takes_nothing(void **state) {
  (void)state;
  arvak__limiter limiter = paced(10, 1);
  arvak__limiter_reserve(&limiter, 1, START, ARVAK_NEVER);
  assert_int_equal(arvak__limiter_reserve(&limiter, 1, START, START + 99 * MS), ARVAK_NEVER);
  assert_int_equal(arvak__limiter_reserve(&limiter, 1, START, START + 100 * MS), START + 100 * MS);
}

/* Rates down to nothing, bursts and costs up to anything: no sum or product wraps around, so nothing that was paced
 * becomes free. */
static void any_rate_burst_and_cost_may_be_given(void **state) {
  (void)state;
  static const double rates[] = {1e-300, 1e-12, 1e-9, 1e-3, 1, 1e9, 1e300, INFINITY};
  static const int numbers[] = {1, 2, 1000000, INT32_MAX};
  for (int n = 0; n < 8 * 4 * 4; n++) {
    arvak__limiter limiter = paced(rates[n % 8], numbers[n / 8 % 4]);
    int cost = numbers[n / 32];
    int64_t before = START;
    for (int i = 0; i < 100; i++) {
      int64_t at = arvak__limiter_reserve(&limiter, cost, START, ARVAK_NEVER);
      assert_true(at >= before);
      before = at;
      double tokens = arvak__limiter_tokens(&limiter, START);
      assert_true(tokens >= 0 && tokens <= numbers[n / 8 % 4]);
      if (at < ARVAK_NEVER && i % 3 == 2) arvak__limiter_give_back(&limiter, cost, at), before = START;
    }
    if (rates[n % 8] < 1e-10 && numbers[n / 8 % 4] == 1) assert_int_equal(before, ARVAK_NEVER);
  }
}

static int64_t reserve(arvak__limiter *limiter) { return arvak__limiter_reserve(limiter, 1, START, ARVAK_NEVER); }

static void what_is_given_back_goes_to_whoever_comes_next(void **state) {
  (void)state;
  for (int burst = 1; burst <= 5; burst += 4) {
    arvak__limiter limiter = paced(10, burst);
    for (int i = 0; i < burst; i++) reserve(&limiter);
    for (int i = 1; i <= 8; i++) assert_int_equal(reserve(&limiter), START + i * 100 * MS);
    for (int i = 3; i <= 5; i++) arvak__limiter_give_back(&limiter, 1, START + i * 100 * MS); /* a run, forwards */
    assert_int_equal(reserve(&limiter), START + 300 * MS);
    for (int i = 8; i >= 7; i--) arvak__limiter_give_back(&limiter, 1, START + i * 100 * MS); /* the last, backwards */
    /* three do not fit into the places of 4 and 5 */
    assert_int_equal(arvak__limiter_reserve(&limiter, 3, START, ARVAK_NEVER), START + 700 * MS);
    for (int i = 4; i <= 5; i++) assert_int_equal(reserve(&limiter), START + i * 100 * MS);
    assert_int_equal(reserve(&limiter), START + 1000 * MS);
  }
}

/* At random, tokens are given back by whoever still waits: no second sees more than rate and burst for all that. */
static void what_is_given_back_is_given_out_once(void **state) {
  (void)state;
  enum { COUNT = 5000, RATE = 100, BURST = 7 };
  static int64_t at[COUNT];
  arvak__limiter limiter = paced(RATE, BURST);
  int64_t now = START;
  srand(7);
  for (int i = 0; i < COUNT; i++) {
    if (rand() % 3 == 0) now += rand() % 40 * MS;
    at[i] = arvak__limiter_reserve(&limiter, 1, now, ARVAK_NEVER);
    for (int j = i; j >= 0 && j > i - 40; j -= rand() % 20 + 1) {
      if (at[j] <= now || rand() % 3 > 0) continue;
      arvak__limiter_give_back(&limiter, 1, at[j]);
      at[j] = 0;
    }
  }
  for (int i = 0; i < COUNT; i++) {
    int seen = 0;
    for (int j = 0; j < COUNT; j++) seen += at[i] > 0 && at[j] >= at[i] && at[j] < at[i] + 1000 * MS;
    assert_true(seen <= RATE + BURST);
  }
}

static void without_a_rate_nothing_waits(void **state) {
  (void)state;
  arvak__limiter limiter = paced(0, 5);
  for (int i = 0; i < 1000; i++) assert_int_equal(arvak__limiter_reserve(&limiter, 50, START, START), START);
  assert_true(arvak__limiter_tokens(&limiter, START) == 0);
}

/* In any second, never more than rate + burst, whenever the calls come. */
static void no_second_sees_more_than_rate_and_burst(void **state) {
  (void)state;
  enum { CALLS = 20000, RATE = 90, BURST = 10 };
  arvak__limiter limiter = paced(RATE, BURST);
  int64_t *at = calloc(CALLS, sizeof *at), now = START;
  srand(3);
  for (int i = 0; i < CALLS; i++) {
    now += rand() % (25 * (int)MS);
    at[i] = arvak__limiter_reserve(&limiter, 1, now, ARVAK_NEVER);
    assert_true(at[i] >= now && (i == 0 || at[i] >= at[i - 1]));
    if (i >= RATE + BURST) assert_true(at[i] - at[i - RATE - BURST] >= 1000 * MS - 100);
  }
  free(at);
}

static arvak__limiter adaptive(int max_in_flight, int bound) {
  arvak__limiter limiter;
  arvak_limiter_options options = {.is_adaptive = true, .max_in_flight = max_in_flight};
  arvak__limiter_init(&limiter, &options, bound);
  return limiter;
}

static void trouble_halves_the_limit_once_a_round(void **state) {
  (void)state;
  arvak__limiter limiter = adaptive(0, 64);
  assert_int_equal(arvak__limiter_in_flight(&limiter), 64);
  arvak__limiter_lower(&limiter, START, START + 1);
  assert_int_equal(arvak__limiter_in_flight(&limiter), 32);
  for (int i = 0; i < 63; i++) arvak__limiter_lower(&limiter, START, START + 2); /* of the same round */
  assert_int_equal(arvak__limiter_in_flight(&limiter), 32);
  arvak__limiter_lower(&limiter, START + 1, START + 3);
  assert_int_equal(arvak__limiter_in_flight(&limiter), 16);
  for (int i = 4; i < 20; i++) arvak__limiter_lower(&limiter, START + i, START + i);
  assert_int_equal(arvak__limiter_in_flight(&limiter), 1);
}

static void a_full_round_of_successes_raises_it_by_one(void **state) {
  (void)state;
  arvak__limiter limiter = adaptive(20, 64);
  assert_int_equal(arvak__limiter_in_flight(&limiter), 20);
  arvak__limiter_lower(&limiter, START, START + 1);
  for (int limit = 10; limit < 20; limit++) {
    assert_int_equal(arvak__limiter_in_flight(&limiter), limit);
    for (int i = 0; i <= limit; i++) arvak__limiter_raise(&limiter, limit);
  }
  assert_int_equal(arvak__limiter_in_flight(&limiter), 20);
  for (int i = 0; i < 1000; i++) arvak__limiter_raise(&limiter, 20);
  assert_int_equal(arvak__limiter_in_flight(&limiter), 20);
}

static void an_unused_limit_does_not_rise(void **state) {
  (void)state;
  arvak__limiter limiter = adaptive(0, 64);
  arvak__limiter_lower(&limiter, START, START + 1);
  for (int i = 0; i < 1000; i++) arvak__limiter_raise(&limiter, 31);
  assert_int_equal(arvak__limiter_in_flight(&limiter), 32);
}

static void a_fixed_limit_stays(void **state) {
  (void)state;
  arvak__limiter limiter;
  arvak_limiter_options options = {.max_in_flight = 7};
  arvak__limiter_init(&limiter, &options, 128);
  arvak__limiter_lower(&limiter, START, START);
  arvak__limiter_raise(&limiter, 7);
  assert_int_equal(arvak__limiter_in_flight(&limiter), 7);
  options.max_in_flight = 1000; /* never more than the client's own bound */
  arvak__limiter_init(&limiter, &options, 128);
  assert_int_equal(arvak__limiter_in_flight(&limiter), 128);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_burst_goes_at_once_and_the_rest_at_the_rate),
      cmocka_unit_test(without_a_burst_the_first_goes_at_once),
      cmocka_unit_test(a_batch_costs_as_many_tokens_as_it_has_jobs),
      cmocka_unit_test(what_comes_too_late_takes_nothing),
      cmocka_unit_test(any_rate_burst_and_cost_may_be_given),
      cmocka_unit_test(what_is_given_back_goes_to_whoever_comes_next),
      cmocka_unit_test(what_is_given_back_is_given_out_once),
      cmocka_unit_test(without_a_rate_nothing_waits),
      cmocka_unit_test(no_second_sees_more_than_rate_and_burst),
      cmocka_unit_test(trouble_halves_the_limit_once_a_round),
      cmocka_unit_test(a_full_round_of_successes_raises_it_by_one),
      cmocka_unit_test(an_unused_limit_does_not_rise),
      cmocka_unit_test(a_fixed_limit_stays),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
