/* A circuit: what a program comes to, as its operations in order. Read-only once the parser has returned it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_QASM_CIRCUIT_H
#define ARVAK_DEVSERVER_QASM_CIRCUIT_H

#include <stddef.h>
#include <stdint.h>

/* One operation on up to three qubits; barriers, delays and measures are counted, not kept: they change nothing. */
typedef enum gate_kind {
  GATE_X, GATE_Y, GATE_Z, GATE_H, GATE_S, GATE_SDG, GATE_T, GATE_TDG, GATE_SX, GATE_SXDG,
  GATE_RX, GATE_RY, GATE_RZ, GATE_P, GATE_U, GATE_PRX,
  GATE_CX, GATE_CY, GATE_CZ, GATE_CH, GATE_SWAP, GATE_ISWAP, GATE_CRZ, GATE_CP,
  GATE_CRX, GATE_CRY, GATE_RXX, GATE_RYY, GATE_RZZ, GATE_ECR,
  GATE_CCX, GATE_CSWAP, GATE_RESET
} gate_kind;

typedef struct gate {
  uint8_t kind;     /* a gate_kind */
  uint8_t symbolic; /* bit i: parameter i holds a free symbol (or a division by zero) and has no value */
  uint16_t qubit[3];
  double parameter[3];
} gate;

typedef struct circuit {
  uint64_t qubits; /* declared, all registers together */
  uint64_t operations; /* after broadcasting, identities dropped; measures, barriers, resets and delays included */
  size_t count;
  gate *gates; /* owned by the circuit */
} circuit;

/* How large a circuit may be. */
typedef struct qasm_limits {
  uint64_t max_qubits;     /* 200 on the service */
  uint64_t max_operations; /* 50000 on the service */
} qasm_limits;

void circuit_free(circuit *c); /* NULL is fine */

const char *gate_kind_name(gate_kind kind);                         /* as in failure messages: "Rx", "RZZ"; static */
const char *gate_parameter_name(gate_kind kind, unsigned parameter); /* "theta", or NULL for a gate's only one */

#endif
