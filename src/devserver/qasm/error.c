/* See error.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "error.h"

const char *qasm_class_name(qasm_class class) {
  static const char *const names[] = {
      [QASM_OK] = "ok",
      [QASM_VERSION] = "version",
      [QASM_LEXICAL] = "lexical",
      [QASM_SYNTAX] = "syntax",
      [QASM_END_OF_INPUT] = "end_of_input",
      [QASM_NESTING] = "nesting",
      [QASM_UNDEFINED] = "undefined",
      [QASM_UNKNOWN_GATE] = "unknown_gate",
      [QASM_GATE_QUBITS] = "gate_qubits",
      [QASM_GATE_PARAMETERS] = "gate_parameters",
      [QASM_INDEX] = "index",
      [QASM_DUPLICATE_QUBIT] = "duplicate_qubit",
      [QASM_MISSING_BIT] = "missing_bit",
      [QASM_UNSUPPORTED] = "unsupported",
      [QASM_RANGE] = "range",
      [QASM_COMPLEXITY] = "complexity",
      [QASM_NO_MEMORY] = "no_memory",
  };
  return names[class];
}
