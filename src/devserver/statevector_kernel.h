/* The loops over amplitudes.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_STATEVECTOR_KERNEL_H
#define ARVAK_DEVSERVER_STATEVECTOR_KERNEL_H

#include "statevector_plan.h"

void kernel_step(const step *s, amplitude *a, size_t size); /* on a block of `size` amplitudes */

/* Copies the block of a group that lies at `base` in the state, out of it or back. */
void kernel_gather(const group *g, const amplitude *state, size_t base, amplitude *block);
void kernel_scatter(const group *g, const amplitude *block, size_t base, amplitude *state);

/* A state's weight on either value of a qubit, and how parallel the two halves are: the square of their inner
 * product. By Cauchy and Schwarz it is at most zero * one, and equals it when the qubit is not entangled. */
typedef struct halves {
  double zero, one, parallel;
} halves;

halves kernel_halves(const amplitude *a, size_t size, unsigned qubit);
/* Keeps the half where the qubit has the value `one`, scaled, as the half where it is 0. */
void kernel_collapse(amplitude *a, size_t size, unsigned qubit, bool one, double scale);

#endif
