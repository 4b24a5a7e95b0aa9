/* Invariant: count statements are linked from first to last, whatever has failed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "transaction.h"

#include <string.h>

struct arvak__db_sql {
  arvak__db_sql *next;
  size_t size_bytes;
  char text[]; /* and a NUL */
};

/* How many texts are looked through: more are copied again. */
enum { TEXTS_SHARED = 8 };

/* NULL: out of memory. */
static const char *share(arvak__db_transaction *tx, const char *sql, size_t size_bytes) {
  int looks = 0;
  for (const arvak__db_sql *known = tx->texts; known && looks < TEXTS_SHARED; known = known->next, looks++)
    if (known->size_bytes == size_bytes && memcmp(known->text, sql, size_bytes) == 0) return known->text;
  arvak__db_sql *made = arvak__db_arena_take(&tx->arena, sizeof *made + size_bytes + 1);
  if (!made) return NULL;
  memcpy(made->text, sql, size_bytes);
  made->text[size_bytes] = '\0';
  made->size_bytes = size_bytes;
  made->next = tx->texts;
  tx->texts = made;
  return made->text;
}

arvak__db_statement *arvak__db_transaction_add(arvak__db_transaction *tx, const char *sql, size_t size_bytes,
                                               size_t value_count) {
  size_t size = sizeof(arvak__db_statement) + value_count * sizeof(arvak__db_value);
  arvak__db_statement *statement = arvak__db_arena_take(&tx->arena, size);
  const char *text = share(tx, sql, size_bytes);
  if (!statement || !text) return NULL;
  memset(statement, 0, size); /* DB_NULL is 0 */
  statement->sql = text;
  statement->sql_size_bytes = size_bytes;
  statement->value_count = value_count;
  if (tx->last) tx->last->next = statement;
  else tx->first = statement;
  tx->last = statement;
  tx->count++;
  return statement;
}

void arvak__db_transaction_drop_last(arvak__db_transaction *tx, arvak__db_statement *previous) {
  if (previous) previous->next = NULL;
  else tx->first = NULL;
  tx->last = previous;
  tx->count--;
}

bool arvak__db_transaction_set_text(arvak__db_transaction *tx, arvak__db_value *value, const char *bytes,
                                    size_t size_bytes) {
  char *copy = arvak__db_arena_copy(&tx->arena, bytes, size_bytes);
  if (!copy) return false;
  *value = (arvak__db_value){.type = DB_TEXT, .size_bytes = size_bytes, .as.text = copy};
  return true;
}
