/* The lexer of the OpenQASM subset: docs/openqasm.md lists what it takes.
 * It never looks past `length`, and always moves on by at least a byte until the end.
 * SPDX-License-Identifier: Apache-2.0 */
#include "lexer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct word {
  char text[9];
  uint8_t length;
} word;

/* Ordered by length, so that a look-up tries only words of its own length. */
static const word words[] = {
    {"U", 1},       {"if", 2},      {"in", 2},      {"pi", 2},      {"CX", 2},      {"bit", 3},
    {"int", 3},     {"let", 3},     {"def", 3},     {"for", 3},     {"tau", 3},     {"gate", 4},
    {"else", 4},    {"true", 4},    {"bool", 4},    {"qubit", 5},   {"float", 5},   {"const", 5},
    {"while", 5},   {"reset", 5},   {"delay", 5},   {"input", 5},   {"euler", 5},   {"false", 5},
    {"return", 6},  {"output", 6},  {"include", 7}, {"measure", 7}, {"barrier", 7}, {"OPENQASM", 8}};
static const uint8_t words_from[] = {0, 0, 1, 5, 11, 15, 24, 26, 29, 30};
#define LONGEST_WORD 8

/* isdigit and its like follow the host's locale; these do not. */
static bool is_digit(unsigned char c) { return c >= '0' && c <= '9'; }

static bool is_name(unsigned char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c);
}

static int peek(const lexer *l, size_t ahead) {
  return ahead < l->length - l->offset ? (unsigned char)l->text[l->offset + ahead] : -1;
}

static bool digit_at(const lexer *l, size_t ahead) {
  int c = peek(l, ahead);
  return c >= 0 && is_digit((unsigned char)c);
}

static void count_lines(lexer *l, size_t from, size_t to) {
  for (const char *at = l->text + from, *end = l->text + to; (at = memchr(at, '\n', (size_t)(end - at))); at++) {
    l->line++;
    l->line_start = (size_t)(at - l->text) + 1;
  }
}

/* Skips a comment; false for a block comment without an end, which then is a bad token. */
static bool skip_comment(lexer *l) {
  const char *from = l->text + l->offset, *end = l->text + l->length;
  if (from[1] == '/') {
    const char *stop = memchr(from, '\n', (size_t)(end - from));
    l->offset = stop ? (size_t)(stop - l->text) : l->length;
    return true;
  }
  for (const char *at = from + 2; (at = memchr(at, '*', (size_t)(end - at))); at++) {
    if (at + 1 < end && at[1] == '/') {
      size_t stop = (size_t)(at - l->text) + 2;
      count_lines(l, l->offset, stop);
      l->offset = stop;
      return true;
    }
  }
  return false;
}

static bool skip_blank(lexer *l) {
  for (;;) {
    switch (peek(l, 0)) {
    case '\n':
      l->line++;
      l->line_start = l->offset + 1;
      l->offset++;
      break;
    case ' ': case '\t': case '\r':
      l->offset++;
      break;
    case '/':
      if (peek(l, 1) != '/' && peek(l, 1) != '*') return true;
      if (!skip_comment(l)) return false;
      break;
    default:
      return true;
    }
  }
}

static void lex_name(const lexer *l, token *t) {
  size_t n = 1;
  while (n < l->length - l->offset && is_name((unsigned char)t->text[n])) n++;
  t->length = n;
  t->kind = TOKEN_IDENTIFIER;
  if (n > LONGEST_WORD) return;
  for (size_t i = words_from[n]; i < words_from[n + 1]; i++) {
    if (words[i].text[0] == t->text[0] && memcmp(words[i].text, t->text, n) == 0) {
      t->kind = (token_kind)(TOKEN_U + i);
      return;
    }
  }
}

static size_t skip_digits(const lexer *l, size_t n) {
  while (digit_at(l, n)) n++;
  return n;
}

static void lex_number(const lexer *l, token *t) {
  size_t n = skip_digits(l, 0), digits = n;
  t->kind = TOKEN_INTEGER;
  if (peek(l, n) == '.') {
    t->kind = TOKEN_FLOAT;
    n = skip_digits(l, n + 1);
  }
  if (peek(l, n) == 'e' || peek(l, n) == 'E') {
    size_t sign = peek(l, n + 1) == '+' || peek(l, n + 1) == '-';
    if (digit_at(l, n + 1 + sign)) {
      t->kind = TOKEN_FLOAT;
      n = skip_digits(l, n + 1 + sign);
    }
  }
  t->length = n;
  for (size_t i = 0; t->kind == TOKEN_INTEGER && i < digits; i++) {
    uint64_t digit = (uint64_t)(t->text[i] - '0');
    if (t->integer > (UINT64_MAX - digit) / 10) t->kind = TOKEN_BAD;
    else t->integer = t->integer * 10 + digit;
  }
}

/* A string may hold line ends; they count. An open one is bad, and reported where it starts. */
static void lex_string(lexer *l, token *t) {
  const char *stop = memchr(t->text + 1, '"', l->length - l->offset - 1);
  if (!stop) return;
  t->kind = TOKEN_STRING;
  t->length = (size_t)(stop - t->text) + 1;
  count_lines(l, t->offset, t->offset + t->length);
}

static void lex_mark(const lexer *l, token *t) {
  static const char pairs[][3] = {"->", "==", "!=", "<=", ">=", "&&", "||", "**"};
  int c = peek(l, 0), d = peek(l, 1);
  /* '~' is a token of the language, although no expression takes it. */
  if (c == 0 || !strchr("()[]{};:,.=+-*/%^&|!<>@~", c)) return;
  t->kind = TOKEN_MARK;
  t->mark = c;
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    if (c == pairs[i][0] && d == pairs[i][1]) {
      t->mark = MARK2(c, d);
      t->length = 2;
    }
  }
}

/* Length of the UTF-8 sequence at s, its code point in *code; 0 when it is none. */
static size_t decode(const char *s, size_t length, uint32_t *code) {
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  unsigned char c = (unsigned char)s[0];
  size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
  if (c < 0xc2 || c > 0xf4 || n > length) return 0;
  *code = c & (0x7fU >> n);
  for (size_t i = 1; i < n; i++) {
    if (((unsigned char)s[i] & 0xc0) != 0x80) return 0;
    *code = *code << 6 | ((unsigned char)s[i] & 0x3f);
  }
  bool surrogate = *code >= 0xd800 && *code <= 0xdfff;
  return *code < least[n] || *code > 0x10ffff || surrogate ? 0 : n;
}

void lexer_init(lexer *l, const char *text, size_t length) {
  *l = (lexer){.text = text, .length = length, .line = 1};
}

void lexer_next(lexer *l, token *out) {
  bool closed = skip_blank(l);
  *out = (token){.kind = TOKEN_END, .text = l->text + l->offset, .offset = l->offset, .line = l->line};
  out->column = (uint32_t)(l->offset - l->line_start + 1);
  int c = peek(l, 0);
  if (c < 0) return;
  out->kind = TOKEN_BAD;
  out->length = 1;
  if (!closed) {
    out->length = 2;
    l->offset = l->length;
    return;
  }
  if (is_digit((unsigned char)c)) {
    lex_number(l, out);
  } else if (is_name((unsigned char)c)) {
    lex_name(l, out);
  } else if (c == '"') {
    lex_string(l, out);
  } else if (c < 0x80) {
    lex_mark(l, out);
  } else {
    uint32_t code;
    size_t n = decode(out->text, l->length - l->offset, &code);
    if (n) out->length = n;
  }
  l->offset += out->length;
}

/* Not strtod: the text has no NUL after it, and strtod follows the host's locale. Nineteen digits and the long
 * double's range are enough for the nearest double or its neighbour. */
double token_number(const token *t) {
  uint64_t mantissa = 0;
  long exponent = 0, written = 0;
  bool fraction = false, negative = false;
  size_t i = 0;
  for (; i < t->length && (is_digit((unsigned char)t->text[i]) || t->text[i] == '.'); i++) {
    if (t->text[i] == '.') {
      fraction = true;
    } else if (mantissa < 1000000000000000000U) {
      mantissa = mantissa * 10 + (uint64_t)(t->text[i] - '0');
      exponent -= fraction;
    } else {
      exponent += !fraction;
    }
  }
  for (i++; i < t->length; i++) {
    if (t->text[i] == '-') negative = true;
    else if (is_digit((unsigned char)t->text[i]) && written < 100000000) written = written * 10 + (t->text[i] - '0');
  }
  exponent += negative ? -written : written;
  if (mantissa == 0) return 0;
  /* In two steps: where a long double is a double, 1e310 is infinite although 1e-310 is not zero. */
  long double value = (long double)mantissa;
  if (exponent < -300) {
    value /= powl(10, 300);
    exponent += 300;
  }
  return (double)(exponent < 0 ? value / powl(10, (long double)-exponent) : value * powl(10, (long double)exponent));
}

void token_quote(const token *t, char out[TOKEN_QUOTED]) {
  if (t->kind == TOKEN_END) {
    snprintf(out, TOKEN_QUOTED, "end of input");
    return;
  }
  size_t used = 0, i = 0;
  out[used++] = '\'';
  for (; i < t->length && used < TOKEN_QUOTED - 24; i++) {
    unsigned char c = (unsigned char)t->text[i];
    if (c >= ' ' && c < 0x7f) out[used++] = (char)c;
    else used += (size_t)snprintf(out + used, TOKEN_QUOTED - used, "\\x%02X", c);
  }
  snprintf(out + used, TOKEN_QUOTED - used, "%s'", i < t->length ? "..." : "");
}

void token_explain_bad(const token *t, char *out, size_t size) {
  uint32_t code;
  char quoted[TOKEN_QUOTED];
  unsigned char c = (unsigned char)t->text[0];
  token_quote(t, quoted);
  if (is_digit(c)) {
    snprintf(out, size, "integer %s is larger than 18446744073709551615", quoted);
  } else if (c == '"') {
    snprintf(out, size, "string is never closed: no second '\"' follows");
  } else if (c == '/') {
    snprintf(out, size, "comment is never closed: no '*/' follows");
  } else if (c >= 0x80 && decode(t->text, t->length, &code)) {
    const char *hint = code == 0x3c0   ? ": write pi"
                       : code == 0x3c4 ? ": write tau"
                       : code == 0x2107 ? ": write euler"
                       : code == 0xfeff ? ": remove the byte order mark"
                                        : ": only strings and comments may hold non-ASCII text";
    snprintf(out, size, "unexpected character U+%04X '%.*s'%s", (unsigned)code, (int)t->length, t->text, hint);
  } else {
    const char *hint = c == '#'    ? ": pragmas are not part of the accepted language"
                       : c == '$'  ? ": physical qubits are not accepted, declare qubit[n] q"
                       : c == '\'' ? ": strings take double quotes"
                                   : "";
    snprintf(out, size, "unexpected character %s%s", quoted, hint);
  }
}
