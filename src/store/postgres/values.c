/* The store's thread has the numbers of the locale "C" here: postgres.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include "values.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PARAMETERS = 65535 };

/* Numbers of types in every server's catalog. */
enum {
  TYPE_BOOL = 16, TYPE_INT8 = 20, TYPE_INT2 = 21, TYPE_INT4 = 23, TYPE_OID = 26, TYPE_FLOAT4 = 700, TYPE_FLOAT8 = 701
};

/* ---- there ---- */

size_t arvak__pg_statement_bytes(const arvak__db_statement *s) {
  size_t bytes = s->sql_size_bytes;
  for (size_t i = 0; i < s->value_count; i++) bytes += PG_NUMBER_TEXT_BYTES + s->values[i].size_bytes;
  return bytes;
}

static bool check(const arvak__db_statement *s, size_t number, arvak__db_outcome *outcome) {
  if (s->value_count > MOST_PARAMETERS) {
    arvak__db_outcome_fail(outcome, DB_OTHER, 0, number, "the statement has %zu values, PostgreSQL takes %d",
                           s->value_count, (int)MOST_PARAMETERS);
    return false;
  }
  for (size_t i = 0; i < s->value_count; i++) {
    const arvak__db_value *v = &s->values[i];
    if (v->type != DB_TEXT || !memchr(v->as.text, '\0', v->size_bytes)) continue;
    arvak__db_outcome_fail(outcome, DB_OTHER, 0, number,
                           "value %zu has a NUL byte in it, which no text of PostgreSQL can hold", i + 1);
    return false;
  }
  size_t bytes = arvak__pg_statement_bytes(s);
  if (bytes <= PG_STATEMENT_BYTES) return true;
  arvak__db_outcome_fail(outcome, DB_OTHER, 0, number, "the statement and its values have %zu MiB, the most is %zu",
                         bytes >> 20, PG_STATEMENT_BYTES >> 20);
  return false;
}

static bool reserve(arvak__pg_parameters *p, size_t count) {
  if (count <= p->capacity) return true;
  arvak__pg_parameters_fini(p);
  p->texts = malloc(count * sizeof *p->texts);
  p->numbers = malloc(count * sizeof *p->numbers);
  p->capacity = p->texts && p->numbers ? count : 0;
  return p->capacity > 0;
}

bool arvak__pg_parameters_check(arvak__pg_parameters *p, const arvak__db_transaction *tx, arvak__db_outcome *outcome) {
  size_t number = 0;
  for (const arvak__db_statement *s = tx->first; s; s = s->next) {
    if (!check(s, ++number, outcome)) return false;
    if (reserve(p, s->value_count)) continue;
    arvak__db_outcome_fail_memory(outcome, number);
    return false;
  }
  return true;
}

static void write_float(char *text, double number) {
  if (isfinite(number)) snprintf(text, PG_NUMBER_TEXT_BYTES, "%.17g", number);
  else strcpy(text, isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity");
}

static const char *text_of(const arvak__db_value *v, char *number) {
  switch (v->type) {
    case DB_NULL: return NULL;
    case DB_INTEGER: snprintf(number, PG_NUMBER_TEXT_BYTES, "%" PRId64, v->as.integer); return number;
    case DB_FLOAT: write_float(number, v->as.number); return number;
    case DB_BOOLEAN: return v->as.integer ? "t" : "f";
    case DB_TEXT: return v->as.text;
  }
  return NULL;
}

const char *const *arvak__pg_parameters_of(arvak__pg_parameters *p, const arvak__db_statement *s) {
  for (size_t i = 0; i < s->value_count; i++) p->texts[i] = text_of(&s->values[i], p->numbers[i]);
  return p->texts;
}

void arvak__pg_parameters_fini(arvak__pg_parameters *p) {
  free(p->texts);
  free(p->numbers);
  *p = (arvak__pg_parameters){0};
}

/* ---- and back ---- */

static bool keep_value(arvak__db_outcome *outcome, const PGresult *result, int row, int column, arvak__db_value *v) {
  const char *text = PQgetvalue(result, row, column);
  if (PQgetisnull(result, row, column)) return true;
  switch (PQftype(result, column)) {
    case TYPE_BOOL: *v = (arvak__db_value){.type = DB_BOOLEAN, .as.integer = text[0] == 't'}; return true;
    case TYPE_INT2:
    case TYPE_INT4:
    case TYPE_OID:
    case TYPE_INT8: *v = (arvak__db_value){.type = DB_INTEGER, .as.integer = strtoll(text, NULL, 10)}; return true;
    case TYPE_FLOAT4:
    case TYPE_FLOAT8: *v = (arvak__db_value){.type = DB_FLOAT, .as.number = strtod(text, NULL)}; return true;
    default: break;
  }
  size_t size = (size_t)PQgetlength(result, row, column);
  const char *copy = arvak__db_outcome_copy(outcome, text, size);
  if (copy) *v = (arvak__db_value){.type = DB_TEXT, .size_bytes = size, .as.text = copy};
  return copy != NULL;
}

static bool keep_row(arvak__db_outcome *outcome, const PGresult *result, int row) {
  arvak__db_row *kept = arvak__db_outcome_add_row(outcome);
  if (!kept) return false;
  for (int i = 0; i < PQnfields(result); i++) {
    if (!keep_value(outcome, result, row, i, &kept->values[i])) return false;
  }
  return true;
}

static bool make_result(arvak__db_outcome *outcome, const PGresult *result) {
  int count = PQnfields(result);
  arvak__db_result *made = arvak__db_outcome_add_result(outcome, (size_t)count);
  if (!made) return false;
  for (int i = 0; i < count; i++) {
    const char *name = PQfname(result, i);
    made->columns[i] = arvak__db_outcome_copy(outcome, name, strlen(name));
    if (!made->columns[i]) return false;
  }
  return true;
}

/* Rows that were changed; the tag of a SELECT counts those that were read. */
static int64_t changes_of(PGresult *result) {
  if (strncmp(PQcmdStatus(result), "SELECT", 6) == 0) return 0;
  return strtoll(PQcmdTuples(result), NULL, 10);
}

void arvak__pg_keep(arvak__db_outcome *outcome, const PGresult *result, bool is_first) {
  if (outcome->has_failed || (is_first && !make_result(outcome, result))) return;
  for (int row = 0; row < PQntuples(result); row++) {
    if (!keep_row(outcome, result, row)) return;
  }
  if (PQresultStatus(result) != PGRES_SINGLE_TUPLE) outcome->last->changes = changes_of((PGresult *)result);
}
