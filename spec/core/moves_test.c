/* One loop, and whatever can happen to its calls, at random: they are canceled in each state, by the program, by hooks,
 * by the function for headers, by ends and by timers; they are told to proceed, refused, released, and stepped from
 * within. Each ends exactly once; one that was canceled before it was sent is never sent; and what an outcome says of
 * attempts and of what may have been executed is what happened.
 * MOVES_SECONDS (3) and MOVES_SEED (1) in the environment. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "arvak.h"
#include "server.h"

enum { MOST = 64, SLOTS = 3, DEPTH = 3 };
#define MS 1000000

static unsigned seed = 1, moves;

#define CHECK(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "%s:%d: %s (seed %u, move %u)\n", __FILE__, __LINE__, #condition, seed, moves); \
      abort(); \
    } \
  } while (0)

/* One call, from its start until it has ended and is released. */
typedef struct record {
  arvak_call *call;   /* owned; NULL once released */
  arvak_retry *retry; /* owned; one for each call, so that the hook knows whose it is */
  bool is_used, is_released;
  int ends;
  int retries;       /* attempts that failed and were to be followed by another */
  bool is_canceled;  /* while it was not sent; then no attempt may follow */
  int attempts_then;
} record;

static arvak_loop *loop;
static arvak_client *client;
static arvak_breaker *breaker;
static record records[MOST];
static int depth;
static unsigned random_state;
static long started, canceled_unsent, canceled_ends, successes, failures, retried, from_within;
static uint64_t attempts_told; /* by the outcomes of all calls */

static unsigned draw(unsigned below) {
  random_state = random_state * 1664525u + 1013904223u;
  return (random_state >> 8) % below;
}

static void move_at_random(void);

/* User code: something happens to some call in the middle of whatever this was called from. */
static void meddle(void) {
  if (depth >= DEPTH || draw(3) > 0) return;
  depth++;
  from_within++;
  move_at_random();
  depth--;
}

static void on_retry(const arvak_retry_event *event, void *ud) {
  record *r = ud;
  CHECK(r->ends == 0 && event->attempt == r->retries + 1);
  r->retries++;
  retried++;
  meddle();
  CHECK(event->outcome->kind != ARVAK_KIND_NONE && event->outcome->message[0] != '\0');
}

static void on_change(arvak_breaker_state from, arvak_breaker_state to, void *ud) {
  (void)ud;
  CHECK(from != to);
  meddle();
}

static bool give_headers(arvak_header_sink *sink, arvak_rpc rpc, void *ud) {
  (void)rpc;
  (void)ud;
  arvak_header_sink_add(sink, "x-token", (arvak_text){"fresh", 5});
  meddle();
  return draw(20) > 0;
}

static void release(record *r) {
  arvak_call *call = r->call;
  r->call = NULL;
  r->is_released = true;
  if (call) arvak_call_release(call);
}

static void on_end(arvak_call *call, void *ud) {
  record *r = ud;
  const arvak_outcome *o = arvak_call_outcome(call);
  CHECK(r->ends == 0 && !r->is_released && o != NULL);
  r->ends++;
  attempts_told += (uint64_t)o->attempts;
  CHECK(o->attempts == r->retries || o->attempts == r->retries + 1);
  if (r->is_canceled) CHECK(!o->maybe_executed);
  if (r->is_canceled && o->kind == ARVAK_KIND_CANCELED) CHECK(o->attempts == r->attempts_then);
  if (r->is_canceled) CHECK(o->attempts <= r->attempts_then + 1); /* it was about to end, as something else */
  if (o->attempts == 0) CHECK(!o->maybe_executed);
  if (o->kind == ARVAK_KIND_NONE) successes++;
  else failures++;
  if (o->kind == ARVAK_KIND_CANCELED) canceled_ends++;
  meddle();
}

static record *find_free(void) {
  for (int i = 0; i < MOST; i++)
    if (!records[i].is_used) return &records[i];
  return NULL;
}

static void start_one(void) {
  static const arvak_circuit circuit = {"OPENQASM 3.0; qubit q; h q;", 10, 0};
  static const arvak_rpc rpcs[] = {ARVAK_SUBMIT_JOB, ARVAK_GET_JOB_STATUS, ARVAK_LIST_BACKENDS, ARVAK_GET_BACKEND_INFO};
  record *r = find_free();
  if (!r) return;
  *r = (record){.is_used = true};
  arvak_rpc rpc = rpcs[draw(4)];
  arvak_request request = {.rpc = rpc, .id = rpc == ARVAK_GET_JOB_STATUS ? "none" : "simulator"};
  if (rpc == ARVAK_SUBMIT_JOB) request.circuits = &circuit, request.circuit_count = 1;
  arvak_retry_options retry = {.max_attempts = 4, .initial_backoff_ns = 1 + draw(3 * MS), .max_backoff_ns = 5 * MS,
                               .on_retry = on_retry, .ud = r};
  arvak_call_options options = {.fn = on_end, .ud = r, .owner = &records[draw(2)]};
  CHECK(arvak_retry_new(&retry, NULL, &r->retry) == ARVAK_OK);
  if (draw(4) > 0) options.retry = r->retry;
  if (draw(2) == 0) options.breaker = breaker;
  if (draw(3) == 0) options.timeout_ns = 1 + draw(20 * MS);
  if (draw(4) == 0) options.attempt_timeout_ns = 1 + draw(5 * MS);
  if (draw(4) == 0) options.queue_timeout_ns = 1 + draw(3 * MS);
  options.asks_headers = draw(2) == 0;
  started++;
  CHECK(arvak_call_start(loop, client, &request, &options, &r->call) == ARVAK_OK);
}

static void cancel(record *r) {
  if (!r->call || r->ends > 0) return;
  if (!arvak_call_is_sent(r->call) && !r->is_canceled) {
    r->is_canceled = true;
    r->attempts_then = r->retries;
    canceled_unsent++;
  }
  arvak_call_cancel(r->call, ARVAK_KIND_CANCELED);
}

static void cancel_owned(void) {
  const void *owner = &records[draw(2)];
  for (int i = 0; i < MOST; i++)
    if (records[i].call && arvak_call_owner(records[i].call) == owner) cancel(&records[i]);
  arvak_loop_cancel_owned(loop, owner, ARVAK_KIND_CANCELED);
}

static void answer_asking(void) {
  static const arvak_header header = {"x-token", {"fresher", 7}};
  arvak_call *call = arvak_loop_next_asking(loop);
  if (!call) return;
  CHECK(arvak_loop_due_ns(loop) == 0);
  if (draw(6) == 0) arvak_call_refuse(call, ARVAK_KIND_UNAUTHENTICATED, 16, "no token");
  else CHECK(arvak_call_proceed(call, &header, draw(2)) == ARVAK_OK);
}

typedef struct alarm_clock {
  arvak_timer timer;
  record *victim;
} alarm_clock;

static alarm_clock clocks[4];

static void on_alarm(arvak_timer *timer, void *ud) {
  (void)timer;
  alarm_clock *c = ud;
  cancel(c->victim);
  meddle();
}

static void set_alarm(void) {
  alarm_clock *c = &clocks[draw(4)];
  c->victim = &records[draw(MOST)];
  c->timer.fn = on_alarm;
  c->timer.ud = c;
  CHECK(arvak_loop_set_timer(loop, &c->timer, arvak_now_ns() + draw(3 * MS)) == ARVAK_OK);
}

static void move_at_random(void) {
  record *r = &records[draw(MOST)];
  moves++;
  switch (draw(16)) {
    case 0: case 1: case 2: case 3: start_one(); break;
    case 4: case 5: cancel(r); break;
    case 6: if (r->ends > 0 || draw(8) == 0) release(r); break;
    case 7: cancel_owned(); break;
    case 8: set_alarm(); break;
    case 9: case 10: answer_asking(); break;
    case 11: if (draw(8) == 0) arvak_breaker_force(breaker, draw(2) ? ARVAK_BREAKER_OPEN : ARVAK_BREAKER_CLOSED); break;
    case 12: arvak_breaker_reset(breaker); break;
    default: arvak_loop_step(loop, depth > 0 ? 0 : arvak_now_ns() + draw(2 * MS)); break;
  }
}

/* Not from within: a hook of the record's may be running. */
static void sweep(void) {
  for (int i = 0; i < MOST; i++) {
    record *r = &records[i];
    if (!r->is_used || (r->ends == 0 && !r->is_released)) continue;
    release(r);
    if (arvak_loop_call_count(loop) > 0 && r->ends == 0) continue; /* it may go on, and its hook with it */
    arvak_retry_unref(r->retry);
    r->is_used = false;
  }
}

static void live(const char *address) {
  arvak_client_options options = {.address = address, .max_concurrent_rpcs = SLOTS, .timeout_ns = 1000 * MS,
                                  .limiter = {.rate = draw(2) ? 2000 : 0, .burst = 4, .is_adaptive = draw(2) == 0},
                                  .headers_fn = draw(2) ? give_headers : NULL};
  arvak_breaker_options breaker_options = {.failure_threshold = 4, .timeout_ns = 3 * MS, .on_change = on_change};
  arvak_client_stats stats;
  attempts_told = 0;
  CHECK(arvak_loop_new(&loop) == ARVAK_OK);
  CHECK(arvak_client_new(&options, &client, NULL) == ARVAK_OK);
  CHECK(arvak_breaker_new(&breaker_options, &breaker) == ARVAK_OK);
  bool is_bridged = draw(3) == 0;
  if (is_bridged) CHECK(arvak_loop_open_fd(loop) >= 0);
  bool has_released = false;
  for (unsigned left = 300; left > 0; left--) {
    move_at_random();
    for (int i = 0; i < MOST; i++) has_released |= records[i].is_used && records[i].is_released && records[i].ends == 0;
    sweep();
  }
  for (size_t i = 0; i < sizeof clocks / sizeof *clocks; i++) arvak_loop_stop_timer(loop, &clocks[i].timer);
  depth = DEPTH; /* what follows is let be */
  if (is_bridged) arvak_loop_close_fd(loop);
  arvak_loop_close(loop);
  depth = 0;
  for (int i = 0; i < MOST; i++) {
    record *r = &records[i];
    if (!r->is_used) continue;
    if (!r->is_released) CHECK(r->ends == 1);
    release(r);
    arvak_retry_unref(r->retry);
    r->is_used = false;
  }
  arvak_client_get_stats(client, &stats);
  CHECK(stats.in_flight == 0 && stats.queued == 0);
  if (!has_released) CHECK(stats.attempts == attempts_told);
  arvak_client_unref(client);
  arvak_breaker_unref(breaker);
}

static void each_call_ends_once_and_is_never_sent_after_its_cancel(void **state) {
  (void)state;
  static const char *const faults[] = {"rpc=GetBackendInfo,latency=0.002,rate=0.5",
                                       "rpc=SubmitJob,status=UNAVAILABLE,rate=0.5",
                                       "rpc=ListBackends,status=UNAVAILABLE,rate=0.5",
                                       "rpc=ListBackends,drop=before,rate=0.02",
                                       "rpc=GetBackendInfo,hang=before,rate=0.02",
                                       NULL};
  char address[SERVER_ADDRESS_SIZE] = "127.0.0.1:0";
  pid_t server = server_start(address, faults);
  CHECK(server > 0);
  const char *seconds = getenv("MOVES_SECONDS");
  int64_t stop_at = arvak_now_ns() + (int64_t)((seconds ? atof(seconds) : 3) * 1e9);
  random_state = seed * 2654435761u;
  int lives = 0;
  for (; arvak_now_ns() < stop_at || lives < 3; lives++) live(lives % 8 == 7 ? "unix:/nonexistent/socket" : address);
  server_kill(server);
  printf("# %d loops, %u moves, %ld from within, %ld calls: %ld well, %ld failed, %ld of them canceled, %ld of which "
         "unsent; %ld retries\n", lives, moves, from_within, started, successes, failures, canceled_ends,
         canceled_unsent, retried);
  assert_true(successes > 0 && canceled_ends > 0 && canceled_unsent > 0 && retried > 0 && from_within > 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(each_call_ends_once_and_is_never_sent_after_its_cancel)};
  if (getenv("MOVES_SEED")) seed = (unsigned)atoi(getenv("MOVES_SEED"));
  return cmocka_run_group_tests(tests, NULL, NULL);
}
