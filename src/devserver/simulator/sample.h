/* Random numbers, and drawing outcomes from a state. A seed determines every draw.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_STATEVECTOR_SAMPLE_H
#define ARVAK_DEVSERVER_STATEVECTOR_SAMPLE_H

#include "plan.h"

typedef struct random_source {
  uint64_t word[4];
} random_source;

void random_seed(random_source *r, uint64_t seed);
double random_unit(random_source *r); /* uniform in (0, 1] */

/* How many of `trials` succeed, each with probability p. */
uint32_t random_successes(random_source *r, uint32_t trials, double p);

/* Adds `shots` draws from the state to the tally of its indices, in one walk over the state. */
void sample_state(random_source *r, const amplitude *a, size_t size, uint32_t shots, uint32_t *tally);

#endif
