/* The slots of a client: permits to have a call with gRPC, max_concurrent_rpcs of them, or fewer by an adaptive limit;
 * and the turns of its rate. Invariant: while a share is in the round, every slot that it may take is taken, and a slot
 * that comes free goes to the first share in the round that may take it.
 *
 * A share that holds no slot may take any. Those that hold some leave the last ones, a sixteenth, to those that hold
 * none; of fewer than 16 slots a share that is the only one to hold some leaves one. So a single call starts at once,
 * however many calls other shares have waiting. Slots are kept while shares use the client side by side: for a minute
 * after a share that held none has asked while another one held some. When the minute is over they are taken with the
 * next call that asks or ends.
 *
 * A loop that nobody drives makes nothing of a slot. When it is its share's turn, the share leaves the round and an
 * offer is posted to the loop: its next step puts the share back. So a program that computes keeps no slot from the
 * others. A loop whose steps are short is hardly ever seen in one; so a share that has come for its last offer is
 * given one slot at its next turn, and an offer beside it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "slots.h"

#include <limits.h>

#define KEPT_NS 60000000000

void arvak__slots_init(arvak__slots *slots, const arvak_limiter_options *limiter, int max_concurrent_rpcs) {
  pthread_mutex_init(&slots->mu, NULL);
  arvak__limiter_init(&slots->limiter, limiter, max_concurrent_rpcs);
  slots->count = arvak__limiter_in_flight(&slots->limiter);
  slots->common.max_in_flight = INT_MAX;
}

void arvak__slots_fini(arvak__slots *slots) { pthread_mutex_destroy(&slots->mu); }

/* ---- under mu ---- */

static arvak_share *share_of(arvak__slots *slots, const arvak__place *place) {
  return place->share ? place->share : &slots->common;
}

/* What a share that holds some leaves free. */
static int kept_for_others(const arvak__slots *slots, int64_t now_ns) {
  if (slots->met_ns == 0 || now_ns - slots->met_ns >= KEPT_NS) return 0;
  return slots->count >= 16 ? slots->count / 16 : slots->holders == 1;
}

static bool may_take(const arvak__slots *slots, const arvak_share *share, int64_t now_ns) {
  int free = slots->count - slots->taken;
  return free > 0 && (share->taken == 0 || free > kept_for_others(slots, now_ns));
}

static void take(arvak__slots *slots, arvak_share *share) {
  slots->taken++;
  if (share->taken++ == 0) slots->holders++;
}

static void give_back(arvak__slots *slots, arvak_share *share) {
  slots->taken--;
  if (--share->taken == 0) slots->holders--;
}

static void leave_round(arvak__slots *slots, arvak_share *share) {
  if (share->is_in_round) arvak__list_remove(&slots->round, &share->link);
  share->is_in_round = false;
}

/* After a share has changed: at the end of the round, if it waits for a turn. */
static void update_round(arvak__slots *slots, arvak_share *share) {
  bool waits = share->queue.first && share->taken < share->max_in_flight;
  if (!waits) leave_round(slots, share);
  if (!waits || share->is_in_round) return;
  share->is_in_round = true;
  arvak__list_append(&slots->round, &share->link);
}

static void unlink_place(arvak__slots *slots, arvak_share *share, arvak__place *place) {
  arvak__list_remove(&share->queue, &place->link);
  slots->queued--;
}

static void grant_to(arvak__slots *slots, arvak_share *share) {
  arvak__place *first = (arvak__place *)share->queue.first;
  bool is_driven = !share->loop || arvak__loop_is_driven(share->loop);
  leave_round(slots, share);
  if (!is_driven) arvak__loop_post(share->loop, &share->offer);
  if (!is_driven && !share->has_come) return;
  share->has_come = is_driven && share->has_come;
  unlink_place(slots, share, first);
  take(slots, share);
  first->is_granted = true;
  update_round(slots, share);
  arvak__loop_post(first->loop, first->posting);
}

/* The first in the round that may take a slot, or NULL. */
static arvak_share *next_share(const arvak__slots *slots, int64_t now_ns) {
  if (slots->taken >= slots->count) return NULL;
  for (arvak__link *link = slots->round.first; link; link = link->next)
    if (may_take(slots, (arvak_share *)link, now_ns)) return (arvak_share *)link;
  return NULL;
}

/* Under mu, so that whoever waits, and with him his loop, cannot go away before he is posted and the loop is woken: he
 * has to take mu, to unqueue or to release, before he ends. */
static void grant(arvak__slots *slots, int64_t now_ns) {
  for (arvak_share *share; (share = next_share(slots, now_ns));) grant_to(slots, share);
}

/* ---- */

bool arvak__slots_acquire(arvak__slots *slots, arvak__place *place) {
  pthread_mutex_lock(&slots->mu);
  arvak_share *share = share_of(slots, place);
  int64_t now_ns = place->loop->now_ns;
  if (share->taken == 0 && slots->taken > 0) slots->met_ns = now_ns;
  grant(slots, now_ns); /* what is kept no longer: those who wait come before this one */
  bool is_free = !share->queue.first && share->taken < share->max_in_flight && may_take(slots, share, now_ns);
  place->is_granted = is_free;
  if (is_free) {
    take(slots, share);
  } else {
    bool is_first = !share->queue.first;
    arvak__list_append(&share->queue, &place->link);
    slots->queued++;
    if (is_first) update_round(slots, share);
  }
  pthread_mutex_unlock(&slots->mu);
  return is_free;
}

void arvak__slots_release(arvak__slots *slots, const arvak__place *place) {
  pthread_mutex_lock(&slots->mu);
  arvak_share *share = share_of(slots, place);
  bool was_full = share->taken == share->max_in_flight;
  give_back(slots, share);
  if (was_full) update_round(slots, share);
  grant(slots, place->loop->now_ns);
  pthread_mutex_unlock(&slots->mu);
}

bool arvak__slots_unqueue(arvak__slots *slots, arvak__place *place) {
  pthread_mutex_lock(&slots->mu);
  arvak_share *share = share_of(slots, place);
  bool is_queued = !place->is_granted;
  if (is_queued) unlink_place(slots, share, place);
  if (is_queued && !share->queue.first) update_round(slots, share);
  pthread_mutex_unlock(&slots->mu);
  return is_queued;
}

void arvak__slots_offer(arvak__slots *slots, arvak_share *share) {
  pthread_mutex_lock(&slots->mu);
  share->has_come = true;
  update_round(slots, share);
  grant(slots, share->loop->now_ns);
  pthread_mutex_unlock(&slots->mu);
}

int64_t arvak__tokens_reserve(arvak__slots *slots, int jobs, int64_t now_ns, int64_t latest_ns) {
  pthread_mutex_lock(&slots->mu);
  int64_t at = arvak__limiter_reserve(&slots->limiter, jobs, now_ns, latest_ns);
  pthread_mutex_unlock(&slots->mu);
  return at;
}

int64_t arvak__tokens_due(arvak__slots *slots, int64_t ahead, int64_t now_ns) {
  pthread_mutex_lock(&slots->mu);
  int64_t at = arvak__limiter_due(&slots->limiter, ahead, now_ns);
  pthread_mutex_unlock(&slots->mu);
  return at;
}

int64_t arvak__tokens_interval(const arvak__slots *slots) { return slots->limiter.interval_ns; }

void arvak__tokens_give_back(arvak__slots *slots, int jobs, int64_t at_ns) {
  pthread_mutex_lock(&slots->mu);
  arvak__limiter_give_back(&slots->limiter, jobs, at_ns);
  pthread_mutex_unlock(&slots->mu);
}

void arvak__slots_adapt(arvak__slots *slots, bool is_overload, int64_t started_ns, int64_t now_ns) {
  pthread_mutex_lock(&slots->mu);
  if (is_overload) arvak__limiter_lower(&slots->limiter, started_ns, now_ns);
  else arvak__limiter_raise(&slots->limiter, slots->round.first ? slots->count : slots->taken);
  slots->count = arvak__limiter_in_flight(&slots->limiter);
  grant(slots, now_ns);
  pthread_mutex_unlock(&slots->mu);
}

void arvak__slots_get_figures(arvak__slots *slots, int64_t now_ns, arvak__slots_figures *out) {
  pthread_mutex_lock(&slots->mu);
  double tokens = slots->limiter.interval_ns > 0 ? arvak__limiter_tokens(&slots->limiter, now_ns) : -1;
  *out = (arvak__slots_figures){slots->taken, slots->count, slots->queued, tokens};
  pthread_mutex_unlock(&slots->mu);
}
