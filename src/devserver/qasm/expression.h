/* Expressions, read and evaluated at once.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_QASM_EXPRESSION_H
#define ARVAK_DEVSERVER_QASM_EXPRESSION_H

#include "parser.h"

typedef struct value {
  double number;
  bool symbolic; /* a free symbol or a division by zero is in it: no number */
  bool literal;  /* an integer as written, without parentheses */
} value;

/* Reads an expression. Its value counts only while acting; what cannot be a parameter sets p->refused. False as with
 * the functions of parser.h. */
bool expression_read(parser *p, value *out);

#endif
