/* The seam between the library and its stores: how the thread of a store wakes the loop of a Lua state. core.new_bell()
 * makes a bell, a userdata that begins with the struct below; the store's module checks metatable and version.
 * Nothing else is shared: a store is a module of its own, and sees no function of the library.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_STORE_SEAM_H
#define ARVAK_STORE_SEAM_H

#define ARVAK_BELL "arvak.bell" /* the metatable's name in the registry */

enum { ARVAK_BELL_VERSION = 1 };

/* Functions of any thread. wake also in a child process, where it reaches nobody. */
typedef struct arvak__bell_functions {
  int version; /* ARVAK_BELL_VERSION; first in every version */
  void (*retain)(void *bell);
  void (*wake)(void *bell); /* rings: who waits for the bell is told in the next step; also when the state has closed */
  void (*release)(void *bell);
} arvak__bell_functions;

/* The userdata. */
typedef struct arvak__bell_seam {
  const arvak__bell_functions *functions; /* static */
  void *bell;                             /* one reference is the userdata's */
} arvak__bell_seam;

#endif
