/* What the parser's files share. A program is read three times: for bad tokens, then for its grammar and its
 * declarations, then (`acting`) for its meaning. So memory goes to names and gates only, declarations work before and
 * after their use, and the classes of errors win over each other in the order in which the readings find them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_QASM_PARSER_H
#define ARVAK_DEVSERVER_QASM_PARSER_H

#include "qasm/lexer.h"
#include "qasm/names.h"

typedef struct value {
  double number;
  bool symbolic; /* a free symbol or a division by zero is in it: no number */
  bool literal;  /* an integer as written, parentheses apart */
} value;

/* A run of consecutive qubits or bits, as an operand names it. */
typedef struct span {
  uint64_t start;
  uint32_t size;
  uint32_t offset; /* of the operand in the text */
} span;

/* Which spans of a statement's operands to keep: a hostile list of millions must not cost memory for nothing. */
typedef enum keep_mode {
  KEEP_NONE,    /* counted only */
  KEEP_STORED,  /* until they exceed the operations that a circuit may have */
  KEEP_DISTINCT /* until an element comes twice: no more than there are elements */
} keep_mode;

typedef struct operands {
  uint64_t total;   /* elements */
  uint64_t highest; /* number of the last of them all, from the operand at highest_offset; valid if total > 0 */
  uint32_t highest_offset;
  bool repeated; /* KEEP_DISTINCT: the operand at repeated_offset names an element again */
  uint32_t repeated_offset;
  size_t kept, capacity; /* spans without elements are not kept */
  span *spans;           /* owned by the parser, and used again by the next statement */
} operands;

typedef struct parser {
  lexer lexer;
  token current; /* not yet taken */
  bool acting;   /* the statement being read takes effect */
  bool refused;  /* an expression cannot be a parameter; *refusal says why. Only while acting. */
  unsigned depth, blocks;
  name_table qubits, bits, gates;
  operands operands;
  qasm_limits limits;
  token qubits_over, operations_over; /* what passed a limit first; kind TOKEN_END: nothing yet */
  size_t gate_capacity;
  circuit *circuit; /* owned until qasm_parse returns it */
  qasm_error refusal;
  qasm_error *error; /* borrowed; written once */
} parser;

/* All functions that return bool return false once *error is filled, and then nothing more may be read. */
bool parser_fail(parser *p, qasm_class class, const token *at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Fails at the current token, as a syntax error or as the end of input. The hint may be NULL. */
bool parser_expected(parser *p, const char *what, const char *hint);
bool parser_no_memory(parser *p);
token parser_token_at(const parser *p, size_t offset); /* reads it again, for an error's position */

void parser_advance(parser *p);
bool parser_is(const parser *p, int mark);
bool parser_accept(parser *p, int mark);
bool parser_expect(parser *p, int mark);
bool parser_name(parser *p, const char *what, token *out);
bool parser_integer(parser *p, const char *what, uint32_t *out); /* a size or an index: at most 2^32-1 */

/* Reads an expression. Its value counts only while acting; what cannot be a parameter sets p->refused. */
bool parser_expression(parser *p, value *out);

/* Finds an operand that has been read: `name`, or `name[index]` when index is not NULL. */
bool parser_resolve(parser *p, const name_table *table, const token *at, const uint32_t *index, span *out);
/* Reads operands until there is no comma; while acting, gathers them into p->operands. */
bool parser_operands(parser *p, const name_table *table, keep_mode keep);

bool parser_gate_call(parser *p, const token *callee); /* the rest of a call whose name has been read */

/* Adds operations on behalf of the statement at `at`; past the limit they are counted and no longer stored. */
void circuit_count(parser *p, uint64_t operations, const token *at);
bool circuit_add(parser *p, const gate *g, const token *at);
bool circuit_broadcast(parser *p, gate *g, const token *at); /* once for each qubit of p->operands */

#endif
