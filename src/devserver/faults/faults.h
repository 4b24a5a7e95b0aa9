/* Faults on purpose: rules that say which calls and jobs go wrong, and how. Thread-safe; reproducible: what the n-th
 * matching call meets depends on the seed, the rules and n alone.
 * Invariant: a rule is asked about each call (or job) that it matches, in the order of the rules, until one acts.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_FAULTS_H
#define ARVAK_DEVSERVER_FAULTS_H

#include <grpc/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "jobs/jobs.h"

enum { FAULT_ANY_RPC = -1, FAULT_TEXT_BYTES = 512 };

typedef enum fault_action { FAULT_NONE, FAULT_STATUS, FAULT_DROP, FAULT_HANG } fault_action;

/* A time to be drawn: between the two, or with a mean exponentially distributed, up to 37 times the mean. */
typedef struct fault_delay {
  uint64_t least_us, most_us, mean_us;
} fault_delay;

/* A rule; zero is one that matches everything and does nothing. */
typedef struct fault {
  int rpc; /* index in service_methods, or FAULT_ANY_RPC */
  fault_action action;
  bool after; /* act when the call has been executed, in place of its answer */
  bool has_pushback;
  int32_t pushback_ms; /* trailing grpc-retry-pushback-ms */
  grpc_status_code status;
  const char *tag; /* "", "[permanent] " or "[transient] "; static */
  char message[FAULT_TEXT_BYTES];
  uint64_t messages;    /* of a stream: act when so many have been sent; 0: at its end */
  uint64_t skip, count; /* the first matches that nothing happens to; how often it acts, 0: always */
  double rate;          /* probability, for those not skipped */
  fault_delay latency, job_latency;
  uint64_t latency_us; /* of the call at hand, filled by faults_call */
  job_state job_state; /* where a job ends up; JOB_UNSPECIFIED: where it would */
  bool evicts_job;     /* the job is forgotten when it has ended */
} fault;

void fault_init(fault *f);
bool fault_is_for_jobs(const fault *f);
bool fault_is_for_calls(const fault *f);

/* "rpc=SubmitJob,status=UNAVAILABLE,rate=0.2"; a comma within a value is written "\,". False with problem filled. */
bool fault_parse(fault *f, const char *text, char *problem, size_t size);
bool fault_set(fault *f, const char *key, const char *value, char *problem, size_t size); /* one key */
bool fault_check(const fault *f, char *problem, size_t size);                             /* when all are set */

typedef struct faults faults;

faults *faults_new(uint64_t seed);            /* Returns owned or NULL. */
void faults_free(faults *all);                /* NULL is fine */
bool faults_add(faults *all, const fault *f); /* copies; false: out of memory */
void faults_clear(faults *all);
uint64_t faults_fired(faults *all);

/* What happens to a call: owned (free), or NULL, which is nothing. The latencies of several rules add up. */
fault *faults_call(faults *all, int rpc);

/* What happens to a job that this RPC has made. */
void faults_job(faults *all, int rpc, job_plan *plan);

#endif
