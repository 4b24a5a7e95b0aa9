/* What a transaction came to: a result for each statement, or one failure. Written by the store's thread, read by the
 * Lua thread afterwards. A failure fits into the outcome itself, so reporting one never needs memory.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_STORE_OUTCOME_H
#define ARVAK_STORE_OUTCOME_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "transaction.h"

enum { DB_MESSAGE_BYTES = 1024 };

/* The rows of one outcome may have so many bytes together; more is a failure: ask for fewer rows at a time. */
#define DB_ANSWER_BYTES ((size_t)256 << 20)

typedef enum arvak__db_what {
  DB_OTHER,
  DB_BUSY,           /* somebody else holds the lock */
  DB_FULL,           /* the disk is */
  DB_READONLY,
  DB_NOT_A_DATABASE,
  DB_CORRUPT,
  DB_CONSTRAINT,
  DB_IO,
  DB_LOST,           /* nobody knows whether COMMIT was carried out */
  DB_TIMEOUT,
  DB_AUTH,
  DB_FENCED,         /* a sign of life found nothing to change: somebody else has taken over */
  DB_CLOSED,         /* the store was closed, or the process is a fork of the one that opened it */
  DB_WHAT_COUNT
} arvak__db_what;

typedef struct arvak__db_row arvak__db_row;
struct arvak__db_row {
  arvak__db_row *next;
  arvak__db_value values[]; /* column_count of them */
};

typedef struct arvak__db_result arvak__db_result;
struct arvak__db_result {
  arvak__db_result *next;
  int64_t changes; /* rows that the statement has inserted, changed or deleted */
  size_t column_count;
  const char **columns; /* their names */
  size_t row_count;
  arvak__db_row *first, *last;
};

/* All zero: it succeeded, without a statement. */
typedef struct arvak__db_outcome {
  arvak__db_arena arena; /* of all that is below, but for the message */
  arvak__db_result *first, *last;
  size_t count;
  bool has_failed;
  arvak__db_what what;
  int code;         /* the library's own number, or 0 */
  char state[6];    /* SQLSTATE, or "" */
  size_t statement; /* counted from 1; 0: the failure is none of a statement's */
  char message[DB_MESSAGE_BYTES];
} arvak__db_outcome;

const char *arvak__db_what_name(arvak__db_what what); /* "busy"; static */

/* The next three: borrowed from the outcome; NULL: the outcome has failed, for want of memory or of size, with the
 * number of the statement in it. */
arvak__db_result *arvak__db_outcome_add_result(arvak__db_outcome *outcome, size_t column_count);
/* A row of the result, which is the last one; its values are all DB_NULL. */
arvak__db_row *arvak__db_outcome_add_row(arvak__db_outcome *outcome);
char *arvak__db_outcome_copy(arvak__db_outcome *outcome, const char *bytes, size_t size_bytes);

/* Makes it a failure, without the results. The message is cut at DB_MESSAGE_BYTES. */
void arvak__db_outcome_fail(arvak__db_outcome *outcome, arvak__db_what what, int code, size_t statement,
                            const char *format, ...) __attribute__((format(printf, 5, 6)));
void arvak__db_outcome_fail_memory(arvak__db_outcome *outcome, size_t statement);
void arvak__db_outcome_fini(arvak__db_outcome *outcome);

#endif
