/* Waits that must end, and durations that mean "never": against a server of its own.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "arvak.h"

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)
/* What none of these waits should come near, however busy the machine is. */
#define FAR (60 * SECOND)

static char address[64];
static pid_t server;

static int start_server(void **state) {
  (void)state;
  const char *build = getenv("ARVAK_BUILD");
  char path[512];
  snprintf(path, sizeof path, "%s/bin/arvak-devserver", build ? build : "build");
  char *arguments[] = {path, "--address", "127.0.0.1:0", "--rate-limit", "0",
                       "--fault", "rpc=GetBackendInfo,status=UNAVAILABLE,pushback_ms=3600000",
                       "--fault", "rpc=GetJobStatus,status=UNAVAILABLE,pushback_ms=20,count=1",
                       "--fault", "rpc=WatchJob,status=UNAVAILABLE,pushback_ms=3600000", NULL};
  int fds[2];
  extern char **environ;
  posix_spawn_file_actions_t actions;
  if (pipe(fds) != 0 || posix_spawn_file_actions_init(&actions) != 0) return -1;
  posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
  posix_spawn_file_actions_addclose(&actions, fds[0]);
  int status = posix_spawn(&server, path, &actions, NULL, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  close(fds[1]);
  FILE *out = fdopen(fds[0], "r");
  bool is_up = status == 0 && fscanf(out, "listening on %63s", address) == 1;
  fclose(out);
  return is_up ? 0 : -1;
}

static int stop_server(void **state) {
  (void)state;
  kill(server, SIGKILL);
  return waitpid(server, NULL, 0) == server ? 0 : -1;
}

static arvak_client *connect_with(arvak_client_options options) {
  arvak_client *client = NULL;
  options.address = address;
  assert_int_equal(arvak_client_new(&options, &client, NULL), ARVAK_OK);
  return client;
}

static arvak_loop *new_loop(void) {
  arvak_loop *loop = NULL;
  assert_int_equal(arvak_loop_new(&loop), ARVAK_OK);
  return loop;
}

static arvak_breaker *new_breaker(arvak_breaker_options options) {
  arvak_breaker *breaker = NULL;
  assert_int_equal(arvak_breaker_new(&options, &breaker), ARVAK_OK);
  return breaker;
}

static const arvak_request list_backends = {.rpc = ARVAK_LIST_BACKENDS};

/* A call from its start to its end; release it. */
static arvak_call *call(arvak_loop *loop, arvak_client *client, const arvak_request *request,
                        arvak_call_options options) {
  arvak_call *made = NULL;
  int64_t until = arvak_now_ns() + FAR;
  assert_int_equal(arvak_call_start(loop, client, request, &options, &made), ARVAK_OK);
  while (!arvak_call_outcome(made) && arvak_now_ns() < until) arvak_loop_step(loop, until);
  assert_non_null(arvak_call_outcome(made));
  return made;
}

/* ---- probes ---- */

static arvak_kind kind_of_call(arvak_loop *loop, arvak_client *client, arvak_breaker *breaker) {
  arvak_call *made = call(loop, client, &list_backends, (arvak_call_options){.breaker = breaker});
  arvak_kind kind = arvak_call_outcome(made)->kind;
  arvak_call_release(made);
  return kind;
}

static void open_for_probes(arvak_breaker *breaker) {
  arvak_breaker_record(breaker, ARVAK_VERDICT_FAILURE);
  arvak_breaker_info info = {0};
  while (info.state != ARVAK_BREAKER_HALF_OPEN) {
    usleep(1000);
    arvak_breaker_get_info(breaker, arvak_now_ns(), &info);
  }
}

/* Two loops share a breaker, and the one that has the probe is driven no more. */
static void a_probe_on_a_loop_that_nobody_drives_is_replaced(void **state) {
  (void)state;
  arvak_breaker *breaker =
      new_breaker((arvak_breaker_options){.failure_threshold = 1, .timeout_ns = 50 * MS, .success_threshold = 2});
  arvak_client *client = connect_with((arvak_client_options){.timeout_ns = 100 * MS});
  arvak_loop *idle = new_loop(), *busy = new_loop();
  arvak_call *probe = NULL;
  arvak_call_options options = {.breaker = breaker};
  open_for_probes(breaker);
  assert_int_equal(arvak_call_start(idle, client, &list_backends, &options, &probe), ARVAK_OK);
  assert_int_equal(kind_of_call(busy, client, breaker), ARVAK_KIND_CIRCUIT_OPEN);
  int64_t until = arvak_now_ns() + FAR;
  while (kind_of_call(busy, client, breaker) != ARVAK_KIND_NONE) {
    assert_true(arvak_now_ns() < until);
    usleep(10000);
  }
  /* Driven at last, the first probe fails, for it ran out of time; but the server is well. */
  while (!arvak_call_outcome(probe)) arvak_loop_step(idle, until);
  assert_int_equal(arvak_call_outcome(probe)->kind, ARVAK_KIND_TIMEOUT);
  assert_int_equal(kind_of_call(busy, client, breaker), ARVAK_KIND_NONE);
  arvak_breaker_info info;
  arvak_breaker_get_info(breaker, arvak_now_ns(), &info);
  assert_int_equal(info.state, ARVAK_BREAKER_CLOSED);
  arvak_call_release(probe);
  arvak_loop_close(idle);
  arvak_loop_close(busy);
  arvak_client_unref(client);
  arvak_breaker_unref(breaker);
}

static void a_stream_on_a_loop_that_nobody_drives_is_replaced_as_a_probe(void **state) {
  (void)state;
  arvak_breaker *breaker = new_breaker((arvak_breaker_options){.failure_threshold = 1, .timeout_ns = 50 * MS});
  arvak_client *client = connect_with((arvak_client_options){0});
  arvak_loop *idle = new_loop(), *busy = new_loop();
  arvak_stream *probe = NULL;
  arvak_call_options options = {.breaker = breaker};
  arvak_request request = {.rpc = ARVAK_STREAM_RESULTS, .id = "x"};
  open_for_probes(breaker);
  assert_int_equal(arvak_stream_start(idle, client, &request, &options, NULL, &probe), ARVAK_OK);
  assert_int_equal(kind_of_call(busy, client, breaker), ARVAK_KIND_CIRCUIT_OPEN);
  int64_t until = arvak_now_ns() + FAR;
  while (kind_of_call(busy, client, breaker) != ARVAK_KIND_NONE) {
    assert_true(arvak_now_ns() < until);
    usleep(10000);
  }
  arvak_stream_release(probe);
  arvak_loop_close(idle);
  arvak_loop_close(busy);
  arvak_client_unref(client);
  arvak_breaker_unref(breaker);
}

static void a_breaker_that_is_forced_open_says_so_and_names_no_time(void **state) {
  (void)state;
  arvak_breaker *breaker = new_breaker((arvak_breaker_options){.timeout_ns = MS});
  arvak_client *client = connect_with((arvak_client_options){0});
  arvak_loop *loop = new_loop();
  arvak_breaker_force(breaker, ARVAK_BREAKER_OPEN);
  arvak_call *made = call(loop, client, &list_backends, (arvak_call_options){.breaker = breaker});
  const arvak_outcome *outcome = arvak_call_outcome(made);
  assert_int_equal(outcome->kind, ARVAK_KIND_CIRCUIT_OPEN);
  assert_non_null(strstr(outcome->message, "forced open"));
  assert_false(outcome->has_retry_after || outcome->retryable || outcome->maybe_executed);
  assert_int_equal(outcome->attempts, 0);
  arvak_call_release(made);
  arvak_breaker_info info;
  arvak_breaker_get_info(breaker, arvak_now_ns() + FAR, &info);
  assert_false(info.would_admit);
  assert_true(info.retry_after_ns == ARVAK_NEVER);
  arvak_breaker_reset(breaker);
  assert_int_equal(kind_of_call(loop, client, breaker), ARVAK_KIND_NONE);
  arvak_loop_close(loop);
  arvak_client_unref(client);
  arvak_breaker_unref(breaker);
}

/* ---- durations ---- */

static const int64_t long_times[] = {ARVAK_NEVER, ARVAK_NEVER - 1, ARVAK_NEVER - SECOND, ARVAK_NEVER / 2};
enum { LONG_TIMES = sizeof long_times / sizeof *long_times };

/* One duration after the other, each as all of a client's, or of a call's; and all of them at once. */
static void a_long_duration_does_not_end_a_call_at_once(void **state) {
  (void)state;
  arvak_loop *loop = new_loop();
  const char qasm[] = "OPENQASM 3.0; qubit q; bit c; c = measure q;";
  arvak_circuit circuit = {.qasm = qasm, .shots = 1};
  arvak_request submit = {.rpc = ARVAK_SUBMIT_JOB, .id = "simulator", .circuits = &circuit, .circuit_count = 1};
  for (int n = 0; n < LONG_TIMES * 8; n++) {
    int64_t time = long_times[n / 8], timeout = n & 1 ? time : 0, cut = n & 2 ? time : 0, queue = n & 4 ? time : 0;
    arvak_client *client = connect_with((arvak_client_options){
        .timeout_ns = timeout, .attempt_timeout_ns = cut, .queue_timeout_ns = queue, .limiter.rate = 1000});
    arvak_call_options options[] = {
        {0}, {.timeout_ns = timeout, .attempt_timeout_ns = cut, .queue_timeout_ns = queue}};
    for (int i = 0; i < 2; i++) {
      arvak_call *made = call(loop, client, &submit, options[i]);
      assert_string_equal(arvak_call_outcome(made)->message, "");
      assert_int_equal(arvak_call_outcome(made)->kind, ARVAK_KIND_NONE);
      arvak_call_release(made);
    }
    arvak_client_unref(client);
  }
  arvak_loop_close(loop);
}

static void a_long_duration_does_not_end_a_stream_at_once(void **state) {
  (void)state;
  arvak_loop *loop = new_loop();
  arvak_client *client = connect_with((arvak_client_options){0});
  arvak_request request = {.rpc = ARVAK_STREAM_RESULTS, .id = "nobody's"};
  for (int n = 0; n < LONG_TIMES; n++) {
    arvak_stream *stream = NULL;
    arvak_call_options options = {.timeout_ns = long_times[n]};
    assert_int_equal(arvak_stream_start(loop, client, &request, &options, NULL, &stream), ARVAK_OK);
    int64_t until = arvak_now_ns() + FAR;
    for (arvak_stream_read(stream); !arvak_stream_outcome(stream) && arvak_now_ns() < until;)
      arvak_loop_step(loop, until);
    assert_int_equal(arvak_stream_outcome(stream)->kind, ARVAK_KIND_JOB_NOT_FOUND);
    arvak_stream_release(stream);
  }
  arvak_client_unref(client);
  arvak_loop_close(loop);
}

static void note(arvak_timer *timer, void *ud) {
  (void)timer;
  *(bool *)ud = true;
}

static void a_timer_that_is_never_due_does_not_hold_a_step(void **state) {
  (void)state;
  for (int is_bridged = 0; is_bridged < 2; is_bridged++) {
    arvak_loop *loop = new_loop();
    if (is_bridged) assert_true(arvak_loop_open_fd(loop) >= 0);
    bool has_fired[LONG_TIMES] = {false}, is_due = false;
    arvak_timer timers[LONG_TIMES] = {{0}}, soon = {.fn = note, .ud = &is_due};
    for (int i = 0; i < LONG_TIMES; i++) {
      timers[i] = (arvak_timer){.fn = note, .ud = &has_fired[i]};
      assert_int_equal(arvak_loop_set_timer(loop, &timers[i], long_times[i]), ARVAK_OK);
    }
    arvak_loop_set_timer(loop, &soon, arvak_now_ns() + 10 * MS);
    for (int i = 0; !is_due; i++) arvak_loop_step(loop, long_times[i % LONG_TIMES]);
    for (int i = 0; i < LONG_TIMES; i++) assert_false(has_fired[i]);
    arvak_loop_close(loop);
  }
}

/* ---- pushback ---- */

static arvak_retry *new_retry(int64_t max_backoff_ns) {
  arvak_retry *retry = NULL;
  arvak_retry_options options = {.initial_backoff_ns = MS, .max_backoff_ns = max_backoff_ns};
  assert_int_equal(arvak_retry_new(&options, NULL, &retry), ARVAK_OK);
  return retry;
}

/* The call could wait that long, but the policy has not the patience. */
static void a_pushback_of_an_hour_ends_the_retries_at_once(void **state) {
  (void)state;
  arvak_retry *retry = new_retry(10 * MS);
  arvak_client *client = connect_with((arvak_client_options){.timeout_ns = ARVAK_NEVER});
  arvak_loop *loop = new_loop();
  arvak_request request = {.rpc = ARVAK_GET_BACKEND_INFO, .id = "simulator"};
  arvak_call *made = call(loop, client, &request, (arvak_call_options){.retry = retry});
  const arvak_outcome *outcome = arvak_call_outcome(made);
  assert_int_equal(outcome->kind, ARVAK_KIND_UNAVAILABLE);
  assert_int_equal(outcome->attempts, 1);
  assert_true(outcome->has_retry_after && outcome->retry_after_ns == 3600 * SECOND);
  arvak_call_release(made);
  request = (arvak_request){.rpc = ARVAK_GET_JOB_STATUS, .id = "x"}; /* a short one is obeyed */
  made = call(loop, client, &request, (arvak_call_options){.retry = retry});
  assert_int_equal(arvak_call_outcome(made)->kind, ARVAK_KIND_JOB_NOT_FOUND);
  assert_int_equal(arvak_call_outcome(made)->attempts, 2);
  assert_true(arvak_call_outcome(made)->elapsed_ns >= 20 * MS);
  arvak_call_release(made);
  arvak_loop_close(loop);
  arvak_client_unref(client);
  arvak_retry_unref(retry);
}

static void a_stream_plans_no_retry_after_an_hour(void **state) {
  (void)state;
  static const int64_t patience[] = {10 * MS, 3600 * SECOND};
  arvak_client *client = connect_with((arvak_client_options){0});
  arvak_loop *loop = new_loop();
  for (int i = 0; i < 2; i++) {
    arvak_retry *retry = new_retry(patience[i]);
    arvak_request request = {.rpc = ARVAK_WATCH_JOB, .id = "x"};
    arvak_call_options options = {.retry = retry};
    arvak_stream *stream = NULL;
    assert_int_equal(arvak_stream_start(loop, client, &request, &options, NULL, &stream), ARVAK_OK);
    int64_t until = arvak_now_ns() + FAR, delay = 0;
    for (arvak_stream_read(stream); !arvak_stream_outcome(stream) && arvak_now_ns() < until;)
      arvak_loop_step(loop, until);
    assert_int_equal(arvak_stream_outcome(stream)->kind, ARVAK_KIND_UNAVAILABLE);
    assert_true(arvak_stream_outcome(stream)->retry_after_ns == 3600 * SECOND);
    assert_int_equal(arvak_stream_plan_retry(stream, 1, &delay), i == 1);
    arvak_stream_release(stream);
    arvak_retry_unref(retry);
  }
  arvak_loop_close(loop);
  arvak_client_unref(client);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_probe_on_a_loop_that_nobody_drives_is_replaced),
      cmocka_unit_test(a_stream_on_a_loop_that_nobody_drives_is_replaced_as_a_probe),
      cmocka_unit_test(a_breaker_that_is_forced_open_says_so_and_names_no_time),
      cmocka_unit_test(a_long_duration_does_not_end_a_call_at_once),
      cmocka_unit_test(a_long_duration_does_not_end_a_stream_at_once),
      cmocka_unit_test(a_timer_that_is_never_due_does_not_hold_a_step),
      cmocka_unit_test(a_pushback_of_an_hour_ends_the_retries_at_once),
      cmocka_unit_test(a_stream_plans_no_retry_after_an_hour),
  };
  return cmocka_run_group_tests(tests, start_server, stop_server);
}
