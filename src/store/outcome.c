/* Invariant: an outcome that has failed has no results, and its message is whole characters.
 * SPDX-License-Identifier: Apache-2.0 */
#include "outcome.h"

#include <stdio.h>
#include <string.h>

const char *arvak__db_what_name(arvak__db_what what) {
  static const char *const names[DB_WHAT_COUNT] = {
      [DB_OTHER] = "other",       [DB_BUSY] = "busy",
      [DB_FULL] = "full",         [DB_READONLY] = "readonly",
      [DB_NOT_A_DATABASE] = "not_a_database", [DB_CORRUPT] = "corrupt",
      [DB_CONSTRAINT] = "constraint", [DB_IO] = "io",
      [DB_LOST] = "lost",         [DB_TIMEOUT] = "timeout",
      [DB_AUTH] = "auth",         [DB_CLOSED] = "closed",     [DB_FENCED] = "fenced"};
  return names[what];
}

/* ---- failures ---- */

/* A character of several bytes that was cut is left out. */
static void trim_cut_character(char *message) {
  size_t size = strlen(message), first = size;
  if (size < DB_MESSAGE_BYTES - 1) return;
  while (first > 0 && size - first < 3 && ((unsigned char)message[first - 1] & 0xc0) == 0x80) first--;
  if (first > 0 && (unsigned char)message[first - 1] >= 0xc0) message[first - 1] = '\0';
}

void arvak__db_outcome_fail(arvak__db_outcome *outcome, arvak__db_what what, int code, size_t statement,
                            const char *format, ...) {
  char message[DB_MESSAGE_BYTES]; /* an argument may be of the arena */
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  trim_cut_character(message);
  arvak__db_outcome_fini(outcome);
  outcome->has_failed = true;
  outcome->what = what;
  outcome->code = code;
  outcome->statement = statement;
  memcpy(outcome->message, message, sizeof message);
}

void arvak__db_outcome_fail_memory(arvak__db_outcome *outcome, size_t statement) {
  arvak__db_outcome_fail(outcome, DB_OTHER, 0, statement, "out of memory");
}

static void *fail_place(arvak__db_outcome *outcome, bool is_too_large) {
  size_t statement = outcome->count;
  if (!is_too_large) arvak__db_outcome_fail_memory(outcome, statement);
  else
    arvak__db_outcome_fail(outcome, DB_OTHER, 0, statement, "the answer has more than %zu MiB: ask for fewer rows",
                           DB_ANSWER_BYTES >> 20);
  return NULL;
}

/* ---- results ---- */

static void *take(arvak__db_outcome *outcome, size_t size) {
  bool is_too_large = size > DB_ANSWER_BYTES || outcome->arena.size_bytes > DB_ANSWER_BYTES - size;
  void *place = is_too_large ? NULL : arvak__db_arena_take(&outcome->arena, size);
  return place ? place : fail_place(outcome, is_too_large);
}

arvak__db_result *arvak__db_outcome_add_result(arvak__db_outcome *outcome, size_t column_count) {
  outcome->count++;
  arvak__db_result *result = take(outcome, sizeof *result);
  const char **columns = result ? take(outcome, (column_count + 1) * sizeof *columns) : NULL;
  if (!columns) return NULL;
  memset(columns, 0, (column_count + 1) * sizeof *columns);
  *result = (arvak__db_result){.column_count = column_count, .columns = columns};
  if (outcome->last) outcome->last->next = result;
  else outcome->first = result;
  return outcome->last = result;
}

arvak__db_row *arvak__db_outcome_add_row(arvak__db_outcome *outcome) {
  arvak__db_result *result = outcome->last;
  size_t size = sizeof(arvak__db_row) + result->column_count * sizeof(arvak__db_value);
  arvak__db_row *row = take(outcome, size);
  if (!row) return NULL;
  memset(row, 0, size);
  if (result->last) result->last->next = row;
  else result->first = row;
  result->row_count++;
  return result->last = row;
}

char *arvak__db_outcome_copy(arvak__db_outcome *outcome, const char *bytes, size_t size_bytes) {
  char *copy = size_bytes < DB_ANSWER_BYTES ? take(outcome, size_bytes + 1) : fail_place(outcome, true);
  if (!copy) return NULL;
  if (size_bytes > 0) memcpy(copy, bytes, size_bytes);
  copy[size_bytes] = '\0';
  return copy;
}

void arvak__db_outcome_fini(arvak__db_outcome *outcome) {
  arvak__db_arena_fini(&outcome->arena);
  outcome->first = outcome->last = NULL;
  outcome->count = 0;
  outcome->has_failed = false;
  outcome->state[0] = outcome->message[0] = '\0';
}
