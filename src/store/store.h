/* A store: one database, and the thread that does its work. The Lua thread hands it transactions and takes outcomes, in
 * the same order; neither waits for the other. docs/internals/store.md.
 * All functions are for the Lua thread, in a child process too: there nothing of the database's library is called, and
 * every outcome is DB_CLOSED.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_STORE_STORE_H
#define ARVAK_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "beat.h"
#include "driver.h"
#include "outcome.h"
#include "seam.h"
#include "transaction.h"

typedef struct arvak__db_store arvak__db_store;

typedef enum arvak__db_kind { DB_OPENED, DB_EXECUTED, DB_BEATEN, DB_ENDED } arvak__db_kind;

/* The first outcome that has not been taken. */
typedef struct arvak__db_view {
  arvak__db_kind kind;
  int64_t id; /* 0 unless DB_EXECUTED */
  const arvak__db_outcome *outcome;
} arvak__db_view;

/* Starts the thread, which connects; a failure is the first outcome. Copies the settings and what they point to; shares
 * the bell, which rings for each outcome. Owned: arvak__db_store_abandon. NULL: out of memory. */
arvak__db_store *arvak__db_store_new(const arvak__db_driver *driver, const arvak__bell_seam *seam,
                                     const arvak__db_settings *settings);
/* Its id: 1, 2, …; the transaction is empty afterwards. 0: out of memory, and nothing has happened. is_beat: it is a
 * sign of life as well, which its first statement gives. */
int64_t arvak__db_store_submit(arvak__db_store *store, arvak__db_transaction *tx, bool is_beat);
/* Repeats a transaction from now on, at once for the first time, and reports those that fail as DB_BEATEN; an empty
 * pulse: no more. Takes the pulse. False: out of memory, and nothing has happened. */
bool arvak__db_store_beat(arvak__db_store *store, arvak__db_pulse *pulse);
void arvak__db_store_touch(arvak__db_store *store); /* the loop of the Lua thread has had a turn */
/* When the last beat that changed a row was sent, by CLOCK_BOOTTIME; 0: none has. */
int64_t arvak__db_store_last_beat(const arvak__db_store *store);
/* False: none has come. The outcome is borrowed until arvak__db_store_drop, which lets go of it. */
bool arvak__db_store_peek(arvak__db_store *store, arvak__db_view *view);
void arvak__db_store_drop(arvak__db_store *store);
/* Ends the store after what was submitted, which may take DB_CLOSE_NS; DB_ENDED is the last outcome. */
void arvak__db_store_close(arvak__db_store *store);
/* Takes the store: ends it at once, waits for DB_ABANDON_NS at most, and leaves the thread to itself if need be. */
void arvak__db_store_abandon(arvak__db_store *store);
/* The same, and waits until this time at most, of arvak__db_now_ns. */
void arvak__db_store_abandon_until(arvak__db_store *store, int64_t until_ns);

#define DB_CLOSE_NS INT64_C(5000000000)
#define DB_ABANDON_NS INT64_C(50000000)

#endif
