/* What libpq says, made fit for a message: one line, without a password.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "link.h"

enum { SHORTEST_SECRET = 4 }; /* a shorter one is in any text by chance */

typedef struct state_class {
  const char *prefix; /* of an SQLSTATE; the first that fits counts */
  arvak__db_what what;
} state_class;

static const state_class classes[] = {
  {"08", DB_IO},     {"23", DB_CONSTRAINT}, {"25006", DB_READONLY}, {"25P03", DB_TIMEOUT}, {"28", DB_AUTH},
  {"40", DB_BUSY},   {"42501", DB_AUTH},    {"53100", DB_FULL},     {"53300", DB_BUSY},    {"55P03", DB_BUSY},
  {"57014", DB_TIMEOUT}, {"57P03", DB_BUSY}, {"57P", DB_CLOSED},    {"58", DB_IO},         {"XX001", DB_CORRUPT},
  {"XX002", DB_CORRUPT}, {"", DB_OTHER},
};

arvak__db_what arvak__pg_what_of(const char *state) {
  const state_class *c = classes;
  while (strncmp(state, c->prefix, strlen(c->prefix)) != 0) c++;
  return c->what;
}

static void redact(char *text, const char *password) {
  size_t size = password ? strlen(password) : 0;
  if (size < SHORTEST_SECRET) return;
  for (char *at = text; (at = strstr(at, password));) {
    memmove(at + 3, at + size, strlen(at + size) + 1);
    memcpy(at, "***", 3);
    at += 3;
  }
}

/* The size of an SQLSTATE and what stands around it, where one begins: "FATAL:  28P01: …". */
static size_t state_size(const char *at) {
  if (strncmp(at, "  ", 2) != 0 || strspn(at + 2, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 5) return 0;
  return strncmp(at + 7, ": ", 2) == 0 ? 9 : 0;
}

/* Copies a line, and takes the SQLSTATE out of it. Returns where the line ends. */
static const char *copy_line(const char *at, char *to, size_t *used, arvak__pg_error *error) {
  for (; *at && *at != '\n'; at++) {
    size_t skipped = state_size(at);
    if (skipped > 0) {
      memcpy(error->state, at + 2, 5);
      error->state[5] = '\0';
      at += skipped - 1;
    }
    if (*used < PG_TEXT_BYTES - 1) to[(*used)++] = (unsigned char)*at < ' ' || skipped > 0 ? ' ' : *at;
  }
  return *at ? at + 1 : at;
}

void arvak__pg_read_text(const char *text, const char *password, arvak__pg_error *error) {
  size_t used = 0;
  memset(error, 0, sizeof *error);
  while (text && *text) {
    bool is_more = *text == '\t' || strncmp(text, "LOCATION:", 9) == 0; /* explains what was said, or where in C */
    size_t before = used;
    if (!is_more && used > 0 && used < PG_TEXT_BYTES - 3) used += (size_t)snprintf(error->text + used, 3, "; ");
    text = copy_line(text, error->text, &used, error);
    if (is_more) used = before;
  }
  error->text[used] = '\0';
  redact(error->text, password);
}

void arvak__pg_error_of_result(arvak__pg_link *l, const PGresult *result, arvak__pg_error *error) {
  const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
  const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
  char text[2 * PG_TEXT_BYTES];
  snprintf(text, sizeof text, "%.500s%s%.500s%s", primary ? primary : PQresultErrorMessage(result),
           detail ? " (" : "", detail ? detail : "", detail ? ")" : "");
  arvak__pg_read_text(text, PQpass(l->conn), error);
  memset(error->state, 0, sizeof error->state);
  if (state) memcpy(error->state, state, strnlen(state, sizeof error->state - 1));
  error->is_fatal = severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
}
