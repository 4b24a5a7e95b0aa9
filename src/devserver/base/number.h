/* Numbers in text, with a point, whatever the locale of the process says.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_NUMBER_H
#define ARVAK_DEVSERVER_NUMBER_H

/* As strtod does it in the C locale. Not a number when there is no memory. */
double number_parse(const char *text, char **end);

#endif
