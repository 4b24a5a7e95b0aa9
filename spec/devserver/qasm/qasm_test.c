/* The OpenQASM parser: what it takes, what it makes of it, and which error it reports where. Hostile programs are
 * bounded by construction: one that took time or memory out of proportion would hang the run, not fail an assertion.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "qasm/qasm.h"

#define HEAD "OPENQASM 3.0;\n"
#define COUNT(array) (sizeof(array) / sizeof *(array))

static const qasm_limits service = {.max_qubits = 200, .max_operations = 50000};

/* From a block of exactly the text's size, so that a sanitizer sees any look beyond its end. */
static circuit *parse_bytes(const char *text, size_t length, const qasm_limits *limits, qasm_error *error) {
  char *exact = malloc(length ? length : 1);
  assert_non_null(exact);
  memcpy(exact, text, length);
  circuit *c = qasm_parse(exact, length, limits, error);
  free(exact);
  assert_int_equal(c == NULL, error->class != QASM_OK);
  return c;
}

static circuit *parse(const char *text) {
  qasm_error error;
  circuit *c = parse_bytes(text, strlen(text), &service, &error);
  if (!c) fail_msg("%s: %u:%u %s %s", text, error.line, error.column, qasm_class_name(error.class), error.message);
  return c;
}

static qasm_error refuse_within(const char *text, const qasm_limits *limits) {
  qasm_error error;
  circuit *c = parse_bytes(text, strlen(text), limits, &error);
  if (c) fail_msg("accepted: %s", text);
  return error;
}

static void check_refused(const char *text, qasm_class class, unsigned line, unsigned column, const char *says) {
  qasm_error e = refuse_within(text, &service);
  if (e.class != class || e.line != line || e.column != column || !strstr(e.message, says)) {
    fail_msg("%s\n  wanted %s at %u:%u with \"%s\"\n  got %s at %u:%u: %s", text, qasm_class_name(class), line, column,
             says, qasm_class_name(e.class), e.line, e.column, e.message);
  }
  size_t offset = 0;
  for (unsigned l = 1; l < line; l++) offset = (size_t)(strchr(text + offset, '\n') - text) + 1;
  assert_int_equal(e.offset, offset + column - 1);
}

/* A program of `before`, n times `unit`, `after`; the caller frees it. */
static char *repeat(const char *before, const char *unit, size_t n, const char *after) {
  size_t a = strlen(before), u = strlen(unit), b = strlen(after);
  char *text = malloc(a + n * u + b + 1);
  assert_non_null(text);
  memcpy(text, before, a);
  for (size_t i = 0; i < n; i++) memcpy(text + a + i * u, unit, u);
  memcpy(text + a + n * u, after, b + 1);
  return text;
}

static qasm_class class_of_repeat(const char *before, const char *unit, size_t n, const char *after) {
  char *text = repeat(before, unit, n, after);
  qasm_error e;
  circuit_free(parse_bytes(text, strlen(text), &service, &e));
  free(text);
  return e.class;
}

static void accepted_programs_have_their_size(void **state) {
  static const struct {
    const char *text;
    unsigned qubits, operations, stored;
  } cases[] = {
      {"OPENQASM 3.0;", 0, 0, 0},
      {"OPENQASM 2;", 0, 0, 0},
      {"OPENQASM 99.;", 0, 0, 0},
      {"// first\n/* second\n * third **/OPENQASM 3.0; /***/", 0, 0, 0},
      {HEAD "include \"none\nsuch\"; qubit q;", 1, 0, 0},
      {HEAD "qubit[0] q; x q; reset q; barrier q; delay[1] q; measure q;", 0, 1, 0},
      {HEAD "qubit[3] a; qubit b; qubit[2] c;", 6, 0, 0},
      {HEAD "qubit q; qubit[2] q; x q;", 3, 2, 2},
      {HEAD "x q; qubit[4] q;", 4, 4, 4},
      {HEAD "qubit[3] q; id q; i(1, true_, 2) q, q; id() q[0];", 3, 0, 0},
      {HEAD "qubit[3] q; x q, q[1], q;", 3, 7, 7},
      {HEAD "qubit[2] q; cx q; ccx q, r; qubit r;", 3, 2, 2},
      {HEAD "qubit[2] q; barrier; barrier q; barrier q[1], q[0];", 2, 3, 0},
      {HEAD "qubit[2] q; delay[5] q; delay[100ns] q[0]; delay[1 dt] q, q;", 2, 7, 0},
      {HEAD "qubit[2] q; reset q, q[0];", 2, 3, 3},
      {HEAD "qubit[3] q; bit[2] c; measure q -> c; measure q[0] -> c;", 3, 3, 0},
      {HEAD "qubit[3] q; bit[2] c; c = measure q[1], q[2]; c[1] = measure q;", 3, 3, 0},
      {HEAD "qubit[3] q; bit[3] c; measure q; measure q[2], q[0];", 3, 5, 0},
      {HEAD "qubit q; bit q; q = measure q; measure q -> q;", 1, 2, 0},
      {HEAD "x = 1; x[3] = y; z = f(1, g()); w = 1 + 2 ** 3 == !true || -(a) & b ^ c | d % e <= 5;", 0, 0, 0},
      {HEAD "gate g a { x a; } gate h(t) a, b { nonsense(t) c; if (t) { } for i in [0:1] x a; }", 0, 0, 0},
      {HEAD "gate h a { x a; } qubit q; h q;", 1, 1, 1},
      {HEAD "gate g a { qubit[5] q; gate i b { measure q; } }", 0, 0, 0},
      {HEAD "qubit[2] x; x x; X x[1];", 2, 3, 3},
      {"OPENQASM\t3.0\r\n;qubit\tq;x\rq\n;", 1, 1, 1},
  };
  (void)state;
  for (size_t i = 0; i < COUNT(cases); i++) {
    circuit *c = parse(cases[i].text);
    if (c->qubits != cases[i].qubits || c->operations != cases[i].operations || c->count != cases[i].stored) {
      fail_msg("%s: %u qubits, %u operations, %u stored", cases[i].text, (unsigned)c->qubits, (unsigned)c->operations,
               (unsigned)c->count);
    }
    circuit_free(c);
  }
}

static void each_gate_name_becomes_its_kind(void **state) {
  static const struct {
    const char *call;
    gate_kind kind;
    unsigned qubits;
  } cases[] = {
      {"x", GATE_X, 1},           {"y", GATE_Y, 1},           {"z", GATE_Z, 1},           {"h", GATE_H, 1},
      {"s", GATE_S, 1},           {"sdg", GATE_SDG, 1},       {"t", GATE_T, 1},           {"tdg", GATE_TDG, 1},
      {"sx", GATE_SX, 1},         {"sxdg", GATE_SXDG, 1},     {"rx(1)", GATE_RX, 1},      {"ry(1)", GATE_RY, 1},
      {"rz(1)", GATE_RZ, 1},      {"p(1)", GATE_P, 1},        {"phase(1)", GATE_P, 1},    {"u(1,2,3)", GATE_U, 1},
      {"u3(1,2,3)", GATE_U, 1},   {"prx(1,2)", GATE_PRX, 1},  {"r(1,2)", GATE_PRX, 1},    {"cx", GATE_CX, 2},
      {"cnot", GATE_CX, 2},       {"cy", GATE_CY, 2},         {"cz", GATE_CZ, 2},         {"ch", GATE_CH, 2},
      {"swap", GATE_SWAP, 2},     {"iswap", GATE_ISWAP, 2},   {"crz(1)", GATE_CRZ, 2},    {"cp(1)", GATE_CP, 2},
      {"cphase(1)", GATE_CP, 2},  {"crx(1)", GATE_CRX, 2},    {"cry(1)", GATE_CRY, 2},    {"rxx(1)", GATE_RXX, 2},
      {"ryy(1)", GATE_RYY, 2},    {"rzz(1)", GATE_RZZ, 2},    {"ecr", GATE_ECR, 2},       {"ccx", GATE_CCX, 3},
      {"toffoli", GATE_CCX, 3},   {"cswap", GATE_CSWAP, 3},   {"fredkin", GATE_CSWAP, 3}, {"U(1,2,3)", GATE_U, 1},
      {"CX", GATE_CX, 2},
  };
  static const char *const operands[] = {"", "q[4]", "q[4], q[1]", "q[4], q[1], q[3]"};
  (void)state;
  for (size_t i = 0; i < COUNT(cases); i++) {
    for (int upper = 0; upper < 2; upper++) {
      char text[128], name[16] = "";
      for (size_t j = 0; cases[i].call[j]; j++) {
        char ch = cases[i].call[j];
        name[j] = (char)(upper && j % 2 == 0 && ch >= 'a' && ch <= 'z' ? ch - 32 : ch);
      }
      snprintf(text, sizeof text, HEAD "qubit[5] q; %s %s;", name, operands[cases[i].qubits]);
      circuit *c = parse(text);
      assert_int_equal(c->count, 1);
      assert_int_equal(c->gates[0].kind, cases[i].kind);
      assert_int_equal(c->gates[0].symbolic, 0);
      static const unsigned order[] = {4, 1, 3};
      for (unsigned q = 0; q < cases[i].qubits; q++) assert_int_equal(c->gates[0].qubit[q], order[q]);
      circuit_free(c);
    }
  }
}

static double parameter_of(const char *expression, unsigned *symbolic) {
  char text[256];
  snprintf(text, sizeof text, HEAD "qubit q; rx(%s) q;", expression);
  circuit *c = parse(text);
  assert_int_equal(c->count, 1);
  double value = c->gates[0].parameter[0];
  *symbolic = c->gates[0].symbolic;
  circuit_free(c);
  return value;
}

static void parameters_have_their_value(void **state) {
  static const struct {
    const char *text;
    double value;
  } cases[] = {
      {"0", 0},
      {"1.", 1},
      {"0.1", 0.1},
      {"1.5e-3", 0.0015},
      {"12E+2", 1200},
      {"1e-310", 1e-310},
      {"0.000000000000000000000000000000123e30", 0.123},
      {"123456789012345678901234567890.0", 123456789012345678901234567890.0},
      {"9223372036854775807", 9223372036854775807.0},
      {"pi", 3.14159265358979323846},
      {"tau", 6.28318530717958647692},
      {"euler", 2.71828182845904523536},
      {"1/2", 0.5},
      {"2-3-4", -5},
      {"2-3*4", -10},
      {"100/10/5", 2},
      {"100/(10/5)", 50},
      {"2+3*4-5*6/3", 4},
      {"-2*-3", 6},
      {"--2", 2},
      {"!2", -2},
      {"-(1+2)*2", -6},
      {"1--1", 2},
      {"-pi/2", -1.57079632679489661923},
  };
  (void)state;
  for (size_t i = 0; i < COUNT(cases); i++) {
    unsigned symbolic;
    double value = parameter_of(cases[i].text, &symbolic);
    if (symbolic || value != cases[i].value) fail_msg("%s = %.17g, not %.17g", cases[i].text, value, cases[i].value);
  }
}

static void free_symbols_and_divisions_by_zero_have_no_value(void **state) {
  static const char *const cases[] = {"a",   "PI",       "sin",       "a*0",  "1-a",   "-a",   "(a)", "1/0",
                                      "0/0", "1/(2-2)", "1-1/0",     "0*a+1", "a/b/2", "2/0.0", "_",   "Tau"};
  unsigned symbolic;
  (void)state;
  for (size_t i = 0; i < COUNT(cases); i++) {
    parameter_of(cases[i], &symbolic);
    if (symbolic != 1) fail_msg("%s has a value", cases[i]);
  }
  circuit *c = parse(HEAD "qubit q; u(1, a, b) q; x(a) q;");
  assert_int_equal(c->gates[0].symbolic, 2 | 4);
  assert_true(c->gates[0].parameter[0] == 1);
  assert_int_equal(c->gates[1].symbolic, 0);
  circuit_free(c);
}

static void grammar_errors_name_the_token_and_what_was_expected(void **state) {
  (void)state;
  check_refused("", QASM_END_OF_INPUT, 1, 1, "'OPENQASM 3.0;' at the start, found end of input");
  check_refused(" \n ", QASM_END_OF_INPUT, 2, 2, "end of input");
  check_refused("openqasm 3.0;", QASM_SYNTAX, 1, 1, "found 'openqasm'");
  check_refused("OPENQASM", QASM_END_OF_INPUT, 1, 9, "version number");
  check_refused("OPENQASM three;", QASM_VERSION, 1, 10, "found 'three'");
  check_refused("OPENQASM ;", QASM_VERSION, 1, 10, "found ';'");
  check_refused("OPENQASM 3.0", QASM_END_OF_INPUT, 1, 13, "expected ';'");
  check_refused(HEAD "OPENQASM 3.0;", QASM_SYNTAX, 2, 1, "once, at the start");
  check_refused(HEAD "qubit q;\n\n  x q q;", QASM_SYNTAX, 4, 7, "expected ';', found 'q'");
  check_refused(HEAD "qubit q; x q", QASM_END_OF_INPUT, 2, 13, "expected ';'");
  check_refused(HEAD "qubit[-1] q;", QASM_SYNTAX, 2, 7, "register size, found '-'");
  check_refused(HEAD "qubit q[2];", QASM_SYNTAX, 2, 8, "before the name, as in qubit[2] q");
  check_refused(HEAD "bit[2] c = measure q;", QASM_SYNTAX, 2, 10, "declare first");
  check_refused(HEAD "qubit pi;", QASM_SYNTAX, 2, 7, "'pi': that word is reserved");
  check_refused(HEAD "qubit[2] q; x q[0:1];", QASM_SYNTAX, 2, 18, "expected ']', found ':'");
  check_refused(HEAD "qubit q; ctrl @ x q;", QASM_SYNTAX, 2, 15, "modifiers");
  check_refused(HEAD "rx(.5) q;", QASM_SYNTAX, 2, 4, "digit before its point");
  check_refused(HEAD "rx(1,) q;", QASM_SYNTAX, 2, 6, "an expression, found ')'");
  check_refused(HEAD "rx(~1) q;", QASM_SYNTAX, 2, 4, "found '~'");
  check_refused(HEAD "rx(1 << 2) q;", QASM_SYNTAX, 2, 7, "found '<'");
  check_refused(HEAD "gphase(pi);", QASM_SYNTAX, 2, 11, "a qubit register, found ';'");
  check_refused(HEAD ";", QASM_SYNTAX, 2, 1, "empty statements");
  check_refused(HEAD "{ }", QASM_SYNTAX, 2, 1, "blocks stand only as bodies");
  check_refused(HEAD "while (1) { }", QASM_SYNTAX, 2, 1, "found 'while'");
  check_refused(HEAD "let a = q;", QASM_SYNTAX, 2, 1, "aliases");
  check_refused(HEAD "gate g() a { }", QASM_SYNTAX, 2, 8, "a parameter name, found ')'");
  check_refused(HEAD "gate g { }", QASM_SYNTAX, 2, 8, "a qubit name, found '{'");
  check_refused(HEAD "gate g a x a;", QASM_SYNTAX, 2, 10, "expected '{'");
  check_refused(HEAD "gate g a {\nx a;", QASM_END_OF_INPUT, 3, 5, "expected '}'");
  check_refused(HEAD "for int i in [0:1] { }", QASM_SYNTAX, 2, 5, "without a type");
  check_refused(HEAD "for i in [0] { }", QASM_SYNTAX, 2, 12, "expected ':'");
  check_refused(HEAD "if (a) { ; }", QASM_SYNTAX, 2, 10, "empty statements");
  check_refused(HEAD "if (a) x q; else else", QASM_SYNTAX, 2, 18, "a statement, found 'else'");
  check_refused(HEAD "measure q -> ;", QASM_SYNTAX, 2, 14, "a bit register, found ';'");
  check_refused(HEAD "reset;", QASM_SYNTAX, 2, 6, "a qubit register");
  check_refused(HEAD "delay q;", QASM_SYNTAX, 2, 7, "expected '['");
  check_refused(HEAD "qubit q; delay[n] q;", QASM_SYNTAX, 2, 16, "a plain integer");
  check_refused(HEAD "qubit q; delay[1.5ns] q;", QASM_SYNTAX, 2, 16, "a plain integer");
  check_refused(HEAD "qubit q; delay[-1] q;", QASM_SYNTAX, 2, 16, "a plain integer");
  check_refused(HEAD "qubit q; delay[(1)] q;", QASM_SYNTAX, 2, 16, "a plain integer");
  check_refused(HEAD "qubit q; delay[((1)) dt] q;", QASM_SYNTAX, 2, 16, "a plain integer");
  check_refused(HEAD "x = \"s\";", QASM_SYNTAX, 2, 5, "found '\"s\"'");
}

static void bad_tokens_win_over_everything_before_them(void **state) {
  (void)state;
  check_refused(HEAD "qubit q; x q q; x r; #", QASM_LEXICAL, 2, 22, "'#': pragmas");
  check_refused("\xEF\xBB\xBF" "OPENQASM 3.0;", QASM_LEXICAL, 1, 1, "byte order mark");
  check_refused(HEAD "rx(\xCF\x80/2) q;", QASM_LEXICAL, 2, 4, "U+03C0 '\xCF\x80': write pi");
  check_refused(HEAD "x $0;", QASM_LEXICAL, 2, 3, "'$': physical qubits");
  check_refused(HEAD "include 'a';", QASM_LEXICAL, 2, 9, "double quotes");
  check_refused(HEAD "include \"a;\n", QASM_LEXICAL, 2, 9, "never closed");
  check_refused(HEAD "x q; /* a\n*", QASM_LEXICAL, 2, 6, "never closed");
  check_refused(HEAD "/*/", QASM_LEXICAL, 2, 1, "never closed");
  check_refused(HEAD "qubit q;\fx q;", QASM_LEXICAL, 2, 9, "'\\x0C'");
  check_refused(HEAD "x \xFF;", QASM_LEXICAL, 2, 3, "'\\xFF'");
  check_refused(HEAD "x \xED\xA0\x80;", QASM_LEXICAL, 2, 3, "'\\xED'");
  check_refused(HEAD "x = 18446744073709551616;", QASM_LEXICAL, 2, 5, "larger than 18446744073709551615");
  qasm_error e;
  assert_null(parse_bytes("OPENQASM 3.0;\0", 14, &service, &e));
  assert_int_equal(e.class, QASM_LEXICAL);
  assert_int_equal(e.offset, 13);
  assert_null(qasm_parse(NULL, 0, &service, &e));
  assert_int_equal(e.class, QASM_END_OF_INPUT);
  circuit_free(parse(HEAD "include \"\xCF\x80\"; // \xFF '$#\n/* # */"));
}

static void errors_of_meaning_have_positions_too(void **state) {
  (void)state;
  check_refused(HEAD "qubit q;\n x  r;", QASM_UNDEFINED, 3, 5, "'r' is not declared");
  check_refused(HEAD "bit c; x c;", QASM_UNDEFINED, 2, 10, "holds bits where qubits are needed");
  check_refused(HEAD "qubit q; measure q -> q;", QASM_UNDEFINED, 2, 23, "holds qubits where bits are needed");
  check_refused(HEAD "qubit q; c = measure q[5];", QASM_INDEX, 2, 22, "index 5 is outside 'q'");
  check_refused(HEAD "bit[2] c; c[5] = measure r;", QASM_UNDEFINED, 2, 26, "'r' is not declared");
  check_refused(HEAD "qubit q; bit[2] c; c[5] = measure q;", QASM_INDEX, 2, 20, "index 5 is outside 'c'");
  check_refused(HEAD "qubit q; d[1] = measure q;", QASM_UNDEFINED, 2, 10, "'d' is not declared: expected a bit");
  check_refused(HEAD "qreg q[2];", QASM_UNDEFINED, 2, 1, "OpenQASM 2: write 'qubit[n] name;'");
  check_refused(HEAD "creg c[2];", QASM_UNDEFINED, 2, 1, "write 'bit[n] name;'");
  check_refused(HEAD "qubit[3] q; x q[3];", QASM_INDEX, 2, 15, "index 3 is outside 'q', which has 3 elements");
  check_refused(HEAD "qubit[0] q; x q[0];", QASM_INDEX, 2, 15, "0 elements");
  check_refused(HEAD "qubit q; bit[2] c; measure q -> c[2];", QASM_INDEX, 2, 33, "'c', which has 2");
  check_refused(HEAD "qubit[2] q; cu1(1) q[0], q[1];", QASM_UNKNOWN_GATE, 2, 13, "'cu1': write cp(theta)");
  check_refused(HEAD "qubit q; crzz q;", QASM_UNKNOWN_GATE, 2, 10, "did you mean 'crz'?");
  check_refused(HEAD "qubit q; toffolli q;", QASM_UNKNOWN_GATE, 2, 10, "unknown gate 'toffolli'");
  check_refused(HEAD "gate mine a { } qubit q; mine q;", QASM_UNKNOWN_GATE, 2, 26, "definitions are not expanded");
  check_refused(HEAD "qubit q; cx q;", QASM_GATE_QUBITS, 2, 10, "takes 2 qubits, but its operands hold 1");
  check_refused(HEAD "qubit[2] a; qubit[2] b; cx a, b;", QASM_GATE_QUBITS, 2, 25, "not paired element by element");
  check_refused(HEAD "qubit[4000000000] a; ccx a, a, a;", QASM_GATE_QUBITS, 2, 22, "hold 12000000000");
  check_refused(HEAD "qubit q; rx q;", QASM_GATE_PARAMETERS, 2, 10, "takes 1 parameter, but is given 0");
  check_refused(HEAD "qubit q; u(1,2,3,4,5) q;", QASM_GATE_PARAMETERS, 2, 10, "takes 3 parameters, but is given 5");
  check_refused(HEAD "qubit[2] q; cx q[1], q[1];", QASM_DUPLICATE_QUBIT, 2, 22, "qubit 1 twice");
  check_refused(HEAD "qubit[2] q; cswap q, q[0];", QASM_DUPLICATE_QUBIT, 2, 22, "qubit 0 twice");
  check_refused(HEAD "qubit[3] q; barrier q[2], q[0], q;", QASM_DUPLICATE_QUBIT, 2, 33, "twice");
  check_refused(HEAD "qubit[2] q; bit c; measure q[0], q[1];", QASM_MISSING_BIT, 2, 34, "bit 1 for qubit 1");
  check_refused(HEAD "qubit q; bit[0] c; c = measure q;", QASM_MISSING_BIT, 2, 20, "no bits cannot take 1 qubit");
  check_refused(HEAD "qubit[3] q; bit[0] c; c = measure q, q[0];", QASM_MISSING_BIT, 2, 23, "4 qubits");
  check_refused(HEAD "if (a) { }", QASM_UNSUPPORTED, 2, 1, "'if'");
  check_refused(HEAD "for i in [0:2:9] x q;", QASM_UNSUPPORTED, 2, 1, "'for'");
  check_refused(HEAD "qubit q; rx(1+sin(2)) q;", QASM_UNSUPPORTED, 2, 15, "function 'sin'");
  check_refused(HEAD "qubit q; rx(1+2%3) q;", QASM_UNSUPPORTED, 2, 16, "operator '%'");
  check_refused(HEAD "qubit q; x(true) q;", QASM_UNSUPPORTED, 2, 12, "'true'");
  check_refused(HEAD "qubit[4294967296] q;", QASM_RANGE, 2, 7, "larger than 4294967295");
  check_refused(HEAD "qubit[4294967296 2] q;", QASM_SYNTAX, 2, 18, "expected ']'");
  check_refused(HEAD "bit[99999999999+1] c;", QASM_SYNTAX, 2, 16, "expected ']'");
  check_refused(HEAD "x q[4294967296 2];", QASM_SYNTAX, 2, 16, "expected ']'");
  check_refused(HEAD "c[4294967296 2] = measure q;", QASM_SYNTAX, 2, 14, "expected ']'");
  check_refused(HEAD "x q[4294967296];", QASM_RANGE, 2, 5, "larger than 4294967295");
  check_refused(HEAD "x = 9223372036854775808;", QASM_RANGE, 2, 5, "larger than 9223372036854775807");
}

static void every_operator_without_a_value_is_refused(void **state) {
  static const char *const operators[] = {"%", "**", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "&", "|", "^"};
  (void)state;
  for (size_t i = 0; i < COUNT(operators); i++) {
    char text[64];
    snprintf(text, sizeof text, HEAD "qubit q; rx(1 %s 2) q;", operators[i]);
    check_refused(text, QASM_UNSUPPORTED, 2, 15, operators[i]);
  }
}

static void a_gate_call_is_checked_in_order(void **state) {
  (void)state;
  check_refused(HEAD "qubit q; foo(true) r;", QASM_UNDEFINED, 2, 20, "'r'");
  check_refused(HEAD "qubit q; foo(true) q;", QASM_UNSUPPORTED, 2, 14, "'true'");
  check_refused(HEAD "qubit q; foo(1, 2) q, q;", QASM_UNKNOWN_GATE, 2, 10, "'foo'");
  check_refused(HEAD "qubit q; cp(1, 2) q, q;", QASM_GATE_PARAMETERS, 2, 10, "given 2");
  check_refused(HEAD "qubit q; cp(1) q, q, q;", QASM_GATE_QUBITS, 2, 10, "hold 3");
  check_refused(HEAD "qubit q; cp(1) q, q;", QASM_DUPLICATE_QUBIT, 2, 19, "qubit 0");
  /* The grammar of the whole text comes before the meaning of its first statement. */
  check_refused(HEAD "foo(true) r; x q q;", QASM_SYNTAX, 2, 18, "found 'q'");
  check_refused(HEAD "foo(true) r; qubit[4294967296] q;", QASM_RANGE, 2, 20, "register size");
  check_refused(HEAD "if (a) x q; qubit q; x r; x q", QASM_END_OF_INPUT, 2, 30, "expected ';'");
}

static void nesting_is_limited_where_the_service_limits_it(void **state) {
  static const struct {
    const char *before, *unit;
    size_t n;
    const char *after;
    qasm_class class;
  } cases[] = {
      {HEAD "qubit q; rx(", "-", 254, "1) q;", QASM_OK},
      {HEAD "qubit q; rx(", "-", 255, "1) q;", QASM_NESTING},
      {HEAD "qubit q; rx(", "!", 3000000, "1) q;", QASM_NESTING},
      {HEAD "x = ", "(", 3000000, "", QASM_NESTING},
      {HEAD "x = ", "f(", 3000000, "", QASM_NESTING},
      {HEAD "if (", "(", 128, "", QASM_NESTING},
      {HEAD, "if (a) ", 500000, "", QASM_NESTING},
      {HEAD, "if (a) {", 500000, "", QASM_NESTING},
      {HEAD, "for i in [0:1] ", 500000, "", QASM_NESTING},
      {HEAD, "gate g a {", 500000, "", QASM_NESTING},
      {HEAD, "if (a) x q; else ", 500000, "x q;", QASM_UNSUPPORTED},
  };
  (void)state;
  for (size_t i = 0; i < COUNT(cases); i++) {
    assert_int_equal(class_of_repeat(cases[i].before, cases[i].unit, cases[i].n, cases[i].after), cases[i].class);
  }
  for (size_t n = 127; n <= 128; n++) {
    char *open = repeat(HEAD "qubit q; rx(", "(", n, "1"), *text = repeat(open, ")", n, ") q;");
    qasm_error e;
    circuit_free(parse_bytes(text, strlen(text), &service, &e));
    assert_int_equal(e.class, n == 127 ? QASM_OK : QASM_NESTING);
    free(open);
    free(text);
  }
  char *open = repeat(HEAD, "gate g a {", 256, ""), *text = repeat(open, "}", 256, "");
  circuit_free(parse(text));
  free(open);
  free(text);
}

static void long_programs_cost_no_more_than_their_length(void **state) {
  (void)state;
  assert_int_equal(class_of_repeat(HEAD "qubit q; rx(a", "+a", 2000000, ") q;"), QASM_OK);
  assert_int_equal(class_of_repeat(HEAD "qubit q; rx(1", "*2-1", 1000000, ") q;"), QASM_OK);
  assert_int_equal(class_of_repeat(HEAD "qubit q; x(1", ",1", 2000000, ") q;"), QASM_OK);
  assert_int_equal(class_of_repeat(HEAD "qubit[2] q; barrier q", ",q", 2000000, ";"), QASM_DUPLICATE_QUBIT);
  assert_int_equal(class_of_repeat(HEAD "qubit[0] q; h q", ",q", 2000000, ";"), QASM_OK);
  assert_int_equal(class_of_repeat(HEAD "qubit[4294967295] q; h q", ",q", 1000000, ";"), QASM_COMPLEXITY);
  assert_int_equal(class_of_repeat(HEAD, "qubit[4000000000] q; h q;", 100000, ""), QASM_COMPLEXITY);
  assert_int_equal(class_of_repeat(HEAD "bit[4294967295] c; qubit[4294967295] q;", "c = measure q;", 100000, ""),
                   QASM_COMPLEXITY);
  assert_int_equal(class_of_repeat(HEAD "qubit ", "a", 4000000, ";"), QASM_OK);
  assert_int_equal(class_of_repeat(HEAD "x = 1", "0", 4000000, ";"), QASM_LEXICAL);
  assert_int_equal(class_of_repeat(HEAD "x = 1.", "0", 4000000, ";"), QASM_OK);
  assert_int_equal(class_of_repeat(HEAD, "/**/", 1000000, ""), QASM_OK);
  assert_int_equal(class_of_repeat(HEAD, "/*", 2000000, ""), QASM_LEXICAL);
  assert_int_equal(class_of_repeat("", "\n", 4000000, HEAD), QASM_OK);
  assert_int_equal(class_of_repeat(HEAD "qubit[20] q;", "id q;", 1000000, ""), QASM_OK);
}

/* Many names of many lengths, and a barrier over them all: without, then with one that comes twice. */
static void many_registers_are_found_again(void **state) {
  enum { N = 100000 };
  size_t used = 0, size = (size_t)N * 40;
  char *text = malloc(size);
  (void)state;
  assert_non_null(text);
  used += (size_t)snprintf(text, size, HEAD);
  for (unsigned i = 0; i < N; i++) used += (size_t)snprintf(text + used, size - used, "qubit r%0*u;", i % 9 + 1, i);
  used += (size_t)snprintf(text + used, size - used, "barrier r");
  used -= 1;
  for (unsigned i = 0; i < N; i++) used += (size_t)snprintf(text + used, size - used, "r%0*u,", i % 9 + 1, i);
  snprintf(text + used - 1, size - used + 1, "; x r99999, r0;");
  qasm_limits wide = {.max_qubits = 1000000, .max_operations = 2};
  qasm_error e;
  assert_null(parse_bytes(text, strlen(text), &wide, &e));
  assert_int_equal(e.class, QASM_COMPLEXITY);
  assert_string_equal(e.message, "3 gates exceeds limit of 2");
  memcpy(strstr(text, "; x r99999"), ",r9;     //", 11);
  assert_null(parse_bytes(text, strlen(text), &wide, &e));
  assert_int_equal(e.class, QASM_DUPLICATE_QUBIT);
  free(text);
}

static void limits_are_reported_after_all_other_errors(void **state) {
  (void)state;
  check_refused(HEAD "qubit[150] a;\nqubit[51] b; x a;", QASM_COMPLEXITY, 3, 11, "201 qubits exceeds limit of 200");
  check_refused(HEAD "qubit[201] q; x r;", QASM_UNDEFINED, 2, 17, "'r'");
  check_refused(HEAD "qubit[201] q; x q[201];", QASM_INDEX, 2, 17, "201 elements");
  check_refused(HEAD "qubit[4294967295] a; qubit[4294967295] b;", QASM_COMPLEXITY, 2, 19, "8589934590 qubits");
  char *text = repeat(HEAD "qubit[200] q;\n", "x q;\n", 250, "id q;\nbarrier;");
  qasm_error e = refuse_within(text, &service);
  assert_int_equal(e.class, QASM_COMPLEXITY);
  assert_int_equal(e.line, 254);
  assert_string_equal(e.message, "50001 gates exceeds limit of 50000");
  strcpy(strstr(text, "barrier;"), "id q;");
  circuit *c = parse(text);
  assert_int_equal(c->count, 50000);
  assert_int_equal(c->gates[49999].qubit[0], 199);
  circuit_free(c);
  strcpy(strstr(text, "id q;"), "x q; y r;");
  e = refuse_within(text, &service);
  assert_int_equal(e.class, QASM_UNDEFINED);
  free(text);
  qasm_limits none = {.max_qubits = 0, .max_operations = 0};
  assert_string_equal(refuse_within(HEAD "qubit[2] q; cx q;", &none).message, "2 qubits exceeds limit of 0");
  assert_int_equal(refuse_within(HEAD "qubit[2] q; cx q[0], q[0];", &none).class, QASM_DUPLICATE_QUBIT);
  /* More qubits than a gate can number: counted, not stored. */
  qasm_limits wide = {.max_qubits = UINT64_MAX, .max_operations = UINT64_MAX};
  static const char giant[] = HEAD "qubit[4294967295] q; h q;";
  c = parse_bytes(giant, sizeof giant - 1, &wide, &e);
  assert_non_null(c);
  assert_int_equal(c->operations, 4294967295U);
  assert_int_equal(c->count, 0);
  circuit_free(c);
}

static bool is_one_valid_line(const char *s) {
  for (const unsigned char *p = (const unsigned char *)s; *p;) {
    unsigned more = *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : *p >= 0xc2 ? 1 : 0;
    if (*p < ' ' || *p == 0x7f || (*p >= 0x80 && !more)) return false;
    p++;
    for (; more; more--, p++) {
      if ((*p & 0xc0) != 0x80) return false;
    }
  }
  return true;
}

static void check_position(const char *text, size_t length, const qasm_error *e) {
  unsigned line = 1, column = 1;
  assert_true(e->offset <= length);
  for (size_t i = 0; i < e->offset; i++) {
    column = text[i] == '\n' ? 1 : column + 1;
    line += text[i] == '\n';
  }
  assert_int_equal(e->line, line);
  assert_int_equal(e->column, column);
  assert_true(*e->message != '\0' && strlen(e->message) < sizeof e->message);
  assert_true(is_one_valid_line(e->message));
}

static const char sample[] = HEAD
    "include \"stdgates.inc\"; // \xCF\x80\nqubit[2] q; bit[2] c;\ngate g(a) b { rx(a) b; }\n"
    "u(1, 2.5e-1, -pi) q[1]; /* * */ delay[10ns] q;\ncx q[0], q[1]; c[0] = measure q[1];\n"
    "reset q; barrier q[0]; measure q -> c; x = f(1 + y) ** 2;\n";

static void any_prefix_is_parsed_or_refused_at_its_place(void **state) {
  (void)state;
  for (size_t n = 0; n < sizeof sample; n++) {
    qasm_error e;
    circuit *c = parse_bytes(sample, n, &service, &e);
    if (!c) check_position(sample, n, &e);
    circuit_free(c);
  }
}

static void any_byte_anywhere_is_parsed_or_refused_at_its_place(void **state) {
  char text[sizeof sample];
  (void)state;
  for (size_t at = 0; at + 1 < sizeof sample; at++) {
    for (int byte = 0; byte < 256; byte++) {
      qasm_error e;
      memcpy(text, sample, sizeof sample);
      text[at] = (char)byte;
      circuit *c = parse_bytes(text, sizeof sample - 1, &service, &e);
      if (!c) check_position(text, sizeof sample - 1, &e);
      circuit_free(c);
    }
  }
}

static void long_or_unprintable_tokens_are_shown_short_and_escaped(void **state) {
  (void)state;
  char *text = repeat(HEAD "qubit q; x ", "name", 100, ";");
  check_refused(text, QASM_UNDEFINED, 2, 12, "'namenamenamenamenamenamenamenamenamenam...' is not declared");
  free(text);
  check_refused(HEAD "x \"\n\xFF\";", QASM_SYNTAX, 2, 3, "found '\"\\x0A\\xFF\"'");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(accepted_programs_have_their_size),
      cmocka_unit_test(each_gate_name_becomes_its_kind),
      cmocka_unit_test(parameters_have_their_value),
      cmocka_unit_test(free_symbols_and_divisions_by_zero_have_no_value),
      cmocka_unit_test(grammar_errors_name_the_token_and_what_was_expected),
      cmocka_unit_test(bad_tokens_win_over_everything_before_them),
      cmocka_unit_test(errors_of_meaning_have_positions_too),
      cmocka_unit_test(every_operator_without_a_value_is_refused),
      cmocka_unit_test(a_gate_call_is_checked_in_order),
      cmocka_unit_test(nesting_is_limited_where_the_service_limits_it),
      cmocka_unit_test(long_programs_cost_no_more_than_their_length),
      cmocka_unit_test(many_registers_are_found_again),
      cmocka_unit_test(limits_are_reported_after_all_other_errors),
      cmocka_unit_test(any_prefix_is_parsed_or_refused_at_its_place),
      cmocka_unit_test(any_byte_anywhere_is_parsed_or_refused_at_its_place),
      cmocka_unit_test(long_or_unprintable_tokens_are_shown_short_and_escaped),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
