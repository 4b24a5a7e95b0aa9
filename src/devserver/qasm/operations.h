/* Operands, the calls of gates, and the circuit that they are added to. Functions that return bool return false as
 * those of parser.h do.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_QASM_OPERATIONS_H
#define ARVAK_DEVSERVER_QASM_OPERATIONS_H

#include "parser.h"

/* Finds an operand that has been read: `name`, or `name[index]` when index is not NULL. */
bool operand_resolve(parser *p, const name_table *table, const token *at, const uint32_t *index, span *out);
/* Reads operands until there is no comma; while acting, gathers them into p->operands. */
bool operands_read(parser *p, const name_table *table, keep_mode keep);

bool gate_call_read(parser *p, const token *callee); /* the rest of a call whose name has been read */

/* Adds operations on behalf of the statement at `at`; past the limit they are counted and no longer stored. */
void operations_count(parser *p, uint64_t operations, const token *at);
bool operations_broadcast(parser *p, gate *g, const token *at); /* once for each qubit of p->operands */

#endif
