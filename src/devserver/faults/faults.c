/* See faults.h. Guarded by mu: the list and everything in it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "faults.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct rule {
  fault what;
  uint64_t matched, acted, random;
  struct rule *next;
} rule;

struct faults {
  pthread_mutex_t mu;
  rule *first; /* owned list, in the order given */
  uint64_t seed, made, fired;
  atomic_bool any; /* readable without the lock: the usual case is no rule at all */
};

faults *faults_new(uint64_t seed) {
  faults *all = calloc(1, sizeof *all);
  if (!all) return NULL;
  pthread_mutex_init(&all->mu, NULL);
  atomic_init(&all->any, false);
  all->seed = seed;
  return all;
}

void faults_clear(faults *all) {
  pthread_mutex_lock(&all->mu);
  while (all->first) {
    rule *next = all->first->next;
    free(all->first);
    all->first = next;
  }
  atomic_store(&all->any, false);
  pthread_mutex_unlock(&all->mu);
}

void faults_free(faults *all) {
  if (!all) return;
  faults_clear(all);
  pthread_mutex_destroy(&all->mu);
  free(all);
}

static uint64_t draw(uint64_t *state) {
  uint64_t x = *state += 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

static double draw_unit(uint64_t *state) { return (double)(draw(state) >> 11) * 0x1p-53; }

bool faults_add(faults *all, const fault *f) {
  rule *r = calloc(1, sizeof *r);
  if (!r) return false;
  r->what = *f;
  pthread_mutex_lock(&all->mu);
  uint64_t start = all->seed + ++all->made;
  r->random = draw(&start);
  rule **link = &all->first;
  while (*link) link = &(*link)->next;
  *link = r;
  atomic_store(&all->any, true);
  pthread_mutex_unlock(&all->mu);
  return true;
}

uint64_t faults_fired(faults *all) {
  pthread_mutex_lock(&all->mu);
  uint64_t fired = all->fired;
  pthread_mutex_unlock(&all->mu);
  return fired;
}

/* The draw is made for each match that counts, also when it decides nothing: the n-th is always the n-th. */
static bool acts(faults *all, rule *r, int rpc) {
  const fault *f = &r->what;
  if (f->rpc != FAULT_ANY_RPC && f->rpc != rpc) return false;
  if (r->matched++ < f->skip) return false;
  if (f->count && r->acted >= f->count) return false;
  if (draw_unit(&r->random) >= f->rate) return false;
  r->acted++;
  all->fired++;
  return true;
}

/* One draw each time, whatever the distribution. */
static uint64_t draw_delay(rule *r, const fault_delay *delay) {
  double unit = draw_unit(&r->random);
  if (delay->mean_us) return (uint64_t)(-log1p(-unit) * (double)delay->mean_us);
  return delay->least_us + (uint64_t)(unit * (double)(delay->most_us - delay->least_us));
}

fault *faults_call(faults *all, int rpc) {
  if (!atomic_load_explicit(&all->any, memory_order_relaxed)) return NULL;
  fault *found = NULL;
  uint64_t latency_us = 0;
  pthread_mutex_lock(&all->mu);
  for (rule *r = all->first; r && !(found && found->action); r = r->next) {
    if (fault_is_for_jobs(&r->what) || !acts(all, r, rpc)) continue;
    latency_us += draw_delay(r, &r->what.latency);
    if (!found) found = malloc(sizeof *found);
    if (found) *found = r->what;
  }
  pthread_mutex_unlock(&all->mu);
  if (found) found->latency_us = latency_us;
  return found;
}

void faults_job(faults *all, int rpc, job_plan *plan) {
  if (!atomic_load_explicit(&all->any, memory_order_relaxed)) return;
  pthread_mutex_lock(&all->mu);
  for (rule *r = all->first; r && !plan->end_state && !plan->evict; r = r->next) {
    if (!fault_is_for_jobs(&r->what) || !acts(all, r, rpc)) continue;
    plan->latency_us += draw_delay(r, &r->what.job_latency);
    plan->end_state = r->what.job_state;
    plan->evict = r->what.evicts_job;
    if (r->what.job_state != JOB_FAILED) continue;
    const char *text = r->what.message;
    plan->message = strdup(*text ? text : "Backend submit failed: Backend error: injected by a fault");
  }
  pthread_mutex_unlock(&all->mu);
}
