/* See runner.h. Waking a thread costs more than a small circuit, so a worker with small work in hand is trusted to come
 * back for what is queued meanwhile. Invariant: while a job is queued, a worker is awake that will take it soon, or all
 * are busy.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runner.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { BACKLOG = 16 }; /* queued jobs past which a worker with small work gets help */

static const double small_work = 2e5; /* amplitudes touched: less than a millisecond */

struct runner {
  runner_options options; /* constant */
  pthread_t *threads;     /* owned; this and the next: the thread that made the runner */
  int started;
  pthread_mutex_t mu;
  pthread_cond_t work;
  /* Guarded by mu. */
  job *first, *last; /* each holds a reference */
  job **running;     /* owned array, one place a thread; borrowed from that thread */
  size_t queued;
  int idle, light; /* workers that wait; that have small work in hand */
  bool waking;     /* one has been signaled and has not come yet */
  bool stopped;
};

typedef struct worker {
  runner *owner;
  int index;
  bool light; /* counted in the runner's light */
} worker;

/* A circuit with resets is run again for each shot. */
static bool is_light(const job *j) {
  const circuit *c = j->circuit;
  uint64_t width = j->width ? j->width : c ? c->qubits : 0;
  if (!c || width > 16 || c->count > small_work) return !c;
  double work = ((double)c->count + 1) * (double)(1u << width);
  for (size_t i = 0; i < c->count; i++) {
    if (c->gates[i].kind != GATE_RESET) continue;
    work *= j->shots;
    break;
  }
  return work + j->shots < small_work;
}

/* Under the lock: someone has to come for what is queued. */
static void wake_one(runner *r) {
  if (!r->first || !r->idle || r->waking) return;
  r->waking = true;
  pthread_cond_signal(&r->work);
}

/* Neighboring numbers must give unrelated streams. */
static uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

static void run(runner *r, job *j) {
  jobs *store = r->options.store;
  run_options options = {
      .shots = j->shots, .width = j->width, .seed = mix(mix(r->options.seed) + j->number), .stop = &j->stop};
  counts result;
  char message[512];
  switch (circuit_run(j->circuit, &options, &result, message, sizeof message)) {
    case RUN_OK: jobs_complete(store, j, &result, clock_unix_s(), clock_us()); break;
    case RUN_FAILED: jobs_fail(store, j, message, clock_unix_s(), clock_us()); break;
    case RUN_STOPPED: break; /* canceled, evicted or the server ends: nobody waits for it */
  }
}

/* A job whose turn has come: RUNNING already when it has waited out a latency. */
static void run_or_drop(runner *r, job *j) {
  jobs *store = r->options.store;
  job_view view;
  jobs_start(store, j, clock_unix_s(), clock_us());
  jobs_view(store, j, &view);
  if (view.state == JOB_RUNNING && j->plan.end_state == JOB_FAILED) {
    jobs_fail(store, j, j->plan.message ? j->plan.message : "", clock_unix_s(), clock_us());
  } else if (view.state == JOB_RUNNING && j->plan.end_state != JOB_RUNNING) {
    run(r, j);
  }
  if (j->plan.evict) jobs_evict(store, j->id);
  circuit_free(j->circuit);
  j->circuit = NULL;
}

/* Takes the caller's reference of the job before, if there is one, and returns the next: owned, NULL at the end. */
static job *take(worker *w, job *before) {
  runner *r = w->owner;
  pthread_mutex_lock(&r->mu);
  r->running[w->index] = NULL;
  if (w->light) r->light--;
  while (!r->first && !r->stopped) {
    r->idle++;
    pthread_cond_wait(&r->work, &r->mu);
    r->idle--;
    r->waking = false;
  }
  job *j = r->stopped ? NULL : r->first;
  if (j) {
    r->first = j->next_queued;
    if (!r->first) r->last = NULL;
    r->queued--;
    r->running[w->index] = j;
    w->light = j->light;
    if (w->light) r->light++;
    if (!r->light || r->queued > BACKLOG) wake_one(r);
  }
  pthread_mutex_unlock(&r->mu);
  if (before) job_unref(before);
  return j;
}

static void *worker_run(void *ud) {
  worker w = *(worker *)ud;
  free(ud);
  for (job *j = take(&w, NULL); j; j = take(&w, j)) run_or_drop(w.owner, j);
  return NULL;
}

static bool start_worker(runner *r) {
  worker *w = malloc(sizeof *w);
  if (!w) return false;
  *w = (worker){.owner = r, .index = r->started};
  if (pthread_create(&r->threads[r->started], NULL, worker_run, w) != 0) {
    free(w);
    return false;
  }
  r->started++;
  return true;
}

runner *runner_new(const runner_options *options) {
  runner *r = calloc(1, sizeof *r);
  if (!r) return NULL;
  r->options = *options;
  pthread_mutex_init(&r->mu, NULL);
  pthread_cond_init(&r->work, NULL);
  r->threads = calloc((size_t)options->workers, sizeof *r->threads);
  r->running = calloc((size_t)options->workers, sizeof *r->running);
  bool ok = r->threads && r->running;
  while (ok && r->started < options->workers) ok = start_worker(r);
  if (ok) return r;
  runner_stop(r);
  runner_free(r);
  return NULL;
}

void runner_stop(runner *r) {
  pthread_mutex_lock(&r->mu);
  r->stopped = true;
  for (int i = 0; i < r->started; i++) {
    if (r->running[i]) atomic_store_explicit(&r->running[i]->stop, true, memory_order_relaxed);
  }
  pthread_cond_broadcast(&r->work);
  pthread_mutex_unlock(&r->mu);
  for (int i = 0; i < r->started; i++) pthread_join(r->threads[i], NULL);
  r->started = 0;
}

void runner_free(runner *r) {
  if (!r) return;
  while (r->first) {
    job *next = r->first->next_queued;
    job_unref(r->first);
    r->first = next;
  }
  pthread_cond_destroy(&r->work);
  pthread_mutex_destroy(&r->mu);
  free(r->running);
  free(r->threads);
  free(r);
}

/* Takes the caller's reference. */
static void enqueue(runner *r, job *j) {
  j->next_queued = NULL;
  j->light = is_light(j);
  pthread_mutex_lock(&r->mu);
  *(r->last ? &r->last->next_queued : &r->first) = j;
  r->last = j;
  r->queued++;
  if (!r->light || r->queued > BACKLOG) wake_one(r);
  pthread_mutex_unlock(&r->mu);
}

static void latency_over(timer *t, bool fired) {
  job *j = (job *)((char *)t - offsetof(job, wait));
  if (fired) {
    enqueue(j->runner, j);
  } else {
    job_unref(j);
  }
}

void runner_start(runner *r, job *j) {
  if (j->plan.end_state == JOB_QUEUED) return;
  uint64_t latency_us = r->options.latency_us + j->plan.latency_us;
  job_ref(j);
  j->runner = r;
  if (!latency_us) {
    enqueue(r, j);
    return;
  }
  uint64_t now_us = clock_us();
  jobs_start(r->options.store, j, clock_unix_s(), now_us);
  timer_start(r->options.clock, &j->wait, now_us + latency_us, latency_over);
}
