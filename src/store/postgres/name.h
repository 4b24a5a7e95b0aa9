/* The name of a database as libpq reads it, and what we add: limits where the user has set none, UTF-8, our name.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_STORE_POSTGRES_NAME_H
#define ARVAK_STORE_POSTGRES_NAME_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "../driver.h"
#include "../outcome.h"

enum { PG_MAX_WORDS = 80, PG_NUMBERS = 4, PG_NUMBER_BYTES = 24 };

typedef struct arvak__pg_name {
  PQconninfoOption *options; /* owned */
  const char *keywords[PG_MAX_WORDS + 1], *values[PG_MAX_WORDS + 1]; /* borrowed from options, settings and numbers */
  size_t count;
  char numbers[PG_NUMBERS][PG_NUMBER_BYTES];
  size_t number_count;
  int64_t connect_timeout_ns; /* the name's own, or that of the settings if it is less */
} arvak__pg_name;

/* False: the outcome says why, without a piece of the name, since there may be a password in any of it.
 * silence_ms: how long a server may leave a message without its acknowledgement. fini in any case. */
bool arvak__pg_name_init(arvak__pg_name *n, const arvak__db_settings *settings, long silence_ms,
                         arvak__db_outcome *outcome);
void arvak__pg_name_fini(arvak__pg_name *n);
/* A failure with libpq's text about a name. It quotes what it cannot read, which may be a piece of a password: the text
 * ends before the quotation. */
void arvak__pg_name_fail(arvak__db_outcome *outcome, const char *text);

#endif
