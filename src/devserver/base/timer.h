/* Deadlines: one thread, one heap. Callbacks run on that thread, one at a time and without any lock held.
 * Invariant: of timer_start, exactly one follows: the callback with fired = true (its time came), the callback with
 * fired = false (the timers are being stopped), or a timer_cancel that returned true.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_TIMER_H
#define ARVAK_DEVSERVER_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct timers timers;
typedef struct timer timer;
typedef void (*timer_fn)(timer *t, bool fired);

/* Embedded in what it times; zero is a timer that is not running. */
struct timer {
  uint64_t due_us; /* this and the next: guarded by the timers' lock while running */
  size_t slot;     /* 1 + its place in the heap; 0: not running */
  timer_fn fn;
};

uint64_t clock_us(void);    /* monotonic */
int64_t clock_unix_s(void); /* wall */

timers *timers_new(void);      /* Returns owned; NULL: no memory or no thread. */
void timers_stop(timers *all); /* Joins the thread, then ends what still runs with fired = false. */
void timers_free(timers *all); /* After timers_stop; NULL is fine. */

/* After timers_stop, the callback comes at once, fired = false, on the caller's thread. */
void timer_start(timers *all, timer *t, uint64_t due_us, timer_fn fn);
bool timer_cancel(timers *all, timer *t); /* false: it was not running, its callback has begun */

#endif
