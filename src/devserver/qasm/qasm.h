/* The OpenQASM 3 subset of the service (docs/contract.md, section 4): text in, circuit or first error out.
 * Pure: no I/O, no globals, no gRPC; safe on any bytes of any length. Memory is bounded by the limits given,
 * whatever sizes the text declares: past a limit the program is still checked to its end, but only counted.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_QASM_H
#define ARVAK_DEVSERVER_QASM_H

#include <stddef.h>

#include "circuit.h"
#include "error.h"

/* Parses a whole program. Returns owned, or NULL with *error filled (QASM_COMPLEXITY when a limit is passed). */
circuit *qasm_parse(const char *text, size_t length, const qasm_limits *limits, qasm_error *error);

#endif
