/* What a program does to calls from within: from hooks, functions for headers, ends and timers. Each of them may
 * cancel, start, release and step, and each call ends once, as it should.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "arvak.h"
#include "server.h"

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)
#define TEST_TIMEOUT (60 * SECOND)

static const char nowhere[] = "unix:/nonexistent/socket";
static int owner;

/* One call under test, and what is done to it. */
typedef struct subject subject;
struct subject {
  arvak_loop *loop;
  arvak_client *client;
  arvak_retry *retry;
  arvak_breaker *breaker;
  arvak_call *call;
  int ends, retries, changes, queries;
  arvak_outcome outcome;
  void (*act)(subject *s); /* in a hook, once */
  arvak_breaker_state act_at;
};

static void act(subject *s) {
  void (*fn)(subject *) = s->act;
  s->act = NULL;
  if (fn) fn(s);
}

static void on_end(arvak_call *call, void *ud) {
  subject *s = ud;
  s->ends++;
  s->outcome = *arvak_call_outcome(call);
}

static void on_retry(const arvak_retry_event *event, void *ud) {
  subject *s = ud;
  s->retries++;
  if (s->queries == 0) act(s);
  assert_int_equal(event->outcome->kind, ARVAK_KIND_UNAVAILABLE); /* what it is shown stays */
  assert_true(strlen(event->outcome->message) > 0);
}

static void on_change(arvak_breaker_state from, arvak_breaker_state to, void *ud) {
  subject *s = ud;
  assert_int_not_equal(from, to);
  s->changes++;
  if (to == s->act_at) act(s);
}

static bool give_headers(arvak_header_sink *sink, arvak_rpc rpc, void *ud) {
  subject *s = ud;
  (void)rpc;
  arvak_header_sink_add(sink, "x-token", (arvak_text){"fresh", 5});
  if (s->queries++ > 0) act(s);
  return true;
}

static void open_subject(subject *s, const char *address, int64_t backoff_ns, arvak_headers_fn headers_fn) {
  arvak_retry_options retry = {.max_attempts = 5, .initial_backoff_ns = backoff_ns, .jitter = ARVAK_JITTER_NONE,
                               .strategy = ARVAK_STRATEGY_CONSTANT, .on_retry = on_retry, .ud = s};
  arvak_breaker_options breaker = {.failure_threshold = 1, .timeout_ns = 50 * MS, .on_change = on_change, .ud = s};
  arvak_client_options client = {.address = address, .headers_fn = headers_fn, .headers_ud = s};
  assert_int_equal(arvak_loop_new(&s->loop), ARVAK_OK);
  assert_int_equal(arvak_retry_new(&retry, NULL, &s->retry), ARVAK_OK);
  assert_int_equal(arvak_breaker_new(&breaker, &s->breaker), ARVAK_OK);
  assert_int_equal(arvak_client_new(&client, &s->client, NULL), ARVAK_OK);
}

static void start(subject *s, bool has_retry, bool has_breaker) {
  static const arvak_circuit circuit = {"OPENQASM 3.0; qubit q; h q;", 1, 0};
  arvak_request request = {.rpc = ARVAK_SUBMIT_JOB, .id = "simulator", .circuits = &circuit, .circuit_count = 1};
  arvak_call_options options = {.fn = on_end, .ud = s, .owner = &owner, .retry = has_retry ? s->retry : NULL,
                                .breaker = has_breaker ? s->breaker : NULL};
  assert_int_equal(arvak_call_start(s->loop, s->client, &request, &options, &s->call), ARVAK_OK);
}

static void step_until(subject *s, int *count, int value) {
  int64_t end = arvak_now_ns() + TEST_TIMEOUT;
  while (*count < value && arvak_now_ns() < end) arvak_loop_step(s->loop, end);
  assert_int_equal(*count, value);
}

static int count_attempts(subject *s) {
  arvak_client_stats stats;
  arvak_client_get_stats(s->client, &stats);
  assert_int_equal(stats.queued, 0);
  return (int)stats.attempts;
}

static void close_subject(subject *s) {
  arvak_client_stats stats;
  arvak_client_get_stats(s->client, &stats);
  assert_int_equal(stats.in_flight, 0);
  if (s->call) arvak_call_release(s->call);
  assert_int_equal(arvak_loop_call_count(s->loop), 0);
  arvak_loop_close(s->loop);
  arvak_client_unref(s->client);
  arvak_retry_unref(s->retry);
  arvak_breaker_unref(s->breaker);
  assert_int_equal(s->ends, 1);
}

static void cancel_it(subject *s) {
  if (s->call) arvak_call_cancel(s->call, ARVAK_KIND_CANCELED);
}

static void cancel_owned(subject *s) { arvak_loop_cancel_owned(s->loop, &owner, ARVAK_KIND_CANCELED); }

static void step_it(subject *s) {
  for (int i = 0; i < 3; i++) arvak_loop_step(s->loop, 0);
}

static void release_it(subject *s) {
  arvak_call_release(s->call);
  s->call = NULL;
}

/* ---- hooks ---- */

static void ends_as_canceled_when_on_retry_cancels(void **state) {
  (void)state;
  void (*const acts[])(subject *) = {cancel_it, cancel_owned};
  for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
    subject s = {.act = acts[i]};
    open_subject(&s, nowhere, 10 * SECOND, NULL);
    start(&s, true, false);
    step_until(&s, &s.ends, 1);
    assert_int_equal(s.outcome.kind, ARVAK_KIND_CANCELED);
    assert_int_equal(s.outcome.attempts, 1);
    assert_false(s.outcome.maybe_executed);
    assert_int_equal(count_attempts(&s), 1);
    close_subject(&s);
  }
}

/* The answer is there already when the breaker opens. */
static void ends_as_it_would_have_when_on_change_cancels(void **state) {
  (void)state;
  void (*const acts[])(subject *) = {cancel_it, cancel_owned, step_it};
  for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
    subject s = {.act = acts[i], .act_at = ARVAK_BREAKER_OPEN};
    open_subject(&s, nowhere, MS, NULL);
    start(&s, true, true);
    step_until(&s, &s.ends, 1);
    assert_int_equal(s.outcome.kind, ARVAK_KIND_UNAVAILABLE);
    assert_int_equal(s.changes, 1);
    close_subject(&s);
  }
}

/* It waits for its connection then. */
static void ends_as_canceled_when_on_change_cancels_the_probe(void **state) {
  (void)state;
  subject s = {.act_at = ARVAK_BREAKER_HALF_OPEN};
  open_subject(&s, nowhere, 150 * MS, NULL);
  start(&s, false, true);
  step_until(&s, &s.ends, 1);
  arvak_call_release(s.call);
  s.ends = 0;
  s.act = cancel_it;
  int64_t retry_after;
  arvak_breaker_info info;
  do {
    arvak_breaker_get_info(s.breaker, arvak_now_ns(), &info);
    retry_after = info.would_admit ? 0 : info.retry_after_ns;
    arvak_loop_step(s.loop, arvak_now_ns() + retry_after);
  } while (!info.would_admit);
  start(&s, true, true);
  step_until(&s, &s.ends, 1);
  assert_int_equal(s.outcome.kind, ARVAK_KIND_CANCELED);
  assert_int_equal(s.outcome.attempts, 0);
  assert_int_equal(count_attempts(&s), 1);
  arvak_breaker_get_info(s.breaker, arvak_now_ns(), &info);
  assert_true(info.would_admit); /* the place is free again */
  close_subject(&s);
}

static void goes_on_when_on_retry_releases_the_call_or_steps(void **state) {
  (void)state;
  subject s = {.act = step_it};
  open_subject(&s, nowhere, MS, NULL);
  start(&s, true, false);
  step_until(&s, &s.ends, 1);
  assert_int_equal(s.outcome.kind, ARVAK_KIND_UNAVAILABLE);
  assert_int_equal(s.outcome.attempts, 5);
  arvak_call_release(s.call);
  s.act = release_it;
  s.retries = 0;
  start(&s, true, false);
  int64_t end = arvak_now_ns() + TEST_TIMEOUT;
  while (arvak_loop_call_count(s.loop) > 0 && arvak_now_ns() < end) arvak_loop_step(s.loop, end);
  assert_int_equal(s.ends, 1); /* of a call that was let go of nothing is told */
  close_subject(&s);
}

/* ---- functions for headers ---- */

static void ends_as_canceled_when_the_function_for_headers_cancels(void **state) {
  (void)state;
  void (*const acts[])(subject *) = {cancel_it, cancel_owned};
  for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
    subject s = {.act = acts[i]};
    open_subject(&s, nowhere, MS, give_headers);
    start(&s, true, false);
    step_until(&s, &s.ends, 1);
    assert_int_equal(s.outcome.kind, ARVAK_KIND_CANCELED);
    assert_int_equal(s.queries, 2);
    assert_int_equal(count_attempts(&s), 1);
    close_subject(&s);
  }
}

static void drop_client(subject *s) {
  arvak_client_unref(s->client);
  s->client = NULL;
}

static void survives_its_client_in_the_function_for_headers(void **state) {
  (void)state;
  subject s = {.act = drop_client};
  open_subject(&s, nowhere, MS, give_headers);
  start(&s, true, false);
  step_until(&s, &s.ends, 1);
  assert_int_equal(s.outcome.kind, ARVAK_KIND_UNAVAILABLE);
  assert_int_equal(s.outcome.attempts, 5);
  arvak_call_release(s.call);
  arvak_loop_close(s.loop);
  arvak_retry_unref(s.retry);
  arvak_breaker_unref(s.breaker);
}

/* The child goes on where its parent forked, and must touch nothing that is the parent's. */
static pid_t child;
static void fork_it(subject *s) {
  (void)s;
  child = fork();
}

static void forks_in_the_function_for_headers(void **state) {
  (void)state;
  subject s = {.act = fork_it};
  child = -1;
  open_subject(&s, nowhere, MS, give_headers);
  start(&s, true, false);
  int64_t end = arvak_now_ns() + TEST_TIMEOUT;
  int status = 0;
  while (s.ends == 0 && status >= 0 && arvak_now_ns() < end) status = arvak_loop_step(s.loop, end);
  if (child == 0) {
    arvak_loop_close(s.loop);
    arvak_client_unref(s.client);
    _exit(status == ARVAK_EFORKED && s.ends == 0 ? 0 : 1);
  }
  int code;
  assert_int_equal(waitpid(child, &code, 0), child);
  assert_true(WIFEXITED(code));
  assert_int_equal(WEXITSTATUS(code), 0);
  assert_int_equal(s.outcome.attempts, 5);
  close_subject(&s);
}

static void forks_in_the_function_for_headers_of_a_stream(void **state) {
  (void)state;
  subject s = {.act = fork_it, .queries = 1};
  child = -1;
  open_subject(&s, nowhere, MS, give_headers);
  arvak_request request = {.rpc = ARVAK_WATCH_JOB, .id = "x"};
  arvak_call_options options = {.owner = &owner};
  arvak_stream *stream = NULL;
  int status = arvak_stream_start(s.loop, s.client, &request, &options, NULL, &stream);
  if (child == 0) _exit(status == ARVAK_EFORKED && !stream ? 0 : 1);
  int code;
  assert_int_equal(waitpid(child, &code, 0), child);
  assert_int_equal(WEXITSTATUS(code), 0);
  assert_int_equal(status, ARVAK_OK);
  arvak_stream_release(stream);
  s.ends = 1; /* of no call */
  while (arvak_loop_call_count(s.loop) > 0) arvak_loop_step(s.loop, arvak_now_ns() + SECOND);
  close_subject(&s);
}

/* A function that is asked for headers may fork before it gives them. What the child then says is of no effect, and it
 * may let go of everything, also of the loop first. */
static void forks_as_a_call_asks_for_headers(void **state) {
  (void)state;
  subject s = {0};
  open_subject(&s, nowhere, MS, NULL);
  arvak_request request = {.rpc = ARVAK_GET_JOB_STATUS, .id = "x"};
  arvak_call_options options = {.fn = on_end, .ud = &s, .owner = &owner, .retry = s.retry, .asks_headers = true};
  assert_int_equal(arvak_call_start(s.loop, s.client, &request, &options, &s.call), ARVAK_OK);
  int64_t end = arvak_now_ns() + TEST_TIMEOUT;
  while (!arvak_loop_next_asking(s.loop) && arvak_now_ns() < end) arvak_loop_step(s.loop, end);
  assert_ptr_equal(arvak_loop_next_asking(s.loop), s.call);
  fork_it(&s);
  if (child == 0) {
    bool is_asking = arvak_loop_next_asking(s.loop) != NULL;
    int status = arvak_call_proceed(s.call, NULL, 0);
    arvak_call_refuse(s.call, ARVAK_KIND_UNAUTHENTICATED, 16, "no headers");
    bool is_sent = arvak_call_is_sent(s.call);
    arvak_loop_close(s.loop);
    arvak_call_release(s.call);
    arvak_client_unref(s.client);
    _exit(!is_asking && status == ARVAK_EFORKED && !is_sent && s.ends == 0 ? 0 : 1);
  }
  int code;
  assert_int_equal(waitpid(child, &code, 0), child);
  assert_true(WIFEXITED(code));
  assert_int_equal(WEXITSTATUS(code), 0);
  arvak_call_refuse(s.call, ARVAK_KIND_UNAUTHENTICATED, 16, "no headers");
  step_until(&s, &s.ends, 1);
  assert_int_equal(s.outcome.kind, ARVAK_KIND_UNAUTHENTICATED);
  close_subject(&s);
}

static bool refuse_headers(arvak_header_sink *sink, arvak_rpc rpc, void *ud) {
  (void)sink;
  (void)rpc;
  (void)ud;
  return false;
}

static void note_stream(arvak_stream *stream, void *ud) {
  subject *s = ud;
  if (!arvak_stream_outcome(stream)) return;
  s->ends++;
  s->outcome = *arvak_stream_outcome(stream);
  arvak_stream_release(stream);
}

static void ends_a_stream_without_headers_in_the_next_step(void **state) {
  (void)state;
  subject s = {0};
  open_subject(&s, nowhere, MS, refuse_headers);
  arvak_request request = {.rpc = ARVAK_WATCH_JOB, .id = "x"};
  arvak_call_options options = {.owner = &owner, .ud = &s, .breaker = s.breaker};
  arvak_stream *stream = NULL;
  assert_int_equal(arvak_stream_start(s.loop, s.client, &request, &options, note_stream, &stream), ARVAK_OK);
  arvak_stream_read(stream);
  arvak_stream_cancel(stream, ARVAK_KIND_CANCELED);
  assert_int_equal(s.ends, 0);
  assert_int_equal(arvak_loop_due_ns(s.loop), 0);
  step_until(&s, &s.ends, 1);
  assert_int_equal(s.outcome.kind, ARVAK_KIND_UNAUTHENTICATED);
  assert_int_equal(s.outcome.attempts, 0);
  assert_int_equal(s.changes, 0);
  close_subject(&s);
}

/* ---- ends ---- */

typedef struct again {
  arvak_loop *loop, *other;
  arvak_client *client;
  arvak_breaker *breaker;
  arvak_call *call;
  int ends, fired;
} again;

static void start_again(again *a);

static void on_end_again(arvak_call *call, void *ud) {
  again *a = ud;
  assert_int_equal(arvak_call_outcome(call)->kind, ARVAK_KIND_CIRCUIT_OPEN);
  a->ends++;
  arvak_call_release(call);
  start_again(a);
}

static void start_again(again *a) {
  arvak_request request = {.rpc = ARVAK_LIST_BACKENDS};
  arvak_call_options options = {.fn = on_end_again, .ud = a, .breaker = a->breaker, .owner = a};
  int status = arvak_call_start(a->loop, a->client, &request, &options, &a->call);
  assert_true(status == ARVAK_OK || status == ARVAK_ECLOSED); /* while the loop closes */
}

static void count_up(arvak_timer *timer, void *ud) {
  (void)timer;
  ++*(int *)ud;
}

static void returns_from_a_step_whose_ends_start_refused_calls_again(void **state) {
  (void)state;
  again a = {0};
  arvak_client_options options = {.address = nowhere};
  arvak_breaker_options breaker = {0};
  assert_int_equal(arvak_loop_new(&a.loop), ARVAK_OK);
  assert_int_equal(arvak_breaker_new(&breaker, &a.breaker), ARVAK_OK);
  assert_int_equal(arvak_client_new(&options, &a.client, NULL), ARVAK_OK);
  arvak_breaker_force(a.breaker, ARVAK_BREAKER_OPEN);
  arvak_timer timer = {.fn = count_up, .ud = &a.fired};
  start_again(&a);
  int64_t end = arvak_now_ns() + 10 * MS;
  arvak_loop_set_timer(a.loop, &timer, end);
  int steps = 0;
  for (; a.fired == 0; steps++) assert_true(arvak_loop_step(a.loop, arvak_now_ns() + TEST_TIMEOUT) > 0);
  assert_true(a.ends > 0 && a.ends <= steps); /* each step told one end: there was one when it began */
  arvak_loop_close(a.loop);
  arvak_client_unref(a.client);
  arvak_breaker_unref(a.breaker);
}

static arvak_loop *timer_loop;
static void set_again(arvak_timer *timer, void *ud) {
  ++*(int *)ud;
  arvak_loop_set_timer(timer_loop, timer, 1); /* long ago */
}

static void returns_from_a_step_whose_timer_is_always_due(void **state) {
  (void)state;
  int restless = 0, other = 0;
  assert_int_equal(arvak_loop_new(&timer_loop), ARVAK_OK);
  arvak_timer first = {.fn = set_again, .ud = &restless}, second = {.fn = count_up, .ud = &other};
  arvak_loop_set_timer(timer_loop, &first, 1);
  arvak_loop_set_timer(timer_loop, &second, arvak_now_ns());
  for (int i = 1; i <= 3; i++) {
    assert_int_equal(arvak_loop_step(timer_loop, arvak_now_ns() + TEST_TIMEOUT), i == 1 ? 2 : 1);
    assert_int_equal(restless, i);
    assert_int_equal(other, 1); /* not starved */
  }
  arvak_loop_close(timer_loop);
}

static void do_everything(arvak_call *call, void *ud) {
  again *a = ud;
  a->ends++;
  assert_non_null(arvak_call_outcome(call));
  arvak_call_release(call); /* itself */
  arvak_loop_cancel_owned(a->loop, a, ARVAK_KIND_CANCELED); /* others, whose ends do the same */
  arvak_loop_step(a->other, 0);
  arvak_loop_step(a->loop, 0);
}

static void lets_an_end_cancel_the_others_release_itself_and_step(void **state) {
  (void)state;
  enum { CALLS = 40 };
  again a = {0};
  arvak_client_options options = {.address = nowhere, .max_concurrent_rpcs = 3};
  assert_int_equal(arvak_loop_new(&a.loop), ARVAK_OK);
  assert_int_equal(arvak_loop_new(&a.other), ARVAK_OK);
  assert_int_equal(arvak_client_new(&options, &a.client, NULL), ARVAK_OK);
  arvak_request request = {.rpc = ARVAK_LIST_BACKENDS};
  arvak_call_options call_options = {.fn = do_everything, .ud = &a, .owner = &a};
  arvak_call *call;
  for (int i = 0; i < CALLS; i++)
    assert_int_equal(arvak_call_start(a.loop, a.client, &request, &call_options, &call), ARVAK_OK);
  arvak_client_unref(a.client);
  int64_t end = arvak_now_ns() + TEST_TIMEOUT;
  while (a.ends < CALLS && arvak_now_ns() < end) arvak_loop_step(a.loop, end);
  assert_int_equal(a.ends, CALLS);
  assert_int_equal(arvak_loop_call_count(a.loop), 0);
  arvak_loop_close(a.other);
  arvak_loop_close(a.loop);
}

/* ---- with a server ---- */

static arvak_call *sleeper;
static void cancel_sleeper(arvak_timer *timer, void *ud) {
  (void)timer;
  (void)ud;
  assert_false(arvak_call_is_sent(sleeper));
  arvak_call_cancel(sleeper, ARVAK_KIND_CANCELED);
}

/* Both timers are due in one step, the cancel's first; the server would hang. */
static void sends_nothing_when_a_timer_cancels_as_the_pause_ends(void **state) {
  (void)state;
  static const char *const faults[] = {"rpc=SubmitJob,status=UNAVAILABLE,count=1", "rpc=SubmitJob,hang=before", NULL};
  char address[SERVER_ADDRESS_SIZE] = "127.0.0.1:0";
  pid_t server = server_start(address, faults);
  assert_true(server > 0);
  subject s = {0};
  open_subject(&s, address, 50 * MS, NULL);
  start(&s, true, false);
  step_until(&s, &s.retries, 1);
  sleeper = s.call;
  arvak_timer timer = {.fn = cancel_sleeper};
  arvak_loop_set_timer(s.loop, &timer, arvak_now_ns() + 10 * MS);
  usleep(200000); /* the host is busy */
  step_until(&s, &s.ends, 1);
  assert_int_equal(s.outcome.kind, ARVAK_KIND_CANCELED);
  assert_int_equal(s.outcome.attempts, 1);
  assert_false(s.outcome.maybe_executed);
  assert_int_equal(count_attempts(&s), 1);
  close_subject(&s);
  server_kill(server);
}

static void keeps_a_wake_for_the_next_step_when_a_call_starts_meanwhile(void **state) {
  (void)state;
  static const char *const faults[] = {"rpc=SubmitJob,hang=before", NULL};
  char address[SERVER_ADDRESS_SIZE] = "127.0.0.1:0";
  pid_t server = server_start(address, faults);
  assert_true(server > 0);
  subject s = {0};
  open_subject(&s, address, MS, NULL);
  while (!arvak_client_connect(s.client, s.loop)) arvak_loop_step(s.loop, arvak_now_ns() + MS);
  usleep(200000); /* whatever watched the connection is over */
  while (arvak_loop_step(s.loop, 0) > 0) {}
  arvak_loop_wake(s.loop);
  start(&s, false, false); /* it looks at the connections first, since the loop was idle */
  int64_t before = arvak_now_ns();
  arvak_loop_step(s.loop, before + 20 * SECOND);
  assert_true(arvak_now_ns() - before < 10 * SECOND);
  assert_int_equal(s.ends, 0);
  cancel_it(&s);
  step_until(&s, &s.ends, 1);
  assert_true(s.outcome.maybe_executed);
  close_subject(&s);
  server_kill(server);
}

/* It takes the library's 10 s until it pings, and then half a second without an answer. */
static void ends_a_stream_without_a_deadline_whose_server_has_frozen(void **state) {
  (void)state;
  static const char *const faults[] = {"rpc=WatchJob,hang=before", NULL};
  static const arvak_channel_arg args[] = {{.name = "grpc.keepalive_timeout_ms", .integer = 500},
                                           {.name = "grpc.http2.ping_timeout_ms", .integer = 500}};
  char address[SERVER_ADDRESS_SIZE] = "127.0.0.1:0";
  pid_t server = server_start(address, faults);
  assert_true(server > 0);
  subject s = {0};
  arvak_client_options options = {.address = address, .channel_args = args, .channel_arg_count = 2};
  assert_int_equal(arvak_loop_new(&s.loop), ARVAK_OK);
  assert_int_equal(arvak_client_new(&options, &s.client, NULL), ARVAK_OK);
  while (!arvak_client_connect(s.client, s.loop)) arvak_loop_step(s.loop, arvak_now_ns() + MS);
  arvak_request request = {.rpc = ARVAK_WATCH_JOB, .id = "x"};
  arvak_call_options call_options = {.ud = &s};
  arvak_stream *stream = NULL;
  assert_int_equal(arvak_stream_start(s.loop, s.client, &request, &call_options, note_stream, &stream), ARVAK_OK);
  arvak_stream_read(stream);
  for (int i = 0; i < 100; i++) arvak_loop_step(s.loop, arvak_now_ns() + MS);
  kill(server, SIGSTOP);
  step_until(&s, &s.ends, 1);
  assert_int_equal(s.outcome.kind, ARVAK_KIND_UNAVAILABLE);
  close_subject(&s);
  server_kill(server);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ends_as_canceled_when_on_retry_cancels),
      cmocka_unit_test(ends_as_it_would_have_when_on_change_cancels),
      cmocka_unit_test(ends_as_canceled_when_on_change_cancels_the_probe),
      cmocka_unit_test(goes_on_when_on_retry_releases_the_call_or_steps),
      cmocka_unit_test(ends_as_canceled_when_the_function_for_headers_cancels),
      cmocka_unit_test(survives_its_client_in_the_function_for_headers),
      cmocka_unit_test(forks_in_the_function_for_headers),
      cmocka_unit_test(forks_in_the_function_for_headers_of_a_stream),
      cmocka_unit_test(forks_as_a_call_asks_for_headers),
      cmocka_unit_test(ends_a_stream_without_headers_in_the_next_step),
      cmocka_unit_test(returns_from_a_step_whose_ends_start_refused_calls_again),
      cmocka_unit_test(returns_from_a_step_whose_timer_is_always_due),
      cmocka_unit_test(lets_an_end_cancel_the_others_release_itself_and_step),
      cmocka_unit_test(sends_nothing_when_a_timer_cancels_as_the_pause_ends),
      cmocka_unit_test(keeps_a_wake_for_the_next_step_when_a_call_starts_meanwhile),
      cmocka_unit_test(ends_a_stream_without_a_deadline_whose_server_has_frozen),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
