/* Operands and what they turn into: broadcasting, the checks of a gate call, the circuit's gates and their count.
 * Sizes are counted, never walked, until they are known to be within the limits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "operations.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "expression.h"
#include "gates.h"

bool operand_resolve(parser *p, const name_table *table, const token *at, const uint32_t *index, span *out) {
  const register_entry *found = names_find(table, at->text, at->length);
  char quoted[TOKEN_QUOTED];
  token_quote(at, quoted);
  if (!found) {
    bool bits = table == &p->bits;
    const name_table *other = bits ? &p->qubits : &p->bits;
    if (names_find(other, at->text, at->length)) {
      return parser_fail(p, QASM_UNDEFINED, at, "%s is declared, but holds %s where %s are needed", quoted,
                         bits ? "qubits" : "bits", bits ? "bits" : "qubits");
    }
    return parser_fail(p, QASM_UNDEFINED, at, "%s is not declared: expected a %s register", quoted,
                       bits ? "bit" : "qubit");
  }
  if (index && *index >= found->size) {
    return parser_fail(p, QASM_INDEX, at, "index %lu is outside %s, which has %lu element%s", (unsigned long)*index,
                       quoted, (unsigned long)found->size, found->size == 1 ? "" : "s");
  }
  *out = (span){.start = found->start + (index ? *index : 0), .size = index ? 1 : found->size};
  out->offset = (uint32_t)at->offset;
  return true;
}

static int by_start(const void *a, const void *b) {
  uint64_t x = ((const span *)a)->start, y = ((const span *)b)->start;
  return (x > y) - (x < y);
}

/* Looks for an element that comes twice. Of an overlapping pair, the later one in the text is at fault. */
static void find_repeated(operands *o) {
  if (o->repeated || o->kept < 2) return;
  qsort(o->spans, o->kept, sizeof *o->spans, by_start);
  for (size_t i = 1; i < o->kept; i++) {
    const span *a = &o->spans[i - 1], *b = &o->spans[i];
    if (a->start + a->size > b->start) {
      o->repeated = true;
      o->repeated_offset = a->offset > b->offset ? a->offset : b->offset;
      return;
    }
  }
}

static bool keep_span(parser *p, const span *s, keep_mode keep) {
  operands *o = &p->operands;
  if (keep == KEEP_NONE || o->repeated || s->size == 0) return true;
  /* Three, because a gate of three qubits is checked for repetition before it is counted. */
  if (keep == KEEP_STORED && o->kept >= 3 && o->kept > p->limits.max_operations) return true;
  if (o->kept == o->capacity) {
    if (keep == KEEP_DISTINCT) find_repeated(o);
    size_t capacity = o->capacity ? o->capacity * 2 : 64;
    span *wider = realloc(o->spans, capacity * sizeof *wider);
    if (!wider) return parser_no_memory(p);
    o->spans = wider;
    o->capacity = capacity;
  }
  o->spans[o->kept++] = *s;
  return true;
}

static bool gather(parser *p, const span *s, keep_mode keep) {
  operands *o = &p->operands;
  if (s->size) {
    uint64_t last = s->start + s->size - 1;
    if (!o->total || last > o->highest) {
      o->highest = last;
      o->highest_offset = s->offset;
    }
    o->total += s->size;
  }
  return keep_span(p, s, keep);
}

static bool operand(parser *p, const name_table *table, span *out) {
  token name;
  uint32_t index;
  bool indexed = false;
  if (!parser_name(p, table == &p->bits ? "a bit register" : "a qubit register", &name)) return false;
  if (parser_accept(p, '[')) {
    indexed = true;
    if (!parser_integer(p, "an index", &index)) return false;
  }
  return !p->acting || operand_resolve(p, table, &name, indexed ? &index : NULL, out);
}

bool operands_read(parser *p, const name_table *table, keep_mode keep) {
  operands *o = &p->operands;
  o->total = o->kept = 0;
  o->repeated = false;
  do {
    span s = {0};
    if (!operand(p, table, &s) || !gather(p, &s, keep)) return false;
  } while (parser_accept(p, ','));
  if (keep == KEEP_DISTINCT) find_repeated(o);
  return true;
}

void operations_count(parser *p, uint64_t operations, const token *at) {
  p->circuit->operations += operations;
  if (p->circuit->operations > p->limits.max_operations && p->operations_over.kind == TOKEN_END) {
    p->operations_over = *at;
  }
}

/* Gates number qubits in 16 bits; a circuit with more of them than that cannot run anyway. */
static bool is_storing(const parser *p) {
  return p->operations_over.kind == TOKEN_END && p->qubits_over.kind == TOKEN_END && p->qubits.total <= UINT16_MAX;
}

static bool store(parser *p, const gate *g) {
  circuit *c = p->circuit;
  if (c->count == p->gate_capacity) {
    size_t capacity = p->gate_capacity ? p->gate_capacity * 2 : 32;
    gate *wider = capacity <= SIZE_MAX / sizeof *wider ? realloc(c->gates, capacity * sizeof *wider) : NULL;
    if (!wider) return parser_no_memory(p);
    c->gates = wider;
    p->gate_capacity = capacity;
  }
  c->gates[c->count++] = *g;
  return true;
}

static bool add(parser *p, const gate *g, const token *at) {
  operations_count(p, 1, at);
  return !is_storing(p) || store(p, g);
}

bool operations_broadcast(parser *p, gate *g, const token *at) {
  const operands *o = &p->operands;
  operations_count(p, o->total, at);
  if (!is_storing(p)) return true;
  for (size_t i = 0; i < o->kept; i++) {
    for (uint32_t j = 0; j < o->spans[i].size; j++) {
      g->qubit[0] = (uint16_t)(o->spans[i].start + j);
      if (!store(p, g)) return false;
    }
  }
  return true;
}

static const gate_spec *known_gate(parser *p, const token *name) {
  const gate_spec *spec = gate_find(name->text, name->length);
  if (spec) return spec;
  char quoted[TOKEN_QUOTED], advice[96];
  token_quote(name, quoted);
  gate_suggest(name->text, name->length, advice, sizeof advice);
  if (names_find(&p->gates, name->text, name->length)) {
    parser_fail(p, QASM_UNKNOWN_GATE, name, "gate %s is defined here, but definitions are not expanded: "
                "only built-in gates can be called", quoted);
  } else {
    parser_fail(p, QASM_UNKNOWN_GATE, name, "unknown gate %s%s%s", quoted, *advice ? ": " : "", advice);
  }
  return NULL;
}

static const char *plural(uint64_t n) { return n == 1 ? "" : "s"; }

/* A gate of two or three qubits: its operands count as one list, each qubit once. */
static bool add_fixed(parser *p, const gate_spec *spec, gate *g, const token *name) {
  const operands *o = &p->operands;
  if (o->total != spec->qubits) {
    return parser_fail(p, QASM_GATE_QUBITS, name, "gate '%s' takes %u qubits, but its operands hold %llu%s",
                       spec->name, (unsigned)spec->qubits, (unsigned long long)o->total,
                       o->kept == 2 && o->total > 2 ? ": registers are not paired element by element" : "");
  }
  uint64_t qubit[3];
  unsigned n = 0;
  for (size_t i = 0; i < o->kept; i++) {
    for (uint32_t j = 0; j < o->spans[i].size; j++) {
      qubit[n] = o->spans[i].start + j;
      for (unsigned k = 0; k < n; k++) {
        if (qubit[k] != qubit[n]) continue;
        token at = parser_token_at(p, o->spans[i].offset);
        return parser_fail(p, QASM_DUPLICATE_QUBIT, &at, "gate '%s' is given qubit %llu twice", spec->name,
                           (unsigned long long)qubit[n]);
      }
      g->qubit[n] = (uint16_t)qubit[n];
      n++;
    }
  }
  return add(p, g, name);
}

/* Operands are checked by now; then parameters, the name, the number of parameters, of qubits, and repetition. */
static bool act(parser *p, const token *name, const value *values, uint64_t count) {
  if (p->refused) {
    *p->error = p->refusal;
    return false;
  }
  const gate_spec *spec = known_gate(p, name);
  if (!spec) return false;
  gate g = {.kind = spec->kind};
  if (spec->parameters != GATE_ANY) {
    if (count != spec->parameters) {
      return parser_fail(p, QASM_GATE_PARAMETERS, name, "gate '%s' takes %u parameter%s, but is given %llu", spec->name,
                         (unsigned)spec->parameters, plural(spec->parameters), (unsigned long long)count);
    }
    for (unsigned i = 0; i < count; i++) {
      bool is_number = !values[i].symbolic && isfinite(values[i].number);
      g.parameter[i] = is_number ? values[i].number : 0;
      g.symbolic |= (uint8_t)(!is_number << i);
    }
  }
  if (spec->qubits != GATE_ANY) return add_fixed(p, spec, &g, name);
  return spec->kind == GATE_IDENTITY || operations_broadcast(p, &g, name);
}

/* `qreg q[2];` reads like a call of a gate `qreg` with an undeclared operand; say what is meant. */
static bool old_declaration(parser *p, const token *callee, bool qubits) {
  return parser_fail(p, QASM_UNDEFINED, callee, "'%s' belongs to OpenQASM 2: write '%s[n] name;'",
                     qubits ? "qreg" : "creg", qubits ? "qubit" : "bit");
}

bool gate_call_read(parser *p, const token *callee) {
  value values[3] = {{0}}, ignored;
  uint64_t count = 0;
  p->refused = false;
  if (parser_accept(p, '(') && !parser_accept(p, ')')) {
    do {
      if (!expression_read(p, count < 3 ? &values[count] : &ignored)) return false;
      count++;
    } while (parser_accept(p, ','));
    if (!parser_expect(p, ')')) return false;
  }
  if (!operands_read(p, &p->qubits, KEEP_STORED)) {
    bool qubits = callee->length == 4 && memcmp(callee->text, "qreg", 4) == 0;
    bool bits = callee->length == 4 && memcmp(callee->text, "creg", 4) == 0;
    if (p->error->class == QASM_UNDEFINED && (qubits || bits)) old_declaration(p, callee, qubits);
    return false;
  }
  return parser_expect(p, ';') && (!p->acting || act(p, callee, values, count));
}
