/* Values on their way to PostgreSQL and back, as text in both directions. Columns of integers, floats and booleans come
 * back as such; every other type is a text.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_STORE_POSTGRES_VALUES_H
#define ARVAK_STORE_POSTGRES_VALUES_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

#include "../outcome.h"
#include "../transaction.h"

enum { PG_NUMBER_TEXT_BYTES = 32 };

/* The most that a statement and its values may have together: the protocol ends the session at four times as much. */
#define PG_STATEMENT_BYTES ((size_t)256 << 20)

/* The parameters of one statement at a time. All zero: empty. */
typedef struct arvak__pg_parameters {
  size_t capacity;
  const char **texts;                    /* owned; borrowed texts */
  char (*numbers)[PG_NUMBER_TEXT_BYTES]; /* owned */
} arvak__pg_parameters;

/* False: a statement cannot be sent, and the outcome says why. Makes room for all of them. */
bool arvak__pg_parameters_check(arvak__pg_parameters *p, const arvak__db_transaction *tx, arvak__db_outcome *outcome);
/* The bytes of a statement with its values. */
size_t arvak__pg_statement_bytes(const arvak__db_statement *s);
/* Borrowed until the next call; the statement has been checked. */
const char *const *arvak__pg_parameters_of(arvak__pg_parameters *p, const arvak__db_statement *s);
void arvak__pg_parameters_fini(arvak__pg_parameters *p);

/* Adds what one PGresult of a statement brings to its result in the outcome; the first one makes that result. Where
 * that cannot be kept the outcome becomes a failure. */
void arvak__pg_keep(arvak__db_outcome *outcome, const PGresult *result, bool is_first);

#endif
