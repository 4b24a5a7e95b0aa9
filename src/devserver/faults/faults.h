/* Faults on purpose: rules that say which calls and jobs go wrong, and how. Thread-safe; reproducible: what the n-th
 * matching call meets depends on the seed, the rules and n alone.
 * Invariant: a rule is tried on each call (or job) that it matches, in the order of the rules, until one acts.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_FAULTS_H
#define ARVAK_DEVSERVER_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

#include "fault.h"
#include "jobs/jobs.h"

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
