/* The OpenQASM 3 subset of the service (docs/contract.md, section 4): text in, circuit or first error out.
 * Pure: no I/O, no globals, no gRPC; safe on any bytes of any length. Memory is bounded by the limits given,
 * whatever sizes the text declares: past a limit the program is still checked to its end, but only counted.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_QASM_H
#define ARVAK_DEVSERVER_QASM_H

#include <stddef.h>
#include <stdint.h>

/* The classes of contract section 4.8, by the names used there. */
typedef enum qasm_class {
  QASM_OK, QASM_VERSION, QASM_LEXICAL, QASM_SYNTAX, QASM_END_OF_INPUT, QASM_NESTING, QASM_UNDEFINED,
  QASM_UNKNOWN_GATE, QASM_GATE_QUBITS, QASM_GATE_PARAMETERS, QASM_INDEX, QASM_DUPLICATE_QUBIT, QASM_MISSING_BIT,
  QASM_UNSUPPORTED, QASM_RANGE, QASM_COMPLEXITY, QASM_NO_MEMORY
} qasm_class;

const char *qasm_class_name(qasm_class class); /* "gate_qubits"; static */

/* The first error of a program. Line and column count from 1 (columns in bytes), offset from 0. */
typedef struct qasm_error {
  qasm_class class;
  uint32_t line, column;
  size_t offset;
  char message[320]; /* the token and what was expected, one line, valid UTF-8; without class or position */
} qasm_error;

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

typedef struct qasm_limits {
  uint64_t max_qubits;     /* 200 on the service */
  uint64_t max_operations; /* 50000 on the service */
} qasm_limits;

/* Parses a whole program. Returns owned, or NULL with *error filled (QASM_COMPLEXITY when a limit is passed). */
circuit *qasm_parse(const char *text, size_t length, const qasm_limits *limits, qasm_error *error);
void circuit_free(circuit *c); /* NULL is fine */

#endif
