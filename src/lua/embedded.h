/* The Lua layer, made part of the module at build time by tools/embed.lua.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_EMBEDDED_H
#define LARVAK_EMBEDDED_H

#include <stddef.h>

typedef struct larvak_source {
  const char *name, *chunk, *text; /* chunk: the file's name, for messages */
  size_t size;
} larvak_source;

extern const larvak_source larvak_sources[]; /* ends with a NULL name */

#endif
