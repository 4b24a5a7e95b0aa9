/* The rate limit: fixed windows, counted per peer, with a clock of our own.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "jobs/rate.h"

static const uint64_t second_us = 1000000;

static uint32_t taken(rates *all, const char *peer, uint64_t now_us, int tries) {
  uint32_t n = 0, seen;
  for (int i = 0; i < tries; i++) n += rate_take(all, peer, now_us, &seen);
  return n;
}

static void a_window_holds_its_limit_and_no_more(void **state) {
  (void)state;
  rates *all = rates_new(100);
  uint32_t seen;
  assert_int_equal(taken(all, "10.0.0.1", 5 * second_us, 300), 100);
  assert_false(rate_check(all, "10.0.0.1", 5 * second_us, &seen));
  assert_int_equal(seen, 100);
  assert_int_equal(taken(all, "10.0.0.1", 6 * second_us - 1, 10), 0);
  assert_int_equal(taken(all, "10.0.0.1", 6 * second_us, 300), 100);
  rates_free(all);
}

static void asking_is_free(void **state) {
  (void)state;
  rates *all = rates_new(2);
  uint32_t seen;
  for (int i = 0; i < 10; i++) assert_true(rate_check(all, "10.0.0.1", second_us, &seen));
  assert_int_equal(taken(all, "10.0.0.1", second_us, 10), 2);
  rates_free(all);
}

static void peers_do_not_share(void **state) {
  (void)state;
  rates *all = rates_new(3);
  assert_int_equal(taken(all, "10.0.0.1", second_us, 10), 3);
  assert_int_equal(taken(all, "10.0.0.2", second_us, 10), 3);
  assert_int_equal(taken(all, "unix", second_us, 10), 3);
  rates_free(all);
}

static void idle_peers_are_forgotten(void **state) {
  (void)state;
  rates *all = rates_new(3);
  taken(all, "10.0.0.1", second_us, 1);
  taken(all, "10.0.0.2", 30 * second_us, 1);
  assert_int_equal(rates_peers(all), 2);
  taken(all, "10.0.0.3", 62 * second_us, 1);
  assert_int_equal(rates_peers(all), 2);
  rates_free(all);
}

static void no_limit_is_no_limit(void **state) {
  (void)state;
  rates *all = rates_new(0);
  assert_int_equal(taken(all, "10.0.0.1", second_us, 1000), 1000);
  rates_free(all);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_window_holds_its_limit_and_no_more),
      cmocka_unit_test(asking_is_free),
      cmocka_unit_test(peers_do_not_share),
      cmocka_unit_test(idle_peers_are_forgotten),
      cmocka_unit_test(no_limit_is_no_limit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
