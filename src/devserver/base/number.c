/* See number.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "number.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>

double number_parse(const char *text, char **end) {
  locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
  *end = (char *)text;
  if (!c) return NAN;
  double value = strtod_l(text, end, c);
  freelocale(c);
  return value;
}
