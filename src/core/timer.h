/* A heap of deadlines. Pure: the caller reads the clock. Invariant: timer->place is its index in the heap, from 1.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_TIMER_H
#define ARVAK_TIMER_H

#include "arvak.h"

typedef struct arvak__timers {
  arvak_timer **heap; /* owned; heap[1] is the earliest */
  size_t size, capacity;
} arvak__timers;

int arvak__timers_set(arvak__timers *timers, arvak_timer *timer, int64_t deadline_ns);
void arvak__timers_stop(arvak__timers *timers, arvak_timer *timer);
int64_t arvak__timers_next(const arvak__timers *timers); /* ARVAK_NEVER when there is none */
/* Takes out the earliest timer that is due, or returns NULL. */
arvak_timer *arvak__timers_pop(arvak__timers *timers, int64_t now_ns);
void arvak__timers_fini(arvak__timers *timers); /* the timers left count as stopped */

#endif
