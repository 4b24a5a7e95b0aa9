/* Chunks, of which the last is filled, each twice as large as the one before, up to a bound; what is larger has a chunk
 * of its own. Invariant: nothing that was
 * handed out moves before arvak__db_arena_fini.
 * SPDX-License-Identifier: Apache-2.0 */
#include "arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CHUNK_BYTES = 4096, MOST_CHUNK_BYTES = 65536 };

struct arvak__db_chunk {
  arvak__db_chunk *before;
  size_t used, size;
  alignas(max_align_t) char bytes[];
};

static arvak__db_chunk *add_chunk(arvak__db_arena *arena, size_t size) {
  size_t room = arena->last ? 2 * arena->last->size : FIRST_CHUNK_BYTES;
  if (room > MOST_CHUNK_BYTES) room = MOST_CHUNK_BYTES;
  if (room < size) room = size;
  if (room > SIZE_MAX - sizeof(arvak__db_chunk)) return NULL;
  arvak__db_chunk *chunk = malloc(sizeof *chunk + room);
  if (!chunk) return NULL;
  chunk->before = arena->last;
  chunk->used = 0;
  chunk->size = room;
  return arena->last = chunk;
}

void *arvak__db_arena_take(arvak__db_arena *arena, size_t size_bytes) {
  if (size_bytes > SIZE_MAX / 2) return NULL;
  size_t size = (size_bytes + alignof(max_align_t) - 1) / alignof(max_align_t) * alignof(max_align_t);
  arvak__db_chunk *chunk = arena->last;
  if (!chunk || chunk->size - chunk->used < size) chunk = add_chunk(arena, size);
  if (!chunk) return NULL;
  void *taken = chunk->bytes + chunk->used;
  chunk->used += size;
  arena->size_bytes += size;
  return taken;
}

char *arvak__db_arena_copy(arvak__db_arena *arena, const char *bytes, size_t size_bytes) {
  if (size_bytes == SIZE_MAX) return NULL;
  char *copy = arvak__db_arena_take(arena, size_bytes + 1);
  if (!copy) return NULL;
  if (size_bytes > 0) memcpy(copy, bytes, size_bytes);
  copy[size_bytes] = '\0';
  return copy;
}

void arvak__db_arena_fini(arvak__db_arena *arena) {
  for (arvak__db_chunk *chunk = arena->last, *before; chunk; chunk = before) {
    before = chunk->before;
    free(chunk);
  }
  *arena = (arvak__db_arena){0};
}
