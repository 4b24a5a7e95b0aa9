/* The first error of a program: its class, its place, and a message for people. Plain values.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_QASM_ERROR_H
#define ARVAK_DEVSERVER_QASM_ERROR_H

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

#endif
