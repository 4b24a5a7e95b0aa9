/* Sums of times at the ends of what a number can hold, against sums in twice as many bits.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "clock.h"

__extension__ typedef __int128 wide;

static const int64_t numbers[] = {
    INT64_MIN, INT64_MIN + 1, INT64_MIN / 2, -1000000000, -2, -1, 0, 1, 2, 1000000000, INT64_MAX / 2, INT64_MAX / 2 + 1,
    INT64_MAX - 1000000000, INT64_MAX - 1, INT64_MAX,
};
enum { COUNT = sizeof numbers / sizeof *numbers };

static int64_t narrowed(wide sum) { return sum > INT64_MAX ? INT64_MAX : sum < INT64_MIN ? INT64_MIN : (int64_t)sum; }

static void sums_stop_at_the_ends_of_time(void **state) {
  (void)state;
  for (int i = 0; i < COUNT * COUNT; i++) {
    int64_t at = numbers[i / COUNT], by = numbers[i % COUNT];
    assert_int_equal(arvak__after_ns(at, by), narrowed((wide)at + by));
    if (at == ARVAK_NEVER) assert_int_equal(arvak__until_ns(at, by), ARVAK_NEVER);
    else assert_int_equal(arvak__until_ns(at, by), narrowed((wide)at - by));
    if (at >= 0 && by >= 0) assert_int_equal(arvak__times_ns(at, by), narrowed((wide)at * by));
  }
}

static void a_computed_duration_is_one(void **state) {
  (void)state;
  static const double never[] = {INFINITY, 1e300, 0x1p63, 9.3e18}, nothing[] = {NAN, -INFINITY, -1, -0.0, 0, 0.5};
  for (size_t i = 0; i < sizeof never / sizeof *never; i++) assert_int_equal(arvak__to_ns(never[i]), ARVAK_NEVER);
  for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++) assert_int_equal(arvak__to_ns(nothing[i]), 0);
  assert_int_equal(arvak__to_ns(1.5e9), 1500000000);
  assert_int_equal(arvak__to_ns(0x1p62), INT64_C(1) << 62);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(sums_stop_at_the_ends_of_time),
                                     cmocka_unit_test(a_computed_duration_is_one)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
