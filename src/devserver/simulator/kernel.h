/* The loops over amplitudes.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_STATEVECTOR_KERNEL_H
#define ARVAK_DEVSERVER_STATEVECTOR_KERNEL_H

#include <stdatomic.h>

#include "plan.h"

/* Whether to go on: the flag is looked at about once in a millisecond's work. */
typedef struct progress {
  const atomic_bool *stop; /* borrowed; or NULL */
  size_t work;             /* amplitudes since the last look */
} progress;

bool progress_stopped(progress *p, size_t work); /* after work on that many amplitudes */

/* Carries out the steps of a group on a state. False: stopped, and the state is worthless. */
bool kernel_group(const step *steps, const group *g, amplitude *state, size_t size, progress *p);

/* A state's weight on either value of a qubit, and how parallel the two halves are: the square of their inner
 * product. By Cauchy and Schwarz it is at most zero * one, and equals it when the qubit is not entangled. */
typedef struct halves {
  double zero, one, parallel;
} halves;

halves kernel_halves(const amplitude *a, size_t size, unsigned qubit);
/* Keeps the half where the qubit has the value `one`, scaled, as the half where it is 0. */
void kernel_collapse(amplitude *a, size_t size, unsigned qubit, bool one, double scale);

#endif
