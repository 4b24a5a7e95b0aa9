/* Faults: what can be written, and which calls and jobs a rule meets.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <grpc/status.h>

#include "base/rpcs.h"
#include "faults/fault.h"
#include "faults/faults.h"

static fault parsed(const char *text) {
  fault f;
  char problem[512];
  if (!fault_parse(&f, text, problem, sizeof problem)) fail_msg("%s: %s", text, problem);
  return f;
}

static faults *with_rules(uint64_t seed, const char *const *texts, size_t count) {
  faults *all = faults_new(seed);
  for (size_t i = 0; i < count; i++) {
    fault f = parsed(texts[i]);
    assert_true(faults_add(all, &f));
  }
  return all;
}

/* 'x' where a call met a fault. */
static void trace(faults *all, int rpc, char *out, size_t n) {
  for (size_t i = 0; i < n; i++) {
    fault *f = faults_call(all, rpc);
    out[i] = f ? 'x' : '.';
    free(f);
  }
  out[n] = '\0';
}

static void check_trace(const char *rule, int rpc, const char *expected) {
  char seen[64];
  faults *all = with_rules(1, &rule, 1);
  trace(all, rpc, seen, strlen(expected));
  assert_string_equal(seen, expected);
  faults_free(all);
}

static void keys_are_read(void **state) {
  (void)state;
  fault f = parsed("rpc=SubmitJob,status=UNAVAILABLE,message=a\\,b=c,tag=transient,rate=0.25,count=3,after=2,"
                   "latency=0.1-0.5,pushback_ms=-1,when=after");
  assert_int_equal(f.rpc, RPC_SUBMIT_JOB);
  assert_int_equal(f.action, FAULT_STATUS);
  assert_int_equal(f.status, GRPC_STATUS_UNAVAILABLE);
  assert_string_equal(f.message, "a,b=c");
  assert_string_equal(f.tag, "[transient] ");
  assert_true(f.rate == 0.25);
  assert_int_equal(f.count, 3);
  assert_int_equal(f.skip, 2);
  assert_int_equal(f.latency.least_us, 100000);
  assert_int_equal(f.latency.most_us, 500000);
  assert_true(f.has_pushback);
  assert_int_equal(f.pushback_ms, -1);
  assert_true(f.after);
  assert_int_equal(parsed("hang=true").rpc, FAULT_ANY_RPC);
  assert_false(parsed("drop=before").after);
  assert_true(parsed("drop=after").after);
  assert_int_equal(parsed("job=fail").job_state, JOB_FAILED);
  assert_int_equal(parsed("rpc=SubmitBatchStream,job_state=RESULT_EXPIRED").job_state, JOB_RESULT_EXPIRED);
}

static void mistakes_are_named(void **state) {
  (void)state;
  static const char *const wrong[][2] = {
      {"", "needs one of"},
      {"nonsense", "KEY=VALUE"},
      {"rpc=Submit,hang=true", "expected any, SubmitJob"},
      {"status=OK", "other than OK"},
      {"status=UNAVAILABLE,rate=1.5", "probability"},
      {"status=UNAVAILABLE,rate=", "probability"},
      {"status=UNAVAILABLE,rate=nan", "probability"},
      {"status=UNAVAILABLE,count=0", "whole number from 1"},
      {"status=UNAVAILABLE,count=1.5", "whole number from 1"},
      {"latency=2-1", "range"},
      {"latency=-1", "seconds"},
      {"color=red", "no key 'color': expected rpc, status,"},
      {"latency=exponential:0", "mean"},
      {"latency=exponential:", "mean"},
      {"job=evict,job_state=FAILED", "does not go with"},
      {"job=evict,hang=true", "not both"},
      {"job=fail,status=INTERNAL", "not both"},
      {"rpc=GetJobStatus,job=fail", "submits"},
      {"hang=true,pushback_ms=5", "needs a status"},
      {"rpc=SubmitJob,status=INTERNAL,messages=2", "stream"},
      {"latency=1,when=after", "need one of"},
      {"job_state=DONE", "RESULT_EXPIRED"},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    fault f;
    char problem[512] = "";
    if (fault_parse(&f, wrong[i][0], problem, sizeof problem)) fail_msg("accepted: %s", wrong[i][0]);
    if (!strstr(problem, wrong[i][1])) fail_msg("%s: %s", wrong[i][0], problem);
  }
}

static void count_and_after_choose_the_calls(void **state) {
  (void)state;
  check_trace("status=INTERNAL", RPC_SUBMIT_JOB, "xxxxx");
  check_trace("status=INTERNAL,count=2", RPC_SUBMIT_JOB, "xx...");
  check_trace("status=INTERNAL,after=2", RPC_SUBMIT_JOB, "..xxx");
  check_trace("status=INTERNAL,after=1,count=2", RPC_SUBMIT_JOB, ".xx..");
  check_trace("status=INTERNAL,rate=0", RPC_SUBMIT_JOB, ".....");
  check_trace("rpc=GetJobStatus,status=INTERNAL", RPC_SUBMIT_JOB, ".....");
  check_trace("rpc=GetJobStatus,status=INTERNAL", RPC_GET_JOB_STATUS, "xxxxx");
}

static void rates_hold_and_the_seed_decides(void **state) {
  (void)state;
  static const char *const rule[] = {"status=INTERNAL,rate=0.2"};
  char first[2001], again[2001], other[2001];
  faults *a = with_rules(7, rule, 1), *b = with_rules(7, rule, 1), *c = with_rules(8, rule, 1);
  trace(a, RPC_SUBMIT_JOB, first, 2000);
  trace(b, RPC_SUBMIT_JOB, again, 2000);
  trace(c, RPC_SUBMIT_JOB, other, 2000);
  assert_string_equal(first, again);
  assert_string_not_equal(first, other);
  assert_in_range(faults_fired(a), 330, 470); /* 400 ± 4 deviations */
  faults_free(a);
  faults_free(b);
  faults_free(c);
}

static void exponential_latencies_have_their_mean(void **state) {
  (void)state;
  static const char *const rule[] = {"latency=exponential:0.01"};
  faults *a = with_rules(7, rule, 1), *b = with_rules(7, rule, 1);
  double sum = 0;
  uint64_t longest = 0;
  for (int i = 0; i < 4000; i++) {
    fault *one = faults_call(a, RPC_SUBMIT_JOB), *same = faults_call(b, RPC_SUBMIT_JOB);
    assert_int_equal(one->latency_us, same->latency_us);
    sum += (double)one->latency_us;
    if (one->latency_us > longest) longest = one->latency_us;
    free(one);
    free(same);
  }
  assert_in_range((uint64_t)(sum / 4000), 9300, 10700); /* 10,000 ± 4 deviations of the mean */
  assert_in_range(longest, 50000, 370000);
  faults_free(a);
  faults_free(b);
}

static void the_first_rule_that_ends_a_call_wins_and_latencies_add_up(void **state) {
  (void)state;
  static const char *const rules[] = {"latency=0.1", "latency=0.2-0.3,count=1", "status=ABORTED,count=1", "hang=true"};
  faults *all = with_rules(1, rules, 4);
  fault *f = faults_call(all, RPC_SUBMIT_JOB);
  assert_int_equal(f->status, GRPC_STATUS_ABORTED);
  assert_in_range(f->latency_us, 300000, 400000);
  free(f);
  f = faults_call(all, RPC_SUBMIT_JOB);
  assert_int_equal(f->action, FAULT_HANG);
  assert_int_equal(f->latency_us, 100000);
  free(f);
  faults_clear(all);
  assert_null(faults_call(all, RPC_SUBMIT_JOB));
  faults_free(all);
}

static void jobs_and_calls_have_rules_of_their_own(void **state) {
  (void)state;
  static const char *const rules[] = {"job=fail,message=boom,count=1", "job_state=RESULT_EXPIRED,job_latency=0.5"};
  faults *all = with_rules(1, rules, 2);
  assert_null(faults_call(all, RPC_SUBMIT_JOB));
  job_plan plan = {.latency_us = 0};
  faults_job(all, RPC_SUBMIT_JOB, &plan);
  assert_int_equal(plan.end_state, JOB_FAILED);
  assert_string_equal(plan.message, "boom");
  free(plan.message);
  plan = (job_plan){.latency_us = 0};
  faults_job(all, RPC_SUBMIT_JOB, &plan);
  assert_int_equal(plan.end_state, JOB_RESULT_EXPIRED);
  assert_int_equal(plan.latency_us, 500000);
  faults_free(all);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(keys_are_read),
      cmocka_unit_test(mistakes_are_named),
      cmocka_unit_test(count_and_after_choose_the_calls),
      cmocka_unit_test(rates_hold_and_the_seed_decides),
      cmocka_unit_test(exponential_latencies_have_their_mean),
      cmocka_unit_test(the_first_rule_that_ends_a_call_wins_and_latencies_add_up),
      cmocka_unit_test(jobs_and_calls_have_rules_of_their_own),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
