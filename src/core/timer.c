/* A binary heap with places written back into its timers, so that moving and stopping one needs no search.
 * SPDX-License-Identifier: Apache-2.0 */
#include "timer.h"

#include <stdlib.h>

static void put(arvak__timers *timers, size_t place, arvak_timer *timer) {
  timers->heap[place] = timer;
  timer->place = place;
}

static void sift_up(arvak__timers *timers, size_t place, arvak_timer *timer) {
  while (place > 1 && timers->heap[place / 2]->deadline_ns > timer->deadline_ns) {
    put(timers, place, timers->heap[place / 2]);
    place /= 2;
  }
  put(timers, place, timer);
}

static void sift_down(arvak__timers *timers, size_t place, arvak_timer *timer) {
  for (;;) {
    size_t child = 2 * place;
    if (child > timers->size) break;
    if (child < timers->size && timers->heap[child + 1]->deadline_ns < timers->heap[child]->deadline_ns) child++;
    if (timers->heap[child]->deadline_ns >= timer->deadline_ns) break;
    put(timers, place, timers->heap[child]);
    place = child;
  }
  put(timers, place, timer);
}

static int grow(arvak__timers *timers) {
  size_t capacity = timers->capacity ? 2 * timers->capacity : 16;
  arvak_timer **heap = realloc(timers->heap, (capacity + 1) * sizeof *heap);
  if (!heap) return ARVAK_ENOMEM;
  timers->heap = heap;
  timers->capacity = capacity;
  return ARVAK_OK;
}

int arvak__timers_set(arvak__timers *timers, arvak_timer *timer, int64_t deadline_ns) {
  if (timer->place == 0) {
    if (timers->size == timers->capacity && grow(timers) != ARVAK_OK) return ARVAK_ENOMEM;
    timer->place = ++timers->size;
  }
  timer->deadline_ns = deadline_ns;
  size_t place = timer->place;
  if (place > 1 && timers->heap[place / 2]->deadline_ns > deadline_ns) sift_up(timers, place, timer);
  else sift_down(timers, place, timer);
  return ARVAK_OK;
}

void arvak__timers_stop(arvak__timers *timers, arvak_timer *timer) {
  size_t place = timer->place;
  if (place == 0) return;
  timer->place = 0;
  arvak_timer *last = timers->heap[timers->size--];
  if (last == timer) return;
  if (place > 1 && timers->heap[place / 2]->deadline_ns > last->deadline_ns) sift_up(timers, place, last);
  else sift_down(timers, place, last);
}

int64_t arvak__timers_next(const arvak__timers *timers) {
  return timers->size ? timers->heap[1]->deadline_ns : ARVAK_NEVER;
}

arvak_timer *arvak__timers_pop(arvak__timers *timers, int64_t now_ns) {
  if (timers->size == 0 || timers->heap[1]->deadline_ns > now_ns) return NULL;
  arvak_timer *timer = timers->heap[1];
  arvak__timers_stop(timers, timer);
  return timer;
}

void arvak__timers_fini(arvak__timers *timers) {
  for (size_t i = 1; i <= timers->size; i++) timers->heap[i]->place = 0;
  free(timers->heap);
  *timers = (arvak__timers){0};
}
