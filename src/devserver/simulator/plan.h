/* A circuit made ready to run: steps on the qubits in use, in groups that one pass over memory can carry out.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_STATEVECTOR_PLAN_H
#define ARVAK_DEVSERVER_STATEVECTOR_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qasm/circuit.h"

typedef struct amplitude {
  double re, im;
} amplitude;

/* Not the operator of <complex.h>: that one calls a function to get infinities right. */
static inline amplitude amplitude_times(amplitude a, amplitude b) {
  return (amplitude){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

/* How a step changes the amplitudes it selects: those whose index has `value` in the bits of `mask`.
 * A pair is such an index and the one that differs from it in the bits of `flip`. */
typedef enum step_kind {
  STEP_SCALE, /* times m[0] */
  STEP_SWAP,  /* a pair changes places */
  STEP_REAL,  /* a pair times the matrix m, without imaginary parts */
  STEP_PAIR   /* a pair times the matrix m = { m00, m01, m10, m11 } */
} step_kind;

/* In a plan the bits are those of a block's buffer; what lies outside the block selects whole blocks. */
typedef struct step {
  step_kind kind;
  uint32_t mask, value, flip;
  uint32_t outer_mask, outer_value; /* of the index in the whole state */
  amplitude m[4];
} step;

#define BLOCK_BITS 12     /* 64 KiB of amplitudes: steps of a group find their block in the nearest caches */
#define BLOCK_RUN_BITS 4 /* a block is made of runs of at least 16 amplitudes, for whole cache lines */
#define BLOCK_PICKED (BLOCK_BITS - BLOCK_RUN_BITS)

/* Steps that mix only bits of one block. Its buffer's low bits are the state's `run_bits` lowest, and the bits above
 * them are the `picked` ones. Or, if `reset`, no steps but the collapse of one qubit. */
typedef struct group {
  size_t first, count; /* steps */
  uint8_t bits, run_bits, picked_count;
  uint8_t picked[BLOCK_PICKED]; /* ascending */
  bool reset;
  uint8_t qubit; /* if reset */
} group;

typedef struct plan {
  uint32_t bits;     /* qubits that any gate touches; the others stay 0 and are left out */
  uint8_t place[32]; /* the circuit's number of each */
  step *steps;
  group *groups;
  size_t step_count, group_count;
} plan;

/* All gates of the circuit must be ones that can be simulated, on qubits below 32. False: out of memory. */
bool plan_init(plan *p, const circuit *c);
void plan_fini(plan *p);
uint32_t plan_spread(const plan *p, size_t index); /* over the qubits in use, to one over the circuit's qubits */

#endif
