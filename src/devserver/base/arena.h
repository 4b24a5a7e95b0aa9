/* Memory for one request: handed out in order, given back all at once, and it remembers the size of each piece,
 * which is how strings decoded by protobuf-c keep their true length whatever zero bytes they hold.
 * Invariant: pieces never move and live until arena_fini. One thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_ARENA_H
#define ARVAK_DEVSERVER_ARENA_H

#include <stddef.h>

enum { ARENA_FIRST_BYTES = 2048 };

typedef struct arena {
  char *at, *end;
  void *blocks; /* owned, linked by their first word; without the first */
  size_t bytes; /* of the blocks */
  char first[ARENA_FIRST_BYTES];
} arena;

void arena_init(arena *a);
void arena_fini(arena *a); /* leaves it ready for use again */

/* Returns borrowed until arena_fini, aligned for anything; NULL when out of memory. */
void *arena_alloc(arena *a, size_t size);
char *arena_printf(arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The size with which a piece was allocated. Only for pointers from arena_alloc. */
size_t arena_size(const void *piece);

#endif
