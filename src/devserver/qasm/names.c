/* Open addressing with linear probing, at most half full. A program of 16 MiB may declare a million names, so the
 * table must neither degrade with size nor by names chosen to collide.
 * SPDX-License-Identifier: Apache-2.0 */
#include "names.h"

#include <stdlib.h>
#include <string.h>

static uint64_t mix(uint64_t h) {
  h = (h ^ h >> 32) * 0xd6e8feb86659fd93U;
  h = (h ^ h >> 32) * 0xd6e8feb86659fd93U;
  return h ^ h >> 32;
}

/* The seed goes into every step: names that collide under one seed do not under another. */
static uint64_t hash(const name_table *n, const char *text, size_t length) {
  uint64_t h = mix(n->seed ^ length), chunk;
  for (; length >= sizeof chunk; text += sizeof chunk, length -= sizeof chunk) {
    memcpy(&chunk, text, sizeof chunk);
    h = mix(h ^ mix(chunk ^ n->seed));
  }
  chunk = 0;
  memcpy(&chunk, text, length);
  return mix(h ^ mix(chunk ^ n->seed));
}

static register_entry *slot_of(const name_table *n, const char *text, size_t length) {
  size_t i = hash(n, text, length) & (n->capacity - 1);
  while (n->slots[i].text && (n->slots[i].length != length || memcmp(n->slots[i].text, text, length) != 0)) {
    i = (i + 1) & (n->capacity - 1);
  }
  return &n->slots[i];
}

static bool grow(name_table *n) {
  name_table wider = *n;
  wider.capacity = n->capacity ? n->capacity * 2 : 16;
  wider.slots = calloc(wider.capacity, sizeof *wider.slots);
  if (!wider.slots) return false;
  for (size_t i = 0; i < n->capacity; i++) {
    if (n->slots[i].text) *slot_of(&wider, n->slots[i].text, n->slots[i].length) = n->slots[i];
  }
  free(n->slots);
  *n = wider;
  return true;
}

bool names_declare(name_table *n, const char *text, uint32_t length, uint32_t size) {
  if (n->used * 2 >= n->capacity && !grow(n)) return false;
  register_entry *slot = slot_of(n, text, length);
  n->used += slot->text == NULL;
  *slot = (register_entry){.text = text, .length = length, .size = size, .start = n->total};
  n->total += size;
  return true;
}

const register_entry *names_find(const name_table *n, const char *text, size_t length) {
  if (!n->capacity) return NULL;
  const register_entry *slot = slot_of(n, text, length);
  return slot->text ? slot : NULL;
}

void names_fini(name_table *n) { free(n->slots); }
