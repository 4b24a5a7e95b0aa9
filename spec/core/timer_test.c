/* The heap of deadlines against a plain list, with random sets, moves, stops and pops.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "timer.h"

enum { TIMERS = 200, ROUNDS = 20000 };

static int64_t earliest(const arvak_timer *timers) {
  int64_t min = ARVAK_NEVER;
  for (int i = 0; i < TIMERS; i++)
    if (timers[i].place && timers[i].deadline_ns < min) min = timers[i].deadline_ns;
  return min;
}

static void agrees_with_a_list(void **state) {
  (void)state;
  arvak_timer timers[TIMERS];
  arvak__timers heap = {0};
  memset(timers, 0, sizeof timers);
  srand(7);
  int64_t now = 0;
  for (int round = 0; round < ROUNDS; round++) {
    arvak_timer *timer = &timers[rand() % TIMERS];
    int action = rand() % 4;
    if (action < 2) assert_int_equal(arvak__timers_set(&heap, timer, now + rand() % 1000), ARVAK_OK);
    else if (action == 2) arvak__timers_stop(&heap, timer);
    else {
      now += rand() % 50;
      int64_t min = earliest(timers);
      arvak_timer *due = arvak__timers_pop(&heap, now);
      if (min > now) assert_null(due);
      else assert_true(due && due->deadline_ns == min && due->place == 0);
    }
    assert_true(arvak__timers_next(&heap) == earliest(timers));
  }
  arvak__timers_fini(&heap);
  for (int i = 0; i < TIMERS; i++) assert_int_equal(timers[i].place, 0);
}

static void keeps_what_is_never_due(void **state) {
  (void)state;
  static const int64_t deadlines[] = {ARVAK_NEVER, INT64_MIN, ARVAK_NEVER - 1, -1, 0};
  static const size_t order[] = {1, 3, 4};
  arvak_timer timers[5];
  arvak__timers heap = {0};
  memset(timers, 0, sizeof timers);
  for (int i = 0; i < 5; i++) arvak__timers_set(&heap, &timers[i], deadlines[i]);
  for (int i = 0; i < 3; i++) assert_ptr_equal(arvak__timers_pop(&heap, 0), &timers[order[i]]);
  assert_null(arvak__timers_pop(&heap, ARVAK_NEVER - 2));
  assert_true(arvak__timers_next(&heap) == ARVAK_NEVER - 1);
  arvak__timers_fini(&heap);
}

static void gives_equal_deadlines_all(void **state) {
  (void)state;
  arvak_timer timers[5];
  arvak__timers heap = {0};
  memset(timers, 0, sizeof timers);
  for (int i = 0; i < 5; i++) arvak__timers_set(&heap, &timers[i], 10);
  assert_null(arvak__timers_pop(&heap, 9));
  for (int i = 0; i < 5; i++) assert_non_null(arvak__timers_pop(&heap, 10));
  assert_null(arvak__timers_pop(&heap, 10));
  arvak__timers_fini(&heap);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(agrees_with_a_list), cmocka_unit_test(keeps_what_is_never_due),
                                     cmocka_unit_test(gives_equal_deadlines_all)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
