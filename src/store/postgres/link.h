/* A connection to PostgreSQL: how it is made, how its answers are waited for, and how it is given up.
 * Invariant: nothing here waits but in arvak__db_control_wait, so each wait ends with the clock or an interrupt. (libpq
 * itself waits for the system's resolver, which has bounds of its own.) No text that leaves here shows a password.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_STORE_POSTGRES_LINK_H
#define ARVAK_STORE_POSTGRES_LINK_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "../control.h"
#include "../driver.h"
#include "../outcome.h"

enum { PG_STATE_BYTES = 6, PG_TEXT_BYTES = 512, PG_LIMITS_BYTES = 512 };

/* Why something failed, as the server or libpq says. */
typedef struct arvak__pg_error {
  char state[PG_STATE_BYTES]; /* SQLSTATE; "": libpq's own */
  bool is_fatal;              /* the server has ended the session with it */
  char text[PG_TEXT_BYTES];
} arvak__pg_error;

/* The store's thread alone uses it. */
typedef struct arvak__pg_link {
  PGconn *conn; /* owned; NULL: not made, or given up */
  arvak__db_control *control; /* borrowed */
  int64_t silence_ns;         /* a server that says nothing for so long is given up */
  bool is_lost;               /* nothing more can be said or heard */
  char lost[PG_TEXT_BYTES];   /* why */
} arvak__pg_link;

/* Connects, into pipeline mode. False: the outcome says why. arvak__pg_link_close in any case. */
bool arvak__pg_link_open(arvak__pg_link *l, const arvak__db_settings *settings, arvak__db_outcome *outcome);
void arvak__pg_link_close(arvak__pg_link *l);
/* Gives the connection up; the first reason stays. */
void arvak__pg_link_lose(arvak__pg_link *l, const char *why);
/* Sends what is queued and waits for a result. Owned by the caller; NULL: the results of one statement have ended, or
 * the connection is lost. */
PGresult *arvak__pg_link_next(arvak__pg_link *l);
/* Looks, without waiting, whether the server has ended the session. */
void arvak__pg_link_look(arvak__pg_link *l);

arvak__db_what arvak__pg_what_of(const char *state); /* DB_OTHER: of any that says no more */
void arvak__pg_error_of_result(arvak__pg_link *l, const PGresult *result, arvak__pg_error *error);

/* The first lines of libpq's text as one line, without what only a developer of PostgreSQL needs, without the password;
 * state: the SQLSTATE in it, or "". */
void arvak__pg_read_text(const char *text, const char *password, arvak__pg_error *error);

#endif
