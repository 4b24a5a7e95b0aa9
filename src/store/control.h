/* How a store's thread waits, and learns that it shall end. The Lua thread wakes it and sets the time of an interrupt;
 * the thread, and the driver in it, wait here and nowhere else for longer than a moment.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_STORE_CONTROL_H
#define ARVAK_STORE_CONTROL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define DB_NEVER INT64_MAX

typedef struct arvak__db_control {
  int wake_fd;                        /* owned; an eventfd */
  atomic_int_fast64_t interrupt_ns;   /* any thread: from then on whatever runs shall end; DB_NEVER */
} arvak__db_control;

int64_t arvak__db_now_ns(void); /* CLOCK_MONOTONIC */
/* The time so many ns from now, DB_NEVER at the latest. */
int64_t arvak__db_after_ns(int64_t ns);

bool arvak__db_control_init(arvak__db_control *control); /* false: no descriptor is left */
void arvak__db_control_fini(arvak__db_control *control);
void arvak__db_control_wake(arvak__db_control *control); /* any thread; ends the thread's wait, or the next one */
void arvak__db_control_interrupt_at(arvak__db_control *control, int64_t at_ns); /* any thread; wakes it too */
bool arvak__db_control_is_interrupted(const arvak__db_control *control);
/* In the store's thread: waits until fd has one of these poll events, somebody wakes it, or the time of the interrupt
 * or until_ns has come. fd -1: none. Returns the events of fd that have come (POLLERR, POLLHUP, POLLNVAL too), or 0;
 * then the caller looks at the clock and at arvak__db_control_is_interrupted. */
short arvak__db_control_wait(arvak__db_control *control, int fd, short events, int64_t until_ns);

#endif
