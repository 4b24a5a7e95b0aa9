/* A fault: what goes wrong on purpose, with which calls or jobs, and how often; and its text form. A plain value.
 * Knows the RPCs by their numbers, and no connection.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_FAULT_H
#define ARVAK_DEVSERVER_FAULT_H

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
  int rpc; /* index in rpcs, or FAULT_ANY_RPC */
  fault_action action;
  bool after; /* act when the call has been executed, in place of its answer */
  bool has_pushback;
  int32_t pushback_ms; /* trailing grpc-retry-pushback-ms */
  int status;          /* its number in gRPC */
  const char *tag;     /* "", "[permanent] " or "[transient] "; static */
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

#endif
