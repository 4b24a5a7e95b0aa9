/* The loop without a server: wakes from other threads, timers, and a clean end with calls in flight.
 * SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "arvak.h"

#define SECOND_NS 1000000000

static void ends_a_step_that_is_woken_before(void **state) {
  (void)state;
  arvak_loop *loop;
  assert_int_equal(arvak_loop_new(&loop), ARVAK_OK);
  arvak_loop_wake(loop);
  arvak_loop_wake(loop);
  int64_t before = arvak_now_ns();
  arvak_loop_step(loop, before + 10 * (int64_t)SECOND_NS);
  assert_true(arvak_now_ns() - before < 5 * (int64_t)SECOND_NS);
  arvak_loop_close(loop);
}

typedef struct sleeper {
  arvak_loop *loop;
  atomic_int rounds;
} sleeper;

static void *wake_in_a_while(void *ud) {
  sleeper *s = ud;
  usleep(20000);
  arvak_loop_wake(s->loop);
  return NULL;
}

static void wakes_a_sleeping_step_from_another_thread(void **state) {
  (void)state;
  sleeper s = {0};
  assert_int_equal(arvak_loop_new(&s.loop), ARVAK_OK);
  pthread_t thread;
  pthread_create(&thread, NULL, wake_in_a_while, &s);
  int64_t before = arvak_now_ns();
  arvak_loop_step(s.loop, before + 10 * (int64_t)SECOND_NS);
  int64_t took = arvak_now_ns() - before;
  assert_true(took < 5 * (int64_t)SECOND_NS);
  pthread_join(thread, NULL);
  arvak_loop_close(s.loop);
}

static void *wake_often(void *ud) {
  sleeper *s = ud;
  for (int i = 0; i < 20000; i++) arvak_loop_wake(s->loop);
  atomic_fetch_add(&s->rounds, 1);
  return NULL;
}

/* The last wake of each thread must end a step, or this would stop until the deadline. */
static void loses_no_wake_of_many_threads(void **state) {
  (void)state;
  sleeper s = {0};
  assert_int_equal(arvak_loop_new(&s.loop), ARVAK_OK);
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, wake_often, &s);
  while (atomic_load(&s.rounds) < 4) arvak_loop_step(s.loop, arvak_now_ns() + SECOND_NS / 100);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  arvak_loop_wake(s.loop);
  int64_t before = arvak_now_ns();
  arvak_loop_step(s.loop, before + 10 * (int64_t)SECOND_NS);
  assert_true(arvak_now_ns() - before < 5 * (int64_t)SECOND_NS);
  arvak_loop_close(s.loop);
}

/* ---- over a bridge ---- */

static bool is_readable(int fd, int milliseconds) {
  struct pollfd item = {.fd = fd, .events = POLLIN};
  return poll(&item, 1, milliseconds) == 1;
}

static void makes_its_descriptor_readable_by_a_wake(void **state) {
  (void)state;
  arvak_loop *loop;
  assert_int_equal(arvak_loop_new(&loop), ARVAK_OK);
  int fd = arvak_loop_open_fd(loop);
  assert_true(fd >= 0);
  assert_int_equal(arvak_loop_open_fd(loop), fd);
  arvak_loop_step(loop, 0);
  assert_false(is_readable(fd, 0));
  arvak_loop_wake(loop);
  assert_true(is_readable(fd, 0));
  arvak_loop_step(loop, 0);
  assert_false(is_readable(fd, 0));
  arvak_loop_close_fd(loop);
  arvak_loop_wake(loop);
  assert_true(is_readable(fd, 0)); /* one user is left */
  arvak_loop_close_fd(loop);
  arvak_loop_close(loop);
}

/* As without a bridge, while the bridge comes and goes. */
static void loses_no_wake_while_a_bridge_comes_and_goes(void **state) {
  (void)state;
  sleeper s = {0};
  assert_int_equal(arvak_loop_new(&s.loop), ARVAK_OK);
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, wake_often, &s);
  for (int i = 0; atomic_load(&s.rounds) < 4; i++) {
    if (i % 8 == 0) assert_true(arvak_loop_open_fd(s.loop) >= 0);
    arvak_loop_step(s.loop, arvak_now_ns() + SECOND_NS / 100);
    if (i % 8 == 7) arvak_loop_close_fd(s.loop);
  }
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  for (int bridged = 0; bridged < 2; bridged++) {
    arvak_loop_wake(s.loop);
    int64_t before = arvak_now_ns();
    arvak_loop_step(s.loop, before + 10 * (int64_t)SECOND_NS);
    assert_true(arvak_now_ns() - before < 5 * (int64_t)SECOND_NS);
    assert_true(arvak_loop_open_fd(s.loop) >= 0);
  }
  arvak_loop_close(s.loop);
}

/* ---- work that is left ---- */

/* A call to nowhere that will ask for headers before its second attempt. */
typedef struct asker {
  arvak_loop *loop;
  arvak_client *client;
  arvak_retry *retry;
  arvak_breaker *breaker;
  arvak_kind kind;
  arvak_call *call;
} asker;

static arvak_client *client_of(const char *address, int slots);
static void note_end(arvak_call *call, void *ud);

static void start_asker(asker *a, int64_t backoff_ns) {
  arvak_retry_options retry = {.max_attempts = 2, .initial_backoff_ns = backoff_ns, .jitter = ARVAK_JITTER_NONE};
  arvak_breaker_options breaker = {.failure_threshold = 100};
  assert_int_equal(arvak_loop_new(&a->loop), ARVAK_OK);
  assert_int_equal(arvak_retry_new(&retry, NULL, &a->retry), ARVAK_OK);
  assert_int_equal(arvak_breaker_new(&breaker, &a->breaker), ARVAK_OK);
  a->client = client_of("unix:/nonexistent/socket", 1);
  arvak_request request = {.rpc = ARVAK_GET_JOB_STATUS, .id = "x"};
  arvak_call_options options = {.fn = note_end, .ud = &a->kind, .retry = a->retry, .breaker = a->breaker,
                                .asks_headers = true};
  assert_int_equal(arvak_call_start(a->loop, a->client, &request, &options, &a->call), ARVAK_OK);
}

static void end_asker(asker *a) {
  arvak_loop_close(a->loop);
  arvak_call_release(a->call);
  arvak_client_unref(a->client);
  arvak_retry_unref(a->retry);
  arvak_breaker_unref(a->breaker);
}

static int count_attempts(asker *a) {
  arvak_client_stats stats;
  arvak_client_get_stats(a->client, &stats);
  return (int)stats.attempts;
}

/* Until its first attempt has failed and it sleeps. */
static void fail_once(asker *a) {
  arvak_client_stats stats;
  do {
    arvak_loop_step(a->loop, arvak_now_ns() + SECOND_NS);
    arvak_client_get_stats(a->client, &stats);
  } while (stats.retries[14] == 0);
}

static void is_due_at_once_while_a_call_asks_for_headers(void **state) {
  (void)state;
  asker a = {0};
  start_asker(&a, SECOND_NS / 20);
  int fd = arvak_loop_open_fd(a.loop);
  fail_once(&a);
  while (!arvak_loop_next_asking(a.loop)) arvak_loop_step(a.loop, arvak_now_ns() + SECOND_NS);
  for (int i = 0; i < 3; i++) {
    assert_int_equal(arvak_loop_due_ns(a.loop), 0);
    assert_true(is_readable(fd, 0));
    arvak_loop_step(a.loop, 0); /* nobody answers: it is due still */
  }
  assert_int_equal(arvak_call_proceed(a.call, NULL, 0), ARVAK_OK);
  while (a.kind == ARVAK_KIND_NONE) arvak_loop_step(a.loop, arvak_now_ns() + SECOND_NS);
  /* What its connection still says may come later. */
  for (int i = 0; i < 1000 && (arvak_loop_due_ns(a.loop) != ARVAK_NEVER || is_readable(fd, 0)); i++)
    arvak_loop_step(a.loop, arvak_now_ns() + SECOND_NS / 100);
  assert_int_equal(arvak_loop_due_ns(a.loop), ARVAK_NEVER);
  assert_false(is_readable(fd, 0));
  assert_int_equal(count_attempts(&a), 2);
  end_asker(&a);
}

static void does_not_wait_in_a_step_while_a_call_asks_for_headers(void **state) {
  (void)state;
  asker a = {0};
  start_asker(&a, SECOND_NS / 50);
  fail_once(&a);
  while (!arvak_loop_next_asking(a.loop)) arvak_loop_step(a.loop, 0);
  int64_t before = arvak_now_ns();
  arvak_loop_step(a.loop, before + 20 * (int64_t)SECOND_NS);
  assert_true(arvak_now_ns() - before < 10 * (int64_t)SECOND_NS);
  end_asker(&a);
}

/* The pause ends while the step waits, the breaker has opened meanwhile, and the refusal is posted. */
static void tells_the_descriptor_of_an_end_that_a_step_leaves(void **state) {
  (void)state;
  asker a = {0};
  start_asker(&a, SECOND_NS / 20);
  int fd = arvak_loop_open_fd(a.loop);
  fail_once(&a);
  arvak_breaker_force(a.breaker, ARVAK_BREAKER_OPEN);
  while (a.kind == ARVAK_KIND_NONE) {
    bool is_due = arvak_loop_due_ns(a.loop) == 0;
    assert_true(is_due || arvak_loop_due_ns(a.loop) != ARVAK_NEVER);
    assert_int_equal(is_readable(fd, 0), is_due);
    arvak_loop_step(a.loop, arvak_now_ns() + 10 * (int64_t)SECOND_NS);
  }
  assert_int_equal(a.kind, ARVAK_KIND_UNAVAILABLE);
  end_asker(&a);
}

static void count_up(arvak_timer *timer, void *ud) {
  (void)timer;
  ++*(int *)ud;
}

static void fires_timers_not_before_their_time(void **state) {
  (void)state;
  arvak_loop *loop;
  int fired = 0;
  assert_int_equal(arvak_loop_new(&loop), ARVAK_OK);
  arvak_timer soon = {.fn = count_up, .ud = &fired}, stopped = soon, later = soon;
  int64_t start = arvak_now_ns();
  arvak_loop_set_timer(loop, &soon, start + SECOND_NS / 50);
  arvak_loop_set_timer(loop, &stopped, start + SECOND_NS / 100);
  arvak_loop_set_timer(loop, &later, start + 100 * (int64_t)SECOND_NS);
  arvak_loop_stop_timer(loop, &stopped);
  while (fired == 0) arvak_loop_step(loop, start + 10 * (int64_t)SECOND_NS);
  assert_int_equal(fired, 1);
  assert_true(arvak_now_ns() - start >= SECOND_NS / 50);
  arvak_loop_close(loop);
  assert_int_equal(later.place, 0);
}

static void note_end(arvak_call *call, void *ud) {
  arvak_kind *kind = ud;
  *kind = arvak_call_outcome(call)->kind;
}

/* A port that accepts connections and says nothing: the kernel does the former, nobody the latter. */
static int listen_silently(char *address, size_t size) {
  struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof name;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&name, length), 0);
  assert_int_equal(listen(fd, 16), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &length), 0);
  snprintf(address, size, "ipv4:127.0.0.1:%d", ntohs(name.sin_port));
  return fd;
}

static void start_calls(arvak_loop *loop, arvak_client *client, arvak_kind *kinds, int count) {
  arvak_request request = {.rpc = ARVAK_GET_JOB_STATUS, .id = "x"};
  for (int i = 0; i < count; i++) {
    arvak_call_options options = {.fn = note_end, .ud = &kinds[i]};
    assert_int_equal(arvak_call_start(loop, client, &request, &options, NULL), ARVAK_OK);
  }
}

static arvak_client *client_of(const char *address, int slots) {
  arvak_client_options options = {.address = address, .max_concurrent_rpcs = slots};
  arvak_client *client = NULL;
  const char *reason = NULL;
  assert_int_equal(arvak_client_new(&options, &client, &reason), ARVAK_OK);
  return client;
}

static void ends_calls_as_closed_when_the_loop_closes(void **state) {
  (void)state;
  arvak_loop *loop;
  arvak_kind kinds[100] = {0};
  assert_int_equal(arvak_loop_new(&loop), ARVAK_OK);
  char address[64];
  int fd = listen_silently(address, sizeof address);
  arvak_client *client = client_of(address, 10);
  start_calls(loop, client, kinds, 100);
  assert_int_equal(arvak_loop_call_count(loop), 100);
  arvak_client_unref(client);
  arvak_loop_close(loop);
  for (int i = 0; i < 100; i++) assert_int_equal(kinds[i], ARVAK_KIND_CLOSED);
  close(fd);
}

static void fails_at_once_where_nobody_listens_and_runs_the_queue_dry(void **state) {
  (void)state;
  arvak_loop *loop;
  arvak_kind kinds[50] = {0};
  assert_int_equal(arvak_loop_new(&loop), ARVAK_OK);
  arvak_client *client = client_of("unix:/nonexistent/socket", 1);
  start_calls(loop, client, kinds, 50);
  int64_t end = arvak_now_ns() + 10 * (int64_t)SECOND_NS;
  while (arvak_loop_call_count(loop) > 0 && arvak_now_ns() < end) arvak_loop_step(loop, end);
  for (int i = 0; i < 50; i++) assert_int_equal(kinds[i], ARVAK_KIND_UNAVAILABLE);
  arvak_client_stats stats;
  arvak_client_get_stats(client, &stats);
  assert_int_equal(stats.calls, 50);
  assert_int_equal(stats.failures, 50);
  assert_int_equal(stats.in_flight, 0);
  arvak_client_unref(client);
  arvak_loop_close(loop);
}

enum { THREADS = 4, CALLS_EACH = 3000, IN_FLIGHT_EACH = 20 };

typedef struct worker {
  arvak_client *client;
  arvak_loop *loop;
  int started, ended, wrong;
  bool is_bridged;
} worker;

static void start_one(worker *w);

static void end_one(arvak_call *call, void *ud) {
  worker *w = ud;
  w->ended++;
  if (arvak_call_outcome(call)->kind != ARVAK_KIND_UNAVAILABLE) w->wrong++;
  if (w->started < CALLS_EACH) start_one(w);
}

static void start_one(worker *w) {
  arvak_request request = {.rpc = ARVAK_GET_JOB_STATUS, .id = "x"};
  arvak_call_options options = {.fn = end_one, .ud = w};
  w->started++;
  if (arvak_call_start(w->loop, w->client, &request, &options, NULL) != ARVAK_OK) w->wrong++;
}

static void *work(void *ud) {
  worker *w = ud;
  if (arvak_loop_new(&w->loop) != ARVAK_OK) return NULL;
  if (w->is_bridged && arvak_loop_open_fd(w->loop) < 0) return NULL;
  for (int i = 0; i < IN_FLIGHT_EACH; i++) start_one(w);
  int64_t end = arvak_now_ns() + 60 * (int64_t)SECOND_NS;
  while (w->ended < CALLS_EACH && arvak_now_ns() < end) arvak_loop_step(w->loop, end);
  arvak_loop_close(w->loop);
  return NULL;
}

/* A slot that comes free on one thread goes to the first in line, whose thread sleeps and has to be woken; half of them
 * sleep on a descriptor. */
static void hands_slots_from_thread_to_thread(void **state) {
  (void)state;
  arvak_client *client = client_of("unix:/nonexistent/socket", 2);
  pthread_t threads[THREADS];
  worker workers[THREADS] = {0};
  for (int i = 0; i < THREADS; i++) {
    workers[i].client = client;
    workers[i].is_bridged = i % 2 == 1;
    pthread_create(&threads[i], NULL, work, &workers[i]);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < THREADS; i++) {
    assert_int_equal(workers[i].ended, CALLS_EACH);
    assert_int_equal(workers[i].wrong, 0);
  }
  arvak_client_stats stats;
  arvak_client_get_stats(client, &stats);
  assert_int_equal(stats.calls, THREADS * CALLS_EACH);
  assert_int_equal(stats.in_flight, 0);
  assert_int_equal(stats.queued, 0);
  arvak_client_unref(client);
}

/* A thread that closes its loop in the middle leaves the slots to the others. */
static void *work_and_leave(void *ud) {
  worker *w = ud;
  if (arvak_loop_new(&w->loop) != ARVAK_OK) return NULL;
  for (int i = 0; i < IN_FLIGHT_EACH; i++) start_one(w);
  while (w->ended < CALLS_EACH / 10) arvak_loop_step(w->loop, arvak_now_ns() + SECOND_NS);
  w->started = CALLS_EACH;
  arvak_loop_close(w->loop);
  return NULL;
}

static void survives_loops_that_close_while_others_wait(void **state) {
  (void)state;
  arvak_client *client = client_of("unix:/nonexistent/socket", 3);
  pthread_t threads[THREADS];
  worker workers[THREADS] = {0};
  for (int i = 0; i < THREADS; i++) {
    workers[i].client = client;
    pthread_create(&threads[i], NULL, i % 2 ? work : work_and_leave, &workers[i]);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  for (int i = 1; i < THREADS; i += 2) assert_int_equal(workers[i].ended, CALLS_EACH);
  arvak_client_stats stats;
  arvak_client_get_stats(client, &stats);
  assert_int_equal(stats.in_flight, 0);
  assert_int_equal(stats.queued, 0);
  arvak_client_unref(client);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ends_a_step_that_is_woken_before),
      cmocka_unit_test(wakes_a_sleeping_step_from_another_thread),
      cmocka_unit_test(loses_no_wake_of_many_threads),
      cmocka_unit_test(makes_its_descriptor_readable_by_a_wake),
      cmocka_unit_test(loses_no_wake_while_a_bridge_comes_and_goes),
      cmocka_unit_test(is_due_at_once_while_a_call_asks_for_headers),
      cmocka_unit_test(does_not_wait_in_a_step_while_a_call_asks_for_headers),
      cmocka_unit_test(tells_the_descriptor_of_an_end_that_a_step_leaves),
      cmocka_unit_test(fires_timers_not_before_their_time),
      cmocka_unit_test(ends_calls_as_closed_when_the_loop_closes),
      cmocka_unit_test(fails_at_once_where_nobody_listens_and_runs_the_queue_dry),
      cmocka_unit_test(hands_slots_from_thread_to_thread),
      cmocka_unit_test(survives_loops_that_close_while_others_wait),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
