/* The state of a parse, and how its tokens are taken: what the readers of expressions, operations and statements share.
 * A program is read three times: for bad tokens, then for its grammar and its declarations, then (`acting`) for its
 * meaning. So memory goes to names and gates only, declarations work before and after their use, and the classes of
 * errors win over each other in the order in which the readings find them. One thread.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_QASM_PARSER_H
#define ARVAK_DEVSERVER_QASM_PARSER_H

#include "circuit.h"
#include "error.h"
#include "lexer.h"
#include "names.h"

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

#endif
