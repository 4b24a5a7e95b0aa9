/* The Lua layer, made part of the module at build time by tools/embed.lua.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_EMBEDDED_H
#define LARVAK_EMBEDDED_H

#include <stddef.h>

typedef struct larvak_source {
  const char *name, *chunk, *text; /* chunk: the file's name, for messages */
  size_t size;
  const char *code; /* the text, compiled by the Lua that built the module */
  size_t code_size;
} larvak_source;

/* The first is a probe, whose code tells whether this Lua may load the others'. Ends with a NULL name. */
extern const larvak_source larvak_sources[];

#endif
