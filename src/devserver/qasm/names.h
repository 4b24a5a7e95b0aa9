/* Names of registers, looked up by hash. Declaring a name again replaces what it stands for.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_QASM_NAMES_H
#define ARVAK_DEVSERVER_QASM_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct register_entry {
  const char *text; /* borrowed from the program; NULL marks a free slot */
  uint32_t length;
  uint32_t size;  /* elements of the register */
  uint64_t start; /* number of its first element among all of its kind */
} register_entry;

typedef struct name_table {
  uint64_t seed;  /* any number a program's author cannot know, against chosen collisions */
  uint64_t total; /* elements of all declarations, shadowed ones included */
  size_t used, capacity;
  register_entry *slots; /* owned */
} name_table;

/* False: out of memory. */
bool names_declare(name_table *n, const char *text, uint32_t length, uint32_t size);
/* Borrowed until the next declaration; NULL when there is none of that name. */
const register_entry *names_find(const name_table *n, const char *text, size_t length);
void names_fini(name_table *n);

#endif
