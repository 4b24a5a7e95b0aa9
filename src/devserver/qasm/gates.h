/* The built-in gates by name: what each takes and which operation it becomes. Names ignore case.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_GATES_H
#define ARVAK_DEVSERVER_GATES_H

#include "circuit.h"

#define GATE_IDENTITY 255 /* beside gate_kind: checked like a gate, then dropped */
#define GATE_ANY 255      /* as a number of parameters or qubits: any */

typedef struct gate_spec {
  const char *name;
  uint8_t kind;
  uint8_t parameters; /* GATE_ANY: given ones are ignored */
  uint8_t qubits;     /* GATE_ANY: applied to each operand in turn; otherwise all operands together */
} gate_spec;

const gate_spec *gate_find(const char *name, size_t length); /* NULL when unknown; static */

/* Advice for an unknown gate: "write cp(theta) a, b", or the nearest known name. Empty when there is none. */
void gate_suggest(const char *name, size_t length, char *out, size_t size);

#endif
