/* Memory that is given back all at once: of a transaction, of an outcome. Not thread-safe; who has it uses it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_STORE_ARENA_H
#define ARVAK_STORE_ARENA_H

#include <stddef.h>

typedef struct arvak__db_chunk arvak__db_chunk;

/* All zero: empty. */
typedef struct arvak__db_arena {
  arvak__db_chunk *last; /* owned, with those before it */
  size_t size_bytes;     /* handed out so far */
} arvak__db_arena;

/* Borrowed until arvak__db_arena_fini, aligned for any type, not cleared; NULL: out of memory. */
void *arvak__db_arena_take(arvak__db_arena *arena, size_t size_bytes);
/* A copy of these bytes with a NUL after them; as above. */
char *arvak__db_arena_copy(arvak__db_arena *arena, const char *bytes, size_t size_bytes);
void arvak__db_arena_fini(arvak__db_arena *arena); /* empty again */

#endif
