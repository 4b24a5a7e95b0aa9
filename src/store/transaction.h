/* A transaction: statements with their values, copied from the caller. Written by the Lua thread until it is submitted,
 * read by the store's thread afterwards, never by both.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_STORE_TRANSACTION_H
#define ARVAK_STORE_TRANSACTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"

typedef enum arvak__db_type { DB_NULL, DB_INTEGER, DB_FLOAT, DB_BOOLEAN, DB_TEXT } arvak__db_type;

/* A parameter of a statement, or a column of a row. */
typedef struct arvak__db_value {
  arvak__db_type type;
  size_t size_bytes; /* of a text, without the NUL that stands behind it */
  union {
    int64_t integer; /* also 0 and 1 of a boolean */
    double number;
    const char *text; /* borrowed from the arena; any bytes, NULs too */
  } as;
} arvak__db_value;

typedef struct arvak__db_statement arvak__db_statement;
struct arvak__db_statement {
  arvak__db_statement *next;
  const char *sql; /* NUL-terminated, without a NUL inside; statements of one text may share it */
  size_t sql_size_bytes;
  size_t value_count;
  arvak__db_value values[];
};

typedef enum arvak__db_mode {
  DB_WRITE, /* all or nothing, with the right to write from the beginning */
  DB_READ,  /* one snapshot */
  DB_RAW    /* each statement by itself */
} arvak__db_mode;

typedef struct arvak__db_sql arvak__db_sql;

/* All zero: empty. */
typedef struct arvak__db_transaction {
  arvak__db_arena arena;
  arvak__db_statement *first, *last;
  arvak__db_sql *texts; /* of the statements, the newest first; one that comes again soon is there once */
  size_t count;
  arvak__db_mode mode;
  bool is_blind; /* nobody asks what each statement did: the outcome has no results */
} arvak__db_transaction;

/* A new statement at the end, its values all DB_NULL; copies sql. NULL: out of memory, and nothing has changed. */
arvak__db_statement *arvak__db_transaction_add(arvak__db_transaction *tx, const char *sql, size_t size_bytes,
                                               size_t value_count);
/* Takes a statement that was added last off again. previous: what was last before it, or NULL. */
void arvak__db_transaction_drop_last(arvak__db_transaction *tx, arvak__db_statement *previous);
/* Copies the bytes into a value of this transaction. False: out of memory. */
bool arvak__db_transaction_set_text(arvak__db_transaction *tx, arvak__db_value *value, const char *bytes,
                                    size_t size_bytes);

#endif
