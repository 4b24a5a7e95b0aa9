/* SPDX-License-Identifier: Apache-2.0 */
#include "link.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "name.h"

#define SECOND_NS INT64_C(1000000000)
#define MILLISECOND_NS INT64_C(1000000)

enum { OLDEST_SERVER = 120000 };

static double seconds_of(int64_t ns) { return (double)ns / (double)SECOND_NS; }

/* ---- giving up ---- */

void arvak__pg_link_lose(arvak__pg_link *l, const char *why) {
  if (!l->is_lost) snprintf(l->lost, sizeof l->lost, "%s", why);
  l->is_lost = true;
}

static void lose_by_libpq(arvak__pg_link *l) {
  arvak__pg_error error;
  arvak__pg_read_text(PQerrorMessage(l->conn), PQpass(l->conn), &error);
  arvak__pg_link_lose(l, error.text[0] ? error.text : "the connection has broken");
}

/* libpq says good-bye without waiting, since the connection is in its mode that never blocks. */
void arvak__pg_link_close(arvak__pg_link *l) {
  PQfinish(l->conn);
  l->conn = NULL;
}

/* ---- answers ---- */

/* One wait for the server. libpq may have read more than it has made of it, so it is asked again now and then, whatever
 * the socket says. */
static void wait_once(arvak__pg_link *l, int64_t *heard_ns) {
  int unsent = PQflush(l->conn);
  int64_t silent_at = *heard_ns < DB_NEVER - l->silence_ns ? *heard_ns + l->silence_ns : DB_NEVER;
  int64_t again_at = arvak__db_after_ns(SECOND_NS);
  short events = (short)(POLLIN | (unsent > 0 ? POLLOUT : 0));
  int64_t until = silent_at < again_at ? silent_at : again_at;
  short got = arvak__db_control_wait(l->control, PQsocket(l->conn), events, until);
  if (got) *heard_ns = arvak__db_now_ns();
  char why[64];
  if (arvak__db_control_is_interrupted(l->control)) {
    arvak__pg_link_lose(l, "the store was closed meanwhile");
  } else if (!got && arvak__db_now_ns() >= silent_at) {
    snprintf(why, sizeof why, "no word from the server for %g s", seconds_of(l->silence_ns));
    arvak__pg_link_lose(l, why);
  } else {
    PQconsumeInput(l->conn); /* where it fails, the connection's status says so */
  }
}

PGresult *arvak__pg_link_next(arvak__pg_link *l) {
  int64_t heard_ns = arvak__db_now_ns();
  PQflush(l->conn);
  /* What came before the connection broke is still there to be read: libpq ends it with an error of its own. */
  while (!l->is_lost && PQisBusy(l->conn) && PQstatus(l->conn) != CONNECTION_BAD) wait_once(l, &heard_ns);
  return l->is_lost ? NULL : PQgetResult(l->conn);
}

void arvak__pg_link_look(arvak__pg_link *l) {
  if (!PQconsumeInput(l->conn) || PQstatus(l->conn) == CONNECTION_BAD) lose_by_libpq(l);
  else (void)PQisBusy(l->conn); /* takes what the server says unasked */
}

/* ---- connecting ---- */

static void ignore_notice(void *ud, const PGresult *notice) {
  (void)ud;
  (void)notice;
}

static void fail_to_connect(arvak__pg_link *l, arvak__db_outcome *outcome) {
  arvak__pg_error error;
  arvak__pg_read_text(PQerrorMessage(l->conn), PQpass(l->conn), &error);
  if (strncmp(error.text, "invalid ", 8) == 0) { /* value of an option, which libpq quotes */
    arvak__pg_name_fail(outcome, error.text);
    return;
  }
  arvak__db_what what = error.state[0] ? arvak__pg_what_of(error.state) : DB_IO;
  if (PQconnectionNeedsPassword(l->conn)) what = DB_AUTH;
  arvak__db_outcome_fail(outcome, what, 0, 0, "%s", error.text);
  memcpy(outcome->state, error.state, sizeof outcome->state);
}

/* Waits for what libpq waits for. False: the outcome says why. */
static bool wait_to_connect(arvak__pg_link *l, short events, int64_t until_ns, int64_t timeout_ns,
                            arvak__db_outcome *outcome) {
  while (!arvak__db_control_wait(l->control, PQsocket(l->conn), events, until_ns)) {
    if (arvak__db_control_is_interrupted(l->control)) {
      arvak__db_outcome_fail(outcome, DB_CLOSED, 0, 0, "the store was closed meanwhile");
      return false;
    }
    if (arvak__db_now_ns() < until_ns) continue;
    const char *host = PQhost(l->conn), *port = PQport(l->conn);
    arvak__db_outcome_fail(outcome, DB_TIMEOUT, 0, 0, "no connection to %s, port %s, within %g s",
                           host && *host ? host : "the server", port && *port ? port : "?", seconds_of(timeout_ns));
    return false;
  }
  return true;
}

static bool connect_it(arvak__pg_link *l, int64_t timeout_ns, arvak__db_outcome *outcome) {
  int64_t until_ns = arvak__db_after_ns(timeout_ns);
  PostgresPollingStatusType wanted = PGRES_POLLING_WRITING;
  while (PQstatus(l->conn) != CONNECTION_BAD && wanted != PGRES_POLLING_OK && wanted != PGRES_POLLING_FAILED) {
    short events = wanted == PGRES_POLLING_READING ? POLLIN : POLLOUT;
    if (!wait_to_connect(l, events, until_ns, timeout_ns, outcome)) return false;
    wanted = PQconnectPoll(l->conn);
  }
  if (PQstatus(l->conn) == CONNECTION_OK) return true;
  fail_to_connect(l, outcome);
  return false;
}

/* False: the outcome says what is wrong with the server. */
static bool prepare(arvak__pg_link *l, arvak__db_outcome *outcome) {
  int version = PQserverVersion(l->conn);
  if (version < OLDEST_SERVER)
    arvak__db_outcome_fail(outcome, DB_OTHER, 0, 0, "the server is PostgreSQL %d.%d, expected 12 or newer",
                           version / 10000, version < 100000 ? version / 100 % 100 : version % 10000);
  else if (PQsetnonblocking(l->conn, 1) != 0 || !PQenterPipelineMode(l->conn))
    arvak__db_outcome_fail_memory(outcome, 0);
  PQsetErrorVerbosity(l->conn, PQERRORS_DEFAULT);
  return !outcome->has_failed;
}

bool arvak__pg_link_open(arvak__pg_link *l, const arvak__db_settings *settings, arvak__db_outcome *outcome) {
  arvak__pg_name name = {0};
  long silence_ms = l->silence_ns < INT64_C(1000000) * SECOND_NS ? (long)(l->silence_ns / MILLISECOND_NS) : 1000000000;
  if (arvak__pg_name_init(&name, settings, silence_ms, outcome)) {
    l->conn = PQconnectStartParams(name.keywords, name.values, 0);
    if (!l->conn) arvak__db_outcome_fail_memory(outcome, 0);
  }
  arvak__pg_name_fini(&name);
  if (!l->conn) return false;
  PQsetNoticeReceiver(l->conn, ignore_notice, NULL);
  PQsetErrorVerbosity(l->conn, PQERRORS_VERBOSE); /* the only way to the SQLSTATE of a refusal */
  return connect_it(l, name.connect_timeout_ns, outcome) && prepare(l, outcome);
}
