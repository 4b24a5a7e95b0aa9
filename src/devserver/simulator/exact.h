/* The exact distribution of a circuit, for tests: no shots, no lot. No client can reach it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_EXACT_H
#define ARVAK_DEVSERVER_EXACT_H

#include <stddef.h>
#include <stdint.h>

#include "qasm/circuit.h"
#include "statevector.h"

typedef struct exact_outcome {
  uint32_t bits; /* bit i is qubit i */
  double probability;
} exact_outcome;

typedef struct exact_outcomes {
  uint32_t width; /* characters of a key, as of counts */
  size_t size;
  exact_outcome *outcomes; /* ascending bits, none below 1e-14; owned */
} exact_outcomes;

/* As circuit_run, with both outcomes of every reset followed: 2^resets times the work where these are random.
 * RUN_OK fills *out (release with exact_fini); RUN_FAILED fills message. */
run_status circuit_exact(const circuit *c, exact_outcomes *out, char *message, size_t size);
void exact_fini(exact_outcomes *out);

#endif
