/* Copies bytes between two non-blocking sockets, both ways, driven by edge-triggered events.
 * Invariant: each direction's buffer is empty, or its writer has said that it can take no more for now.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_RELAY_H
#define ARVAK_DEVSERVER_RELAY_H

#include <stdbool.h>
#include <stddef.h>

enum { RELAY_BYTES = 32768 };

typedef struct relay_half {
  size_t start, end;
  bool finished; /* the reader's end has been passed on */
  char buffer[RELAY_BYTES];
} relay_half;

typedef struct relay {
  int fd[2];          /* borrowed */
  relay_half half[2]; /* half[i]: from fd[i] to the other */
} relay;

relay *relay_new(int outer, int inner); /* Returns owned (free) or NULL. */
bool relay_run(relay *r);               /* After any event. False: both ends are done, or one broke. */

#endif
