/* What a kind of database is to a store: five functions, which the store's thread calls, one at a time. A driver knows
 * neither Lua nor queues, ids, forks of the process and bells.
 * Invariant: no function of a driver lasts beyond its bounds, the interrupt of control among them (at most a moment
 * longer); and whatever it came to stands in the outcome that it was given.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_STORE_DRIVER_H
#define ARVAK_STORE_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control.h"
#include "outcome.h"
#include "transaction.h"

/* What a store is opened with; the texts are the store's own copies. A driver names those that it reads in its options;
 * the others have their defaults. */
typedef struct arvak__db_settings {
  const char *where;            /* the file, or the connection string */
  int64_t connect_timeout_ns;   /* of open */
  int64_t statement_timeout_ns; /* of each statement, COMMIT too */
  int64_t busy_timeout_ns;      /* SQLite: how long a lock that somebody else holds is waited for */
  int64_t idle_timeout_ns;      /* PostgreSQL: how long the server keeps a transaction whose client says nothing */
  const char *application_name; /* PostgreSQL: as the server's views show it; NULL: the name's own, or arvak */
  bool is_readonly;
  bool must_exist;              /* SQLite: a file that does not exist is not made */
} arvak__db_settings;

typedef enum arvak__db_option_type { DB_OPTION_SECONDS, DB_OPTION_BOOLEAN, DB_OPTION_TEXT } arvak__db_option_type;

/* A field of the settings that a program may give by name. */
typedef struct arvak__db_option {
  const char *name; /* NULL: the end of the list */
  arvak__db_option_type type;
  size_t offset;          /* in arvak__db_settings: int64_t ns, bool or const char * */
  double default_seconds; /* of DB_OPTION_SECONDS; a boolean's is false, a text's NULL */
} arvak__db_option;

typedef struct arvak__db_driver {
  const char *name; /* "SQLite" */
  const char *(*version)(void); /* the library's; any thread; static */
  const arvak__db_option *options;
  size_t size_bytes; /* of the connection: the store gives zeroed memory of that size to each function, and frees it */

  /* Connects. A failure of the outcome says why; close is called in any case, execute after success only.
   * settings and control are borrowed and live as long as the connection. A result of the outcome, if the driver adds
   * one, is reported with it. */
  void (*open)(void *connection, const arvak__db_settings *settings, arvak__db_control *control,
               arvak__db_outcome *outcome);
  /* Carries out a whole transaction by its mode, with begin and commit. A result for each statement, in order, or a
   * failure: then all of a DB_WRITE was rolled back, or DB_LOST. */
  void (*execute)(void *connection, const arvak__db_transaction *tx, arvak__db_outcome *outcome);
  /* NULL: nothing to be done between transactions. Else called after open has succeeded, after each transaction, and
   * before each wait: does what is due without waiting long, and returns when it wants to be called again at the latest
   * (DB_NEVER: when something happens). *fd, -1 before: a descriptor that is read when it has something. */
  int64_t (*idle)(void *connection, int *fd);
  /* Lets go of all; also after an open that has failed. Never in a child process. */
  void (*close)(void *connection);
} arvak__db_driver;

#endif
