/* The job store: states, counters, eviction, and that a job's end is told once.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "jobs/jobs.h"

static void count_end(job *j, void *ud) {
  (void)j;
  ++*(int *)ud;
}

/* The store's reference alone keeps it. Borrowed. */
static job *add_job(jobs *all, int *ends) {
  job *j = job_new(NULL, 100, 0);
  j->on_end = ends ? count_end : NULL;
  j->ud = ends;
  assert_int_equal(jobs_add(all, j, NULL, 1000), JOBS_OK);
  job_unref(j);
  return j;
}

static job_view view_of(jobs *all, const job *j) {
  job_view view;
  jobs_view(all, j, &view);
  return view;
}

static void complete(jobs *all, job *j) {
  counts result = {.width = 1, .size = 1, .outcomes = calloc(1, sizeof(outcome))};
  jobs_start(all, j, 1001, 5000000);
  assert_true(jobs_complete(all, j, &result, 1002, 5250000));
}

static uint32_t in_state(jobs *all, job_state state) {
  jobs_counts figures;
  jobs_count(all, &figures);
  return figures.by_state[state];
}

static void a_job_goes_from_queued_to_running_to_completed(void **state) {
  (void)state;
  int ends = 0;
  jobs *all = jobs_new(10);
  job *j = add_job(all, &ends);
  assert_int_equal(view_of(all, j).state, JOB_QUEUED);
  assert_int_equal(view_of(all, j).started_at, 0);
  complete(all, j);
  job_view view = view_of(all, j);
  assert_int_equal(view.state, JOB_COMPLETED);
  assert_int_equal(view.submitted_at, 1000);
  assert_int_equal(view.started_at, 1001);
  assert_int_equal(view.completed_at, 1002);
  assert_int_equal(view.execution_ms, 250);
  assert_non_null(view.result);
  assert_int_equal(ends, 1);
  jobs_free(all);
  assert_int_equal(ends, 1);
}

static void ids_are_random_uuids_and_lead_back_to_their_jobs(void **state) {
  (void)state;
  jobs *all = jobs_new(1000);
  char first[37] = "";
  for (int i = 0; i < 1000; i++) {
    job_view view;
    job *j = add_job(all, NULL);
    assert_int_equal(strlen(j->id), 36);
    assert_int_equal(j->id[14], '4');
    assert_non_null(strchr("89ab", j->id[19]));
    job *found = jobs_get(all, j->id, 36, &view);
    assert_ptr_equal(found, j);
    job_unref(found);
    if (!i) memcpy(first, j->id, sizeof first);
  }
  job_view view;
  assert_null(jobs_get(all, first, 35, &view));
  assert_null(jobs_get(all, "", 0, &view));
  jobs_free(all);
}

static void a_canceled_job_is_not_counted_as_running_any_more(void **state) {
  (void)state;
  int ends = 0;
  job_view before;
  jobs *all = jobs_new(10);
  job *j = add_job(all, &ends);
  jobs_start(all, j, 1001, 0);
  assert_int_equal(in_state(all, JOB_RUNNING), 1);
  assert_true(jobs_cancel(all, j, 1002, &before));
  assert_int_equal(before.state, JOB_RUNNING);
  assert_true(atomic_load(&j->stop));
  assert_int_equal(in_state(all, JOB_RUNNING), 0);
  assert_int_equal(in_state(all, JOB_CANCELED), 1);
  assert_int_equal(ends, 1);
  jobs_free(all);
}

static void the_first_terminal_state_stays(void **state) {
  (void)state;
  int ends = 0;
  job_view before;
  jobs *all = jobs_new(10);
  job *j = add_job(all, &ends);
  jobs_cancel(all, j, 1002, &before);
  counts late = {.width = 1, .size = 1, .outcomes = calloc(1, sizeof(outcome))};
  assert_false(jobs_start(all, j, 1003, 0));
  assert_false(jobs_complete(all, j, &late, 1003, 0));
  assert_false(jobs_fail(all, j, "late", 1003, 0));
  assert_false(jobs_cancel(all, j, 1003, &before));
  assert_int_equal(before.state, JOB_CANCELED);
  job_view view = view_of(all, j);
  assert_int_equal(view.state, JOB_CANCELED);
  assert_int_equal(view.started_at, 0);
  assert_int_equal(view.completed_at, 1002);
  assert_string_equal(view.error, "");
  assert_int_equal(ends, 1);
  jobs_free(all);
}

static void a_full_store_forgets_the_oldest_job_that_has_ended(void **state) {
  (void)state;
  int ends[4] = {0};
  jobs *all = jobs_new(3);
  job *j[3];
  for (int i = 0; i < 3; i++) j[i] = add_job(all, &ends[i]);
  complete(all, j[2]);
  complete(all, j[1]); /* ended later, but older */
  char kept[37], gone[37];
  memcpy(kept, j[0]->id, 37);
  memcpy(gone, j[1]->id, 37);
  add_job(all, &ends[3]);
  job_view view;
  assert_null(jobs_get(all, gone, 36, &view));
  job *still = jobs_get(all, kept, 36, &view);
  assert_non_null(still);
  job_unref(still);
  assert_int_equal(ends[0], 0);
  assert_int_equal(ends[1], 1);
  jobs_free(all);
}

static void without_one_it_forgets_the_oldest_active_job(void **state) {
  (void)state;
  int ends[2] = {0};
  jobs *all = jobs_new(1);
  job *first = job_ref(add_job(all, &ends[0]));
  jobs_start(all, first, 1001, 0);
  add_job(all, &ends[1]);
  assert_int_equal(in_state(all, JOB_RUNNING), 0);
  assert_int_equal(ends[0], 1);
  assert_true(atomic_load(&first->stop));
  counts late = {.width = 1, .size = 1, .outcomes = calloc(1, sizeof(outcome))};
  assert_false(jobs_complete(all, first, &late, 1003, 0));
  job_unref(first);
  jobs_free(all);
  assert_int_equal(ends[0], 1);
}

static void limits_refuse_running_before_queued(void **state) {
  (void)state;
  jobs *all = jobs_new(10);
  jobs_limits limits = {.max_running = 1, .max_queued = 1};
  jobs_counts seen;
  assert_int_equal(jobs_check(all, &limits, &seen), JOBS_OK);
  job *running = add_job(all, NULL);
  assert_int_equal(jobs_check(all, &limits, &seen), JOBS_QUEUE_FULL);
  jobs_start(all, running, 1001, 0);
  assert_int_equal(jobs_check(all, &limits, &seen), JOBS_RUNNING_FULL);
  assert_int_equal(seen.by_state[JOB_RUNNING], 1);
  add_job(all, NULL);
  assert_int_equal(jobs_check(all, &limits, &seen), JOBS_RUNNING_FULL);
  job *refused = job_new(NULL, 1, 0);
  assert_int_equal(jobs_add(all, refused, &limits, 1000), JOBS_RUNNING_FULL);
  job_unref(refused);
  limits.max_running = limits.max_queued = 0;
  assert_int_equal(jobs_check(all, &limits, &seen), JOBS_OK);
  jobs_free(all);
}

static void any_state_can_be_forced(void **state) {
  (void)state;
  int ends = 0;
  jobs *all = jobs_new(10);
  job *j = add_job(all, &ends);
  complete(all, j);
  for (int s = JOB_QUEUED; s < JOB_STATES; s++) {
    assert_true(jobs_force(all, j->id, (job_state)s, 2000));
    assert_int_equal(view_of(all, j).state, s);
    assert_int_equal(in_state(all, (job_state)s), 1);
  }
  assert_int_equal(view_of(all, j).completed_at, 1002);
  assert_int_equal(ends, 1);
  assert_false(jobs_force(all, "nobody", JOB_FAILED, 2000));
  assert_true(jobs_evict(all, j->id));
  assert_int_equal(in_state(all, JOB_RESULT_EXPIRED), 0);
  jobs_free(all);
}

static void a_plan_decides_where_a_job_ends(void **state) {
  (void)state;
  jobs *all = jobs_new(10);
  job *j = add_job(all, NULL);
  j->plan.end_state = JOB_RESULT_EXPIRED;
  complete(all, j);
  assert_int_equal(view_of(all, j).state, JOB_RESULT_EXPIRED);
  jobs_free(all);
}

static void a_failed_job_tells_why(void **state) {
  (void)state;
  jobs *all = jobs_new(10);
  job *j = add_job(all, NULL);
  jobs_start(all, j, 1001, 0);
  assert_true(jobs_fail(all, j, "no such gate", 1002, 0));
  assert_string_equal(view_of(all, j).error, "no such gate");
  jobs_free(all);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_job_goes_from_queued_to_running_to_completed),
      cmocka_unit_test(ids_are_random_uuids_and_lead_back_to_their_jobs),
      cmocka_unit_test(a_canceled_job_is_not_counted_as_running_any_more),
      cmocka_unit_test(the_first_terminal_state_stays),
      cmocka_unit_test(a_full_store_forgets_the_oldest_job_that_has_ended),
      cmocka_unit_test(without_one_it_forgets_the_oldest_active_job),
      cmocka_unit_test(limits_refuse_running_before_queued),
      cmocka_unit_test(any_state_can_be_forced),
      cmocka_unit_test(a_plan_decides_where_a_job_ends),
      cmocka_unit_test(a_failed_job_tells_why),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
