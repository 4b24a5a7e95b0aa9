/* Every pause of the three strategies and jitters, what is worth a retry, and what a server's pushback means.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/retry.h"

#define MS INT64_C(1000000)
#define ALMOST_ONE 0.9999999999999999

enum { RESOURCE_EXHAUSTED = 8, INTERNAL = 13, UNAVAILABLE = 14, ATTEMPTS = 20 };

static arvak_retry_options policy(arvak_strategy strategy, arvak_jitter jitter) {
  arvak_retry_options options = {.initial_backoff_ns = 100 * MS,
                                 .max_backoff_ns = 1000 * MS,
                                 .backoff_multiplier = 3,
                                 .strategy = strategy,
                                 .jitter = jitter};
  return arvak__retry_resolve(&options);
}

static void zero_means_the_documented_defaults(void **state) {
  (void)state;
  arvak_retry_options zero = {0}, all = arvak__retry_resolve(&zero);
  assert_int_equal(all.max_attempts, 3);
  assert_int_equal(all.initial_backoff_ns, 1000 * MS);
  assert_int_equal(all.max_backoff_ns, 60000 * MS);
  assert_true(all.backoff_multiplier == 2.0);
  assert_int_equal(arvak__retry_delay_ns(&all, 1, 0.5), 500 * MS);
  assert_int_equal(arvak__retry_delay_ns(&all, 3, 0.5), 2000 * MS);
  assert_int_equal(arvak__retry_delay_ns(&all, 50, 0.5), 30000 * MS);
}

static void strategies_grow_as_they_say(void **state) {
  (void)state;
  static const int64_t exponential[] = {100, 300, 900, 1000, 1000};
  static const int64_t linear[] = {100, 200, 300, 400, 500};
  arvak_retry_options e = policy(ARVAK_STRATEGY_EXPONENTIAL, ARVAK_JITTER_NONE);
  arvak_retry_options l = policy(ARVAK_STRATEGY_LINEAR, ARVAK_JITTER_NONE);
  arvak_retry_options c = policy(ARVAK_STRATEGY_CONSTANT, ARVAK_JITTER_NONE);
  for (int i = 0; i < 5; i++) {
    assert_int_equal(arvak__retry_delay_ns(&e, i + 1, 0.7), exponential[i] * MS);
    assert_int_equal(arvak__retry_delay_ns(&l, i + 1, 0.7), linear[i] * MS);
    assert_int_equal(arvak__retry_delay_ns(&c, i + 1, 0.7), 100 * MS);
  }
  assert_int_equal(arvak__retry_delay_ns(&l, 11, 0.7), 1000 * MS);
}

static void jitter_stays_within_its_bounds(void **state) {
  (void)state;
  for (int strategy = 0; strategy < 3; strategy++) {
    arvak_retry_options none = policy((arvak_strategy)strategy, ARVAK_JITTER_NONE);
    arvak_retry_options full = policy((arvak_strategy)strategy, ARVAK_JITTER_FULL);
    arvak_retry_options equal = policy((arvak_strategy)strategy, ARVAK_JITTER_EQUAL);
    for (int i = 1; i <= ATTEMPTS; i++) {
      int64_t whole = arvak__retry_delay_ns(&none, i, 0);
      assert_true(whole <= 1000 * MS);
      assert_int_equal(arvak__retry_delay_ns(&full, i, 0), 0);
      assert_int_equal(arvak__retry_delay_ns(&full, i, 0.25), whole / 4);
      assert_in_range(arvak__retry_delay_ns(&full, i, ALMOST_ONE), whole - 1, whole);
      assert_int_equal(arvak__retry_delay_ns(&equal, i, 0), whole / 2);
      assert_int_equal(arvak__retry_delay_ns(&equal, i, 0.5), whole / 4 * 3);
      assert_in_range(arvak__retry_delay_ns(&equal, i, ALMOST_ONE), whole - 1, whole);
    }
  }
}

static void a_pause_never_overflows(void **state) {
  (void)state;
  arvak_retry_options options = {.initial_backoff_ns = INT64_C(3600) * 1000 * MS, .backoff_multiplier = 1000};
  options = arvak__retry_resolve(&options);
  assert_int_equal(arvak__retry_delay_ns(&options, 1000000, ALMOST_ONE), 60000 * MS - 1);
}

static arvak_failure unavailable(bool is_submit, bool is_unanswered, bool maybe_executed) {
  bool by_table = !is_submit || !maybe_executed;
  return (arvak_failure){UNAVAILABLE, is_submit, false, is_unanswered, maybe_executed, by_table, true};
}

/* What a host may write for "never", and what overflows on the way there. */
static void any_duration_gives_a_pause_within_its_bound(void **state) {
  (void)state;
  static const int64_t durations[] = {ARVAK_NEVER, ARVAK_NEVER - 1, ARVAK_NEVER - 1000, INT64_MIN, -1, 1, 3600000 * MS};
  static const double factors[] = {1e308, INFINITY, NAN, -INFINITY, 1e-308, 1, 2};
  enum { DURATIONS = sizeof durations / sizeof *durations, FACTORS = sizeof factors / sizeof *factors };
  for (int n = 0; n < DURATIONS * DURATIONS * FACTORS * 9; n++) {
    arvak_retry_options options = {.initial_backoff_ns = durations[n % DURATIONS],
                                   .max_backoff_ns = durations[n / DURATIONS % DURATIONS],
                                   .backoff_multiplier = factors[n / DURATIONS / DURATIONS % FACTORS],
                                   .strategy = (arvak_strategy)(n % 3),
                                   .jitter = (arvak_jitter)(n / 3 % 3)};
    options = arvak__retry_resolve(&options);
    for (int attempt = 1; attempt <= 1001; attempt += 100) {
      int64_t delay = arvak__retry_delay_ns(&options, attempt, ALMOST_ONE);
      assert_true(delay >= 0 && delay <= options.max_backoff_ns);
    }
  }
}

static void submits_are_repeated_only_where_nothing_can_happen_twice(void **state) {
  (void)state;
  arvak_retry_options options = {0};
  arvak_failure read = unavailable(false, true, true), unsent = unavailable(true, true, false);
  arvak_failure answered = unavailable(true, false, false), broken = unavailable(true, true, true);
  assert_true(arvak__retry_is_worth(&options, &read));
  assert_true(arvak__retry_is_worth(&options, &unsent));
  assert_true(arvak__retry_is_worth(&options, &answered));
  assert_false(arvak__retry_is_worth(&options, &broken));
  options.distrust_unavailable = true;
  assert_true(arvak__retry_is_worth(&options, &read));
  assert_true(arvak__retry_is_worth(&options, &unsent));
  assert_false(arvak__retry_is_worth(&options, &answered));
  options.assume_idempotent = true;
  assert_true(arvak__retry_is_worth(&options, &broken));
  assert_true(arvak__retry_is_worth(&options, &answered));
}

static void a_list_of_codes_takes_the_place_of_the_table(void **state) {
  (void)state;
  arvak_retry_options options = {.codes = 1u << INTERNAL};
  arvak_failure failure = {.code = INTERNAL, .is_submit = true};
  assert_true(arvak__retry_is_worth(&options, &failure));
  failure.maybe_executed = true; /* a list does not make a submit idempotent */
  assert_false(arvak__retry_is_worth(&options, &failure));
  options.assume_idempotent = true;
  assert_true(arvak__retry_is_worth(&options, &failure));
  failure = (arvak_failure){.code = UNAVAILABLE, .by_table = true, .as_read = true};
  assert_false(arvak__retry_is_worth(&options, &failure));
  failure = (arvak_failure){.code = 77};
  assert_false(arvak__retry_is_worth(&options, &failure));
}

static void what_we_made_ourselves_is_final(void **state) {
  (void)state;
  arvak_retry_options options = {.codes = ~0u, .assume_idempotent = true};
  arvak_failure failure = {.code = RESOURCE_EXHAUSTED, .is_ours = true, .by_table = true, .as_read = true};
  assert_false(arvak__retry_is_worth(&options, &failure));
}

static void pushback_is_a_number_or_means_no(void **state) {
  (void)state;
  static const char *const bad[] = {"", "-1", "-0", "1.5", " 1", "1 ", "abc", "0x10", "9999999999999"};
  int64_t ns = -7;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_false(arvak__retry_read_pushback(bad[i], strlen(bad[i]), &ns));
    assert_int_equal(ns, -7);
  }
  assert_true(arvak__retry_read_pushback("0", 1, &ns));
  assert_int_equal(ns, 0);
  assert_true(arvak__retry_read_pushback("250", 3, &ns));
  assert_int_equal(ns, 250 * MS);
}

static void pushback_is_obeyed_up_to_a_minute_or_the_longest_backoff(void **state) {
  (void)state;
  arvak_retry_options hasty = {.max_backoff_ns = MS}, patient = {.max_backoff_ns = 3600000 * MS};
  assert_true(arvak__retry_obeys(&hasty, 0));
  assert_true(arvak__retry_obeys(&hasty, 60000 * MS));
  assert_false(arvak__retry_obeys(&hasty, 60000 * MS + 1));
  assert_false(arvak__retry_obeys(&hasty, ARVAK_NEVER));
  assert_true(arvak__retry_obeys(&patient, 3600000 * MS));
  assert_false(arvak__retry_obeys(&patient, 3600000 * MS + 1));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(zero_means_the_documented_defaults),
      cmocka_unit_test(strategies_grow_as_they_say),
      cmocka_unit_test(jitter_stays_within_its_bounds),
      cmocka_unit_test(a_pause_never_overflows),
      cmocka_unit_test(any_duration_gives_a_pause_within_its_bound),
      cmocka_unit_test(submits_are_repeated_only_where_nothing_can_happen_twice),
      cmocka_unit_test(a_list_of_codes_takes_the_place_of_the_table),
      cmocka_unit_test(what_we_made_ourselves_is_final),
      cmocka_unit_test(pushback_is_a_number_or_means_no),
      cmocka_unit_test(pushback_is_obeyed_up_to_a_minute_or_the_longest_backoff),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
