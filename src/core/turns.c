/* The line of those that wait for their turn. The first in line has a timer of its own for the time when the turn is
 * due. The others have one in case whoever is before them does not come, since nobody drives his loop: then he loses
 * his place. Invariant: the first in line has been posted since it became the first, and since a turn may be due
 * earlier than it was told.
 * SPDX-License-Identifier: Apache-2.0 */
#include "turns.h"

#include <string.h>

#include "clock.h"

/* How late the first in line may come. */
#define LATE_NS 100000000
/* How long before its token comes a turn of a fixed rate is due: whoever has it waits for the rest by himself, so that
 * the rate is kept though loops are late. */
#define LEAD_NS 20000000

void arvak__turns_init(arvak__turns *turns, bool is_auto, arvak__slots *tokens) {
  turns->is_auto = is_auto;
  turns->tokens = tokens;
  atomic_init(&turns->is_on, tokens != NULL);
  pthread_mutex_init(&turns->mu, NULL);
}

void arvak__turns_fini(arvak__turns *turns) { pthread_mutex_destroy(&turns->mu); }

static arvak__turn *first(const arvak__turns *turns) { return (arvak__turn *)turns->line.first; }

/* Under mu, so that whoever waits there cannot go away before he is posted: see slots.c. */
static void tell_first(arvak__turns *turns, int64_t now_ns) {
  arvak__turn *turn = first(turns);
  if (!turn) return;
  turns->told_ns = now_ns;
  arvak__loop_post(turn->loop, turn->posting);
}

/* The round after the last of its share, and not before the present one; its share has had a round for each job. */
static void number(arvak__turns *turns, arvak__turn *turn, int jobs) {
  int64_t *rank = turn->rank ? turn->rank : &turns->rank;
  turn->number = (*rank > turns->round ? *rank : turns->round) + 1;
  *rank = turn->number + jobs - 1;
}

/* Behind all of its round. One share with many turns in line has the last ones. Returns how many jobs are before it. */
static int64_t insert(arvak__turns *turns, arvak__turn *turn) {
  arvak__turn *last = (arvak__turn *)turns->line.last;
  if (!last || last->number <= turn->number) {
    arvak__list_append(&turns->line, &turn->link);
    return turns->jobs;
  }
  int64_t ahead = 0;
  arvak__turn *next = first(turns);
  for (; next->number <= turn->number; next = (arvak__turn *)next->link.next) ahead += next->jobs;
  arvak__list_insert(&turns->line, &turn->link, &next->link);
  return ahead;
}

static void step_out(arvak__turns *turns, arvak__turn *turn) {
  arvak__list_remove(&turns->line, &turn->link);
  turn->is_in_line = false;
  turns->waiting--;
  turns->jobs -= turn->jobs;
}

/* One that the server has refused keeps its number, and so is before all that came later. False: there is no place for
 * it in the time that it may wait, and nothing has changed. */
static bool join(arvak__turns *turns, arvak__turn *turn, int jobs, int64_t now_ns) {
  int64_t *rank = turn->rank ? turn->rank : &turns->rank, rank_before = *rank, number_before = turn->number;
  if (turn->number == 0) number(turns, turn, jobs);
  int64_t ahead = insert(turns, turn);
  turn->is_in_line = true;
  turn->jobs = jobs;
  turns->waiting++;
  turns->jobs += jobs;
  if (first(turns) == turn) turns->told_ns = now_ns;
  int64_t latest = arvak__after_ns(turn->since_ns, turn->left_ns);
  if (!turns->tokens || arvak__tokens_due(turns->tokens, ahead, now_ns) <= latest) return true;
  step_out(turns, turn);
  *rank = rank_before;
  turn->number = number_before;
  return false;
}

/* Whoever is first and does not come loses his place, and all others of his loop theirs: nobody drives it. They keep
 * their rounds for when they come. */
static void drop_late(arvak__turns *turns, const arvak__turn *turn, int64_t due_ns, int64_t now_ns) {
  int64_t from = due_ns > turns->told_ns ? due_ns : turns->told_ns;
  const arvak_loop *late = first(turns)->loop;
  if (late == turn->loop || now_ns < arvak__after_ns(from, LATE_NS)) return;
  for (arvak__link *link = turns->line.first, *next; link; link = next) {
    next = link->next;
    if (((arvak__turn *)link)->loop == late) step_out(turns, (arvak__turn *)link);
  }
  tell_first(turns, now_ns);
}

static int64_t look_again(const arvak__turns *turns, const arvak__turn *turn, int64_t due_ns) {
  if (first(turns) == turn) return due_ns;
  int64_t ahead = turn->number - first(turns)->number;
  int64_t interval = turns->tokens ? arvak__tokens_interval(turns->tokens) : arvak__pace_interval(&turns->pace);
  int64_t wait = arvak__times_ns(interval, ahead > 0 ? ahead : 1);
  return arvak__after_ns(arvak__after_ns(due_ns, wait), LATE_NS);
}

static int64_t turn_due(arvak__turns *turns, int jobs, int64_t now_ns) {
  if (!turns->tokens) return arvak__pace_due(&turns->pace, jobs, now_ns);
  return arvak__tokens_due(turns->tokens, 0, now_ns) - LEAD_NS;
}

static bool take(arvak__turns *turns, arvak__turn *turn, int jobs, int64_t now_ns, int64_t *at_ns) {
  int64_t due = turn_due(turns, jobs, now_ns);
  *at_ns = ARVAK_NEVER;
  if (!turn->is_in_line && !join(turns, turn, jobs, now_ns)) return false;
  drop_late(turns, turn, due, now_ns);
  if (first(turns) != turn || due > now_ns) {
    *at_ns = look_again(turns, turn, due > now_ns ? due : now_ns);
    return false;
  }
  step_out(turns, turn);
  if (turn->number > turns->round) turns->round = turn->number;
  if (!turns->tokens) arvak__pace_take(&turns->pace, jobs, now_ns);
  tell_first(turns, now_ns);
  atomic_store(&turns->is_on, turns->tokens || turns->pace.state != ARVAK__PACE_FREE || turns->waiting > 0);
  return true;
}

bool arvak__turns_take(arvak__turns *turns, arvak__turn *turn, int jobs, int64_t now_ns, int64_t *at_ns) {
  bool is_taken = true;
  if (atomic_load(&turns->is_on)) {
    pthread_mutex_lock(&turns->mu);
    is_taken = take(turns, turn, jobs, now_ns, at_ns);
    pthread_mutex_unlock(&turns->mu);
  }
  if (is_taken) turn->taken_ns = now_ns;
  return is_taken;
}

bool arvak__turns_hold(arvak__turns *turns, const arvak__turn *turn, int64_t now_ns) {
  if (!atomic_load(&turns->is_on)) return true;
  pthread_mutex_lock(&turns->mu);
  bool holds = arvak__pace_holds(&turns->pace, turn->taken_ns, now_ns);
  pthread_mutex_unlock(&turns->mu);
  return holds;
}

void arvak__turns_leave(arvak__turns *turns, arvak__turn *turn, int64_t now_ns) {
  pthread_mutex_lock(&turns->mu);
  bool was_first = first(turns) == turn;
  if (turn->is_in_line) step_out(turns, turn);
  if (was_first) tell_first(turns, now_ns);
  pthread_mutex_unlock(&turns->mu);
}

void arvak__turns_accept(arvak__turns *turns, int jobs, int64_t sent_ns, int64_t now_ns) {
  pthread_mutex_lock(&turns->mu);
  arvak__pace_state before = turns->pace.state;
  arvak__pace_accept(&turns->pace, jobs, sent_ns, now_ns);
  turns->refused_ns = 0;
  if (turns->pace.state != before) tell_first(turns, now_ns);
  pthread_mutex_unlock(&turns->mu);
}

void arvak__turns_fail(arvak__turns *turns, int64_t sent_ns, int64_t now_ns) {
  if (!atomic_load(&turns->is_on)) return;
  pthread_mutex_lock(&turns->mu);
  arvak__pace_fail(&turns->pace, sent_ns, now_ns);
  tell_first(turns, now_ns);
  pthread_mutex_unlock(&turns->mu);
}

/* Cut where a character begins. */
static void copy_words(char *to, size_t size, const char *from) {
  size_t length = strnlen(from, size);
  if (length == size) length--;
  while (from[length] != '\0' && length > 0 && ((unsigned char)from[length] & 0xc0) == 0x80) length--;
  memcpy(to, from, length);
  to[length] = '\0';
}

bool arvak__turns_refuse(arvak__turns *turns, const arvak__refusal *refusal, const char *words, int64_t now_ns) {
  pthread_mutex_lock(&turns->mu);
  arvak__pace_refuse(&turns->pace, refusal, now_ns);
  copy_words(turns->words, sizeof turns->words, words);
  if (turns->refused_ns == 0) turns->refused_ns = now_ns;
  atomic_store(&turns->is_on, true);
  turns->refused++;
  bool is_stuck = arvak__pace_is_stuck(&turns->pace, now_ns);
  if (is_stuck) tell_first(turns, now_ns);
  pthread_mutex_unlock(&turns->mu);
  return !is_stuck;
}

void arvak__turns_note_unfinished(arvak__turns *turns, int64_t now_ns) {
  if (!atomic_load(&turns->is_on)) return;
  pthread_mutex_lock(&turns->mu);
  arvak__pace_note_unfinished(&turns->pace, now_ns);
  pthread_mutex_unlock(&turns->mu);
}

int64_t arvak__turns_get_refusal(arvak__turns *turns, char *words, size_t size, int64_t now_ns) {
  pthread_mutex_lock(&turns->mu);
  int64_t since = turns->refused_ns;
  copy_words(words, size, turns->words);
  pthread_mutex_unlock(&turns->mu);
  return since != 0 ? now_ns - since : -1;
}

void arvak__turns_get_figures(arvak__turns *turns, arvak__turns_figures *out) {
  pthread_mutex_lock(&turns->mu);
  bool is_open = turns->pace.state == ARVAK__PACE_OPEN;
  *out = (arvak__turns_figures){turns->waiting, is_open ? turns->pace.rate : -1, turns->refused};
  pthread_mutex_unlock(&turns->mu);
}
