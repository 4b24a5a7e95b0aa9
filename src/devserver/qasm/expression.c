/* Expressions: read and evaluated at once, without a tree, so that a chain of any length costs no memory. Recursion
 * happens only through parentheses and calls, and the nesting limit bounds it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "expression.h"

#include <stdarg.h>
#include <stdio.h>

/* An expression and an operand with its signs are a level each: 127 parentheses or 254 signs fit. */
#define MAX_DEPTH 256

static bool deeper(parser *p) {
  if (p->depth == MAX_DEPTH) {
    return parser_fail(p, QASM_NESTING, &p->current,
                       "expression is nested too deeply (at most 127 parentheses or 254 signs)");
  }
  p->depth++;
  return true;
}

/* Notes the first reason why the expression is no parameter. Not an error yet: elsewhere it may stand. */
__attribute__((format(printf, 3, 4))) static void refuse(parser *p, const token *at, const char *format, ...) {
  if (!p->acting || p->refused) return;
  p->refused = true;
  p->refusal = (qasm_error){.class = QASM_UNSUPPORTED, .line = at->line, .column = at->column, .offset = at->offset};
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(p->refusal.message, sizeof p->refusal.message, format, arguments);
  va_end(arguments);
}

static bool call(parser *p, const token *function, value *out) {
  char quoted[TOKEN_QUOTED];
  token_quote(function, quoted);
  refuse(p, function, "function %s cannot be evaluated: write its value as a number", quoted);
  *out = (value){.symbolic = true};
  parser_advance(p);
  if (parser_accept(p, ')')) return true;
  do {
    value ignored;
    if (!expression_read(p, &ignored)) return false;
  } while (parser_accept(p, ','));
  return parser_expect(p, ')');
}

static bool primary(parser *p, value *out) {
  token t = p->current;
  switch (t.kind) {
  case TOKEN_INTEGER:
    if (t.integer > INT64_MAX) {
      return parser_fail(p, QASM_RANGE, &t, "integer '%llu' is larger than 9223372036854775807",
                         (unsigned long long)t.integer);
    }
    *out = (value){.number = (double)t.integer, .literal = true};
    break;
  case TOKEN_FLOAT:
    *out = (value){.number = token_number(&t)};
    break;
  case TOKEN_PI:
    *out = (value){.number = 3.14159265358979323846};
    break;
  case TOKEN_TAU:
    *out = (value){.number = 6.28318530717958647693};
    break;
  case TOKEN_EULER:
    *out = (value){.number = 2.71828182845904523536};
    break;
  case TOKEN_TRUE: case TOKEN_FALSE:
    refuse(p, &t, "'%s' cannot be a gate parameter", t.kind == TOKEN_TRUE ? "true" : "false");
    *out = (value){.symbolic = true};
    break;
  case TOKEN_IDENTIFIER:
    parser_advance(p);
    *out = (value){.symbolic = true};
    return !parser_is(p, '(') || call(p, &t, out);
  default:
    if (parser_accept(p, '(')) {
      bool is_read = expression_read(p, out) && parser_expect(p, ')');
      out->literal = false;
      return is_read;
    }
    return parser_expected(p, "an expression", parser_is(p, '.') ? "a number needs a digit before its point" : NULL);
  }
  parser_advance(p);
  return true;
}

static bool unary(parser *p, value *out) {
  unsigned outer = p->depth;
  bool negative = false, sign = false;
  for (;;) {
    if (!deeper(p)) return false;
    /* The service takes '!' for a minus. */
    if (!parser_accept(p, '-') && !parser_accept(p, '!')) break;
    negative = !negative;
    sign = true;
  }
  if (!primary(p, out)) return false;
  if (negative) out->number = -out->number;
  if (sign) out->literal = false;
  p->depth = outer;
  return true;
}

static bool is_operator(const parser *p) {
  if (p->current.kind != TOKEN_MARK) return false;
  switch (p->current.mark) {
  case '+': case '-': case '*': case '/': case '%': case '<': case '>': case '&': case '|': case '^':
  case MARK2('*', '*'): case MARK2('=', '='): case MARK2('!', '='): case MARK2('<', '='): case MARK2('>', '='):
  case MARK2('&', '&'): case MARK2('|', '|'):
    return true;
  default:
    return false;
  }
}

static value apply(value left, int operator, value right) {
  value result = {.symbolic = left.symbolic || right.symbolic};
  switch (operator) {
  case '+': result.number = left.number + right.number; break;
  case '-': result.number = left.number - right.number; break;
  case '*': result.number = left.number * right.number; break;
  default:
    if (right.number == 0) result.symbolic = true;
    else result.number = left.number / right.number;
  }
  return result;
}

/* The operators without a value have precedences too, but a parameter with one is refused whatever they group. */
bool expression_read(parser *p, value *out) {
  value sum = {0}, term;
  int pending = 0;
  if (!deeper(p) || !unary(p, &term)) return false;
  while (is_operator(p)) {
    token operator = p->current;
    value right;
    parser_advance(p);
    if (!unary(p, &right)) return false;
    if (operator.mark == '*' || operator.mark == '/') {
      term = apply(term, operator.mark, right);
    } else if (operator.mark == '+' || operator.mark == '-') {
      sum = pending ? apply(sum, pending, term) : term;
      pending = operator.mark;
      term = right;
    } else {
      char quoted[TOKEN_QUOTED];
      token_quote(&operator, quoted);
      refuse(p, &operator, "operator %s cannot be used in a parameter: only + - * / can", quoted);
    }
  }
  *out = pending ? apply(sum, pending, term) : term;
  p->depth--;
  return true;
}
