/* See arena.h. Each piece follows a word with its size; large ones get a block of their own.
 * SPDX-License-Identifier: Apache-2.0 */
#include "arena.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 16, BLOCK_BYTES = 16384, TRIM_BYTES = 16 << 20, HEADER_BYTES = ALIGNMENT };

static char *aligned(char *p) { return p + (-(uintptr_t)p & (ALIGNMENT - 1)); }

static void rewind_to_first(arena *a) {
  a->blocks = NULL;
  a->bytes = 0;
  a->at = aligned(a->first);
  a->end = a->first + sizeof a->first;
}

void arena_init(arena *a) { rewind_to_first(a); }

void arena_fini(arena *a) {
  for (void *block = a->blocks; block;) {
    void *next = *(void **)block;
    free(block);
    block = next;
  }
  /* One hostile message can take a gigabyte; the allocator would keep it. */
  if (a->bytes > TRIM_BYTES) malloc_trim(0);
  rewind_to_first(a);
}

static char *block_new(arena *a, size_t size) {
  char *block = malloc(HEADER_BYTES + size);
  if (!block) return NULL;
  *(void **)block = a->blocks;
  a->blocks = block;
  a->bytes += size;
  return block + HEADER_BYTES;
}

void *arena_alloc(arena *a, size_t size) {
  if (size > PTRDIFF_MAX - 4 * HEADER_BYTES) return NULL;
  size_t need = HEADER_BYTES + ((size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1));
  char *piece = a->at;
  if (need > BLOCK_BYTES / 4 && need > (size_t)(a->end - a->at)) {
    piece = block_new(a, need);
    if (!piece) return NULL;
  } else {
    if (need > (size_t)(a->end - a->at)) {
      piece = block_new(a, BLOCK_BYTES);
      if (!piece) return NULL;
      a->end = piece + BLOCK_BYTES;
    }
    a->at = piece + need;
  }
  memcpy(piece, &size, sizeof size);
  return piece + HEADER_BYTES;
}

char *arena_printf(arena *a, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int length = vsnprintf(NULL, 0, format, args);
  va_end(args);
  char *text = length < 0 ? NULL : arena_alloc(a, (size_t)length + 1);
  if (!text) return NULL;
  va_start(args, format);
  vsnprintf(text, (size_t)length + 1, format, args);
  va_end(args);
  return text;
}

size_t arena_size(const void *piece) {
  size_t size;
  memcpy(&size, (const char *)piece - HEADER_BYTES, sizeof size);
  return size;
}
