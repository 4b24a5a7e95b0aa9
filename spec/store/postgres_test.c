/* Stores on PostgreSQL without Lua: beats beside transactions, ends at any moment, forks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cluster.h"

static void set_beat(arvak__db_store *store, const char *sql, int64_t every_ns) {
  arvak__db_pulse pulse = {.every_ns = every_ns, .quiet_ns = DB_NEVER, .turn = 1};
  arvak__db_statement *s = sql ? arvak__db_transaction_add(&pulse.tx, sql, strlen(sql), 1) : NULL;
  assert_true(s || !sql);
  assert_true(arvak__db_store_beat(store, &pulse));
}

static void create_tables(void) {
  arvak__db_store *store = open_cluster(60);
  expect_well(store);
  submit(store, DB_WRITE, 3, (const char *const[]){"CREATE TABLE IF NOT EXISTS t (i int)",
    "CREATE TABLE IF NOT EXISTS worker (turn float8)", "INSERT INTO worker VALUES (0)"});
  expect_well(store);
  arvak__db_store_abandon(store);
}

static int start(void **state) {
  if (cluster_start(state) != 0) return -1;
  create_tables();
  return 0;
}

static const char beat[] = "UPDATE worker SET turn = $1";

static void beats_come_between_transactions_and_hold_up_none(void **state) {
  (void)state;
  enum { STORES = 3, ROUNDS = 100 };
  arvak__db_store *stores[STORES];
  for (int i = 0; i < STORES; i++) stores[i] = open_cluster(60);
  for (int i = 0; i < STORES; i++) expect_well(stores[i]);
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < STORES; i++) {
      if (round % 10 == 0) set_beat(stores[i], beat, 1000000);
      if (round % 25 == 24) set_beat(stores[i], NULL, 0);
      arvak__db_store_touch(stores[i]);
      submit_one(stores[i], DB_WRITE, "INSERT INTO t VALUES (1)");
    }
    for (int i = 0; i < STORES; i++) expect_well(stores[i]);
  }
  for (int i = 0; i < STORES; i++) {
    set_beat(stores[i], beat, 1000000);
    int64_t before = arvak__db_store_last_beat(stores[i]);
    EVENTUALLY(arvak__db_store_last_beat(stores[i]) > before);
  }
  assert_int_equal(read_integer(stores[0], "SELECT count(*) FROM t"), STORES * ROUNDS);
  for (int i = 0; i < STORES; i++) arvak__db_store_abandon(stores[i]);
  EVENTUALLY(atomic_load(&the_bell.refs) == 0);
}

static void stores_that_end_at_any_moment_leave_no_session(void **state) {
  (void)state;
  srand(11);
  for (int round = 0; round < 40; round++) {
    arvak__db_store *store = open_cluster(60);
    if (rand() % 2 == 0) set_beat(store, beat, 1000000);
    for (int i = rand() % 8; i > 0; i--) submit_one(store, DB_WRITE, "INSERT INTO t VALUES (2)");
    for (int i = rand() % 4; i > 0; i--) arvak__db_store_drop(store);
    if (rand() % 3 == 0) arvak__db_store_close(store);
    nanosleep(&(struct timespec){.tv_nsec = rand() % 12000000}, NULL);
    arvak__db_store_abandon(store);
  }
  EVENTUALLY(atomic_load(&the_bell.refs) == 0);
  arvak__db_store *store = open_cluster(60);
  expect_well(store);
  EVENTUALLY(read_integer(store, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'arvak'") == 1);
  arvak__db_store_abandon(store);
}

static int use_in_child(arvak__db_store *store) {
  arvak__db_view view;
  set_beat(store, beat, 1000000);
  arvak__db_store_touch(store);
  submit_one(store, DB_WRITE, "INSERT INTO t VALUES (3)");
  if (!arvak__db_store_peek(store, &view) || view.outcome->what != DB_CLOSED) return 2;
  arvak__db_store_abandon(store);
  return 0;
}

/* libpq would say good-bye on the parent's connection. */
static void a_child_does_not_end_the_parents_session(void **state) {
  (void)state;
  arvak__db_store *store = open_cluster(60);
  expect_well(store);
  int64_t session = read_integer(store, "SELECT pg_backend_pid()");
  pid_t pid = fork();
  if (pid == 0) {
    alarm(60);
    _exit(use_in_child(store));
  }
  int status = 0;
  waitpid(pid, &status, 0);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  assert_int_equal(read_integer(store, "SELECT pg_backend_pid()"), session);
  assert_int_equal(read_integer(store, "SELECT count(*) FROM t WHERE i = 3"), 0);
  arvak__db_store_abandon(store);
  EVENTUALLY(atomic_load(&the_bell.refs) == 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(beats_come_between_transactions_and_hold_up_none),
      cmocka_unit_test(stores_that_end_at_any_moment_leave_no_session),
      cmocka_unit_test(a_child_does_not_end_the_parents_session)};
  return cmocka_run_group_tests(tests, start, cluster_stop);
}
