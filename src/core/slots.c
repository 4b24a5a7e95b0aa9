/* The slots of a client: permits to have a call with gRPC, max_concurrent_rpcs of them, or fewer by an adaptive limit;
 * and the turns of its rate. Invariant: while a place is in the queue every slot is taken, and a slot that comes free
 * goes to the first in line, never past it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "slots.h"

void arvak__slots_init(arvak__slots *slots, const arvak_limiter_options *limiter, int max_concurrent_rpcs) {
  pthread_mutex_init(&slots->mu, NULL);
  arvak__limiter_init(&slots->limiter, limiter, max_concurrent_rpcs);
  slots->count = arvak__limiter_in_flight(&slots->limiter);
}

void arvak__slots_fini(arvak__slots *slots) { pthread_mutex_destroy(&slots->mu); }

bool arvak__slots_acquire(arvak__slots *slots, arvak__place *place) {
  pthread_mutex_lock(&slots->mu);
  bool is_free = slots->taken < slots->count;
  place->is_granted = is_free;
  if (is_free) {
    slots->taken++;
  } else {
    arvak__list_append(&slots->queue, &place->link);
    slots->queued++;
  }
  pthread_mutex_unlock(&slots->mu);
  return is_free;
}

static void unlink_place(arvak__slots *slots, arvak__place *place) {
  arvak__list_remove(&slots->queue, &place->link);
  slots->queued--;
}

/* Under mu, so that whoever waits there, and with him his loop, cannot go away before he is posted and the loop is
 * woken: he has to take mu, to unqueue or to release, before he ends. */
static void grant(arvak__slots *slots) {
  while (slots->queue.first && slots->taken < slots->count) {
    arvak__place *first = (arvak__place *)slots->queue.first;
    unlink_place(slots, first);
    slots->taken++;
    first->is_granted = true;
    arvak__loop_post(first->loop, first->posting);
  }
}

void arvak__slots_release(arvak__slots *slots) {
  pthread_mutex_lock(&slots->mu);
  slots->taken--;
  grant(slots);
  pthread_mutex_unlock(&slots->mu);
}

bool arvak__slots_unqueue(arvak__slots *slots, arvak__place *place) {
  pthread_mutex_lock(&slots->mu);
  bool is_queued = !place->is_granted;
  if (is_queued) unlink_place(slots, place);
  pthread_mutex_unlock(&slots->mu);
  return is_queued;
}

int64_t arvak__tokens_reserve(arvak__slots *slots, int jobs, int64_t now_ns, int64_t latest_ns) {
  pthread_mutex_lock(&slots->mu);
  int64_t at = arvak__limiter_reserve(&slots->limiter, jobs, now_ns, latest_ns);
  pthread_mutex_unlock(&slots->mu);
  return at;
}

void arvak__tokens_give_back(arvak__slots *slots, int jobs, int64_t at_ns) {
  pthread_mutex_lock(&slots->mu);
  arvak__limiter_give_back(&slots->limiter, jobs, at_ns);
  pthread_mutex_unlock(&slots->mu);
}

void arvak__slots_adapt(arvak__slots *slots, bool is_overload, int64_t started_ns, int64_t now_ns) {
  pthread_mutex_lock(&slots->mu);
  if (is_overload) arvak__limiter_lower(&slots->limiter, started_ns, now_ns);
  else arvak__limiter_raise(&slots->limiter, slots->taken);
  slots->count = arvak__limiter_in_flight(&slots->limiter);
  grant(slots);
  pthread_mutex_unlock(&slots->mu);
}

void arvak__slots_get_figures(arvak__slots *slots, int64_t now_ns, arvak__slots_figures *out) {
  pthread_mutex_lock(&slots->mu);
  double tokens = slots->limiter.interval_ns > 0 ? arvak__limiter_tokens(&slots->limiter, now_ns) : -1;
  *out = (arvak__slots_figures){slots->taken, slots->count, slots->queued, tokens};
  pthread_mutex_unlock(&slots->mu);
}
