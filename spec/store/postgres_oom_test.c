/* A store on PostgreSQL whose thread is denied its n-th allocation, ours or a library's, for every n until none is
 * denied: each transaction ends with one outcome, and what that says is true.
 * The functions below stand before the C library's, for this program and libpq. A sanitizer has its own: there nothing
 * is denied, and one round runs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cluster.h"

#include <pthread.h>

static atomic_long until_failure = -1; /* allocations that still succeed; negative: all do */
static atomic_bool has_failed;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *bytes, size_t size);

static pthread_t main_thread;

/* The store's thread alone is denied; the test's own must not be. */
static bool fails_now(void) {
  if (atomic_load(&until_failure) < 0 || pthread_equal(pthread_self(), main_thread)) return false;
  if (atomic_fetch_sub(&until_failure, 1) > 0) return false;
  atomic_store(&has_failed, true);
  return true;
}

#define SEEN __attribute__((visibility("default")))
SEEN void *malloc(size_t size) { return fails_now() ? NULL : __libc_malloc(size); }
SEEN void *calloc(size_t count, size_t size) { return fails_now() ? NULL : __libc_calloc(count, size); }
SEEN void *realloc(void *bytes, size_t size) { return fails_now() ? NULL : __libc_realloc(bytes, size); }

static void note_main_thread(void) { main_thread = pthread_self(); }
#else
static void note_main_thread(void) {}
#endif

enum { WRITES = 2 };

static void submit_insert(arvak__db_store *store, int64_t k) {
  static const char sql[] = "INSERT INTO t VALUES ($1, repeat('x', 3000)) RETURNING k, x";
  arvak__db_transaction tx = {.mode = DB_WRITE};
  arvak__db_statement *s = arvak__db_transaction_add(&tx, sql, sizeof sql - 1, 1);
  s->values[0] = (arvak__db_value){.type = DB_INTEGER, .as.integer = k};
  assert_int_not_equal(arvak__db_store_submit(store, &tx, false), 0);
}

static bool exists(arvak__db_store *witness, int64_t k) {
  char sql[64];
  snprintf(sql, sizeof sql, "SELECT count(*) FROM t WHERE k = %d", (int)k);
  return read_integer(witness, sql) == 1;
}

/* What the next outcome says: DB_WHAT_COUNT is a success. */
static arvak__db_what take_what(arvak__db_store *store) {
  arvak__db_view view = wait_view(store);
  arvak__db_what what = view.outcome->has_failed ? view.outcome->what : DB_WHAT_COUNT;
  assert_true(what == DB_WHAT_COUNT || view.outcome->message[0] != '\0');
  arvak__db_store_drop(store);
  return what;
}

/* True: nothing was denied. */
static bool run_round(arvak__db_store *witness, long n) {
  arvak__db_what said[WRITES];
  atomic_store(&has_failed, false);
  atomic_store(&until_failure, n);
  arvak__db_store *store = open_cluster(1); /* libpq forgets a message that it cannot keep, and waits for it */
  for (int i = 0; i < WRITES; i++) submit_insert(store, n * WRITES + i);
  take_what(store);
  for (int i = 0; i < WRITES; i++) said[i] = take_what(store);
  atomic_store(&until_failure, -1);
  for (int i = 0; i < WRITES; i++) {
    if (said[i] != DB_LOST) assert_int_equal(exists(witness, n * WRITES + i), said[i] == DB_WHAT_COUNT);
  }
  arvak__db_store_abandon(store);
  EVENTUALLY(atomic_load(&the_bell.refs) == 1); /* the witness's */
  return !atomic_load(&has_failed);
}

static void an_allocation_that_is_denied_is_an_outcome(void **state) {
  (void)state;
  arvak__db_store *witness = open_cluster(60);
  expect_well(witness);
  submit_one(witness, DB_WRITE, "CREATE TABLE t (k int PRIMARY KEY, x text)");
  expect_well(witness);
  long n = 0;
  while (!run_round(witness, n)) n++;
  print_message("# %ld allocations\n", n);
  arvak__db_store_abandon(witness);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(an_allocation_that_is_denied_is_an_outcome)};
  note_main_thread();
  return cmocka_run_group_tests(tests, cluster_start, cluster_stop);
}
