/* The learned pace, against servers that are a few lines each: a fixed window, a bucket, an accident now and then, a
 * server that is full. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/pace.h"

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)
#define START (INT64_C(12345) * SECOND)

typedef struct served {
  int64_t now, window;
  int accepted, in_window, refused;
  double tokens;
} served;

/* Whether the server takes a submit at model->now. */
typedef bool server_fn(served *model);

static bool of_a_window(served *model) {
  if (model->now / SECOND != model->window) model->in_window = 0;
  model->window = model->now / SECOND;
  return model->in_window++ < 100;
}

static bool of_a_bucket(served *model) {
  double seconds = (double)(model->now - model->window) / SECOND;
  model->window = model->now;
  model->tokens = model->tokens + 100 * seconds < 20 ? model->tokens + 100 * seconds : 20;
  if (model->tokens < 1) return false;
  model->tokens--;
  return true;
}

static bool of_accidents(served *model) { return (model->accepted + model->refused) % 16 != 15; }

static void send(arvak__pace *pace, served *model, server_fn *server) {
  arvak__pace_take(pace, 1, model->now);
  int64_t sent = model->now;
  model->now += MS / 10;
  if (server(model)) {
    model->accepted++;
    arvak__pace_accept(pace, 1, sent, model->now);
  } else {
    arvak__refusal refusal = {.sent_ns = sent};
    model->refused++;
    arvak__pace_refuse(pace, &refusal, model->now);
  }
}

/* Somebody always wants to submit. */
static served drive(server_fn *server, int seconds) {
  arvak__pace pace = {0};
  served model = {.now = START, .window = START, .tokens = 20};
  while (model.now < START + seconds * SECOND) {
    int64_t due = arvak__pace_due(&pace, 1, model.now);
    if (due > model.now) model.now = due;
    send(&pace, &model, server);
  }
  return model;
}

static void nearly_all_is_used_of_what_a_window_lets_through(void **state) {
  (void)state;
  served model = drive(of_a_window, 30);
  assert_in_range(model.accepted, 2850, 3100);
  assert_in_range(model.refused, 30, 600);
}

static void most_is_used_of_what_a_bucket_lets_through(void **state) {
  (void)state;
  served model = drive(of_a_bucket, 30);
  assert_in_range(model.accepted, 2200, 3021);
  assert_in_range(model.refused, 1, 1500);
}

static void accidents_do_not_slow_it(void **state) {
  (void)state;
  served model = drive(of_accidents, 30);
  assert_in_range(model.accepted, 20000, 1000000);
}

static arvak__refusal refusal_at(int64_t sent) { return (arvak__refusal){.sent_ns = sent}; }

static void nothing_waits_before_the_first_refusal(void **state) {
  (void)state;
  arvak__pace pace = {0};
  for (int i = 0; i < 1000; i++) {
    assert_true(arvak__pace_due(&pace, 50, START) <= START);
    arvak__pace_take(&pace, 50, START);
    arvak__pace_accept(&pace, 50, START, START);
  }
}

static void after_a_refusal_one_at_a_time_goes_out(void **state) {
  (void)state;
  arvak__pace pace = {0};
  arvak__refusal refusal = refusal_at(START);
  arvak__pace_refuse(&pace, &refusal, START + MS);
  int64_t due = arvak__pace_due(&pace, 1, START + MS);
  assert_in_range(due - START, 5 * MS, 100 * MS);
  arvak__pace_take(&pace, 1, due);
  assert_int_equal(arvak__pace_due(&pace, 1, due), due + SECOND); /* unless it is answered */
  arvak__pace_accept(&pace, 1, due, due + MS);
  assert_true(arvak__pace_due(&pace, 1, due + MS) < due + SECOND + 2 * MS);
}

static void what_was_sent_before_a_refusal_changes_nothing(void **state) {
  (void)state;
  arvak__pace pace = {0};
  arvak__refusal refusal = refusal_at(START);
  arvak__pace_refuse(&pace, &refusal, START + 2 * MS);
  arvak__pace before = pace;
  for (int i = 0; i < 50; i++) arvak__pace_refuse(&pace, &refusal, START + 3 * MS);
  assert_memory_equal(&before, &pace, sizeof pace);
  arvak__pace_accept(&pace, 1, START + MS, START + 3 * MS);
  assert_int_equal(pace.state, ARVAK__PACE_CLOSED);
  assert_false(arvak__pace_holds(&pace, START + MS, START + 3 * MS));
  assert_true(arvak__pace_holds(&pace, START + 2 * MS, START + 3 * MS));
}

static void a_pushback_is_obeyed(void **state) {
  (void)state;
  arvak__pace pace = {0};
  arvak__refusal refusal = {.sent_ns = START, .pushback_ns = 3 * SECOND};
  arvak__pace_refuse(&pace, &refusal, START + MS);
  assert_int_equal(arvak__pace_due(&pace, 1, START + MS), START + MS + 3 * SECOND);
  refusal.pushback_ns = 5 * SECOND; /* of the same burst */
  arvak__pace_refuse(&pace, &refusal, START + 2 * MS);
  assert_int_equal(arvak__pace_due(&pace, 1, START + 2 * MS), START + 2 * MS + 5 * SECOND);
}

static void a_batch_waits_for_all_its_jobs(void **state) {
  (void)state;
  arvak__pace pace = {.state = ARVAK__PACE_OPEN, .rate = 100, .turn_ns = START, .closed_ns = START};
  assert_int_equal(arvak__pace_due(&pace, 50, START), START + 500 * MS);
  arvak__pace_take(&pace, 50, START + 500 * MS);
  assert_int_equal(arvak__pace_due(&pace, 1, START + 500 * MS), START + 510 * MS);
}

static void ten_quiet_seconds_make_it_free(void **state) {
  (void)state;
  arvak__pace pace = {.state = ARVAK__PACE_OPEN, .rate = 1, .turn_ns = START, .closed_ns = START};
  assert_int_equal(arvak__pace_due(&pace, 1, START), START + SECOND);
  assert_true(arvak__pace_due(&pace, 100, START + 10 * SECOND) <= START + 10 * SECOND);
  assert_int_equal(pace.state, ARVAK__PACE_FREE);
}

/* Probes a full server until it is given up; returns after how many seconds. A job is seen running until `until`. */
static int64_t give_up(int64_t until) {
  arvak__pace pace = {0};
  int64_t now = START, probes = 0;
  while (!arvak__pace_is_stuck(&pace, now) && probes++ < 10000) {
    int64_t due = arvak__pace_due(&pace, 1, now);
    if (due > now) now = due;
    arvak__pace_take(&pace, 1, now);
    arvak__refusal refusal = {.sent_ns = now, .is_full = true};
    if (now < until) arvak__pace_note_unfinished(&pace, now);
    arvak__pace_refuse(&pace, &refusal, now);
  }
  assert_true(arvak__pace_due(&pace, 1, now) <= now);
  assert_true(arvak__pace_holds(&pace, 0, now));
  arvak__pace_accept(&pace, 1, now, now);
  assert_false(arvak__pace_is_stuck(&pace, now));
  assert_in_range(probes, 10, 2000);
  return (now - START) / SECOND;
}

static void a_full_server_is_given_up_a_minute_after_the_last_hope(void **state) {
  (void)state;
  assert_in_range(give_up(START), 60, 66);
  assert_in_range(give_up(START + 100 * SECOND), 158, 166);
}

static void a_server_that_speaks_of_a_rate_is_never_given_up(void **state) {
  (void)state;
  arvak__pace pace = {0};
  for (int64_t now = START; now < START + 1000 * SECOND; now += SECOND) {
    arvak__refusal refusal = {.sent_ns = now, .is_full = now / SECOND % 50 != 0};
    arvak__pace_refuse(&pace, &refusal, now);
    assert_false(arvak__pace_is_stuck(&pace, now));
  }
}

static void no_rate_no_cost_and_no_time_breaks_it(void **state) {
  (void)state;
  srand(7);
  arvak__pace pace = {0};
  int64_t now = 0;
  for (int i = 0; i < 200000; i++) {
    int jobs = rand() % 3 ? 1 : rand() % 1000000;
    int64_t sent = now - rand() % (2 * SECOND);
    arvak__refusal refusal = {sent, rand() % 100 ? 0 : ARVAK_NEVER, rand() % 2};
    switch (rand() % 5) {
      case 0: arvak__pace_accept(&pace, jobs, sent, now); break;
      case 1: if (rand() % 4 == 0) arvak__pace_refuse(&pace, &refusal, now); break;
      case 2: if (arvak__pace_due(&pace, jobs, now) <= now) arvak__pace_take(&pace, jobs, now); break;
      case 3: arvak__pace_note_unfinished(&pace, now); break;
      default: now += rand() % 1000 ? rand() % (50 * MS) : 100 * SECOND;
    }
    if (pace.state == ARVAK__PACE_OPEN) assert_true(pace.rate >= 1 && pace.rate <= 1e6);
    assert_true(arvak__pace_due(&pace, 1, now) >= 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nearly_all_is_used_of_what_a_window_lets_through),
      cmocka_unit_test(most_is_used_of_what_a_bucket_lets_through),
      cmocka_unit_test(accidents_do_not_slow_it),
      cmocka_unit_test(nothing_waits_before_the_first_refusal),
      cmocka_unit_test(after_a_refusal_one_at_a_time_goes_out),
      cmocka_unit_test(what_was_sent_before_a_refusal_changes_nothing),
      cmocka_unit_test(a_pushback_is_obeyed),
      cmocka_unit_test(a_batch_waits_for_all_its_jobs),
      cmocka_unit_test(ten_quiet_seconds_make_it_free),
      cmocka_unit_test(a_full_server_is_given_up_a_minute_after_the_last_hope),
      cmocka_unit_test(a_server_that_speaks_of_a_rate_is_never_given_up),
      cmocka_unit_test(no_rate_no_cost_and_no_time_breaks_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
