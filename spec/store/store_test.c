/* A store without Lua: the order of outcomes, bounds, ends, forks, and what its thread must not do.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ringing.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

/* Takes seconds, unless it is interrupted; and is no use of the disk. */
static const char endless[] =
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n WHERE i < 0";

static void expect_all_given_back(void) {
  EVENTUALLY(atomic_load(&the_bell.refs) == 0);
}

/* ---- order ---- */

static void outcomes_come_in_the_order_of_submit_and_each_rings(void **state) {
  (void)state;
  enum { COUNT = 500 };
  atomic_store(&the_bell.rings, 0);
  arvak__db_store *store = open_store(&usual);
  submit_one(store, DB_WRITE, "CREATE TABLE t (i INTEGER PRIMARY KEY)");
  for (int i = 0; i < COUNT; i++) submit_one(store, DB_WRITE, i % 7 == 3 ? "INSERT INTO none VALUES (1)"
                                                                         : "INSERT INTO t VALUES (NULL)");
  arvak__db_store_close(store);
  assert_int_equal(wait_view(store).kind, DB_OPENED);
  expect_well(store);
  expect_well(store);
  for (int i = 0; i < COUNT; i++) {
    arvak__db_view view = wait_view(store);
    assert_int_equal(view.kind, DB_EXECUTED);
    assert_int_equal(view.id, i + 2);
    assert_int_equal(view.outcome->has_failed, i % 7 == 3);
    arvak__db_store_drop(store);
  }
  assert_int_equal(wait_view(store).kind, DB_ENDED);
  arvak__db_store_drop(store);
  arvak__db_view view;
  assert_false(arvak__db_store_peek(store, &view));
  EVENTUALLY(atomic_load(&the_bell.rings) == COUNT + 3);
  arvak__db_store_abandon(store);
  expect_all_given_back();
}

static void what_is_submitted_after_the_end_is_told_that_it_is_closed(void **state) {
  (void)state;
  arvak__db_store *store = open_store(&usual);
  expect_well(store);
  arvak__db_store_close(store);
  int64_t id = submit_one(store, DB_WRITE, "SELECT 1");
  bool has_ended = false, is_answered = false;
  while (!has_ended || !is_answered) {
    arvak__db_view view = wait_view(store);
    if (view.kind == DB_ENDED) has_ended = true;
    else is_answered = view.id == id && view.outcome->what == DB_CLOSED;
    arvak__db_store_drop(store);
  }
  submit_one(store, DB_WRITE, "SELECT 1");
  expect_failure(store, DB_CLOSED, "closed");
  arvak__db_store_abandon(store);
  expect_all_given_back();
}

static void a_database_that_cannot_be_opened_answers_all_the_same(void **state) {
  (void)state;
  arvak__db_settings nowhere = usual;
  nowhere.where = "/nonexistent/folder/file.db";
  arvak__db_store *store = open_store(&nowhere);
  submit_one(store, DB_WRITE, "SELECT 1");
  expect_failure(store, DB_IO, "unable to open database file: No such file or directory");
  expect_failure(store, DB_CLOSED, "could not be opened");
  arvak__db_store_close(store);
  assert_int_equal(wait_view(store).kind, DB_ENDED);
  arvak__db_store_abandon(store);
  expect_all_given_back();
}

/* ---- bounds and ends ---- */

static void a_statement_is_bounded_and_the_next_one_runs(void **state) {
  (void)state;
  arvak__db_settings short_time = usual;
  short_time.statement_timeout_ns = 50000000;
  arvak__db_store *store = open_store(&short_time);
  expect_well(store);
  submit_one(store, DB_WRITE, "CREATE TABLE t (i)");
  expect_well(store);
  submit(store, DB_WRITE, 2, (const char *const[]){"INSERT INTO t VALUES (1)", endless});
  arvak__db_view view = wait_view(store);
  assert_int_equal(view.outcome->what, DB_TIMEOUT);
  assert_int_equal(view.outcome->statement, 2);
  arvak__db_store_drop(store);
  assert_int_equal(read_integer(store, "SELECT count(*) FROM t"), 0); /* rolled back */
  arvak__db_store_abandon(store);
  expect_all_given_back();
}

static void close_ends_what_runs_after_its_bound_and_says_so(void **state) {
  (void)state;
  arvak__db_store *store = open_store(&usual);
  expect_well(store);
  submit_one(store, DB_READ, endless);
  submit_one(store, DB_READ, "SELECT 1");
  int64_t start = arvak__db_now_ns();
  arvak__db_store_close(store);
  expect_failure(store, DB_CLOSED, "closed meanwhile");
  assert_true(arvak__db_now_ns() - start >= DB_CLOSE_NS);
  expect_failure(store, DB_CLOSED, "closed meanwhile");
  assert_int_equal(wait_view(store).kind, DB_ENDED);
  arvak__db_store_abandon(store);
  expect_all_given_back();
}

static void an_abandoned_store_interrupts_what_runs(void **state) {
  (void)state;
  arvak__db_store *store = open_store(&usual);
  expect_well(store);
  submit_one(store, DB_READ, endless);
  int64_t start = arvak__db_now_ns();
  arvak__db_store_abandon(store);
  assert_true(arvak__db_now_ns() - start < 10 * DB_ABANDON_NS);
  expect_all_given_back();
}

/* A disk that does not answer: whatever the store asks of it, for as long as the test wants. */
static atomic_int stuck, executions, closes;
static atomic_bool is_masked;

static void stuck_open(void *c, const arvak__db_settings *s, arvak__db_control *control, arvak__db_outcome *o) {
  (void)c, (void)s, (void)control, (void)o;
}

static void stuck_execute(void *c, const arvak__db_transaction *tx, arvak__db_outcome *outcome) {
  (void)c, (void)tx, (void)outcome;
  sigset_t set;
  pthread_sigmask(SIG_SETMASK, NULL, &set);
  atomic_store(&is_masked, sigismember(&set, SIGINT) && sigismember(&set, SIGTERM) && sigismember(&set, SIGUSR1) &&
                               sigismember(&set, SIGALRM) && sigismember(&set, SIGCHLD));
  atomic_fetch_add(&executions, 1);
  while (atomic_load(&stuck)) pause_ms(1);
}

static void stuck_close(void *c) {
  (void)c;
  atomic_fetch_add(&closes, 1);
}

static const char *stuck_version(void) { return "0"; }

static const arvak__db_option no_options[] = {{NULL, 0, 0, 0}};
static const arvak__db_driver stuck_driver = {.name = "stuck", .version = stuck_version, .options = no_options,
                                              .size_bytes = 1, .open = stuck_open, .execute = stuck_execute,
                                              .close = stuck_close};

static void an_abandoned_store_on_a_disk_that_does_not_answer_ends_by_itself(void **state) {
  (void)state;
  atomic_store(&stuck, 1);
  atomic_store(&executions, 0);
  atomic_store(&closes, 0);
  arvak__db_store *store = arvak__db_store_new(&stuck_driver, &the_seam, &usual);
  for (int i = 0; i < 3; i++) submit_one(store, DB_WRITE, "x");
  EVENTUALLY(atomic_load(&executions) == 1);
  int64_t start = arvak__db_now_ns();
  arvak__db_store_abandon(store);
  int64_t took = arvak__db_now_ns() - start;
  assert_true(took >= DB_ABANDON_NS && took < 10 * DB_ABANDON_NS);
  assert_int_equal(atomic_load(&closes), 0);
  atomic_store(&stuck, 0);
  expect_all_given_back();
  assert_int_equal(atomic_load(&executions), 1); /* what had not begun does not begin */
  assert_int_equal(atomic_load(&closes), 1);
}

static void the_thread_takes_no_signals(void **state) {
  (void)state;
  atomic_store(&stuck, 0);
  atomic_store(&is_masked, false);
  arvak__db_store *store = arvak__db_store_new(&stuck_driver, &the_seam, &usual);
  submit_one(store, DB_WRITE, "x");
  expect_well(store);
  expect_well(store);
  assert_true(atomic_load(&is_masked));
  sigset_t mine;
  pthread_sigmask(SIG_SETMASK, NULL, &mine);
  assert_false(sigismember(&mine, SIGTERM));
  arvak__db_store_abandon(store);
  expect_all_given_back();
}

static void submit_and_peek_do_not_wait_for_the_disk(void **state) {
  (void)state;
  atomic_store(&stuck, 1);
  arvak__db_store *store = arvak__db_store_new(&stuck_driver, &the_seam, &usual);
  expect_well(store);
  arvak__db_view view;
  int64_t start = arvak__db_now_ns();
  for (int i = 0; i < 1000; i++) submit_one(store, DB_WRITE, "x");
  assert_false(arvak__db_store_peek(store, &view));
  arvak__db_store_close(store);
  assert_false(arvak__db_store_peek(store, &view));
  assert_true(arvak__db_now_ns() - start < INT64_C(2000000000)); /* and not for ever */
  atomic_store(&stuck, 0);
  for (int i = 0; i < 1000; i++) expect_well(store);
  assert_int_equal(wait_view(store).kind, DB_ENDED);
  arvak__db_store_abandon(store);
  expect_all_given_back();
}

static int count_entries(const char *path) {
  int count = 0;
  DIR *folder = opendir(path);
  assert_non_null(folder);
  while (readdir(folder)) count++;
  closedir(folder);
  return count;
}

/* At a random moment: before it is open, while it writes, while it closes. */
static void stores_that_end_at_any_moment_leave_nothing(void **state) {
  (void)state;
  char path[96];
  arvak__db_settings file = usual;
  file.where = new_file(path, sizeof path, "random.db");
  int descriptors = count_entries("/proc/self/fd"), threads = count_entries("/proc/self/task");
  srand(7);
  for (int round = 0; round < 150; round++) {
    arvak__db_store *store = open_store(&file);
    submit_one(store, DB_WRITE, "CREATE TABLE IF NOT EXISTS t (i INTEGER PRIMARY KEY, x)");
    for (int i = rand() % 20; i > 0; i--) submit_one(store, DB_WRITE, "INSERT INTO t (x) VALUES (zeroblob(3000))");
    for (int i = rand() % 4; i > 0; i--) arvak__db_store_drop(store);
    if (rand() % 3 == 0) arvak__db_store_close(store);
    if (rand() % 2 == 0) nanosleep(&(struct timespec){.tv_nsec = rand() % 3000000}, NULL);
    arvak__db_store_abandon(store);
  }
  expect_all_given_back();
  EVENTUALLY(count_entries("/proc/self/task") == threads);
  EVENTUALLY(count_entries("/proc/self/fd") == descriptors);
  arvak__db_store *store = open_store(&file);
  expect_well(store);
  submit_one(store, DB_READ, "PRAGMA integrity_check");
  arvak__db_view view = wait_view(store);
  assert_false(view.outcome->has_failed);
  assert_string_equal(view.outcome->first->first->values[0].as.text, "ok");
  arvak__db_store_abandon(store);
  expect_all_given_back();
}

static void close_carries_out_all_that_was_submitted(void **state) {
  (void)state;
  char path[96];
  arvak__db_settings file = usual;
  file.where = new_file(path, sizeof path, "drain.db");
  arvak__db_store *store = open_store(&file);
  submit_one(store, DB_RAW, "PRAGMA synchronous = OFF");
  submit_one(store, DB_WRITE, "CREATE TABLE t (i INTEGER PRIMARY KEY)");
  for (int i = 0; i < 200; i++) submit_one(store, DB_WRITE, "INSERT INTO t VALUES (NULL)");
  arvak__db_store_close(store);
  for (arvak__db_view view = wait_view(store); view.kind != DB_ENDED; view = wait_view(store)) expect_well(store);
  arvak__db_store_abandon(store);
  store = open_store(&file);
  expect_well(store);
  assert_int_equal(read_integer(store, "SELECT count(*) FROM t"), 200);
  arvak__db_store_abandon(store);
  expect_all_given_back();
}

/* ---- forks ---- */

/* In a child: everything that the parent's store is asked for comes back as closed, and nothing waits. */
static int use_foreign_store(arvak__db_store *store, int64_t untaken) {
  int64_t id = submit_one(store, DB_WRITE, "INSERT INTO t VALUES (2)");
  arvak__db_store_close(store);
  arvak__db_view view;
  for (int64_t expected = untaken; expected <= id; expected++) {
    if (!arvak__db_store_peek(store, &view) || view.id != expected || view.outcome->what != DB_CLOSED) return 2;
    if (view.kind != (expected == 0 ? DB_OPENED : DB_EXECUTED)) return 3;
    arvak__db_store_drop(store);
  }
  if (!arvak__db_store_peek(store, &view) || view.kind != DB_ENDED) return 4;
  arvak__db_store_drop(store);
  if (arvak__db_store_peek(store, &view)) return 5;
  arvak__db_store_abandon(store);
  return 0;
}

static int use_own_store(const arvak__db_settings *file, bool is_refused) {
  arvak__db_store *store = arvak__db_store_new(&arvak__db_sqlite, &the_seam, file);
  arvak__db_view view;
  int64_t until = arvak__db_after_ns(TEST_TIMEOUT_NS);
  submit_one(store, DB_WRITE, "CREATE TABLE mine (i)");
  while (!arvak__db_store_peek(store, &view) && arvak__db_now_ns() < until) pause_ms(1);
  if (!arvak__db_store_peek(store, &view)) return 6;
  if (view.outcome->has_failed != is_refused) return 7;
  arvak__db_store_drop(store);
  while (!arvak__db_store_peek(store, &view) && arvak__db_now_ns() < until) pause_ms(1);
  if (view.outcome->has_failed != is_refused) return 8;
  arvak__db_store_abandon(store);
  return 0;
}

static void a_child_is_told_closed_and_opens_stores_of_its_own(void **state) {
  (void)state;
  char path[96], other_path[96];
  arvak__db_settings file = usual, other = usual;
  file.where = new_file(path, sizeof path, "forked.db");
  other.where = new_file(other_path, sizeof other_path, "child.db");
  arvak__db_store *store = open_store(&file), *unread = open_store(&usual);
  expect_well(store);
  submit_one(store, DB_WRITE, "CREATE TABLE t (i)");
  expect_well(store);
  EVENTUALLY(arvak__db_store_peek(unread, &(arvak__db_view){0}));
  pid_t pid = fork();
  if (pid == 0) {
    alarm(60);
    int status = use_foreign_store(store, 2);
    if (status == 0) status = use_foreign_store(unread, 0);
    if (status == 0 && CHILD_HAS_THREADS) status = use_own_store(&other, false);
    if (status == 0 && CHILD_HAS_THREADS) status = use_own_store(&file, true); /* its locks are the parent's */
    _exit(status);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  submit_one(store, DB_WRITE, "INSERT INTO t VALUES (1)");
  expect_well(store);
  assert_int_equal(read_integer(store, "SELECT count(*) FROM t"), 1);
  arvak__db_store_abandon(store);
  arvak__db_store_abandon(unread);
  expect_all_given_back();
}

/* The thread may hold any lock of the store at that moment; the child must touch none. */
static void a_fork_at_any_moment_hangs_nobody(void **state) {
  (void)state;
#ifdef __SANITIZE_ADDRESS__
  skip(); /* its allocator's own locks may be held by the thread that is not there */
#endif
  arvak__db_store *store = open_store(&usual);
  submit_one(store, DB_WRITE, "CREATE TABLE t (i)");
  for (int round = 0; round < 30; round++) {
    for (int i = 0; i < 50; i++) submit_one(store, DB_WRITE, "INSERT INTO t VALUES (1)");
    for (int i = 0; i < 50; i++) arvak__db_store_drop(store);
    pid_t pid = fork();
    if (pid == 0) {
      alarm(60);
      arvak__db_view view;
      submit_one(store, DB_WRITE, "INSERT INTO t VALUES (1)");
      bool is_told = arvak__db_store_peek(store, &view) && view.outcome->what == DB_CLOSED;
      arvak__db_store_abandon(store);
      _exit(is_told ? 0 : 1);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status)) fail_msg("the child ended by signal %d", WTERMSIG(status));
    assert_int_equal(WEXITSTATUS(status), 0);
  }
  arvak__db_store_abandon(store);
  expect_all_given_back();
}

static int clean_up(void **state) {
  (void)state;
  remove_files();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(outcomes_come_in_the_order_of_submit_and_each_rings),
      cmocka_unit_test(what_is_submitted_after_the_end_is_told_that_it_is_closed),
      cmocka_unit_test(a_database_that_cannot_be_opened_answers_all_the_same),
      cmocka_unit_test(a_statement_is_bounded_and_the_next_one_runs),
      cmocka_unit_test(close_ends_what_runs_after_its_bound_and_says_so),
      cmocka_unit_test(an_abandoned_store_interrupts_what_runs),
      cmocka_unit_test(an_abandoned_store_on_a_disk_that_does_not_answer_ends_by_itself),
      cmocka_unit_test(the_thread_takes_no_signals),
      cmocka_unit_test(submit_and_peek_do_not_wait_for_the_disk),
      cmocka_unit_test(stores_that_end_at_any_moment_leave_nothing),
      cmocka_unit_test(close_carries_out_all_that_was_submitted),
      cmocka_unit_test(a_child_is_told_closed_and_opens_stores_of_its_own),
      cmocka_unit_test(a_fork_at_any_moment_hangs_nobody)};
  return cmocka_run_group_tests(tests, NULL, clean_up);
}
