/* The store of jobs: their states, the counters of admission, and who is forgotten when it is full. Pure but for
 * random ids; the time is passed in. Thread-safe.
 * Invariant: a stored job counts in exactly one state, and each job's on_end is called exactly once: when it first
 * reaches a terminal state or leaves the store, without any lock held.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_JOBS_H
#define ARVAK_DEVSERVER_JOBS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/timer.h"
#include "qasm/circuit.h"
#include "simulator/statevector.h"

/* The numbers of the wire. */
typedef enum job_state {
  JOB_UNSPECIFIED,
  JOB_QUEUED,
  JOB_RUNNING,
  JOB_COMPLETED,
  JOB_FAILED,
  JOB_CANCELED,
  JOB_RESULT_EXPIRED,
  JOB_STATES
} job_state;

const char *job_state_name(job_state state);            /* "QUEUED"; static */
bool job_state_parse(const char *name, job_state *out); /* the same names */
bool job_state_is_terminal(job_state state);

typedef struct job job;
typedef struct jobs jobs;

/* What a fault has in mind for a job. Zero: nothing. */
typedef struct job_plan {
  job_state end_state; /* where it ends up instead of COMPLETED: QUEUED and RUNNING are until somebody cancels it */
  uint64_t latency_us; /* added to the server's own */
  bool evict;          /* forgotten when it has ended */
  char *message;       /* of FAILED; owned by the job */
} job_plan;

struct job {
  atomic_uint refs;
  atomic_bool stop; /* the simulation gives up soon after */

  /* Set before jobs_add, constant after it. */
  char id[37];
  uint64_t number; /* order of submission, from 1 */
  uint32_t shots, width;
  int64_t submitted_at;
  job_plan plan;
  void (*on_end)(job *j, void *ud);
  void *ud;

  /* The runner's alone. */
  circuit *circuit; /* owned until it has run */
  bool light;       /* soon done */
  timer wait;
  void *runner;
  job *next_queued;

  /* Guarded by the store's mu. error and result are set once, so a reader that holds a reference may keep them. */
  job_state state;
  bool stored, ended;
  int64_t started_at, completed_at;
  uint64_t started_us, execution_ms;
  char *error;
  counts *result;
  job *older, *newer, *next_in_bucket;
};

typedef struct job_view {
  job_state state;
  int64_t submitted_at, started_at, completed_at;
  uint64_t execution_ms;
  const char *error;    /* never NULL */
  const counts *result; /* NULL: none */
} job_view;

typedef struct jobs_limits {
  uint32_t max_running, max_queued; /* 0: no limit */
} jobs_limits;

typedef enum jobs_verdict { JOBS_OK, JOBS_RUNNING_FULL, JOBS_QUEUE_FULL, JOBS_NO_MEMORY } jobs_verdict;

typedef struct jobs_counts {
  uint64_t accepted, evicted;
  uint32_t stored, by_state[JOB_STATES];
} jobs_counts;

jobs *jobs_new(uint32_t capacity); /* Returns owned or NULL. */
void jobs_free(jobs *all);         /* Ends what has not ended. NULL is fine. */

/* Takes the circuit. Returns owned, one reference, not yet stored; NULL: out of memory. */
job *job_new(circuit *c, uint32_t shots, uint32_t width);
job *job_ref(job *j);
void job_unref(job *j);

/* What the limits say now, without changing anything. */
jobs_verdict jobs_check(jobs *all, const jobs_limits *limits, jobs_counts *seen);

/* Gives the job its id and number, QUEUED, and stores it (one more reference). Unless JOBS_OK nothing changed.
 * limits may be NULL: none. */
jobs_verdict jobs_add(jobs *all, job *j, const jobs_limits *limits, int64_t now_s);

/* Returns shared, or NULL. */
job *jobs_get(jobs *all, const char *id, size_t length, job_view *view);
void jobs_view(jobs *all, const job *j, job_view *view);

/* Transitions; each false when the job is not in a state to make it, or no longer stored. */
bool jobs_start(jobs *all, job *j, int64_t now_s, uint64_t now_us);
bool jobs_complete(jobs *all, job *j, counts *result, int64_t now_s, uint64_t now_us); /* takes result */
bool jobs_fail(jobs *all, job *j, const char *message, int64_t now_s, uint64_t now_us);
bool jobs_cancel(jobs *all, job *j, int64_t now_s, job_view *before);

/* For tests of clients: any state, whatever the job was doing; and a job that vanishes. */
bool jobs_force(jobs *all, const char *id, job_state state, int64_t now_s);
bool jobs_evict(jobs *all, const char *id);

void jobs_count(jobs *all, jobs_counts *out);

/* What has not ended never will: it becomes FAILED with this message. */
void jobs_abandon(jobs *all, const char *message, int64_t now_s);

typedef struct job_line {
  char id[37];
  uint64_t number;
  uint32_t shots;
  job_state state;
} job_line;

/* The stored jobs in order of submission. Returns owned (free), NULL when there are none or no memory. */
job_line *jobs_list(jobs *all, size_t *count);

#endif
