/* The inbox of a loop: what is to be done in the thread that owns the loop, first in first out. A posting is embedded
 * in what it is about. Invariant: a posting is in the inbox at most once, however often it is posted.
 * Thread-safe: guarded by its mu. A posting is borrowed while it is in the inbox.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_INBOX_H
#define ARVAK_INBOX_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "link.h"

typedef struct arvak__posting arvak__posting;
struct arvak__posting {
  arvak__link link; /* mu; first: its address is the posting's */
  bool is_posted;   /* mu */
  void (*fn)(arvak__posting *posting); /* runs in a step of the loop; set once */
};

typedef struct arvak__inbox {
  pthread_mutex_t mu;
  arvak__list list;   /* mu */
  atomic_size_t size; /* mu; read by any thread */
} arvak__inbox;

void arvak__inbox_init(arvak__inbox *inbox);
void arvak__inbox_fini(arvak__inbox *inbox);
bool arvak__inbox_put(arvak__inbox *inbox, arvak__posting *posting); /* false: it is there already */
arvak__posting *arvak__inbox_take(arvak__inbox *inbox);               /* the first, or NULL */
/* Takes back a posting that nobody else will post any more. */
void arvak__inbox_remove(arvak__inbox *inbox, arvak__posting *posting);

#endif
