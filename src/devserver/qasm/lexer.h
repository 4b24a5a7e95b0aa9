/* Tokens of OpenQASM 3 text, one at a time and without copying: a token points into the text, so reading a program
 * twice costs no memory. Safe on any bytes; every byte of the text belongs to white space, a comment or one token.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_LEXER_H
#define ARVAK_DEVSERVER_LEXER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum token_kind {
  TOKEN_END, TOKEN_BAD, TOKEN_IDENTIFIER, TOKEN_INTEGER, TOKEN_FLOAT, TOKEN_STRING, TOKEN_MARK,
  /* Reserved words, in the order of lexer.c's table. */
  TOKEN_U, TOKEN_IF, TOKEN_IN, TOKEN_PI, TOKEN_CX, TOKEN_BIT, TOKEN_INT, TOKEN_LET, TOKEN_DEF, TOKEN_FOR, TOKEN_TAU,
  TOKEN_GATE, TOKEN_ELSE, TOKEN_TRUE, TOKEN_BOOL, TOKEN_QUBIT, TOKEN_FLOAT_TYPE, TOKEN_CONST, TOKEN_WHILE,
  TOKEN_RESET, TOKEN_DELAY, TOKEN_INPUT, TOKEN_EULER, TOKEN_FALSE, TOKEN_RETURN, TOKEN_OUTPUT, TOKEN_INCLUDE,
  TOKEN_MEASURE, TOKEN_BARRIER, TOKEN_OPENQASM
} token_kind;

/* Punctuation is one kind, told apart by `mark`: its character, or MARK2 of its two characters. */
#define MARK2(a, b) ((a) * 256 + (b))

typedef struct token {
  token_kind kind;
  int mark;         /* TOKEN_MARK only */
  const char *text; /* borrowed from the program */
  size_t length, offset;
  uint32_t line, column;
  uint64_t integer; /* TOKEN_INTEGER only */
} token;

typedef struct lexer {
  const char *text; /* borrowed */
  size_t length, offset, line_start;
  uint32_t line;
} lexer;

void lexer_init(lexer *l, const char *text, size_t length);
void lexer_next(lexer *l, token *out); /* TOKEN_END for ever once the text is used up */

double token_number(const token *t); /* the value of an integer or a float; infinity when out of range */

/* The token in single quotes, shortened and escaped, or "end of input". */
#define TOKEN_QUOTED 64
void token_quote(const token *t, char out[TOKEN_QUOTED]);
void token_explain_bad(const token *t, char *out, size_t size); /* what is wrong with a TOKEN_BAD */

#endif
