/* See timer.h. Guarded by mu: everything in struct timers but the thread's handle.
 * SPDX-License-Identifier: Apache-2.0 */
#include "timer.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct timers {
  pthread_mutex_t mu;
  pthread_cond_t changed;
  pthread_t thread;
  timer **heap; /* owned array of borrowed timers, earliest first */
  size_t count, capacity;
  bool stopped;
};

uint64_t clock_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

int64_t clock_unix_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return t.tv_sec;
}

static void put(timers *all, size_t at, timer *t) {
  all->heap[at] = t;
  t->slot = at + 1;
}

static void sift_up(timers *all, size_t at) {
  timer *t = all->heap[at];
  while (at > 0 && t->due_us < all->heap[(at - 1) / 2]->due_us) {
    put(all, at, all->heap[(at - 1) / 2]);
    at = (at - 1) / 2;
  }
  put(all, at, t);
}

static void sift_down(timers *all, size_t at) {
  timer *t = all->heap[at];
  for (;;) {
    size_t child = 2 * at + 1;
    if (child >= all->count) break;
    if (child + 1 < all->count && all->heap[child + 1]->due_us < all->heap[child]->due_us) child++;
    if (t->due_us <= all->heap[child]->due_us) break;
    put(all, at, all->heap[child]);
    at = child;
  }
  put(all, at, t);
}

static void take_out(timers *all, timer *t) {
  size_t at = t->slot - 1;
  timer *last = all->heap[--all->count];
  t->slot = 0;
  if (last == t) return;
  put(all, at, last);
  sift_up(all, at);
  sift_down(all, last->slot - 1);
}

static void wait_until(timers *all, uint64_t due_us) {
  struct timespec until = {.tv_sec = (time_t)(due_us / 1000000u), .tv_nsec = (long)(due_us % 1000000u) * 1000};
  pthread_cond_timedwait(&all->changed, &all->mu, &until);
}

static void *timers_run(void *ud) {
  timers *all = ud;
  pthread_mutex_lock(&all->mu);
  while (!all->stopped) {
    if (!all->count) {
      pthread_cond_wait(&all->changed, &all->mu);
      continue;
    }
    timer *first = all->heap[0];
    if (first->due_us > clock_us()) {
      wait_until(all, first->due_us);
      continue;
    }
    take_out(all, first);
    pthread_mutex_unlock(&all->mu);
    first->fn(first, true);
    pthread_mutex_lock(&all->mu);
  }
  pthread_mutex_unlock(&all->mu);
  return NULL;
}

timers *timers_new(void) {
  timers *all = calloc(1, sizeof *all);
  if (!all) return NULL;
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_mutex_init(&all->mu, NULL);
  pthread_cond_init(&all->changed, &monotonic);
  pthread_condattr_destroy(&monotonic);
  if (pthread_create(&all->thread, NULL, timers_run, all) == 0) return all;
  timers_free(all);
  return NULL;
}

void timers_stop(timers *all) {
  pthread_mutex_lock(&all->mu);
  bool again = all->stopped;
  all->stopped = true;
  pthread_cond_signal(&all->changed);
  pthread_mutex_unlock(&all->mu);
  if (again) return;
  pthread_join(all->thread, NULL);
  pthread_mutex_lock(&all->mu);
  while (all->count) {
    timer *t = all->heap[0];
    take_out(all, t);
    pthread_mutex_unlock(&all->mu);
    t->fn(t, false);
    pthread_mutex_lock(&all->mu);
  }
  pthread_mutex_unlock(&all->mu);
}

void timers_free(timers *all) {
  if (!all) return;
  pthread_cond_destroy(&all->changed);
  pthread_mutex_destroy(&all->mu);
  free(all->heap);
  free(all);
}

static bool grow(timers *all) {
  if (all->count < all->capacity) return true;
  size_t capacity = all->capacity ? 2 * all->capacity : 64;
  timer **heap = realloc(all->heap, capacity * sizeof *heap);
  if (!heap) return false;
  all->heap = heap;
  all->capacity = capacity;
  return true;
}

void timer_start(timers *all, timer *t, uint64_t due_us, timer_fn fn) {
  t->due_us = due_us;
  t->fn = fn;
  pthread_mutex_lock(&all->mu);
  bool running = !all->stopped && grow(all);
  if (running) {
    all->heap[all->count] = t;
    sift_up(all, all->count++);
    if (t->slot == 1) pthread_cond_signal(&all->changed);
  }
  pthread_mutex_unlock(&all->mu);
  if (!running) fn(t, false);
}

bool timer_cancel(timers *all, timer *t) {
  pthread_mutex_lock(&all->mu);
  bool running = t->slot != 0;
  if (running) take_out(all, t);
  pthread_mutex_unlock(&all->mu);
  return running;
}
