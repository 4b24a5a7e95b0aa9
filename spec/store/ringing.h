/* What the tests of stores stand on: a bell that counts, waiting for an outcome within one bound, statements in a line.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SPEC_STORE_RINGING_H
#define SPEC_STORE_RINGING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "sqlite.h"
#include "store.h"

/* ThreadSanitizer ends a child that starts a thread. */
#ifdef __SANITIZE_THREAD__
enum { CHILD_HAS_THREADS = 0 };
#else
enum { CHILD_HAS_THREADS = 1 };
#endif

#define TEST_TIMEOUT_NS INT64_C(60000000000)

/* References: the test's own, and those of stores and their threads. */
typedef struct test_bell {
  atomic_int refs, rings;
} test_bell;

static inline void test_retain(void *bell) { atomic_fetch_add(&((test_bell *)bell)->refs, 1); }
static inline void test_ring(void *bell) { atomic_fetch_add(&((test_bell *)bell)->rings, 1); }
static inline void test_release(void *bell) { atomic_fetch_sub(&((test_bell *)bell)->refs, 1); }

static const arvak__bell_functions test_functions = {ARVAK_BELL_VERSION, test_retain, test_ring, test_release};
static test_bell the_bell;
static const arvak__bell_seam the_seam = {&test_functions, &the_bell};

static inline void pause_ms(long ms) {
  nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* A condition that has to come true within the one bound. */
#define EVENTUALLY(condition)                                                             \
  do {                                                                                    \
    int64_t until_ = arvak__db_after_ns(TEST_TIMEOUT_NS);                                 \
    while (!(condition) && arvak__db_now_ns() < until_) pause_ms(1);                      \
    if (!(condition)) fail_msg("%s:%d: did not come true: %s", __FILE__, __LINE__, #condition); \
  } while (0)

static const arvak__db_settings usual = {.where = ":memory:",
                                         .connect_timeout_ns = INT64_C(10000000000),
                                         .statement_timeout_ns = INT64_C(60000000000),
                                         .busy_timeout_ns = 0};

static inline arvak__db_store *open_store(const arvak__db_settings *settings) {
  arvak__db_store *store = arvak__db_store_new(&arvak__db_sqlite, &the_seam, settings);
  assert_non_null(store);
  return store;
}

static inline int64_t submit(arvak__db_store *store, arvak__db_mode mode, int count, const char *const *texts) {
  arvak__db_transaction tx = {.mode = mode};
  for (int i = 0; i < count; i++) assert_non_null(arvak__db_transaction_add(&tx, texts[i], strlen(texts[i]), 0));
  int64_t id = arvak__db_store_submit(store, &tx, false);
  assert_int_not_equal(id, 0);
  return id;
}

static inline int64_t submit_one(arvak__db_store *store, arvak__db_mode mode, const char *sql) {
  return submit(store, mode, 1, &sql);
}

/* The next outcome, borrowed until arvak__db_store_drop. */
static inline arvak__db_view wait_view(arvak__db_store *store) {
  arvak__db_view view;
  EVENTUALLY(arvak__db_store_peek(store, &view));
  return view;
}

static inline void expect_well(arvak__db_store *store) {
  arvak__db_view view = wait_view(store);
  if (view.outcome->has_failed) fail_msg("%d of kind %d: %s", (int)view.id, (int)view.kind, view.outcome->message);
  arvak__db_store_drop(store);
}

static inline void expect_failure(arvak__db_store *store, arvak__db_what what, const char *message) {
  arvak__db_view view = wait_view(store);
  assert_true(view.outcome->has_failed);
  if (view.outcome->what != what || !strstr(view.outcome->message, message))
    fail_msg("%s: %s, expected %s: %s", arvak__db_what_name(view.outcome->what), view.outcome->message,
             arvak__db_what_name(what), message);
  arvak__db_store_drop(store);
}

/* The integer in the first column of the first row of the first statement. */
static inline int64_t read_integer(arvak__db_store *store, const char *sql) {
  submit_one(store, DB_READ, sql);
  arvak__db_view view = wait_view(store);
  if (view.outcome->has_failed) fail_msg("%s: %s", sql, view.outcome->message);
  int64_t value = view.outcome->first->first->values[0].as.integer;
  arvak__db_store_drop(store);
  return value;
}

/* A file that does not exist, in a folder of the test's own. The runner removes it, even if the test is killed. */
static inline const char *new_file(char *path, size_t size, const char *name) {
  static char folder[64];
  if (!folder[0]) {
    const char *top = getenv("TEST_RESULTS");
    snprintf(folder, sizeof folder, "%s/arvak-store-XXXXXX", top && strlen(top) < 40 ? top : "/tmp");
    assert_non_null(mkdtemp(folder));
  }
  snprintf(path, size, "%s/%s", folder, name);
  return path;
}

static inline void remove_files(void) {
  char command[128], path[96];
  snprintf(command, sizeof command, "rm -rf %s", new_file(path, sizeof path, ""));
  if (system(command) != 0) fail_msg("%s failed", command);
}

#endif
