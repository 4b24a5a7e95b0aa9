/* A store in which the n-th allocation fails, its own or SQLite's, for every n until none does: each submit ends with
 * one outcome or is refused, the file holds what the outcomes say and no more, nothing leaks, and the file works
 * afterwards.
 * The linker leads our allocations to the functions below; SQLite is given them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ringing.h"

#include <pthread.h>
#include <sqlite3.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
char *__wrap_strdup(const char *text);

static atomic_long until_failure = -1; /* allocations that still succeed; negative: all do */
static atomic_long failures;

/* One of them fails, and those after it succeed. */
static bool fails_now(void) {
  if (atomic_load(&until_failure) < 0) return false;
  if (atomic_fetch_sub(&until_failure, 1) > 0) return false;
  atomic_fetch_add(&failures, 1);
  return true;
}

void *__wrap_malloc(size_t size) { return fails_now() ? NULL : __real_malloc(size); }
void *__wrap_calloc(size_t count, size_t size) { return fails_now() ? NULL : __real_calloc(count, size); }
char *__wrap_strdup(const char *text) { return fails_now() ? NULL : __real_strdup(text); }

/* ---- SQLite's, with the size before each block ---- */

typedef struct block {
  _Alignas(max_align_t) size_t size;
} block;

static void *db_malloc(int size) {
  block *made = fails_now() ? NULL : __real_malloc(sizeof *made + (size_t)size);
  if (!made) return NULL;
  made->size = (size_t)size;
  return made + 1;
}

static void db_free(void *bytes) {
  if (bytes) free((block *)bytes - 1);
}

static void *db_realloc(void *bytes, int size) {
  block *moved = fails_now() ? NULL : realloc((block *)bytes - 1, sizeof *moved + (size_t)size);
  if (!moved) return NULL;
  moved->size = (size_t)size;
  return moved + 1;
}

static int db_size(void *bytes) { return bytes ? (int)((block *)bytes - 1)->size : 0; }
static int db_roundup(int size) { return (size + 7) & ~7; }

static int db_init(void *ud) {
  (void)ud;
  return SQLITE_OK;
}

static void db_shutdown(void *ud) { (void)ud; }

static sqlite3_mem_methods methods = {db_malloc, db_free, db_realloc, db_size, db_roundup, db_init, db_shutdown, NULL};

/* ---- one round ---- */

enum { STATEMENTS = 4 };

static char path[96];

/* What came of a round. */
typedef struct tally {
  int64_t submitted, refused, failed, written; /* written: transactions that say that they were carried out */
} tally;

/* Every outcome up to the end, in order. */
static void take_all(arvak__db_store *store, tally *t) {
  int64_t expected = 0;
  for (arvak__db_view view = wait_view(store); view.kind != DB_ENDED; view = wait_view(store)) {
    assert_int_equal(view.id, expected++);
    if (view.outcome->has_failed) {
      t->failed++;
      assert_true(view.outcome->message[0] != '\0');
    } else if (view.outcome->count == STATEMENTS) {
      t->written++;
    }
    arvak__db_store_drop(store);
  }
  assert_int_equal(expected, t->submitted + 1);
}

static bool add(arvak__db_transaction *tx, const char *sql, const char *value) {
  arvak__db_statement *s = arvak__db_transaction_add(tx, sql, strlen(sql), value ? 1 : 0);
  return s && (!value || arvak__db_transaction_set_text(tx, &s->values[0], value, strlen(value)));
}

/* 0: there was no memory for it; the transaction is given back then. */
static int64_t write_two(arvak__db_store *store) {
  arvak__db_transaction tx = {.mode = DB_WRITE};
  int64_t id = 0;
  if (add(&tx, "CREATE TABLE IF NOT EXISTS t (i INTEGER PRIMARY KEY, x TEXT)", NULL) &&
      add(&tx, "INSERT INTO t (x) VALUES (?)", "one") && add(&tx, "INSERT INTO t (x) VALUES (?)", "two") &&
      add(&tx, "SELECT i, x, zeroblob(5000) AS z FROM t WHERE x >= ? ORDER BY x", "a"))
    id = arvak__db_store_submit(store, &tx, false);
  if (id == 0) arvak__db_arena_fini(&tx.arena);
  return id;
}

static void count_submit(tally *t, int64_t id) {
  if (id != 0) t->submitted++;
  else t->refused++;
}

/* So that no test waits for a disk. */
static int64_t be_fast(arvak__db_store *store) {
  arvak__db_transaction tx = {.mode = DB_RAW};
  int64_t id = add(&tx, "PRAGMA synchronous = OFF", NULL) ? arvak__db_store_submit(store, &tx, false) : 0;
  if (id == 0) arvak__db_arena_fini(&tx.arena);
  return id;
}

/* True: no allocation has failed. */
static bool run_round(long n, tally *t) {
  arvak__db_settings settings = usual;
  settings.where = path;
  atomic_store(&failures, 0);
  atomic_store(&until_failure, n);
  arvak__db_store *store = arvak__db_store_new(&arvak__db_sqlite, &the_seam, &settings);
  if (store) {
    count_submit(t, be_fast(store));
    for (int i = 0; i < 3; i++) count_submit(t, write_two(store));
    arvak__db_store_close(store);
    take_all(store, t);
  }
  atomic_store(&until_failure, -1);
  if (store) arvak__db_store_abandon(store);
  EVENTUALLY(atomic_load(&the_bell.refs) == 0);
  bool is_clean = store && t->failed == 0 && t->refused == 0;
  assert_true(is_clean || atomic_load(&failures) > 0);
  return atomic_load(&failures) == 0;
}

static int64_t count_rows(void) {
  arvak__db_settings settings = usual;
  settings.where = path;
  arvak__db_store *store = open_store(&settings);
  expect_well(store);
  int64_t tables = read_integer(store, "SELECT count(*) FROM sqlite_master");
  int64_t count = tables > 0 ? read_integer(store, "SELECT count(*) FROM t") : 0;
  arvak__db_store_abandon(store);
  EVENTUALLY(atomic_load(&the_bell.refs) == 0);
  return count;
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  new_file(path, sizeof path, "oom.db");
  sqlite3_int64 before = 0;
  bool is_over = false;
  for (long n = 0; !is_over; n++) {
    remove(path);
    if (n > 100000) fail_msg("it does not succeed");
    tally t = {0};
    is_over = run_round(n, &t);
    assert_int_equal(count_rows(), 2 * t.written); /* no more and no less than what was said */
    if (is_over) assert_int_equal(t.written, 3);
    if (n == 10) before = sqlite3_memory_used();
    if (n > 10) EVENTUALLY(sqlite3_memory_used() == before);
  }
}

static int clean_up(void **state) {
  (void)state;
  remove_files();
  return 0;
}

int main(void) {
  sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
  return cmocka_run_group_tests(tests, NULL, clean_up);
}
