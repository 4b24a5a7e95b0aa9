/* The line of submits that wait for their turn: its order, and those in it whose loop nobody drives.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "turns.h"

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)
#define START (INT64_C(12345) * SECOND)

enum { MOST = 8 };

/* The turns of one share, all on its loop. */
typedef struct side {
  arvak_loop *loop;
  int64_t rank;
  arvak__turn turns[MOST];
  arvak__posting postings[MOST];
} side;

static void begin(side *s) {
  *s = (side){0};
  assert_int_equal(arvak_loop_new(&s->loop), ARVAK_OK);
  for (int i = 0; i < MOST; i++)
    s->turns[i] = (arvak__turn){.loop = s->loop, .posting = &s->postings[i], .rank = &s->rank};
}

static void end(side *s, arvak__turns *line) {
  for (int i = 0; i < MOST; i++) {
    arvak__turns_leave(line, &s->turns[i], START);
    arvak__inbox_remove(&s->loop->inbox, &s->postings[i]);
  }
  arvak_loop_close(s->loop);
}

static bool takes_for(arvak__turns *line, arvak__turn *turn, int jobs, int64_t now) {
  int64_t at;
  return arvak__turns_take(line, turn, jobs, now, &at);
}

static bool takes(arvak__turns *line, arvak__turn *turn, int64_t now) { return takes_for(line, turn, 1, now); }

static void refuse(arvak__turns *line, const arvak__turn *turn, int64_t now) {
  arvak__refusal refusal = {.sent_ns = turn ? turn->taken_ns : now};
  assert_true(arvak__turns_refuse(line, &refusal, "too fast", now));
}

/* When the next turn is due: nobody is late then. */
static int64_t due(const arvak__turns *line) { return line->pace.turn_ns; }

static void setup(arvak__turns *line, side *a, side *b) {
  *line = (arvak__turns){0};
  arvak__turns_init(line, true, NULL);
  begin(a);
  begin(b);
  refuse(line, NULL, START);
}

static void finish(arvak__turns *line, side *a, side *b) {
  end(a, line);
  end(b, line);
  arvak__turns_fini(line);
}

static void shares_take_turns(void **state) {
  (void)state;
  arvak__turns line;
  side a, b;
  setup(&line, &a, &b);
  for (int i = 0; i < 3; i++) assert_false(takes(&line, &a.turns[i], START));
  for (int i = 0; i < 2; i++) assert_false(takes(&line, &b.turns[i], START));
  arvak__turn *order[] = {&a.turns[0], &b.turns[0], &a.turns[1], &b.turns[1], &a.turns[2]};
  for (size_t i = 0; i < 5; i++) {
    if (i + 1 < 5) assert_false(takes(&line, order[i + 1], due(&line)));
    assert_true(takes(&line, order[i], due(&line)));
  }
  finish(&line, &a, &b);
}

static void those_that_were_refused_keep_their_order(void **state) {
  (void)state;
  arvak__turns line;
  side a, b;
  setup(&line, &a, &b);
  for (int i = 0; i < 4; i++) assert_false(takes(&line, &a.turns[i], START));
  for (int i = 0; i < 3; i++) assert_true(takes(&line, &a.turns[i], due(&line)));
  int64_t now = due(&line);
  for (int i = 0; i < 3; i++) refuse(&line, &a.turns[i], now);
  for (int i = 0; i < 3; i++) assert_false(takes(&line, &a.turns[i], now));
  for (int i = 0; i < 4; i++) assert_true(takes(&line, &a.turns[i], due(&line)));
  finish(&line, &a, &b);
}

static void a_loop_that_nobody_drives_loses_all_its_places_at_once(void **state) {
  (void)state;
  arvak__turns line;
  side a, b;
  setup(&line, &a, &b);
  for (int i = 0; i < 5; i++) assert_false(takes(&line, &a.turns[i], START));
  for (int i = 0; i < 3; i++) assert_false(takes(&line, &b.turns[i], START));
  assert_false(takes(&line, &b.turns[0], due(&line) + 50 * MS));
  assert_true(takes(&line, &b.turns[0], due(&line) + 200 * MS));
  assert_true(takes(&line, &b.turns[1], due(&line)));
  assert_int_equal(line.waiting, 1);
  finish(&line, &a, &b);
}

static void who_was_late_is_not_before_those_of_earlier_rounds(void **state) {
  (void)state;
  arvak__turns line;
  side a, b;
  setup(&line, &a, &b);
  for (int i = 0; i < 5; i++) assert_false(takes(&line, &a.turns[i], START));
  for (int i = 0; i < 3; i++) assert_false(takes(&line, &b.turns[i], START));
  assert_true(takes(&line, &b.turns[0], due(&line) + 200 * MS));
  for (int i = 0; i < 5; i++) assert_false(takes(&line, &a.turns[i], due(&line) - MS));
  arvak__turn *order[] = {&a.turns[0], &b.turns[1], &a.turns[1], &b.turns[2], &a.turns[2], &a.turns[3], &a.turns[4]};
  for (size_t i = 0; i < sizeof order / sizeof *order; i++) assert_true(takes(&line, order[i], due(&line)));
  finish(&line, &a, &b);
}

static void who_submits_many_jobs_at_once_lets_as_many_rounds_pass(void **state) {
  (void)state;
  arvak__turns line;
  side a, b;
  setup(&line, &a, &b);
  assert_false(takes_for(&line, &a.turns[0], 3, START));
  for (int i = 1; i < 3; i++) assert_false(takes(&line, &a.turns[i], START));
  for (int i = 0; i < 5; i++) assert_false(takes(&line, &b.turns[i], START));
  assert_true(takes_for(&line, &a.turns[0], 3, due(&line)));
  arvak__turn *order[] = {&b.turns[0], &b.turns[1], &b.turns[2], &a.turns[1], &b.turns[3], &a.turns[2], &b.turns[4]};
  for (size_t i = 0; i < sizeof order / sizeof *order; i++) assert_true(takes(&line, order[i], due(&line)));
  finish(&line, &a, &b);
}

/* ---- at a rate of the client's own ---- */

/* Ten jobs a second; each turn takes its token, as calls do. */
static void set_rate(arvak__turns *line, arvak__slots *slots, side *a, side *b) {
  arvak__slots_init(slots, &(arvak_limiter_options){.rate = 10}, 100);
  *line = (arvak__turns){0};
  arvak__turns_init(line, false, slots);
  begin(a);
  begin(b);
  for (int i = 0; i < MOST; i++) {
    a->turns[i].since_ns = b->turns[i].since_ns = START;
    a->turns[i].left_ns = b->turns[i].left_ns = 100 * SECOND;
  }
}

static bool takes_token(arvak__turns *line, arvak__turn *turn, int jobs, int64_t now) {
  bool is_taken = takes_for(line, turn, jobs, now);
  if (is_taken) assert_true(arvak__tokens_reserve(line->tokens, jobs, now, ARVAK_NEVER - 1) <= now + 20 * MS);
  return is_taken;
}

static void turns_at_a_fixed_rate_go_round_the_shares(void **state) {
  (void)state;
  arvak__turns line;
  arvak__slots slots;
  side a, b;
  set_rate(&line, &slots, &a, &b);
  assert_true(takes_token(&line, &a.turns[0], 1, START));
  for (int i = 1; i < 8; i++) assert_false(takes_token(&line, &a.turns[i], 1, START));
  for (int i = 0; i < 2; i++) assert_false(takes_token(&line, &b.turns[i], 1, START));
  arvak__turn *order[] = {&a.turns[1], &b.turns[0], &a.turns[2], &b.turns[1], &a.turns[3]};
  for (int i = 0; i < 5; i++) {
    int64_t token = START + (i + 1) * 100 * MS;
    assert_false(takes_token(&line, order[i], 1, token - 30 * MS));
    assert_true(takes_token(&line, order[i], 1, token - 10 * MS)); /* its call waits for the token itself */
  }
  finish(&line, &a, &b);
  arvak__slots_fini(&slots);
}

static void a_turn_for_which_there_is_no_time_is_refused_at_once(void **state) {
  (void)state;
  arvak__turns line;
  arvak__slots slots;
  side a, b;
  set_rate(&line, &slots, &a, &b);
  assert_true(takes_token(&line, &a.turns[0], 1, START));
  assert_false(takes_token(&line, &a.turns[1], 5, START));
  int64_t at = 0;
  a.turns[2].left_ns = 500 * MS; /* the sixth token comes after 600 ms */
  assert_false(arvak__turns_take(&line, &a.turns[2], 1, START, &at));
  assert_int_equal(at, ARVAK_NEVER);
  assert_false(a.turns[2].is_in_line);
  a.turns[2].left_ns = 600 * MS;
  assert_false(arvak__turns_take(&line, &a.turns[2], 1, START, &at));
  assert_true(a.turns[2].is_in_line && at != ARVAK_NEVER);
  assert_int_equal(line.waiting, 2);
  assert_int_equal(line.jobs, 6);
  finish(&line, &a, &b);
  assert_int_equal(line.jobs, 0);
  arvak__slots_fini(&slots);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(shares_take_turns),
      cmocka_unit_test(those_that_were_refused_keep_their_order),
      cmocka_unit_test(a_loop_that_nobody_drives_loses_all_its_places_at_once),
      cmocka_unit_test(who_was_late_is_not_before_those_of_earlier_rounds),
      cmocka_unit_test(who_submits_many_jobs_at_once_lets_as_many_rounds_pass),
      cmocka_unit_test(turns_at_a_fixed_rate_go_round_the_shares),
      cmocka_unit_test(a_turn_for_which_there_is_no_time_is_refused_at_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
