/* Runs jobs: waits out their latency on timers, all at the same time, then simulates on a few threads.
 * Invariant: a job handed over is started, run and ended by one thread, and its circuit is freed with it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_RUNNER_H
#define ARVAK_DEVSERVER_RUNNER_H

#include "base/timer.h"
#include "jobs.h"

typedef struct runner runner;

typedef struct runner_options {
  jobs *store;   /* borrowed, outlives the runner */
  timers *clock; /* borrowed, stopped before runner_free */
  int workers;
  uint64_t latency_us; /* of every job */
  uint64_t seed;       /* with a job's number it decides its samples */
} runner_options;

runner *runner_new(const runner_options *options); /* Returns owned; NULL: no memory or no thread. */
void runner_stop(runner *r);                       /* Stops running simulations, joins the threads, drops the queue. */
void runner_free(runner *r);                       /* After runner_stop; NULL is fine. */

/* A stored job: with latency it is RUNNING when this returns, else as soon as a worker is free. Shares j. */
void runner_start(runner *r, job *j);

#endif
