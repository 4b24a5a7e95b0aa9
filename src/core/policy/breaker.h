/* A circuit breaker's states and counts. Pure: time is passed in. Queries change nothing.
 * Invariants: probes counts the places taken while half open, never more than half_open_max_calls; every place is free
 * again when its call is recorded, or else when its time is over, so refusing always ends; every change of state is a
 * new generation, and what was let through in an older one changes nothing when it ends. The table of states and
 * events is in breaker.c.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_BREAKER_H
#define ARVAK_BREAKER_H

#include "arvak.h"

enum { ARVAK__BUCKETS = 10 }; /* that a window is made of */

typedef struct arvak__bucket {
  int64_t number; /* of the slice of time that it counts */
  uint32_t successes, failures;
} arvak__bucket;

typedef struct arvak__breaker {
  arvak_breaker_options options; /* resolved */
  arvak_breaker_state state;     /* as last changed: of an open one time may have made a half-open one */
  bool is_forced;                /* stays as it is until reset */
  uint64_t generation;           /* from 1 */
  uint64_t round;                /* of places for probes: a new one when the places of the last have expired */
  int failures, successes, probes; /* in a row, while closed; of probes, while half open; places taken in this round */
  int64_t opened_ns;
  int64_t probes_until_ns; /* when all places of this round have expired */
  uint64_t changes[3]; /* to each state */
  arvak__bucket window[ARVAK__BUCKETS];
} arvak__breaker;

void arvak__breaker_init(arvak__breaker *breaker, const arvak_breaker_options *options);

/* Its state at this time. */
arvak_breaker_state arvak__breaker_state_at(const arvak__breaker *breaker, int64_t now_ns);
/* Whether a call would be let through. If not, *retry_after_ns is how long to wait before trying again may help;
 * ARVAK_NEVER: it is forced open. */
bool arvak__breaker_would_admit(const arvak__breaker *breaker, int64_t now_ns, int64_t *retry_after_ns);

/* Lets a call through and counts it, or not. until_ns: when the call will have ended; a probe loses its place a second
 * later, and after a minute at most. 0: unknown; a probe then has its place for timeout_ns, or for a second where
 * that is longer. True: *pass must be recorded, once. */
bool arvak__breaker_admit(arvak__breaker *breaker, int64_t now_ns, int64_t until_ns, arvak_pass *pass,
                          int64_t *retry_after_ns);
void arvak__breaker_record(arvak__breaker *breaker, arvak_pass pass, arvak_verdict verdict, int64_t now_ns);

/* Opens for probes one whose time has come; admit does so itself. */
void arvak__breaker_advance(arvak__breaker *breaker, int64_t now_ns);
/* A pass for the result of something that was not admitted: counts in the present state, in an open one not at all. */
arvak_pass arvak__breaker_uncounted(const arvak__breaker *breaker);

/* Opens or closes it until reset, which makes it as new. */
void arvak__breaker_force(arvak__breaker *breaker, arvak_breaker_state state, int64_t now_ns);
void arvak__breaker_reset(arvak__breaker *breaker);

#endif
