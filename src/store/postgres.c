/* How a transaction is carried out: in one round trip, with BEGIN and COMMIT. A large one goes in parts, each of which
 * is answered before the next is sent.
 * Invariant: an outcome says that a transaction was committed, or that it was not, only where the server has said so or
 * COMMIT was never sent. Every other one is DB_LOST.
 * No prepared statements with names and no settings of the session: a pooler may give each transaction another one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "postgres.h"

#include <inttypes.h>
#include <locale.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "postgres/link.h"
#include "postgres/values.h"

#define SECOND_NS INT64_C(1000000000)
#define MILLISECOND_NS INT64_C(1000000)
#define GRACE_NS (2 * SECOND_NS) /* for the answer of a server that ends a statement itself */

/* A part of a transaction has so many bytes, but at least one statement. */
enum { PART_BYTES = 1 << 20 };

/* Ends of results beyond those of what was sent: an error at the end of a part has one. */
enum { MOST_SURPLUS = 2 };

typedef struct connection {
  arvak__pg_link link;
  arvak__pg_parameters parameters;
  char limits[PG_LIMITS_BYTES]; /* the statement that sets them for one transaction */
  locale_t locale;
} connection;

/* What the server answers to, in the order in which it was sent. A part begins with BEGIN and the limits or not, has
 * some statements, and ends with COMMIT or not. */
typedef enum place { AT_BEGIN, AT_LIMITS, AT_STATEMENT, AT_COMMIT, AT_END } place;

/* A transaction on its way. */
typedef struct run {
  connection *c;
  arvak__db_outcome *outcome;
  const arvak__db_statement *next; /* to be sent */
  size_t sent, answered;           /* statements */
  place place;                     /* what is answered next */
  bool has_result;                 /* of the statement that is being answered */
  bool is_commit_sent, is_synced;  /* synced: the server has ended the part */
  bool is_committed;               /* the server says so */
  bool has_error;                  /* the first one, which the next four describe */
  bool is_certain;                 /* that nothing was or will be committed */
  place failed_place;
  size_t failed_statement;
  arvak__pg_error error;
} run;

/* ---- what answers mean ---- */

static place place_after(const run *r) {
  switch (r->place) {
    case AT_BEGIN: return AT_LIMITS;
    case AT_LIMITS:
    case AT_STATEMENT:
      if (r->answered < r->sent) return AT_STATEMENT;
      return r->is_commit_sent ? AT_COMMIT : AT_END;
    default: return AT_END;
  }
}

/* The results of one of the things that were sent have ended. */
static void take_end(run *r) {
  if (r->place == AT_STATEMENT) r->answered++;
  r->place = place_after(r);
  r->has_result = false;
}

/* An error that ends the session while COMMIT is carried out may come after the commit itself, and libpq's own errors
 * say nothing of what the server did. */
static void take_error(run *r, const PGresult *result) {
  arvak__pg_error error;
  arvak__pg_error_of_result(&r->c->link, result, &error);
  bool is_of_server = error.state[0] != '\0';
  if (!is_of_server || error.is_fatal) arvak__pg_link_lose(&r->c->link, error.text);
  if (r->has_error) return;
  r->has_error = true;
  r->error = error;
  r->failed_place = r->place;
  r->failed_statement = r->place == AT_STATEMENT ? r->answered + 1 : 0;
  r->is_certain = is_of_server && (r->place < AT_COMMIT || !error.is_fatal);
}

static void take_answer(run *r, const PGresult *result) {
  if (r->place == AT_COMMIT) r->is_committed = strcmp(PQcmdStatus((PGresult *)result), "COMMIT") == 0;
  if (r->place != AT_STATEMENT) return;
  arvak__pg_keep(r->outcome, result, !r->has_result);
  r->has_result = true;
}

static void take(run *r, const PGresult *result) {
  switch (PQresultStatus(result)) {
    case PGRES_PIPELINE_SYNC: r->is_synced = true; break;
    case PGRES_PIPELINE_ABORTED: break;
    case PGRES_EMPTY_QUERY:
    case PGRES_COMMAND_OK:
    case PGRES_SINGLE_TUPLE:
    case PGRES_TUPLES_OK: take_answer(r, result); break;
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH: arvak__pg_link_lose(&r->c->link, "COPY is not possible here"); break;
    default: take_error(r, result); break;
  }
}

/* Takes what the server says to a part. */
static void hear(run *r) {
  arvak__pg_link *l = &r->c->link;
  int surplus = 0;
  r->is_synced = false;
  PQsetSingleRowMode(l->conn);
  while (!r->is_synced && !l->is_lost) {
    PGresult *result = arvak__pg_link_next(l);
    if (result) {
      take(r, result);
      PQclear(result);
    } else if (r->place == AT_END && ++surplus > MOST_SURPLUS) {
      arvak__pg_link_lose(l, "the server answers to more than was sent");
    } else if (!l->is_lost) {
      take_end(r);
      PQsetSingleRowMode(l->conn);
    }
  }
}

/* ---- sending ---- */

static void queue(connection *c, const char *sql, const arvak__db_statement *s) {
  const char *const *texts = s ? arvak__pg_parameters_of(&c->parameters, s) : NULL;
  int count = s ? (int)s->value_count : 0;
  if (c->link.is_lost || PQsendQueryParams(c->link.conn, sql, count, NULL, texts, NULL, NULL, 0)) return;
  arvak__pg_link_lose(&c->link, "out of memory");
}

static void end_part(connection *c) {
  if (!c->link.is_lost && !PQpipelineSync(c->link.conn)) arvak__pg_link_lose(&c->link, "out of memory");
}

/* Queues as many statements as a part may have. */
static void send_statements(run *r) {
  size_t bytes = 0;
  do {
    if (!r->next) break;
    queue(r->c, r->next->sql, r->next);
    bytes += arvak__pg_statement_bytes(r->next);
    r->next = r->next->next;
    r->sent++;
  } while (bytes < PART_BYTES);
}

/* Sends the next part of a transaction and hears the answer. The end of the part is in the same write as its last
 * statement: where the client stops after it, the server waits for the next part, and ends the transaction when it has
 * waited for too long. In the middle of a part it would wait without bound. */
static void carry_out_part(run *r, const char *begin) {
  r->place = begin ? AT_BEGIN : AT_STATEMENT;
  if (begin) {
    queue(r->c, begin, NULL);
    queue(r->c, r->c->limits, NULL);
  }
  send_statements(r);
  if (!r->next) {
    queue(r->c, "COMMIT", NULL);
    r->is_commit_sent = !r->c->link.is_lost;
  }
  end_part(r->c);
  hear(r);
}

/* After a failure the session is in a transaction that can only be rolled back. */
static void roll_back(run *r) {
  arvak__pg_link *l = &r->c->link;
  if (l->is_lost || PQtransactionStatus(l->conn) == PQTRANS_IDLE) return;
  run ending = {.c = r->c, .outcome = r->outcome, .place = AT_COMMIT};
  queue(r->c, "ROLLBACK", NULL);
  end_part(r->c);
  hear(&ending);
}

/* ---- what a transaction came to ---- */

/* A standby refuses a transaction that writes as a feature that it lacks. */
static arvak__db_what what_of_error(const run *r) {
  if (r->c->link.is_lost) return DB_CLOSED;
  if (r->failed_place == AT_BEGIN && strcmp(r->error.state, "0A000") == 0) return DB_READONLY;
  return arvak__pg_what_of(r->error.state);
}

static void fail_by_server(run *r) {
  arvak__db_what what = what_of_error(r);
  arvak__db_outcome_fail(r->outcome, what, 0, r->failed_statement, "%s", r->error.text);
  memcpy(r->outcome->state, r->error.state, sizeof r->outcome->state);
}

static void fail_by_loss(run *r, bool is_in_doubt) {
  const char *lost = r->c->link.lost;
  if (is_in_doubt)
    arvak__db_outcome_fail(r->outcome, DB_LOST, 0, 0, "nobody knows whether it was committed: %s", lost);
  else
    arvak__db_outcome_fail(r->outcome, DB_CLOSED, 0, 0, "the connection was lost: %s", lost);
}

/* Committed, without an answer that could be kept. */
static void fail_by_answer(run *r) {
  char why[DB_MESSAGE_BYTES];
  memcpy(why, r->outcome->message, sizeof why);
  arvak__db_outcome_fail(r->outcome, DB_LOST, 0, r->outcome->statement,
                         "it was committed, but the answer is lost: %s", why);
}

static void conclude(run *r, bool writes) {
  if (r->is_committed) {
    if (r->outcome->has_failed && writes) fail_by_answer(r);
  } else if (r->has_error && r->is_certain) {
    fail_by_server(r);
  } else if (r->c->link.is_lost) {
    fail_by_loss(r, writes && r->is_commit_sent);
  } else if (!r->outcome->has_failed) {
    arvak__db_outcome_fail(r->outcome, DB_OTHER, 0, 0, "the server has rolled the transaction back");
  }
}

static void carry_out(connection *c, const arvak__db_transaction *tx, arvak__db_outcome *outcome) {
  run r = {.c = c, .outcome = outcome, .next = tx->first};
  bool writes = tx->mode == DB_WRITE;
  const char *begin = writes ? "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE"
                             : "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
  do {
    carry_out_part(&r, begin);
    begin = NULL;
  } while (!r.is_commit_sent && !r.has_error && !c->link.is_lost && !outcome->has_failed);
  roll_back(&r);
  conclude(&r, writes);
}

/* Statements that stand for themselves: what was carried out is known when the server has ended the part. */
static void carry_out_each(connection *c, const arvak__db_transaction *tx, arvak__db_outcome *outcome) {
  run r = {.c = c, .outcome = outcome, .next = tx->first};
  while (r.next && !r.has_error && !c->link.is_lost && !outcome->has_failed) {
    const arvak__db_statement *s = r.next;
    r.next = s->next;
    r.place = AT_STATEMENT;
    r.sent++;
    queue(c, s->sql, s);
    r.is_commit_sent = !c->link.is_lost;
    end_part(c);
    hear(&r);
    r.is_committed = r.is_synced && !r.has_error;
  }
  roll_back(&r); /* of somebody's own BEGIN */
  if (tx->first) conclude(&r, true);
}

/* ---- the driver ---- */

static const char *version(void) {
  static char text[24]; /* the same bytes, whoever writes them */
  int number = PQlibVersion();
  snprintf(text, sizeof text, "%d.%d", number / 10000, number % 10000);
  return text;
}

static int64_t milliseconds(int64_t ns) { /* 0 is no limit; the server takes 31 bits */
  int64_t ms = ns / MILLISECOND_NS;
  return ms < 1 ? 1 : ms > INT32_MAX ? INT32_MAX : ms;
}

/* A server that got a part only in part, because the client's machine is gone, learns it by its own keepalives. */
static void write_limits(connection *c, const arvak__db_settings *settings) {
  int64_t idle_s = settings->idle_timeout_ns / SECOND_NS;
  snprintf(c->limits, sizeof c->limits,
           "SELECT set_config('statement_timeout', '%" PRId64 "', true), "
           "set_config('idle_in_transaction_session_timeout', '%" PRId64 "', true), "
           "set_config('tcp_keepalives_idle', '%" PRId64 "', true), "
           "set_config('tcp_keepalives_interval', '%" PRId64 "', true), set_config('tcp_keepalives_count', '3', true)",
           milliseconds(settings->statement_timeout_ns), milliseconds(settings->idle_timeout_ns),
           idle_s < 2 ? 1 : idle_s > 1000 ? 500 : idle_s / 2, idle_s < 6 ? 1 : idle_s > 1000 ? 170 : idle_s / 6);
}

static void open(void *memory, const arvak__db_settings *settings, arvak__db_control *control,
                 arvak__db_outcome *outcome) {
  connection *c = memory;
  c->locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* of this thread: numbers with points, libpq's own words */
  if (!c->locale) {
    arvak__db_outcome_fail_memory(outcome, 0);
    return;
  }
  uselocale(c->locale);
  int64_t silence_ns = settings->statement_timeout_ns;
  c->link.control = control;
  c->link.silence_ns = silence_ns < DB_NEVER - GRACE_NS ? silence_ns + GRACE_NS : DB_NEVER;
  write_limits(c, settings);
  arvak__pg_link_open(&c->link, settings, outcome);
}

static void execute(void *memory, const arvak__db_transaction *tx, arvak__db_outcome *outcome) {
  connection *c = memory;
  if (!c->link.conn) {
    arvak__db_outcome_fail(outcome, DB_CLOSED, 0, 0, "the connection was lost: %s", c->link.lost);
    return;
  }
  if (!arvak__pg_parameters_check(&c->parameters, tx, outcome)) return;
  if (tx->mode == DB_RAW) carry_out_each(c, tx, outcome);
  else carry_out(c, tx, outcome);
  if (c->link.is_lost) arvak__pg_link_close(&c->link);
}

static int64_t idle(void *memory, int *fd) {
  connection *c = memory;
  if (!c->link.conn) return DB_NEVER;
  arvak__pg_link_look(&c->link);
  if (c->link.is_lost) arvak__pg_link_close(&c->link);
  else *fd = PQsocket(c->link.conn);
  return DB_NEVER;
}

static void close(void *memory) {
  connection *c = memory;
  arvak__pg_link_close(&c->link);
  arvak__pg_parameters_fini(&c->parameters);
  uselocale(LC_GLOBAL_LOCALE);
  if (c->locale) freelocale(c->locale);
  c->locale = NULL;
}

static const arvak__db_option options[] = {
  {"connect_timeout", DB_OPTION_SECONDS, offsetof(arvak__db_settings, connect_timeout_ns), 10.0},
  {"statement_timeout", DB_OPTION_SECONDS, offsetof(arvak__db_settings, statement_timeout_ns), 30.0},
  {"idle_timeout", DB_OPTION_SECONDS, offsetof(arvak__db_settings, idle_timeout_ns), 15.0},
  {"application_name", DB_OPTION_TEXT, offsetof(arvak__db_settings, application_name), 0.0},
  {NULL, DB_OPTION_SECONDS, 0, 0.0},
};

const arvak__db_driver arvak__db_postgres = {
  .name = "PostgreSQL",
  .version = version,
  .options = options,
  .size_bytes = sizeof(connection),
  .open = open,
  .execute = execute,
  .idle = idle,
  .close = close,
};
