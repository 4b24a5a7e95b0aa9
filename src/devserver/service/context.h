/* What the methods of one server work with: the options, the store of jobs, the limits, and what runs the jobs.
 * Invariant: options, store, limits and topology outlive a restart; rates, clock and runner are one run's.
 * Changed only while the server is stopped; what it points to guards itself.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_CONTEXT_H
#define ARVAK_DEVSERVER_CONTEXT_H

#include "base/timer.h"
#include "jobs/jobs.h"
#include "jobs/rate.h"
#include "jobs/runner.h"
#include "options.h"
#include "rpc/call.h"

typedef struct context {
  server_options options; /* its texts are owned; without the faults */
  jobs_limits limits;
  char *topology; /* owned: the simulator's topology_json */
  /* Owned. */
  jobs *store;
  rates *rates;
  timers *clock;
  runner *runner;
} context;

bool context_init(context *x, const server_options *options); /* false: out of memory; context_fini all the same */
void context_fini(context *x);                                /* once the runner and the clock have stopped */

bool context_begin(context *x); /* makes a run's parts; false: out of memory or threads; context_end all the same */
void context_end(context *x);   /* frees them, once the runner and the clock have stopped; once or more */

/* The jobs of the store are forgotten. False: out of memory, and nothing has changed. */
bool context_renew_store(context *x);

static inline context *context_of(const call *c) { return c->owner->context; }

#endif
