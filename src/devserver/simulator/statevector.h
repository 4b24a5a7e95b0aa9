/* Runs a circuit and samples counts, with the semantics of docs/contract.md 4.6: keys over all declared qubits,
 * qubit 0 rightmost, measure never collapses, reset does. Pure: no globals, its own random generator.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_STATEVECTOR_H
#define ARVAK_DEVSERVER_STATEVECTOR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qasm/circuit.h"

typedef struct outcome {
  uint32_t bits; /* bit i is qubit i */
  uint32_t count;
} outcome;

typedef struct counts {
  uint32_t width; /* characters of a key; 1 for a circuit without qubits, whose only key is "0" */
  size_t size;
  outcome *outcomes; /* ascending bits, no zero counts; owned */
} counts;

typedef enum run_status { RUN_OK, RUN_FAILED, RUN_STOPPED } run_status;

typedef struct run_options {
  uint32_t shots;
  uint32_t width; /* 0: the circuit's own. After optimization 20: keys cover the device, and ecr can be simulated */
  uint64_t seed;
  const atomic_bool *stop; /* NULL or: give up soon after it turns true */
} run_options;

/* RUN_OK fills *out (release with counts_fini). RUN_FAILED fills message with the job's error_message
 * (contract 4.7: capacity of qubits and shots, free symbols, gates that cannot be simulated, out of memory). */
run_status circuit_run(const circuit *c, const run_options *options, counts *out, char *message, size_t size);
/* Whether it would run at all; if not, fills message. */
bool circuit_can_run(const circuit *c, const run_options *options, char *message, size_t size);
void counts_fini(counts *c);
void counts_key(const counts *c, uint32_t bits, char *key); /* width characters and a NUL */

#endif
