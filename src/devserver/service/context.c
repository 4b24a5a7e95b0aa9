/* See context.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "context.h"

#include <stdlib.h>
#include <sys/random.h>

#include "backend.h"

enum { STORE_CAPACITY = 10000 };

static uint64_t random_seed(void) {
  uint64_t seed;
  if (getrandom(&seed, sizeof seed, 0) == sizeof seed) return seed;
  return clock_us();
}

bool context_init(context *x, const server_options *options) {
  if (!options_copy(&x->options, options)) return false;
  if (!options->seeded) x->options.seed = random_seed();
  x->limits = (jobs_limits){.max_running = (uint32_t)options->max_concurrent_jobs,
                            .max_queued = (uint32_t)options->max_queued_jobs};
  x->topology = backend_topology();
  x->store = jobs_new(STORE_CAPACITY);
  return x->topology && x->store;
}

bool context_begin(context *x) {
  const server_options *o = &x->options;
  x->rates = rates_new((uint32_t)o->rate_limit);
  x->clock = timers_new();
  if (!x->rates || !x->clock) return false;
  x->runner = runner_new(&(runner_options){.store = x->store,
                                           .clock = x->clock,
                                           .workers = (int)o->workers,
                                           .latency_us = (uint64_t)(o->job_latency * 1e6),
                                           .seed = o->seed});
  return x->runner != NULL;
}

void context_end(context *x) {
  runner_free(x->runner);
  timers_free(x->clock);
  rates_free(x->rates);
  x->runner = NULL;
  x->clock = NULL;
  x->rates = NULL;
}

/* Jobs that end here tell their streams, which are closed. */
bool context_renew_store(context *x) {
  jobs *fresh = jobs_new(STORE_CAPACITY);
  if (!fresh) return false;
  jobs_free(x->store);
  x->store = fresh;
  return true;
}

void context_fini(context *x) {
  jobs_free(x->store);
  context_end(x);
  free(x->topology);
  options_free(&x->options);
}
