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

static bool takes(arvak__turns *line, arvak__turn *turn, int64_t now) {
  int64_t at;
  return arvak__turns_take(line, turn, 1, now, &at);
}

static void refuse(arvak__turns *line, const arvak__turn *turn, int64_t now) {
  arvak__refusal refusal = {.sent_ns = turn ? turn->taken_ns : now};
  assert_true(arvak__turns_refuse(line, &refusal, "too fast", now));
}

/* When the next turn is due: nobody is late then. */
static int64_t due(const arvak__turns *line) { return line->pace.turn_ns; }

static void setup(arvak__turns *line, side *a, side *b) {
  *line = (arvak__turns){0};
  arvak__turns_init(line, true);
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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(shares_take_turns),
      cmocka_unit_test(those_that_were_refused_keep_their_order),
      cmocka_unit_test(a_loop_that_nobody_drives_loses_all_its_places_at_once),
      cmocka_unit_test(who_was_late_is_not_before_those_of_earlier_rounds),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
