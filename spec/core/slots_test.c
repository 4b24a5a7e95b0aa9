/* The slots of a client and the shares that ask for them: whose turn it is, and which slots are kept for whom. Real
 * loops and a real client, no server; the test says who is driven, and what time it is.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "client.h"

#define SECOND INT64_C(1000000000)
#define START (INT64_C(12345) * SECOND)

enum { PLACES = 24, MOST = 8 };

static unsigned seed = 1, moves;

#define MUST(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "%s:%d: %s (seed %u, move %u)\n", __FILE__, __LINE__, #condition, seed, moves); \
      abort(); \
    } \
  } while (0)

/* A place, and what its owner knows of it. */
typedef struct ask {
  arvak__posting posting; /* first: its address is the ask's */
  arvak__place place;
  bool is_queued, has_slot;
} ask;

/* A share and its calls, on a loop of their own. */
typedef struct side {
  arvak_loop *loop;
  arvak_share *share;
  ask asks[PLACES];
  int had;          /* slots, after the last move, but for those that it has let go since */
  bool was_waiting; /* in the round, with none, after the last move */
  int passed;       /* slots that others have got since it waits so */
} side;

static arvak_client *client;
static int64_t now, met; /* met: when a side without a slot last asked while another one held some; 0: never */

static void on_slot(arvak__posting *posting) {
  ask *a = (ask *)posting;
  MUST(a->place.is_granted && a->is_queued);
  a->is_queued = false;
  a->has_slot = true;
}

static void make_client(int slots, bool is_adaptive) {
  arvak_client_options options = {.address = "localhost:1", .max_concurrent_rpcs = slots};
  options.limiter.is_adaptive = is_adaptive;
  assert_int_equal(arvak_client_new(&options, &client, NULL), ARVAK_OK);
  now = START;
  met = 0;
}

static void join(side *s, int max_in_flight) {
  MUST(arvak_share_new(client, s->loop, max_in_flight, &s->share) == ARVAK_OK);
  for (int i = 0; i < PLACES; i++) {
    s->asks[i] = (ask){.posting.fn = on_slot};
    s->asks[i].place = (arvak__place){.share = arvak__share_join(s->share), .loop = s->loop};
    s->asks[i].place.posting = &s->asks[i].posting;
  }
  s->had = s->passed = 0;
  s->was_waiting = false;
}

static void set_driven(side *s, bool is_driven) { atomic_store(&s->loop->is_driven, is_driven); }

static void open_side(side *s, int max_in_flight) {
  assert_int_equal(arvak_loop_new(&s->loop), ARVAK_OK);
  s->loop->now_ns = now;
  set_driven(s, true);
  join(s, max_in_flight);
}

/* What a step of its loop would do. */
static void step(side *s) {
  for (arvak__posting *posting; (posting = arvak__inbox_take(&s->loop->inbox));) posting->fn(posting);
}

static void take(side *s, int i) {
  ask *a = &s->asks[i];
  if (s->share->taken == 0 && client->slots.taken > 0) met = now;
  a->has_slot = arvak__slots_acquire(&client->slots, &a->place);
  a->is_queued = !a->has_slot;
}

/* As a call ends that is canceled, or that was answered. */
static void let_go(side *s, int i) {
  ask *a = &s->asks[i];
  bool has_slot = a->has_slot || (a->is_queued && !arvak__slots_unqueue(&client->slots, &a->place));
  a->has_slot = a->is_queued = false;
  if (has_slot) s->had--;
  if (has_slot) arvak__slots_release(&client->slots, &a->place);
  arvak__inbox_remove(&s->loop->inbox, &a->posting);
}

static void leave(side *s) {
  for (int i = 0; i < PLACES; i++) {
    let_go(s, i);
    arvak__share_leave(s->share);
  }
  arvak_share_unref(s->share);
}

static void close_side(side *s) {
  leave(s);
  set_driven(s, false);
  arvak_loop_close(s->loop);
}

static void take_all(side *s) {
  for (int i = 0; i < PLACES; i++) take(s, i);
}

static int held(side *s) {
  step(s);
  return s->share->taken;
}

static void pass(side *s, int64_t ns) {
  now += ns;
  s->loop->now_ns = now;
}

/* ---- one by one ---- */

static void one_share_takes_every_slot(void **state) {
  (void)state;
  side a;
  make_client(16, false);
  open_side(&a, 0);
  take_all(&a);
  assert_int_equal(held(&a), 16);
  close_side(&a);
  arvak_client_unref(client);
}

static void a_share_beside_others_leaves_a_slot_to_those_that_hold_none(void **state) {
  (void)state;
  side a, b;
  make_client(16, false);
  open_side(&a, 0);
  open_side(&b, 0);
  take_all(&a);
  take(&b, 0); /* the first time it waits for a slot of the other one's */
  assert_int_equal(held(&b), 0);
  let_go(&a, 0);
  assert_int_equal(held(&b), 1);
  assert_int_equal(held(&a), 15); /* the slot that is kept is in use */
  let_go(&b, 0);
  assert_int_equal(held(&a), 15);
  for (int i = 0; i < 100; i++) {
    take(&b, 0);
    assert_true(b.asks[0].has_slot);
    let_go(&b, 0);
  }
  close_side(&a);
  close_side(&b);
  arvak_client_unref(client);
}

static void what_is_kept_is_used_again_when_nobody_else_has_come_for_a_minute(void **state) {
  (void)state;
  side a, b;
  make_client(16, false);
  open_side(&a, 0);
  open_side(&b, 0);
  take(&b, 0);
  take_all(&a);
  let_go(&b, 0);
  take(&b, 0); /* beside the other one */
  let_go(&b, 0);
  assert_int_equal(held(&a), 15);
  pass(&a, 59 * SECOND);
  let_go(&a, 0);
  assert_int_equal(held(&a), 15);
  pass(&a, 2 * SECOND);
  let_go(&a, 1);
  assert_int_equal(held(&a), 16);
  close_side(&a);
  close_side(&b);
  arvak_client_unref(client);
}

static void what_is_kept_no_longer_goes_to_whoever_waited_for_it(void **state) {
  (void)state;
  side a, b;
  make_client(17, false);
  open_side(&a, 0);
  open_side(&b, 0);
  take(&b, 0);
  take_all(&a);
  assert_int_equal(held(&a), 15); /* one is kept */
  pass(&b, 61 * SECOND);
  take(&b, 1);
  assert_false(b.asks[1].has_slot);
  assert_int_equal(held(&a), 16);
  pass(&a, 0);
  let_go(&a, 2); /* goes back to it, which was before the other one again */
  let_go(&a, 3);
  assert_int_equal(held(&b), 2);
  close_side(&a);
  close_side(&b);
  arvak_client_unref(client);
}

static void several_shares_together_leave_a_sixteenth(void **state) {
  (void)state;
  side a, b, c, d;
  make_client(32, false);
  for (int i = 0; i < 4; i++) open_side((side *[]){&a, &b, &c, &d}[i], 0);
  take_all(&a);
  take_all(&b); /* holds none at first, so from then on slots are kept */
  for (int i = 0; i < 4; i++) let_go(&a, i);
  assert_int_equal(held(&a) + held(&b), 30);
  for (int i = 0; i < 10; i++) {
    take(&c, 0);
    take(&d, 0);
    assert_true(c.asks[0].has_slot && d.asks[0].has_slot);
    take(&c, 1); /* it holds one */
    assert_false(c.asks[1].has_slot);
    for (int k = 0; k < 2; k++) let_go(&c, k);
    let_go(&d, 0);
  }
  assert_int_equal(held(&a) + held(&b), 30);
  for (int i = 0; i < 4; i++) close_side((side *[]){&a, &b, &c, &d}[i]);
  arvak_client_unref(client);
}

static void one_slot_goes_round(void **state) {
  (void)state;
  side a, b;
  make_client(1, false);
  open_side(&a, 0);
  open_side(&b, 0);
  take(&a, 0);
  take_all(&b);
  for (int i = 1; i < PLACES; i++) take(&a, i);
  for (int i = 0; i < PLACES; i++) {
    assert_int_equal(held(&a), 1);
    assert_int_equal(held(&b), 0);
    let_go(&a, i);
    assert_int_equal(held(&a), 0);
    assert_int_equal(held(&b), 1);
    let_go(&b, i);
  }
  close_side(&a);
  close_side(&b);
  arvak_client_unref(client);
}

static void a_share_that_is_not_driven_keeps_nothing_that_it_has_not_come_for(void **state) {
  (void)state;
  side a, b;
  make_client(4, false);
  open_side(&a, 0);
  open_side(&b, 0);
  take(&a, 0);
  take_all(&b); /* three: all that are left */
  assert_int_equal(held(&b), 3);
  let_go(&a, 0);
  set_driven(&a, false);
  take(&a, 0); /* takes the slot that is kept */
  assert_true(a.asks[0].has_slot);
  take(&a, 1);
  let_go(&b, 0);
  assert_int_equal(held(&b), 3);
  let_go(&b, 1);
  assert_int_equal(held(&b), 3); /* the turn was the other one's, which did not come */
  step(&a);
  assert_int_equal(a.share->taken, 1);
  let_go(&b, 2); /* goes to the other one, which was before it */
  let_go(&b, 3);
  assert_int_equal(a.share->taken, 2); /* it had come */
  close_side(&a);
  assert_int_equal(held(&b), 3); /* the fourth is still kept */
  close_side(&b);
  arvak_client_unref(client);
}

static void a_limit_that_adapts_rises_though_slots_are_kept(void **state) {
  (void)state;
  side a, b;
  make_client(16, true);
  open_side(&a, 0);
  open_side(&b, 0);
  arvak__slots_adapt(&client->slots, true, now, now);
  assert_int_equal(client->slots.count, 8);
  take(&b, 0);
  take_all(&a);
  let_go(&b, 0);
  take(&b, 0);
  let_go(&b, 0);
  assert_int_equal(held(&a), 7);
  for (int i = 0; i < 200; i++) arvak__slots_adapt(&client->slots, false, now, now);
  assert_int_equal(client->slots.count, 16);
  assert_int_equal(held(&a), 15);
  close_side(&a);
  close_side(&b);
  arvak_client_unref(client);
}

static void a_call_names_a_share_of_its_own_client_and_loop(void **state) {
  (void)state;
  side a, b;
  make_client(16, false);
  open_side(&a, 0);
  open_side(&b, 0);
  arvak_client *other;
  assert_int_equal(arvak_client_new(&(arvak_client_options){.address = "localhost:1"}, &other, NULL), ARVAK_OK);
  arvak_request request = {.rpc = ARVAK_LIST_BACKENDS};
  arvak_call_options options = {.share = a.share};
  assert_int_equal(arvak_call_start(b.loop, client, &request, &options, NULL), ARVAK_EINVAL);
  assert_int_equal(arvak_call_start(a.loop, other, &request, &options, NULL), ARVAK_EINVAL);
  assert_int_equal(arvak_call_start(a.loop, client, &request, &options, NULL), ARVAK_OK);
  assert_int_equal(a.share->taken, 1);
  arvak_loop_cancel_owned(a.loop, NULL, ARVAK_KIND_CANCELED);
  while (arvak_loop_call_count(a.loop) > 0) arvak_loop_step(a.loop, ARVAK_NEVER);
  assert_int_equal(a.share->taken, 0);
  close_side(&a);
  close_side(&b);
  arvak_client_unref(other);
  arvak_client_unref(client);
}

/* ---- at random ---- */

static unsigned random_state;

static int at_most(int most) {
  random_state = random_state * 1664525u + 1013904223u;
  return (int)((random_state >> 8) % (unsigned)(most + 1));
}

static side sides[MOST];
static int side_count;

/* What the rule says, from the shares alone. */
static int kept(void) {
  int holders = 0, count = client->slots.count;
  for (int i = 0; i < side_count; i++) holders += sides[i].share->taken > 0;
  if (met == 0 || now - met >= 60 * SECOND) return 0;
  if (count < 16) return holders == 1 ? 1 : 0;
  return count / 16;
}

static bool is_driven(const side *s) { return atomic_load(&s->loop->is_driven); }

static int waiting(const side *s) {
  int n = 0;
  for (int i = 0; i < PLACES; i++) n += s->asks[i].is_queued && !s->asks[i].place.is_granted;
  return n;
}

/* Between two moves no slot is idle that somebody who has come may take. */
static void look_for_idle_slots(void) {
  int taken = 0, queued = 0;
  for (int i = 0; i < side_count; i++) taken += sides[i].share->taken, queued += waiting(&sides[i]);
  MUST(taken == client->slots.taken && queued == client->slots.queued);
  int free = client->slots.count - taken;
  for (int i = 0; i < side_count; i++) {
    const side *s = &sides[i];
    bool wants = waiting(s) > 0 && s->share->taken < s->share->max_in_flight;
    bool has_come = is_driven(s) && !s->share->offer.is_posted;
    MUST(s->share->taken <= s->share->max_in_flight);
    if (wants && has_come) MUST(free <= (s->share->taken == 0 ? 0 : kept()));
  }
}

/* Whoever holds some has taken none of what is kept; others may have taken of it in the same move. */
static void look_for_greed(void) {
  int left = client->slots.count - client->slots.taken;
  for (int i = 0; i < side_count; i++) left += sides[i].had == 0 ? sides[i].share->taken : 0;
  for (int i = 0; i < side_count; i++)
    if (sides[i].had > 0 && sides[i].share->taken > sides[i].had) MUST(left >= kept());
}

/* Whoever waits with none is passed by each other share once at most. */
static void look_for_hunger(void) {
  int got = 0;
  for (int i = 0; i < side_count; i++) got += sides[i].share->taken - sides[i].had;
  for (int i = 0; i < side_count; i++) {
    side *s = &sides[i];
    bool waits = s->share->taken == 0 && waiting(s) > 0 && s->share->is_in_round && s->was_waiting;
    s->passed = waits ? s->passed + got : 0;
    MUST(s->passed < side_count);
  }
}

static void look(int taken_before) {
  look_for_idle_slots();
  look_for_greed();
  look_for_hunger();
  MUST(client->slots.taken <= client->slots.count || client->slots.taken <= taken_before);
  for (int i = 0; i < side_count; i++) {
    side *s = &sides[i];
    s->had = s->share->taken;
    s->was_waiting = s->had == 0 && waiting(s) > 0 && s->share->is_in_round;
  }
}

static void let_go_and_look(side *s, int i) {
  int before = client->slots.taken;
  let_go(s, i);
  look(before);
}

/* Its program closes its handle and gets another one. */
static void replace(side *s) {
  for (int i = 0; i < PLACES; i++) let_go_and_look(s, i);
  leave(s);
  join(s, at_most(3));
}

static void turn_driven(side *s) {
  set_driven(s, !is_driven(s));
  if (is_driven(s)) step(s);
}

static void move_clock(void) {
  now += at_most(20) * SECOND;
  for (int i = 0; i < side_count; i++) sides[i].loop->now_ns = now;
  arvak__slots_adapt(&client->slots, false, now, now); /* as any end of a call: somebody looks */
}

static void move_at_random(void) {
  side *s = &sides[at_most(side_count - 1)];
  int i = at_most(PLACES - 1), what = at_most(99), before = client->slots.taken;
  ask *a = &s->asks[i];
  if (what < 50 && !a->has_slot && !a->is_queued) take(s, i);
  else if (what < 84) let_go(s, i);
  else if (what < 92) step(s);
  else if (what < 95) turn_driven(s);
  else if (what < 96) move_clock();
  else if (what < 97) replace(s);
  else arvak__slots_adapt(&client->slots, at_most(20) == 0, now, now);
  look(before);
}

/* Whoever waits gets a slot as soon as calls end, one after another, and all loops are driven. */
static void end_all_in_turn(void) {
  int left = 1;
  for (int round = 0; left > 0; round++) {
    MUST(round < MOST * PLACES);
    left = 0;
    for (int i = 0; i < side_count; i++) {
      set_driven(&sides[i], true);
      step(&sides[i]);
      for (int j = 0; j < PLACES; j++)
        if (sides[i].asks[j].has_slot) let_go_and_look(&sides[i], j);
      left += waiting(&sides[i]);
    }
  }
}

static void no_slot_is_idle_and_nobody_starves_whatever_happens(void **state) {
  (void)state;
  for (seed = 1; seed <= 300; seed++) {
    random_state = seed;
    bool is_adaptive = at_most(1) == 1;
    make_client(1 + at_most(at_most(1) == 1 ? 40 : 5), is_adaptive);
    side_count = 1 + at_most(MOST - 1);
    for (int i = 0; i < side_count; i++) open_side(&sides[i], at_most(3) == 0 ? 1 + at_most(3) : 0);
    for (moves = 0; moves < 1500; moves++) move_at_random();
    end_all_in_turn();
    for (int i = 0; i < side_count; i++) close_side(&sides[i]);
    arvak_client_unref(client);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_share_takes_every_slot),
      cmocka_unit_test(a_share_beside_others_leaves_a_slot_to_those_that_hold_none),
      cmocka_unit_test(what_is_kept_is_used_again_when_nobody_else_has_come_for_a_minute),
      cmocka_unit_test(what_is_kept_no_longer_goes_to_whoever_waited_for_it),
      cmocka_unit_test(several_shares_together_leave_a_sixteenth),
      cmocka_unit_test(one_slot_goes_round),
      cmocka_unit_test(a_share_that_is_not_driven_keeps_nothing_that_it_has_not_come_for),
      cmocka_unit_test(a_limit_that_adapts_rises_though_slots_are_kept),
      cmocka_unit_test(a_call_names_a_share_of_its_own_client_and_loop),
      cmocka_unit_test(no_slot_is_idle_and_nobody_starves_whatever_happens),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
