/* A transaction that a store repeats by itself, which is a sign of life of whoever has it: also while the Lua thread
 * computes, but not for ever. A transaction that was submitted may be one, too.
 * Invariant: the time of the last beat is never later than when it was sent, and stands for a beat that changed a row.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_STORE_BEAT_H
#define ARVAK_STORE_BEAT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "outcome.h"
#include "transaction.h"

/* What is repeated. All zero: nothing. */
typedef struct arvak__db_pulse {
  arvak__db_transaction tx; /* owned */
  int64_t every_ns;
  int64_t quiet_ns; /* so long after the last turn of the Lua thread's loop the beats pause, until the next turn */
  size_t turn; /* this value of the first statement is the age of the last turn, in seconds; from 1 on; 0: none is */
} arvak__db_pulse;

typedef struct arvak__db_beat {
  pthread_mutex_t mu;
  bool is_changed;      /* mu: next is wanted in place of current */
  arvak__db_pulse next; /* mu */
  arvak__db_pulse current;            /* the store's thread's, as is due_ns */
  int64_t due_ns;                     /* by arvak__db_now_ns */
  atomic_int_fast64_t turn_ns;        /* of the last turn, as is the next by CLOCK_BOOTTIME: a machine may sleep */
  atomic_int_fast64_t beat_ns;        /* when the last beat was sent; 0: none was */
  atomic_bool is_quiet;               /* the thread waits for a turn */
} arvak__db_beat;

int64_t arvak__db_boot_ns(void); /* CLOCK_BOOTTIME */

void arvak__db_beat_init(arvak__db_beat *beat);
void arvak__db_beat_fini(arvak__db_beat *beat);

/* The Lua thread: repeats this from now on, or nothing; takes the pulse. The thread has to be woken. */
void arvak__db_beat_set(arvak__db_beat *beat, arvak__db_pulse *pulse);
/* The Lua thread: its loop has had a turn. True: the store's thread has to be woken. */
bool arvak__db_beat_touch(arvak__db_beat *beat);

/* The store's thread. When the next beat is due; DB_NEVER. */
int64_t arvak__db_beat_due(arvak__db_beat *beat);
/* What is to be executed now; borrowed until the next call of due. */
const arvak__db_transaction *arvak__db_beat_begin(arvak__db_beat *beat);
/* What a beat came to that was sent then, by CLOCK_BOOTTIME. True: it has to be reported; where no row was changed the
 * outcome is DB_FENCED then. */
bool arvak__db_beat_end(arvak__db_beat *beat, int64_t sent_ns, arvak__db_outcome *outcome);
/* The same of a transaction that was submitted; its outcome is reported anyway. */
void arvak__db_beat_note(arvak__db_beat *beat, int64_t sent_ns, const arvak__db_outcome *outcome);

#endif
