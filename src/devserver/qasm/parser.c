/* See parser.h: tokens taken one at a time, and the first error noted with its place.
 * SPDX-License-Identifier: Apache-2.0 */
#include "parser.h"

#include <stdarg.h>
#include <stdio.h>

bool parser_fail(parser *p, qasm_class class, const token *at, const char *format, ...) {
  qasm_error *e = p->error;
  *e = (qasm_error){.class = class, .line = at->line, .column = at->column, .offset = at->offset};
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(e->message, sizeof e->message, format, arguments);
  va_end(arguments);
  return false;
}

bool parser_expected(parser *p, const char *what, const char *hint) {
  char found[TOKEN_QUOTED];
  token_quote(&p->current, found);
  qasm_class class = p->current.kind == TOKEN_END ? QASM_END_OF_INPUT : QASM_SYNTAX;
  return parser_fail(p, class, &p->current, "expected %s, found %s%s%s", what, found, hint ? ": " : "",
                     hint ? hint : "");
}

bool parser_no_memory(parser *p) { return parser_fail(p, QASM_NO_MEMORY, &p->current, "out of memory"); }

token parser_token_at(const parser *p, size_t offset) {
  lexer l;
  token t;
  lexer_init(&l, p->lexer.text, p->lexer.length);
  do lexer_next(&l, &t);
  while (t.offset < offset && t.kind != TOKEN_END);
  return t;
}

void parser_advance(parser *p) { lexer_next(&p->lexer, &p->current); }

bool parser_is(const parser *p, int mark) { return p->current.kind == TOKEN_MARK && p->current.mark == mark; }

bool parser_accept(parser *p, int mark) {
  if (!parser_is(p, mark)) return false;
  parser_advance(p);
  return true;
}

bool parser_expect(parser *p, int mark) {
  const char what[] = {'\'', (char)mark, '\'', '\0'};
  return parser_accept(p, mark) || parser_expected(p, what, NULL);
}

bool parser_name(parser *p, const char *what, token *out) {
  *out = p->current;
  if (out->kind == TOKEN_IDENTIFIER) {
    parser_advance(p);
    return true;
  }
  const char *hint = out->kind >= TOKEN_U    ? "that word is reserved"
                     : parser_is(p, '@') ? "gate modifiers (ctrl, negctrl, inv, pow) are not accepted"
                                         : NULL;
  return parser_expected(p, what, hint);
}

bool parser_integer(parser *p, const char *what, uint32_t *out) {
  const token t = p->current;
  if (t.kind != TOKEN_INTEGER) return parser_expected(p, what, "only a plain integer may stand here");
  parser_advance(p);
  if (!parser_expect(p, ']')) return false;
  if (t.integer > UINT32_MAX) {
    return parser_fail(p, QASM_RANGE, &t, "%s of %llu is larger than 4294967295", what,
                       (unsigned long long)t.integer);
  }
  *out = (uint32_t)t.integer;
  return true;
}
