/* Every change of a breaker's state with a clock of our own, and a million random events against its invariants.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/breaker.h"

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define START (INT64_C(777) * SECOND)

static const arvak_verdict NEUTRAL = ARVAK_VERDICT_NEUTRAL, GOOD = ARVAK_VERDICT_SUCCESS, BAD = ARVAK_VERDICT_FAILURE;

static int64_t ignored;

static arvak__breaker made(arvak_breaker_options options) {
  arvak__breaker breaker;
  arvak__breaker_init(&breaker, &options);
  return breaker;
}

static arvak_pass admitted(arvak__breaker *breaker, int64_t now) {
  arvak_pass pass;
  assert_true(arvak__breaker_admit(breaker, now, now + HOUR, &pass, &ignored));
  return pass;
}

static void call(arvak__breaker *breaker, arvak_verdict verdict, int64_t now) {
  arvak__breaker_record(breaker, admitted(breaker, now), verdict, now);
}

static void refused(arvak__breaker *breaker, int64_t now, int64_t retry_after) {
  arvak_pass pass;
  int64_t after = -1, queried = -1;
  assert_false(arvak__breaker_would_admit(breaker, now, &queried));
  assert_false(arvak__breaker_admit(breaker, now, now + HOUR, &pass, &after));
  assert_int_equal(after, retry_after);
  assert_int_equal(queried, retry_after);
}

static void opened(arvak__breaker *breaker, int64_t now) {
  for (int i = 0; i < breaker->options.failure_threshold; i++) call(breaker, BAD, now);
  assert_int_equal(breaker->state, ARVAK_BREAKER_OPEN);
}

static void failures_in_a_row_open_it(void **state) {
  (void)state;
  arvak__breaker breaker = made((arvak_breaker_options){0});
  for (int i = 0; i < 100; i++) { /* a success starts the row anew, and neutral ends do not touch it */
    for (int j = 0; j < 4; j++) call(&breaker, BAD, START);
    call(&breaker, NEUTRAL, START);
    call(&breaker, GOOD, START);
  }
  assert_int_equal(breaker.state, ARVAK_BREAKER_CLOSED);
  for (int i = 0; i < 4; i++) call(&breaker, BAD, START);
  call(&breaker, NEUTRAL, START);
  assert_int_equal(breaker.state, ARVAK_BREAKER_CLOSED);
  call(&breaker, BAD, START);
  assert_int_equal(breaker.state, ARVAK_BREAKER_OPEN);
  assert_int_equal(breaker.changes[ARVAK_BREAKER_OPEN], 1);
}

static void an_open_one_refuses_until_its_time(void **state) {
  (void)state;
  arvak__breaker breaker = made((arvak_breaker_options){.timeout_ns = SECOND});
  opened(&breaker, START);
  refused(&breaker, START, SECOND);
  refused(&breaker, START + 400 * MS, 600 * MS);
  refused(&breaker, START + SECOND - 1, 1);
  assert_int_equal(arvak__breaker_state_at(&breaker, START + SECOND - 1), ARVAK_BREAKER_OPEN);
  assert_int_equal(arvak__breaker_state_at(&breaker, START + SECOND), ARVAK_BREAKER_HALF_OPEN);
  assert_true(arvak__breaker_would_admit(&breaker, START + SECOND, &ignored));
  assert_int_equal(breaker.state, ARVAK_BREAKER_OPEN); /* looking changes nothing */
  assert_true(admitted(&breaker, START + SECOND).is_probe);
  assert_int_equal(breaker.state, ARVAK_BREAKER_HALF_OPEN);
}

static void probes_are_counted_and_released(void **state) {
  (void)state;
  arvak__breaker breaker =
      made((arvak_breaker_options){.timeout_ns = 2 * SECOND, .success_threshold = 3, .half_open_max_calls = 2});
  opened(&breaker, START);
  int64_t now = START + 2 * SECOND;
  arvak_pass first = admitted(&breaker, now), second = admitted(&breaker, now);
  refused(&breaker, now, SECOND);
  arvak__breaker_record(&breaker, first, NEUTRAL, now); /* released, and says nothing */
  first = admitted(&breaker, now);
  refused(&breaker, now, SECOND);
  arvak__breaker_record(&breaker, first, GOOD, now);
  arvak__breaker_record(&breaker, second, GOOD, now);
  assert_int_equal(breaker.state, ARVAK_BREAKER_HALF_OPEN);
  assert_int_equal(breaker.probes, 0);
  call(&breaker, GOOD, now);
  assert_int_equal(breaker.state, ARVAK_BREAKER_CLOSED);
  assert_int_equal(breaker.changes[ARVAK_BREAKER_HALF_OPEN], 1);
  assert_int_equal(breaker.changes[ARVAK_BREAKER_CLOSED], 1);
}

static void one_failed_probe_opens_it_for_the_whole_time_again(void **state) {
  (void)state;
  arvak__breaker breaker = made((arvak_breaker_options){.timeout_ns = SECOND, .success_threshold = 3});
  opened(&breaker, START);
  int64_t now = START + 5 * SECOND;
  call(&breaker, GOOD, now);
  call(&breaker, GOOD, now);
  call(&breaker, BAD, now);
  refused(&breaker, now, SECOND);
  assert_true(admitted(&breaker, now + SECOND).is_probe);
  assert_int_equal(breaker.successes, 0);
}

static void late_results_change_nothing(void **state) {
  (void)state;
  arvak__breaker breaker = made((arvak_breaker_options){.timeout_ns = SECOND, .half_open_max_calls = 2});
  arvak_pass old = admitted(&breaker, START), older = admitted(&breaker, START);
  opened(&breaker, START);
  arvak__breaker_record(&breaker, old, BAD, START + 900 * MS); /* does not prolong the time */
  arvak_pass probe = admitted(&breaker, START + SECOND);
  arvak__breaker_record(&breaker, older, BAD, START + SECOND); /* is no probe */
  assert_int_equal(breaker.state, ARVAK_BREAKER_HALF_OPEN);
  assert_int_equal(breaker.probes, 1);
  call(&breaker, BAD, START + SECOND);
  int64_t now = START + 2 * SECOND;
  arvak_pass next = admitted(&breaker, now);
  arvak__breaker_record(&breaker, probe, GOOD, now); /* of the half-open time before */
  assert_int_equal(breaker.successes, 0);
  assert_int_equal(breaker.probes, 1);
  arvak__breaker_record(&breaker, next, GOOD, now);
  assert_int_equal(breaker.successes, 1);
}

static void a_window_opens_at_its_rate(void **state) {
  (void)state;
  arvak__breaker breaker =
      made((arvak_breaker_options){.failure_rate = 0.5, .window_ns = 10 * SECOND, .minimum_calls = 10});
  for (int i = 0; i < 9; i++) call(&breaker, BAD, START); /* alone, in a row: too few to say */
  assert_int_equal(breaker.state, ARVAK_BREAKER_CLOSED);
  int64_t now = START + 20 * SECOND; /* forgotten */
  for (int i = 0; i < 6; i++) call(&breaker, GOOD, now);
  for (int i = 0; i < 5; i++) call(&breaker, BAD, now + i * SECOND);
  assert_int_equal(breaker.state, ARVAK_BREAKER_CLOSED);
  call(&breaker, BAD, now + 6 * SECOND);
  assert_int_equal(breaker.state, ARVAK_BREAKER_OPEN);
}

static void what_leaves_the_window_does_not_count(void **state) {
  (void)state;
  arvak__breaker breaker =
      made((arvak_breaker_options){.failure_rate = 0.5, .window_ns = 10 * SECOND, .minimum_calls = 4});
  for (int i = 0; i < 3; i++) call(&breaker, BAD, START);
  for (int i = 0; i < 4; i++) call(&breaker, GOOD, START + 9 * SECOND);
  for (int i = 0; i < 3; i++) call(&breaker, BAD, START + 11 * SECOND); /* 3 of 7: the first three are gone */
  assert_int_equal(breaker.state, ARVAK_BREAKER_CLOSED);
  call(&breaker, BAD, START + 11 * SECOND);
  assert_int_equal(breaker.state, ARVAK_BREAKER_OPEN);
}

static void both_rules_may_be_asked_for(void **state) {
  (void)state;
  arvak__breaker breaker = made((arvak_breaker_options){.failure_rate = 0.9, .failure_threshold = 3});
  for (int i = 0; i < 50; i++) call(&breaker, GOOD, START);
  for (int i = 0; i < 3; i++) call(&breaker, BAD, START);
  assert_int_equal(breaker.state, ARVAK_BREAKER_OPEN);
}

static void it_can_be_moved_by_hand(void **state) {
  (void)state;
  arvak__breaker breaker = made((arvak_breaker_options){.timeout_ns = SECOND, .failure_threshold = 1});
  arvak_pass before = admitted(&breaker, START);
  arvak__breaker_force(&breaker, ARVAK_BREAKER_OPEN, START);
  refused(&breaker, START, ARVAK_NEVER);
  refused(&breaker, START + 100 * SECOND, ARVAK_NEVER);
  arvak__breaker_record(&breaker, before, GOOD, START);
  assert_int_equal(breaker.state, ARVAK_BREAKER_OPEN);
  arvak__breaker_force(&breaker, ARVAK_BREAKER_CLOSED, START);
  for (int i = 0; i < 10; i++) call(&breaker, BAD, START);
  assert_int_equal(breaker.state, ARVAK_BREAKER_CLOSED);
  arvak__breaker_reset(&breaker);
  call(&breaker, BAD, START);
  assert_int_equal(breaker.state, ARVAK_BREAKER_OPEN);
}

static arvak_pass probe_until(arvak__breaker *breaker, int64_t now, int64_t until) {
  arvak_pass pass;
  assert_true(arvak__breaker_admit(breaker, now, until, &pass, &ignored));
  assert_true(pass.is_probe);
  return pass;
}

static void a_probe_that_never_leaves_loses_its_place(void **state) {
  (void)state;
  static const struct {
    int64_t after_ns, place_ns; /* until when its call may take, and how long it has the place then */
  } cases[] = {
      {-1, 2 * SECOND},           {0, SECOND}, {500 * MS, 1500 * MS}, {30 * SECOND, 31 * SECOND}, {HOUR, MINUTE},
      {ARVAK_NEVER - START, MINUTE},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    arvak__breaker breaker = made((arvak_breaker_options){.timeout_ns = 2 * SECOND});
    opened(&breaker, START - 2 * SECOND);
    probe_until(&breaker, START, cases[i].after_ns < 0 ? 0 : START + cases[i].after_ns);
    refused(&breaker, START, SECOND);
    refused(&breaker, START + cases[i].place_ns - 1, 1);
    assert_true(arvak__breaker_would_admit(&breaker, START + cases[i].place_ns, &ignored));
    probe_until(&breaker, START + cases[i].place_ns, 0);
    assert_int_equal(breaker.probes, 1);
    refused(&breaker, START + cases[i].place_ns, SECOND);
  }
}

static void a_late_verdict_takes_no_place_from_others(void **state) {
  (void)state;
  static const arvak_verdict verdicts[] = {NEUTRAL, BAD, GOOD};
  for (int i = 0; i < 3; i++) {
    arvak__breaker breaker = made((arvak_breaker_options){.timeout_ns = SECOND});
    opened(&breaker, START - SECOND);
    arvak_pass late = probe_until(&breaker, START, START);
    arvak_pass next = probe_until(&breaker, START + SECOND, START + HOUR);
    arvak__breaker_record(&breaker, late, verdicts[i], START + SECOND);
    assert_int_equal(breaker.state, ARVAK_BREAKER_HALF_OPEN);
    assert_int_equal(breaker.successes, verdicts[i] == GOOD ? 1 : 0);
    refused(&breaker, START + SECOND, SECOND);
    arvak__breaker_record(&breaker, next, BAD, START + SECOND); /* that of a probe in time opens it */
    assert_int_equal(breaker.state, ARVAK_BREAKER_OPEN);
  }
}

/* A server, or a function, that always takes longer than a probe has its place. */
static void successes_that_are_all_late_close_it(void **state) {
  (void)state;
  arvak__breaker breaker = made((arvak_breaker_options){.timeout_ns = SECOND, .success_threshold = 3});
  opened(&breaker, START);
  arvak_pass before = probe_until(&breaker, START + SECOND, 0);
  for (int i = 2; breaker.state == ARVAK_BREAKER_HALF_OPEN; i++) {
    assert_true(i < 6);
    arvak_pass next = probe_until(&breaker, START + i * SECOND, 0);
    arvak__breaker_record(&breaker, before, GOOD, START + i * SECOND + 1);
    before = next;
  }
  assert_int_equal(breaker.state, ARVAK_BREAKER_CLOSED);
}

static void places_that_are_given_back_need_no_time(void **state) {
  (void)state;
  arvak__breaker breaker =
      made((arvak_breaker_options){.timeout_ns = SECOND, .half_open_max_calls = 3, .success_threshold = 1000});
  opened(&breaker, START - SECOND);
  probe_until(&breaker, START, START); /* is held for ever */
  for (int i = 0; i < 500; i++) call(&breaker, GOOD, START + i);
  assert_int_equal(breaker.probes, 1);
  arvak_pass second = admitted(&breaker, START), third = admitted(&breaker, START);
  refused(&breaker, START, SECOND);
  arvak__breaker_record(&breaker, second, GOOD, START);
  arvak__breaker_record(&breaker, third, GOOD, START);
  assert_int_equal(breaker.probes, 1);
}

/* Durations a host may write for "never": sums must not wrap around. */
static void it_takes_any_duration(void **state) {
  (void)state;
  static const int64_t durations[] = {ARVAK_NEVER, ARVAK_NEVER - 1, ARVAK_NEVER - START, ARVAK_NEVER / 2,
                                      INT64_MIN, -1};
  for (size_t i = 0; i < sizeof durations / sizeof *durations; i++) {
    int64_t d = durations[i], after = 0;
    arvak__breaker breaker = made((arvak_breaker_options){.timeout_ns = d, .window_ns = d, .failure_rate = 1});
    for (int j = 0; j < 10; j++) call(&breaker, BAD, START);
    assert_int_equal(breaker.state, ARVAK_BREAKER_OPEN);
    assert_false(arvak__breaker_would_admit(&breaker, START, &after));
    assert_true(after > 0 && after < ARVAK_NEVER);
    assert_int_equal(arvak__breaker_would_admit(&breaker, START + HOUR, &after), d <= 0);
    if (d <= 0) probe_until(&breaker, START + HOUR, d < 0 ? ARVAK_NEVER : 0);
  }
}

static void results_without_leave_count_in_the_state_of_the_time(void **state) {
  (void)state;
  arvak__breaker breaker = made((arvak_breaker_options){.timeout_ns = SECOND, .failure_threshold = 2});
  arvak__breaker_record(&breaker, arvak__breaker_uncounted(&breaker), BAD, START);
  arvak__breaker_record(&breaker, arvak__breaker_uncounted(&breaker), BAD, START);
  assert_int_equal(breaker.state, ARVAK_BREAKER_OPEN);
  arvak__breaker_record(&breaker, arvak__breaker_uncounted(&breaker), BAD, START + 900 * MS);
  int64_t now = START + SECOND;
  arvak__breaker_advance(&breaker, now);
  assert_int_equal(breaker.state, ARVAK_BREAKER_HALF_OPEN);
  arvak__breaker_record(&breaker, arvak__breaker_uncounted(&breaker), GOOD, now);
  arvak__breaker_record(&breaker, arvak__breaker_uncounted(&breaker), GOOD, now);
  assert_int_equal(breaker.state, ARVAK_BREAKER_CLOSED);
  assert_int_equal(breaker.probes, 0);
}

/* ---- the model ---- */

enum { EVENTS = 1000000, OUT = 40 };

typedef struct model {
  arvak__breaker breaker;
  arvak_pass out[OUT]; /* let through and not recorded */
  bool is_held[OUT];   /* it will not be, for its loop is driven no more */
  int count;
  int64_t now, quiet_since; /* since when nothing has failed */
} model;

static int probes_out(const model *m) {
  int n = 0;
  for (int i = 0; i < m->count; i++)
    n += m->out[i].is_probe && m->out[i].generation == m->breaker.generation && m->out[i].round == m->breaker.round;
  return n;
}

static int64_t longer(int64_t a, int64_t b) { return a > b ? a : b; }

static void check(const model *m) {
  const arvak__breaker *b = &m->breaker;
  assert_in_range(b->state, ARVAK_BREAKER_CLOSED, ARVAK_BREAKER_HALF_OPEN);
  assert_in_range(b->probes, 0, b->options.half_open_max_calls);
  assert_int_equal(b->probes, probes_out(m));
  assert_true(b->state == ARVAK_BREAKER_HALF_OPEN || b->probes == 0);
  if (!b->is_forced && b->options.failure_threshold > 0 && b->state == ARVAK_BREAKER_CLOSED)
    assert_in_range(b->failures, 0, b->options.failure_threshold - 1);
  /* Never stuck: refusing means that the time is not over, or that as many probes are under way as may be; and with
   * time alone it ends, though none of them should leave. */
  int64_t after = 0;
  if (b->is_forced || arvak__breaker_would_admit(b, m->now, &after)) return;
  bool is_waiting = b->state == ARVAK_BREAKER_OPEN && m->now < b->opened_ns + b->options.timeout_ns;
  assert_true(is_waiting || b->probes == b->options.half_open_max_calls);
  assert_true(after > 0 && after <= b->options.timeout_ns);
  assert_true(arvak__breaker_would_admit(b, m->now + longer(b->options.timeout_ns, MINUTE), &ignored));
}

/* When a call has ended at the latest: unknown, in the past, soon, late, never. */
static int64_t any_end(int64_t now) {
  switch (rand() % 6) {
    case 0: return 0;
    case 1: return now - rand() % SECOND;
    case 2: return ARVAK_NEVER - rand() % 3;
    case 3: return now + HOUR;
    default: return now + rand() % SECOND;
  }
}

static void drop(model *m, int i) {
  m->out[i] = m->out[--m->count];
  m->is_held[i] = m->is_held[m->count];
}

/* Those that are held would else be all there is, after a while. */
static void make_room(model *m) {
  for (int i = m->count - 1; i >= 0; i--) {
    bool is_past = m->out[i].generation != m->breaker.generation ||
                   (m->out[i].is_probe && m->out[i].round != m->breaker.round);
    if (m->is_held[i] && (is_past || !m->out[i].is_probe)) drop(m, i);
  }
}

static void admit_one(model *m) {
  if (m->count == OUT) make_room(m);
  if (m->count == OUT) return;
  arvak__breaker before = m->breaker;
  bool expected = arvak__breaker_would_admit(&m->breaker, m->now, &ignored);
  assert_memory_equal(&before, &m->breaker, sizeof before);
  arvak_pass *pass = &m->out[m->count];
  assert_int_equal(arvak__breaker_admit(&m->breaker, m->now, any_end(m->now), pass, &ignored), expected);
  m->is_held[m->count] = rand() % 10 == 0;
  if (expected) m->count++;
  else assert_memory_equal(&before, &m->breaker, sizeof before);
}

static void record_one(model *m) {
  if (m->count == 0) return;
  int i = rand() % m->count;
  arvak_pass pass = m->out[i];
  if (m->is_held[i]) return;
  drop(m, i);
  arvak__breaker before = m->breaker;
  arvak_verdict verdict = rand() % 100 < 45 ? BAD : rand() % 10 == 0 ? NEUTRAL : GOOD;
  arvak__breaker_record(&m->breaker, pass, verdict, m->now);
  bool is_late = pass.generation != before.generation;
  bool has_expired = !is_late && pass.is_probe && pass.round != before.round;
  if (is_late || before.state == ARVAK_BREAKER_OPEN || (has_expired && verdict != GOOD))
    assert_memory_equal(&before, &m->breaker, sizeof before);
  bool is_same = m->breaker.generation == before.generation;
  assert_true(is_same == (m->breaker.state == before.state));
  if (!is_same && before.state == ARVAK_BREAKER_HALF_OPEN)
    assert_int_equal(m->breaker.state, verdict == BAD ? ARVAK_BREAKER_OPEN : ARVAK_BREAKER_CLOSED);
}

static void move_by_hand(model *m) {
  switch (rand() % 5) {
    case 0: arvak__breaker_force(&m->breaker, ARVAK_BREAKER_OPEN, m->now); break;
    case 1: arvak__breaker_force(&m->breaker, ARVAK_BREAKER_CLOSED, m->now); break;
    default: arvak__breaker_reset(&m->breaker);
  }
}

/* Whatever happened: when its calls have ended, or their time has, and the server is well, it closes. */
static void recover(model *m) {
  if (m->breaker.is_forced) arvak__breaker_reset(&m->breaker);
  bool is_time_alone = rand() % 2;
  while (m->count > 0) {
    arvak_pass pass = m->out[--m->count];
    if (!is_time_alone) arvak__breaker_record(&m->breaker, pass, NEUTRAL, m->now);
  }
  m->now += is_time_alone ? longer(m->breaker.options.timeout_ns, MINUTE) : m->breaker.options.timeout_ns;
  for (int i = 0; i < m->breaker.options.success_threshold && m->breaker.state != ARVAK_BREAKER_CLOSED; i++)
    call(&m->breaker, GOOD, m->now);
  assert_int_equal(m->breaker.state, ARVAK_BREAKER_CLOSED);
}

static void a_million_random_events(void **state) {
  (void)state;
  uint64_t changes = 0;
  srand(20);
  for (int round = 0; round < 100; round++) {
    model m = {.now = START};
    m.breaker = made((arvak_breaker_options){.failure_threshold = round % 3 ? 1 + rand() % 6 : 0,
                                             .failure_rate = round % 3 == 1 ? 0 : 0.3 + rand() % 60 / 100.0,
                                             .window_ns = (1 + rand() % 30) * 100 * MS,
                                             .minimum_calls = 1 + rand() % 20,
                                             .success_threshold = 1 + rand() % 5,
                                             .half_open_max_calls = 1 + rand() % 4,
                                             .timeout_ns = (1 + rand() % 50) * 20 * MS});
    for (int i = 0; i < EVENTS / 100; i++) {
      int event = rand() % 1000;
      if (event < 450) admit_one(&m);
      else if (event < 900) record_one(&m);
      else if (event < 996) m.now += rand() % (100 * (int)MS);
      else if (event < 998) move_by_hand(&m);
      else recover(&m);
      check(&m);
    }
    for (int i = 0; i < 3; i++) changes += m.breaker.changes[i];
  }
  assert_true(changes > 10000); /* the events did reach every state, many times */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(failures_in_a_row_open_it),
      cmocka_unit_test(an_open_one_refuses_until_its_time),
      cmocka_unit_test(probes_are_counted_and_released),
      cmocka_unit_test(one_failed_probe_opens_it_for_the_whole_time_again),
      cmocka_unit_test(late_results_change_nothing),
      cmocka_unit_test(a_window_opens_at_its_rate),
      cmocka_unit_test(what_leaves_the_window_does_not_count),
      cmocka_unit_test(both_rules_may_be_asked_for),
      cmocka_unit_test(it_can_be_moved_by_hand),
      cmocka_unit_test(a_probe_that_never_leaves_loses_its_place),
      cmocka_unit_test(a_late_verdict_takes_no_place_from_others),
      cmocka_unit_test(successes_that_are_all_late_close_it),
      cmocka_unit_test(places_that_are_given_back_need_no_time),
      cmocka_unit_test(it_takes_any_duration),
      cmocka_unit_test(results_without_leave_count_in_the_state_of_the_time),
      cmocka_unit_test(a_million_random_events),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
