/* The driver of SQLite: values both ways, what each mode means, and a name for each kind of failure.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ringing.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static arvak__db_store *store;

static int open_memory(void **state) {
  (void)state;
  store = open_store(&usual);
  expect_well(store);
  return 0;
}

static arvak__db_store *open_named(const char *path, bool is_readonly) {
  arvak__db_settings settings = usual;
  settings.where = path;
  settings.is_readonly = is_readonly;
  arvak__db_store *opened = open_store(&settings);
  expect_well(opened);
  return opened;
}

static int close_store(void **state) {
  (void)state;
  if (store) arvak__db_store_abandon(store);
  store = NULL;
  EVENTUALLY(atomic_load(&the_bell.refs) == 0);
  return 0;
}

static void must(const char *sql) {
  submit_one(store, DB_WRITE, sql);
  expect_well(store);
}

static void fails(arvak__db_mode mode, const char *sql, arvak__db_what what, const char *message) {
  submit_one(store, mode, sql);
  expect_failure(store, what, message);
}

/* ---- values ---- */

static arvak__db_value text(arvak__db_transaction *tx, const char *bytes, size_t size) {
  arvak__db_value value;
  assert_true(arvak__db_transaction_set_text(tx, &value, bytes, size));
  return value;
}

static void values_of_every_type_come_back_as_they_were(void **state) {
  (void)state;
  arvak__db_transaction tx = {.mode = DB_WRITE};
  const char sql[] = "SELECT ? AS a, ? AS b, ? AS c, ? AS d, ? AS e, ? AS f, ? AS g, ? AS h, x'00ff00' AS i, x'' AS j";
  char *long_text = malloc(100000);
  memset(long_text, 'x', 100000);
  arvak__db_value *v = arvak__db_transaction_add(&tx, sql, strlen(sql), 8)->values;
  v[0] = (arvak__db_value){.type = DB_INTEGER, .as.integer = INT64_MIN};
  v[1] = (arvak__db_value){.type = DB_INTEGER, .as.integer = INT64_MAX};
  v[2] = (arvak__db_value){.type = DB_FLOAT, .as.number = 0.1};
  v[3] = (arvak__db_value){.type = DB_BOOLEAN, .as.integer = 1};
  v[5] = text(&tx, "a\0b\xff", 4);
  v[6] = text(&tx, "", 0);
  v[7] = text(&tx, long_text, 100000);
  assert_int_not_equal(arvak__db_store_submit(store, &tx, false), 0);
  arvak__db_view view = wait_view(store);
  if (view.outcome->has_failed) fail_msg("%s", view.outcome->message);
  const arvak__db_result *result = view.outcome->first;
  assert_int_equal(result->column_count, 10);
  assert_string_equal(result->columns[0], "a");
  assert_string_equal(result->columns[9], "j");
  v = result->first->values;
  assert_true(v[0].type == DB_INTEGER && v[0].as.integer == INT64_MIN);
  assert_true(v[1].type == DB_INTEGER && v[1].as.integer == INT64_MAX);
  assert_true(v[2].type == DB_FLOAT && v[2].as.number == 0.1);
  assert_true(v[3].type == DB_INTEGER && v[3].as.integer == 1); /* SQLite has no other truth */
  assert_int_equal(v[4].type, DB_NULL);
  assert_true(v[5].type == DB_TEXT && v[5].size_bytes == 4 && memcmp(v[5].as.text, "a\0b\xff", 4) == 0);
  assert_true(v[6].type == DB_TEXT && v[6].size_bytes == 0);
  assert_true(v[7].type == DB_TEXT && v[7].size_bytes == 100000 && memcmp(v[7].as.text, long_text, 100000) == 0);
  assert_true(v[8].type == DB_TEXT && v[8].size_bytes == 3 && memcmp(v[8].as.text, "\0\xff", 3) == 0);
  assert_true(v[9].type == DB_TEXT && v[9].size_bytes == 0);
  free(long_text);
}

static void what_sqlite_cannot_hold_is_refused(void **state) {
  (void)state;
  arvak__db_transaction tx = {.mode = DB_WRITE};
  arvak__db_statement *s = arvak__db_transaction_add(&tx, "SELECT ?", 8, 1);
  s->values[0] = (arvak__db_value){.type = DB_FLOAT, .as.number = NAN};
  arvak__db_store_submit(store, &tx, false);
  expect_failure(store, DB_OTHER, "value 1 is not a number");
}

static void each_statement_has_its_changes_and_rows(void **state) {
  (void)state;
  submit(store, DB_WRITE, 7,
         (const char *const[]){"CREATE TABLE t (i)", "INSERT INTO t VALUES (1), (2), (3)", "SELECT i FROM t ORDER BY i",
                               "UPDATE t SET i = 5 WHERE i = 2", "CREATE TABLE u (i)", "DELETE FROM t RETURNING i",
                               "SELECT i FROM t"});
  arvak__db_view view = wait_view(store);
  if (view.outcome->has_failed) fail_msg("%s", view.outcome->message);
  static const int changes[] = {0, 3, 0, 1, 0, 3, 0}, rows[] = {0, 0, 3, 0, 0, 3, 0};
  const arvak__db_result *result = view.outcome->first;
  for (int i = 0; i < 7; i++, result = result->next) {
    assert_int_equal(result->changes, changes[i]);
    assert_int_equal(result->row_count, rows[i]);
  }
  assert_null(result);
}

static void a_hundred_thousand_rows_come_in_pages(void **state) {
  (void)state;
  enum { ROWS = 100000, PAGE = 5000 };
  must("CREATE TABLE t (i INTEGER PRIMARY KEY, x TEXT)");
  must("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) "
       "INSERT INTO t SELECT i, 'row ' || i FROM n");
  int64_t last = 0, count = 0;
  for (size_t rows = PAGE; rows == PAGE; count += (int64_t)rows) {
    arvak__db_transaction tx = {.mode = DB_READ};
    const char sql[] = "SELECT i, x FROM t WHERE i > ? ORDER BY i LIMIT 5000";
    arvak__db_statement *s = arvak__db_transaction_add(&tx, sql, strlen(sql), 1);
    s->values[0] = (arvak__db_value){.type = DB_INTEGER, .as.integer = last};
    arvak__db_store_submit(store, &tx, false);
    arvak__db_view view = wait_view(store);
    rows = view.outcome->first->row_count;
    if (rows > 0) last = view.outcome->first->last->values[0].as.integer;
    arvak__db_store_drop(store);
  }
  assert_int_equal(count, ROWS);
  assert_int_equal(last, ROWS);
}

static void an_answer_that_is_too_large_is_a_failure_and_the_next_one_none(void **state) {
  (void)state;
  fails(DB_READ, "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) "
                 "SELECT zeroblob(1000000) FROM n", DB_OTHER, "256 MiB");
  assert_int_equal(read_integer(store, "SELECT 7"), 7);
}

/* ---- statements ---- */

static void more_texts_than_are_kept_all_work_again_and_again(void **state) {
  (void)state;
  char sql[64];
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 100; i++) {
      snprintf(sql, sizeof sql, "SELECT %d", i);
      assert_int_equal(read_integer(store, sql), i);
    }
  }
}

static void a_kept_statement_follows_a_change_of_the_schema(void **state) {
  (void)state;
  must("CREATE TABLE t (i)");
  must("INSERT INTO t VALUES (1)");
  submit_one(store, DB_READ, "SELECT * FROM t");
  assert_int_equal(wait_view(store).outcome->first->column_count, 1);
  arvak__db_store_drop(store);
  must("ALTER TABLE t ADD COLUMN j DEFAULT 2");
  submit_one(store, DB_READ, "SELECT * FROM t");
  arvak__db_view view = wait_view(store);
  assert_int_equal(view.outcome->first->column_count, 2);
  assert_string_equal(view.outcome->first->columns[1], "j");
  assert_int_equal(view.outcome->first->first->values[1].as.integer, 2);
}

static void a_statement_that_cannot_be_is_named(void **state) {
  (void)state;
  fails(DB_WRITE, "SELECT 1; SELECT 2", DB_OTHER, "more than one statement");
  fails(DB_WRITE, " ; ", DB_OTHER, "no statement");
  fails(DB_WRITE, "SELEKT", DB_OTHER, "syntax error");
  fails(DB_WRITE, "SELECT ?, ?", DB_OTHER, "2 parameters, got 0 values");
  submit(store, DB_WRITE, 3, (const char *const[]){"CREATE TABLE t (i)", "INSERT INTO none VALUES (1)", "SELECT 1"});
  arvak__db_view view = wait_view(store);
  assert_int_equal(view.outcome->statement, 2);
  assert_int_equal(view.outcome->code, SQLITE_ERROR);
  arvak__db_store_drop(store);
  assert_int_equal(read_integer(store, "SELECT count(*) FROM sqlite_master"), 0);
  assert_int_equal(read_integer(store, "SELECT 1; "), 1);
}

static void a_transaction_that_reads_does_not_write(void **state) {
  (void)state;
  must("CREATE TABLE t (i)");
  fails(DB_READ, "INSERT INTO t VALUES (1)", DB_OTHER, "must not write");
  assert_int_equal(read_integer(store, "SELECT count(*) FROM t"), 0);
}

static void a_raw_statement_is_by_itself_and_leaves_no_transaction(void **state) {
  (void)state;
  must("CREATE TABLE t (i)");
  submit(store, DB_RAW, 2, (const char *const[]){"INSERT INTO t VALUES (1)", "INSERT INTO none VALUES (1)"});
  expect_failure(store, DB_OTHER, "no such table");
  assert_int_equal(read_integer(store, "SELECT count(*) FROM t"), 1);
  submit(store, DB_RAW, 2, (const char *const[]){"BEGIN", "INSERT INTO t VALUES (2)"});
  expect_failure(store, DB_OTHER, "left a transaction open");
  assert_int_equal(read_integer(store, "SELECT count(*) FROM t"), 1);
  fails(DB_WRITE, "COMMIT", DB_OTHER, "no transaction is active");
  must("INSERT INTO t VALUES (3)");
}

static void what_has_failed_is_rolled_back_and_the_next_one_is_not(void **state) {
  (void)state;
  must("CREATE TABLE t (i UNIQUE)");
  submit(store, DB_WRITE, 3, (const char *const[]){"INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)",
                                                   "INSERT INTO t VALUES (1)"});
  expect_failure(store, DB_CONSTRAINT, "UNIQUE constraint failed: t.i");
  assert_int_equal(read_integer(store, "SELECT count(*) FROM t"), 0);
  must("INSERT INTO t VALUES (1)");
  assert_int_equal(read_integer(store, "SELECT count(*) FROM t"), 1);
}

static void a_large_transaction_is_one(void **state) {
  (void)state;
  enum { COUNT = 20000 };
  must("CREATE TABLE t (i INTEGER PRIMARY KEY, x)");
  arvak__db_transaction tx = {.mode = DB_WRITE};
  for (int i = 0; i < COUNT; i++) {
    const char sql[] = "INSERT INTO t (i, x) VALUES (?, ?)";
    arvak__db_statement *s = arvak__db_transaction_add(&tx, sql, strlen(sql), 2);
    s->values[0] = (arvak__db_value){.type = DB_INTEGER, .as.integer = i};
    s->values[1] = text(&tx, "some text", 9);
  }
  arvak__db_store_submit(store, &tx, false);
  expect_well(store);
  assert_int_equal(read_integer(store, "SELECT count(*) FROM t"), COUNT);
}

/* ---- failures by their names ---- */

static void write_file(const char *path, const char *bytes, size_t size, off_t at) {
  int fd = open(path, O_WRONLY | O_CREAT, 0644);
  assert_true(fd >= 0);
  assert_int_equal(pwrite(fd, bytes, size, at), size);
  close(fd);
}

static void a_lock_of_somebody_else_is_busy(void **state) {
  (void)state;
  char path[96];
  sqlite3 *other;
  store = open_named(new_file(path, sizeof path, "busy.db"), false);
  must("CREATE TABLE t (i)");
  assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
  assert_int_equal(sqlite3_exec(other, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
  fails(DB_WRITE, "INSERT INTO t VALUES (1)", DB_BUSY, "database is locked");
  fails(DB_READ, "SELECT i FROM t", DB_BUSY, "database is locked");
  assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
  must("INSERT INTO t VALUES (1)");
  sqlite3_close(other);
}

static void a_lock_is_waited_for_as_long_as_was_asked_for(void **state) {
  (void)state;
  char path[96];
  sqlite3 *other;
  arvak__db_settings patient = usual;
  patient.where = new_file(path, sizeof path, "patient.db");
  patient.busy_timeout_ns = INT64_C(20000000000);
  assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
  assert_int_equal(sqlite3_exec(other, "CREATE TABLE t (i); BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
  store = open_store(&patient);
  expect_well(store);
  submit_one(store, DB_WRITE, "INSERT INTO t VALUES (1)");
  pause_ms(100);
  arvak__db_view view;
  assert_false(arvak__db_store_peek(store, &view));
  assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
  expect_well(store);
  sqlite3_close(other);
}

static void a_full_database_says_so_and_goes_on(void **state) {
  (void)state;
  must("CREATE TABLE t (x)");
  submit_one(store, DB_RAW, "PRAGMA max_page_count = 10");
  expect_well(store);
  fails(DB_WRITE, "INSERT INTO t VALUES (zeroblob(100000))", DB_FULL, "database or disk is full");
  must("INSERT INTO t VALUES (1)");
}

static void what_may_only_be_read_says_so(void **state) {
  (void)state;
  char path[96];
  store = open_named(new_file(path, sizeof path, "readonly.db"), false);
  must("CREATE TABLE t (i)");
  arvak__db_store_abandon(store);
  store = open_named(path, true);
  fails(DB_WRITE, "INSERT INTO t VALUES (1)", DB_READONLY, "readonly database");
  assert_int_equal(read_integer(store, "SELECT count(*) FROM t"), 0);
}

static void a_file_that_has_to_exist_is_not_made(void **state) {
  (void)state;
  char path[96];
  arvak__db_settings existing = usual;
  existing.where = new_file(path, sizeof path, "missing.db");
  existing.must_exist = true;
  store = open_store(&existing);
  expect_failure(store, DB_IO, "unable to open database file: No such file or directory");
  assert_int_not_equal(access(path, F_OK), 0);
}

static void a_file_of_something_else_is_no_database(void **state) {
  (void)state;
  char path[96], bytes[8192];
  memset(bytes, 'x', sizeof bytes);
  write_file(new_file(path, sizeof path, "text.db"), bytes, sizeof bytes, 0);
  store = open_named(path, false);
  fails(DB_READ, "SELECT count(*) FROM sqlite_master", DB_NOT_A_DATABASE, "file is not a database");
}

static void a_damaged_file_is_corrupt(void **state) {
  (void)state;
  char path[96], bytes[4096];
  store = open_named(new_file(path, sizeof path, "damaged.db"), false);
  must("CREATE TABLE t (x)");
  must("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) "
       "INSERT INTO t SELECT printf('%0200d', i) FROM n");
  arvak__db_store_abandon(store);
  memset(bytes, 0xee, sizeof bytes);
  for (off_t page = 1; page < 20; page++) write_file(path, bytes, sizeof bytes, page * 4096);
  store = open_named(path, false);
  fails(DB_READ, "SELECT max(x) FROM t", DB_CORRUPT, "malformed");
}

/* In a child, since the limit is a process's: no file may grow beyond 64 KiB. */
static int write_beyond_the_limit(const char *path) {
  signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &(struct rlimit){65536, 65536});
  arvak__db_settings settings = usual;
  settings.where = path;
  arvak__db_store *limited = arvak__db_store_new(&arvak__db_sqlite, &the_seam, &settings);
  submit_one(limited, DB_WRITE, "CREATE TABLE t (x)");
  submit_one(limited, DB_WRITE, "INSERT INTO t VALUES (zeroblob(1000000))");
  for (int i = 0; i < 2; i++) expect_well(limited);
  arvak__db_view view = wait_view(limited);
  bool is_right = view.outcome->has_failed && view.outcome->what == DB_IO;
  if (!is_right) fprintf(stderr, "%s: %s\n", arvak__db_what_name(view.outcome->what), view.outcome->message);
  arvak__db_store_drop(limited);
  bool is_rolled_back = read_integer(limited, "SELECT count(*) FROM t") == 0;
  arvak__db_store_abandon(limited);
  return is_right && is_rolled_back ? 0 : 1;
}

static void a_write_that_the_system_refuses_is_an_io_failure_and_rolled_back(void **state) {
  (void)state;
  char path[96];
  if (!CHILD_HAS_THREADS) skip();
  new_file(path, sizeof path, "limited.db");
  pid_t pid = fork();
  if (pid == 0) _exit(write_beyond_the_limit(path));
  int status = 0;
  waitpid(pid, &status, 0);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_name_is_never_a_uri(void **state) {
  (void)state;
  char path[96], before[256];
  assert_non_null(getcwd(before, sizeof before));
  new_file(path, sizeof path, "");
  assert_int_equal(chdir(path), 0);
  store = open_named("file:named.db?mode=memory", false);
  must("CREATE TABLE t (i)");
  assert_int_equal(access("file:named.db?mode=memory", F_OK), 0);
  assert_int_equal(chdir(before), 0);
}

static int clean_up(void **state) {
  (void)state;
  remove_files();
  return 0;
}

#define IN_MEMORY(test) cmocka_unit_test_setup_teardown(test, open_memory, close_store)
#define IN_FILE(test) cmocka_unit_test_teardown(test, close_store)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_MEMORY(values_of_every_type_come_back_as_they_were),
      IN_MEMORY(what_sqlite_cannot_hold_is_refused),
      IN_MEMORY(each_statement_has_its_changes_and_rows),
      IN_MEMORY(a_hundred_thousand_rows_come_in_pages),
      IN_MEMORY(an_answer_that_is_too_large_is_a_failure_and_the_next_one_none),
      IN_MEMORY(more_texts_than_are_kept_all_work_again_and_again),
      IN_MEMORY(a_kept_statement_follows_a_change_of_the_schema),
      IN_MEMORY(a_statement_that_cannot_be_is_named),
      IN_MEMORY(a_transaction_that_reads_does_not_write),
      IN_MEMORY(a_raw_statement_is_by_itself_and_leaves_no_transaction),
      IN_MEMORY(what_has_failed_is_rolled_back_and_the_next_one_is_not),
      IN_MEMORY(a_large_transaction_is_one),
      IN_FILE(a_lock_of_somebody_else_is_busy),
      IN_FILE(a_lock_is_waited_for_as_long_as_was_asked_for),
      IN_MEMORY(a_full_database_says_so_and_goes_on),
      IN_FILE(what_may_only_be_read_says_so),
      IN_FILE(a_file_that_has_to_exist_is_not_made),
      IN_FILE(a_file_of_something_else_is_no_database),
      IN_FILE(a_damaged_file_is_corrupt),
      IN_FILE(a_write_that_the_system_refuses_is_an_io_failure_and_rolled_back),
      IN_FILE(a_name_is_never_a_uri)};
  return cmocka_run_group_tests(tests, NULL, clean_up);
}
