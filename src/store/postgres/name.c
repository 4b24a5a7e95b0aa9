/* SPDX-License-Identifier: Apache-2.0 */
#include "name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS INT64_C(1000000000)

void arvak__pg_name_fail(arvak__db_outcome *outcome, const char *text) {
  const char *end = text;
  while (*end && *end != '\n' && !(*end == '"' && !(end[1] && end[2] == '"'))) end += *end == '"' ? 3 : 1;
  arvak__db_outcome_fail(outcome, DB_OTHER, 0, 0,
                         "the name of the database cannot be read: expected postgresql://user@host:port/database or "
                         "key=value pairs (libpq: %.*s%s)",
                         (int)(end - text), text, *end == '"' ? "…" : "");
}

/* In a URI a / or an @ in the password would make it a part of the host, the port or the database. */
static bool has_open_password(const char *where) {
  const char *start = strstr(where, "://");
  if (!start || (strncmp(where, "postgresql:", 11) != 0 && strncmp(where, "postgres:", 9) != 0)) return false;
  start += 3;
  size_t size = strcspn(start, "?");
  const char *last = memrchr(start, '@', size);
  return last && strcspn(start, "@/") < (size_t)(last - start);
}

static void add(arvak__pg_name *n, const char *keyword, const char *value) {
  if (n->count == PG_MAX_WORDS) return; /* libpq knows half as many */
  n->keywords[n->count] = keyword;
  n->values[n->count++] = value;
}

/* NULL: it is not given. */
static const char *find(const arvak__pg_name *n, const char *keyword) {
  for (size_t i = 0; i < n->count; i++) {
    if (strcmp(n->keywords[i], keyword) == 0) return n->values[i];
  }
  return NULL;
}

static void add_number(arvak__pg_name *n, const char *keyword, long value) {
  char *text = n->numbers[n->number_count++];
  snprintf(text, PG_NUMBER_BYTES, "%ld", value);
  if (!find(n, keyword)) add(n, keyword, text);
}

static long at_least(long least, long value) { return value < least ? least : value; }

/* libpq itself looks at it only where it waits by itself. False: it is no number. */
static bool read_connect_timeout(arvak__pg_name *n, const arvak__db_settings *settings) {
  const char *text = find(n, "connect_timeout");
  char *end = NULL;
  long seconds = text ? strtol(text, &end, 10) : 0;
  n->connect_timeout_ns = settings->connect_timeout_ns;
  if (seconds > 0 && seconds < settings->connect_timeout_ns / SECOND_NS) n->connect_timeout_ns = seconds * SECOND_NS;
  return !text || (*text && !*end);
}

bool arvak__pg_name_init(arvak__pg_name *n, const arvak__db_settings *settings, long silence_ms,
                         arvak__db_outcome *outcome) {
  char *error = NULL;
  if (has_open_password(settings->where)) {
    arvak__db_outcome_fail(outcome, DB_OTHER, 0, 0,
                           "the name of the database cannot be read: in a password write %%2F for / and %%40 for @");
    return false;
  }
  n->options = PQconninfoParse(settings->where, &error);
  if (!n->options) {
    arvak__pg_name_fail(outcome, error ? error : "out of memory");
    PQfreemem(error);
    return false;
  }
  for (const PQconninfoOption *o = n->options; o->keyword; o++) {
    if (o->val && strcmp(o->keyword, "client_encoding") != 0) add(n, o->keyword, o->val);
  }
  add(n, "client_encoding", "UTF8");
  if (settings->application_name) add(n, "application_name", settings->application_name);
  else if (!find(n, "application_name")) add(n, "fallback_application_name", "arvak");
  long silence_s = silence_ms / 1000;
  add_number(n, "tcp_user_timeout", at_least(1000, silence_ms));
  add_number(n, "keepalives_idle", at_least(1, silence_s / 2));
  add_number(n, "keepalives_interval", at_least(1, silence_s / 6));
  add_number(n, "keepalives_count", 3);
  if (read_connect_timeout(n, settings)) return true;
  arvak__db_outcome_fail(outcome, DB_OTHER, 0, 0,
                         "the name of the database cannot be read: expected connect_timeout to be whole seconds");
  return false;
}

void arvak__pg_name_fini(arvak__pg_name *n) { PQconninfoFree(n->options); }
