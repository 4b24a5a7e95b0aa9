/* The statements of the OpenQASM subset, and the three readings of a program (see parser.h).
 * Bodies of gates, if and for are read for their grammar alone; nothing in them is declared or takes effect.
 * SPDX-License-Identifier: Apache-2.0 */
#include "qasm.h"

#include <stdlib.h>

#include "expression.h"
#include "operations.h"
#include "parser.h"

/* Bodies within bodies; bounds the recursion of statement(). */
#define MAX_BLOCKS 256

static bool statement(parser *p);

/* As the body of something: a block, or a single statement. */
static bool body(parser *p) {
  if (p->blocks == MAX_BLOCKS) {
    return parser_fail(p, QASM_NESTING, &p->current, "bodies are nested too deeply (at most %d)", MAX_BLOCKS);
  }
  p->blocks++;
  if (parser_accept(p, '{')) {
    while (!parser_accept(p, '}')) {
      if (p->current.kind == TOKEN_END) return parser_expected(p, "'}'", NULL);
      if (!statement(p)) return false;
    }
  } else if (!statement(p)) {
    return false;
  }
  p->blocks--;
  return true;
}

static bool include(parser *p) {
  parser_advance(p);
  if (p->current.kind != TOKEN_STRING) return parser_expected(p, "a file name in double quotes", NULL);
  parser_advance(p);
  return parser_expect(p, ';');
}

static bool declare(parser *p, name_table *table, const token *name, uint32_t size) {
  if (p->acting || p->blocks) return true; /* the reading before this one declared it */
  if (!names_declare(table, name->text, (uint32_t)name->length, size)) return parser_no_memory(p);
  if (table == &p->qubits && table->total > p->limits.max_qubits && p->qubits_over.kind == TOKEN_END) {
    p->qubits_over = *name;
  }
  return true;
}

static bool declaration(parser *p) {
  name_table *table = p->current.kind == TOKEN_QUBIT ? &p->qubits : &p->bits;
  uint32_t size = 1;
  token name;
  parser_advance(p);
  if (parser_accept(p, '[')) {
    if (!parser_integer(p, "a register size", &size)) return false;
  }
  if (!parser_name(p, "a register name", &name)) return false;
  if (parser_is(p, '[')) return parser_expected(p, "';'", "the size stands before the name, as in qubit[2] q");
  if (parser_is(p, '=')) return parser_expected(p, "';'", "declare first, assign in a statement of its own");
  return parser_expect(p, ';') && declare(p, table, &name, size);
}

static bool name_list(parser *p, const char *what) {
  token name;
  do {
    if (!parser_name(p, what, &name)) return false;
  } while (parser_accept(p, ','));
  return true;
}

static bool gate_definition(parser *p) {
  token name;
  parser_advance(p);
  if (!parser_name(p, "a gate name", &name)) return false;
  if (parser_accept(p, '(') && (!name_list(p, "a parameter name") || !parser_expect(p, ')'))) return false;
  if (!name_list(p, "a qubit name")) return false;
  if (!parser_is(p, '{')) return parser_expected(p, "'{'", NULL);
  if (!declare(p, &p->gates, &name, 0)) return false;
  bool acting = p->acting;
  p->acting = false;
  bool ok = body(p);
  p->acting = acting;
  return ok;
}

/* Pairs are made in order, and what has no partner is dropped. */
static void count_measures(parser *p, uint64_t qubits, uint64_t bits, const token *at) {
  operations_count(p, qubits < bits ? qubits : bits, at);
}

static bool measure(parser *p) {
  token at = p->current;
  const operands *o = &p->operands;
  parser_advance(p);
  if (!operands_read(p, &p->qubits, KEEP_NONE)) return false;
  uint64_t qubits = o->total;
  if (parser_accept(p, MARK2('-', '>'))) {
    if (!operands_read(p, &p->bits, KEEP_NONE) || !parser_expect(p, ';')) return false;
    if (p->acting) count_measures(p, qubits, o->total, &at);
    return true;
  }
  if (!parser_expect(p, ';')) return false;
  if (!p->acting) return true;
  if (qubits && o->highest >= p->bits.total) {
    token operand = parser_token_at(p, o->highest_offset);
    return parser_fail(p, QASM_MISSING_BIT, &operand,
                       "measure without a target needs bit %llu for qubit %llu, but %llu bit%s declared",
                       (unsigned long long)o->highest, (unsigned long long)o->highest,
                       (unsigned long long)p->bits.total, p->bits.total == 1 ? " is" : "s are");
  }
  operations_count(p, qubits, &at);
  return true;
}

static bool assign(parser *p, const token *name, const uint32_t *index) {
  if (p->current.kind != TOKEN_MEASURE) {
    value ignored;
    return expression_read(p, &ignored) && parser_expect(p, ';');
  }
  token at = p->current;
  span bits = {0};
  parser_advance(p);
  if (!operands_read(p, &p->qubits, KEEP_NONE) || !parser_expect(p, ';')) return false;
  if (p->acting && !operand_resolve(p, &p->bits, name, index, &bits)) return false;
  if (p->acting && bits.size == 0 && p->operands.total > 0) {
    return parser_fail(p, QASM_MISSING_BIT, name, "a register of no bits cannot take %llu qubit%s",
                       (unsigned long long)p->operands.total, p->operands.total == 1 ? "" : "s");
  }
  if (p->acting) count_measures(p, p->operands.total, bits.size, &at);
  return true;
}

/* A call, or an assignment to a name or to one of its elements. */
static bool named_statement(parser *p) {
  token name = p->current;
  uint32_t index;
  parser_advance(p);
  if (name.kind == TOKEN_IDENTIFIER) {
    if (parser_accept(p, '=')) return assign(p, &name, NULL);
    if (parser_accept(p, '[')) {
      return parser_integer(p, "an index", &index) && parser_expect(p, '=') && assign(p, &name, &index);
    }
  }
  return gate_call_read(p, &name);
}

static bool reset(parser *p) {
  token at = p->current;
  gate g = {.kind = GATE_RESET};
  parser_advance(p);
  if (!operands_read(p, &p->qubits, KEEP_STORED) || !parser_expect(p, ';')) return false;
  return !p->acting || operations_broadcast(p, &g, &at);
}

static bool barrier(parser *p) {
  token at = p->current;
  parser_advance(p);
  if (!parser_is(p, ';')) {
    if (!operands_read(p, &p->qubits, KEEP_DISTINCT)) return false;
    if (p->acting && p->operands.repeated) {
      token again = parser_token_at(p, p->operands.repeated_offset);
      return parser_fail(p, QASM_DUPLICATE_QUBIT, &again, "barrier names a qubit twice");
    }
  }
  if (!parser_expect(p, ';')) return false;
  if (p->acting) operations_count(p, 1, &at);
  return true;
}

static bool delay(parser *p) {
  token at = p->current;
  value duration;
  parser_advance(p);
  if (!parser_expect(p, '[')) return false;
  token first = p->current;
  if (!expression_read(p, &duration)) return false;
  if (p->current.kind == TOKEN_IDENTIFIER) parser_advance(p); /* the unit: any */
  if (!parser_expect(p, ']')) return false;
  /* Only here, for the service finds errors of the grammar further on first. */
  if (p->acting && !duration.literal) {
    return parser_fail(p, QASM_SYNTAX, &first, "a delay's duration must be a plain integer, as in delay[100ns]");
  }
  if (!operands_read(p, &p->qubits, KEEP_NONE) || !parser_expect(p, ';')) return false;
  if (p->acting) operations_count(p, p->operands.total, &at);
  return true;
}

/* A loop along the chain of `else if`, so that its length costs no stack. */
static bool if_statement(parser *p) {
  value ignored;
  if (p->acting) return parser_fail(p, QASM_UNSUPPORTED, &p->current, "'if' cannot be executed");
  for (;;) {
    parser_advance(p);
    if (!parser_expect(p, '(') || !expression_read(p, &ignored) || !parser_expect(p, ')') || !body(p)) return false;
    if (p->current.kind != TOKEN_ELSE) return true;
    parser_advance(p);
    if (p->current.kind != TOKEN_IF) return body(p);
  }
}

static bool for_statement(parser *p) {
  token name;
  value ignored;
  if (p->acting) return parser_fail(p, QASM_UNSUPPORTED, &p->current, "'for' cannot be executed: unroll the loop");
  parser_advance(p);
  if (!parser_name(p, "a loop variable without a type", &name)) return false;
  if (p->current.kind != TOKEN_IN) return parser_expected(p, "'in'", NULL);
  parser_advance(p);
  if (!parser_expect(p, '[') || !expression_read(p, &ignored)) return false;
  if (!parser_expect(p, ':') || !expression_read(p, &ignored)) return false;
  if (parser_accept(p, ':') && !expression_read(p, &ignored)) return false;
  return parser_expect(p, ']') && body(p);
}

static const char *statement_hint(const parser *p) {
  switch (p->current.kind) {
  case TOKEN_OPENQASM:
    return "the version stands once, at the start";
  case TOKEN_MARK:
    return parser_is(p, ';') ? "empty statements are not accepted"
           : parser_is(p, '{') ? "blocks stand only as bodies"
           : parser_is(p, '@') ? "annotations are not accepted"
                               : NULL;
  case TOKEN_CONST: case TOKEN_LET: case TOKEN_INT: case TOKEN_BOOL: case TOKEN_FLOAT_TYPE: case TOKEN_INPUT:
  case TOKEN_OUTPUT:
    return "classical variables and aliases are not accepted";
  case TOKEN_WHILE: case TOKEN_DEF: case TOKEN_RETURN:
    return "loops and subroutines are not accepted";
  default:
    return NULL;
  }
}

static bool statement(parser *p) {
  switch (p->current.kind) {
  case TOKEN_INCLUDE:
    return include(p);
  case TOKEN_QUBIT: case TOKEN_BIT:
    return declaration(p);
  case TOKEN_GATE:
    return gate_definition(p);
  case TOKEN_MEASURE:
    return measure(p);
  case TOKEN_RESET:
    return reset(p);
  case TOKEN_BARRIER:
    return barrier(p);
  case TOKEN_DELAY:
    return delay(p);
  case TOKEN_IF:
    return if_statement(p);
  case TOKEN_FOR:
    return for_statement(p);
  case TOKEN_IDENTIFIER: case TOKEN_U: case TOKEN_CX:
    return named_statement(p);
  default:
    return parser_expected(p, "a statement", statement_hint(p));
  }
}

static bool version(parser *p) {
  if (p->current.kind != TOKEN_OPENQASM) return parser_expected(p, "'OPENQASM 3.0;' at the start", NULL);
  parser_advance(p);
  if (p->current.kind == TOKEN_END) return parser_expected(p, "a version number", NULL);
  if (p->current.kind != TOKEN_INTEGER && p->current.kind != TOKEN_FLOAT) {
    parser_expected(p, "a version number, as in 'OPENQASM 3.0;'", NULL);
    p->error->class = QASM_VERSION;
    return false;
  }
  parser_advance(p);
  return parser_expect(p, ';');
}

static bool read_tokens(parser *p) {
  do parser_advance(p);
  while (p->current.kind > TOKEN_BAD);
  if (p->current.kind == TOKEN_END) return true;
  char text[sizeof p->error->message];
  token_explain_bad(&p->current, text, sizeof text);
  return parser_fail(p, QASM_LEXICAL, &p->current, "%s", text);
}

static bool read_program(parser *p, bool acting) {
  lexer_init(&p->lexer, p->lexer.text, p->lexer.length);
  p->acting = acting;
  parser_advance(p);
  if (!version(p)) return false;
  while (p->current.kind != TOKEN_END) {
    if (!statement(p)) return false;
  }
  return true;
}

static bool check_limits(parser *p) {
  if (p->qubits_over.kind != TOKEN_END) {
    return parser_fail(p, QASM_COMPLEXITY, &p->qubits_over, "%llu qubits exceeds limit of %llu",
                       (unsigned long long)p->qubits.total, (unsigned long long)p->limits.max_qubits);
  }
  if (p->operations_over.kind != TOKEN_END) {
    return parser_fail(p, QASM_COMPLEXITY, &p->operations_over, "%llu gates exceeds limit of %llu",
                       (unsigned long long)p->circuit->operations, (unsigned long long)p->limits.max_operations);
  }
  return true;
}

static bool read_all(parser *p) {
  if (p->lexer.length > UINT32_MAX) return parser_fail(p, QASM_COMPLEXITY, &p->current, "program exceeds 4 GiB");
  if (!read_tokens(p) || !read_program(p, false)) return false;
  p->circuit = calloc(1, sizeof *p->circuit);
  if (!p->circuit) return parser_no_memory(p);
  p->circuit->qubits = p->qubits.total;
  return read_program(p, true) && check_limits(p);
}

circuit *qasm_parse(const char *text, size_t length, const qasm_limits *limits, qasm_error *error) {
  parser p = {.limits = *limits, .error = error, .current = {.line = 1, .column = 1}};
  /* Where things lie in memory is as good a secret as a table of names needs. */
  p.qubits.seed = p.bits.seed = p.gates.seed = (uint64_t)(uintptr_t)text * 31 + (uint64_t)(uintptr_t)&p;
  lexer_init(&p.lexer, length ? text : "", length); /* an empty text may be NULL */
  *error = (qasm_error){.class = QASM_OK};
  bool ok = read_all(&p);
  names_fini(&p.qubits);
  names_fini(&p.bits);
  names_fini(&p.gates);
  free(p.operands.spans);
  if (!ok) {
    circuit_free(p.circuit);
    p.circuit = NULL;
  }
  return p.circuit;
}
