/* Timers: in order, each exactly once, whether it fires, is canceled or is stopped.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/timer.h"

enum { MANY = 500 };

typedef struct probe {
  timer t;
  atomic_int fired, stopped;
  int order;
} probe;

static atomic_int fired_so_far;

static void on_time(timer *t, bool fired) {
  probe *p = (probe *)(void *)t;
  p->order = atomic_load(&fired_so_far);
  if (fired) {
    atomic_fetch_add(&p->fired, 1);
    atomic_fetch_add(&fired_so_far, 1);
  } else {
    atomic_fetch_add(&p->stopped, 1);
  }
}

static void wait_for_fired(int n) {
  for (int i = 0; i < 2000 && atomic_load(&fired_so_far) < n; i++) {
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  }
  assert_int_equal(atomic_load(&fired_so_far), n);
}

static void they_fire_in_the_order_of_their_deadlines(void **state) {
  (void)state;
  probe *p = calloc(MANY, sizeof *p);
  timers *all = timers_new();
  uint64_t start_us = clock_us() + 50000;
  atomic_store(&fired_so_far, 0);
  for (int i = 0; i < MANY; i++) {
    int shuffled = i * 211 % MANY;
    timer_start(all, &p[shuffled].t, start_us + 100 * (uint64_t)shuffled, on_time);
  }
  wait_for_fired(MANY);
  for (int i = 0; i < MANY; i++) assert_int_equal(p[i].order, i);
  timers_stop(all);
  timers_free(all);
  free(p);
}

static void a_canceled_one_does_not_fire(void **state) {
  (void)state;
  probe *p = calloc(MANY, sizeof *p);
  timers *all = timers_new();
  uint64_t start_us = clock_us() + 50000;
  atomic_store(&fired_so_far, 0);
  for (int i = 0; i < MANY; i++) timer_start(all, &p[i].t, start_us + 10 * (uint64_t)(i * 211 % MANY), on_time);
  for (int i = 0; i < MANY; i += 2) assert_true(timer_cancel(all, &p[i].t));
  assert_false(timer_cancel(all, &p[0].t));
  wait_for_fired(MANY / 2);
  for (int i = 0; i < MANY; i++) assert_int_equal(atomic_load(&p[i].fired), i % 2);
  timers_stop(all);
  timers_free(all);
  free(p);
}

static void stopping_ends_those_that_run_and_those_to_come(void **state) {
  (void)state;
  probe p = {.order = 0}, late = {.order = 0};
  timers *all = timers_new();
  timer_start(all, &p.t, clock_us() + UINT64_C(3600000000), on_time);
  timers_stop(all);
  timers_stop(all);
  timer_start(all, &late.t, clock_us(), on_time);
  assert_int_equal(atomic_load(&p.stopped), 1);
  assert_int_equal(atomic_load(&late.stopped), 1);
  assert_int_equal(atomic_load(&p.fired) + atomic_load(&late.fired), 0);
  timers_free(all);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(they_fire_in_the_order_of_their_deadlines),
      cmocka_unit_test(a_canceled_one_does_not_fire),
      cmocka_unit_test(stopping_ends_those_that_run_and_those_to_come),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
