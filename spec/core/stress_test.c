/* Many loops in threads on one client at a time: calls and streams are started, canceled and let go of at random, loops
 * close in the middle of everything, clients lose their last reference wherever that happens to be, and the server cuts
 * connections, dawdles and is killed. Every call that its starter has not let go of ends exactly once, by the time its
 * loop is closed, and every slot comes back.
 * STRESS_SECONDS (3) and STRESS_SEED (1) in the environment. SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "arvak.h"
#include "server.h"

enum { THREADS = 6, MAX_RECORDS = 96, MAX_CLIENTS = 4096, POOL_SIZE = 3, SLOTS = 12, LIVES_ALONE = 300 };
#define MS 1000000

/* Not cmocka's, which jumps: these are other threads. */
#define CHECK(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "%s:%d: %s (seed %u)\n", __FILE__, __LINE__, #condition, seed); \
      abort(); \
    } \
  } while (0)

static unsigned seed = 1;
static int64_t stop_at;
static char address[SERVER_ADDRESS_SIZE];

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static arvak_client *client;       /* mu: what threads use now, as the next two */
static arvak_retry *retry;
static arvak_breaker *breaker;
static arvak_loop *awake[THREADS]; /* mu: loops that may be woken */
static char last_job[64] = "none"; /* mu: the job submitted last; a restarted server does not know it */
static atomic_long started, ended, succeeded, let_go, lives, retries, changes;

static unsigned draw(unsigned *state, unsigned below) {
  *state = *state * 1664525u + 1013904223u;
  return (*state >> 8) % below;
}

/* ---- one loop's life ---- */

typedef struct life life;

typedef struct record {
  life *of;
  arvak_call *call;     /* owned, as the next; one of the two */
  arvak_stream *stream;
  int ends;
  bool is_free; /* let go of: nothing may be reported any more */
  char job[64];
} record;

struct life {
  unsigned random;
  arvak_loop *loop;
  arvak_client *client; /* shared, as the next two */
  arvak_retry *retry;
  arvak_breaker *breaker;
  record records[MAX_RECORDS];
  int count;
  int fd_users; /* above 0: a bridge thread waits in gRPC */
  bool is_closing;
};

static void start_something(life *l);
static void cancel_something(life *l);

static void note_end(record *r, const arvak_outcome *outcome) {
  CHECK(!r->is_free);
  r->ends++;
  atomic_fetch_add(&ended, 1);
  CHECK(r->ends == 1);
  CHECK(outcome != NULL);
  if (outcome->kind == ARVAK_KIND_NONE) atomic_fetch_add(&succeeded, 1);
  if (r->of->is_closing) return;
  if (draw(&r->of->random, 4) == 0) start_something(r->of);
  if (draw(&r->of->random, 8) == 0) cancel_something(r->of);
}

static void on_end(arvak_call *call, void *ud) {
  const arvak_response *answer = arvak_call_response(call);
  if (answer && answer->rpc == ARVAK_SUBMIT_JOB) {
    pthread_mutex_lock(&mu);
    snprintf(last_job, sizeof last_job, "%s", answer->as.job_id);
    pthread_mutex_unlock(&mu);
  }
  note_end(ud, arvak_call_outcome(call));
}

static void on_news(arvak_stream *stream, void *ud) {
  record *r = ud;
  CHECK(!r->is_free);
  arvak_response *message = arvak_stream_take(stream);
  if (message) {
    arvak_response_unref(message);
    arvak_stream_read(stream);
  }
  if (r->ends > 0 || !arvak_stream_outcome(stream)) return;
  int64_t delay_ns;
  arvak_stream_plan_retry(stream, 1, &delay_ns);
  note_end(r, arvak_stream_outcome(stream));
}

static void start_something(life *l) {
  static const arvak_rpc rpcs[] = {ARVAK_SUBMIT_JOB, ARVAK_GET_JOB_STATUS, ARVAK_GET_JOB_RESULT, ARVAK_LIST_BACKENDS,
                                   ARVAK_GET_BACKEND_INFO, ARVAK_WATCH_JOB, ARVAK_STREAM_RESULTS};
  static const arvak_circuit circuit = {"OPENQASM 3.0; qubit q; h q;", 10, 0};
  if (l->count == MAX_RECORDS) return;
  record *r = &l->records[l->count++];
  *r = (record){.of = l};
  arvak_rpc rpc = rpcs[draw(&l->random, sizeof rpcs / sizeof *rpcs)];
  bool is_about_job = rpc != ARVAK_SUBMIT_JOB && rpc != ARVAK_GET_BACKEND_INFO;
  pthread_mutex_lock(&mu);
  memcpy(r->job, last_job, sizeof last_job);
  pthread_mutex_unlock(&mu);
  arvak_request request = {.rpc = rpc, .id = is_about_job ? r->job : "simulator"};
  if (rpc == ARVAK_SUBMIT_JOB) request.circuits = &circuit, request.circuit_count = 1;
  arvak_call_options options = {.owner = &l->records[draw(&l->random, 3)], .fn = on_end, .ud = r};
  if (draw(&l->random, 3) == 0) options.timeout_ns = 1 + draw(&l->random, 20 * MS);
  if (draw(&l->random, 3) == 0) options.queue_timeout_ns = 1 + draw(&l->random, 5 * MS);
  if (draw(&l->random, 3) == 0) options.attempt_timeout_ns = 1 + draw(&l->random, 5 * MS);
  if (draw(&l->random, 2) == 0) options.retry = l->retry;
  if (draw(&l->random, 2) == 0) options.breaker = l->breaker;
  options.asks_headers = draw(&l->random, 3) == 0;
  bool is_stream = rpc >= ARVAK_WATCH_JOB;
  int status = is_stream ? arvak_stream_start(l->loop, l->client, &request, &options, on_news, &r->stream)
                         : arvak_call_start(l->loop, l->client, &request, &options, &r->call);
  if (status == ARVAK_EREFUSED) { /* by the breaker, which streams enter at once */
    CHECK(is_stream && options.breaker);
    l->count--;
    return;
  }
  CHECK(status == ARVAK_OK);
  if (is_stream) arvak_stream_read(r->stream);
  atomic_fetch_add(&started, 1);
}

static void cancel_something(life *l) {
  if (l->count == 0) return;
  record *r = &l->records[draw(&l->random, (unsigned)l->count)];
  if (r->is_free) return;
  if (r->call) arvak_call_cancel(r->call, ARVAK_KIND_CANCELED);
  else if (r->stream) arvak_stream_cancel(r->stream, ARVAK_KIND_CANCELED);
}

static void release(record *r) {
  if (r->is_free) return;
  r->is_free = true;
  if (r->ends == 0) atomic_fetch_add(&let_go, 1);
  if (r->call) arvak_call_release(r->call);
  if (r->stream) arvak_stream_release(r->stream);
}

static void answer_asking(life *l) {
  static const arvak_header header = {"x-token", {"fresh", 5}};
  arvak_call *call = arvak_loop_next_asking(l->loop);
  if (!call) return;
  if (draw(&l->random, 8) == 0) arvak_call_refuse(call, ARVAK_KIND_UNAUTHENTICATED, 16, "no token");
  else CHECK(arvak_call_proceed(call, &header, draw(&l->random, 2)) == ARVAK_OK);
}

static void open_or_close_fd(life *l) {
  if (l->fd_users == 0 || (l->fd_users < 3 && draw(&l->random, 2) == 0)) {
    CHECK(arvak_loop_open_fd(l->loop) >= 0);
    l->fd_users++;
  } else {
    arvak_loop_close_fd(l->loop);
    l->fd_users--;
  }
}

static void act(life *l) {
  switch (draw(&l->random, 20)) {
    case 0: case 1: case 2: case 3: case 4: start_something(l); break;
    case 5: cancel_something(l); break;
    case 6: if (l->count > 0) release(&l->records[draw(&l->random, (unsigned)l->count)]); break;
    case 7: arvak_loop_cancel_owned(l->loop, &l->records[draw(&l->random, 3)], ARVAK_KIND_CLOSED); break;
    case 8: arvak_client_connect(l->client, l->loop); break;
    case 9: nanosleep(&(struct timespec){.tv_nsec = draw(&l->random, 2 * MS)}, NULL); break; /* computes */
    case 10: case 11: answer_asking(l); break;
    case 12: open_or_close_fd(l); break;
    default: arvak_loop_step(l->loop, arvak_now_ns() + draw(&l->random, 3 * MS)); break;
  }
}

static void take_shared(life *l) {
  pthread_mutex_lock(&mu);
  l->client = arvak_client_ref(client);
  l->retry = arvak_retry_ref(retry);
  l->breaker = arvak_breaker_ref(breaker);
  pthread_mutex_unlock(&mu);
}

static void drop_shared(life *l) {
  arvak_client_unref(l->client);
  arvak_retry_unref(l->retry);
  arvak_breaker_unref(l->breaker);
}

static void set_awake(int thread, arvak_loop *loop) {
  pthread_mutex_lock(&mu);
  awake[thread] = loop;
  pthread_mutex_unlock(&mu);
}

static void live(life *l, int thread) {
  l->count = l->fd_users = 0;
  l->is_closing = false;
  take_shared(l);
  CHECK(arvak_loop_new(&l->loop) == ARVAK_OK);
  set_awake(thread, l->loop);
  for (unsigned acts = draw(&l->random, 200); acts > 0; acts--) act(l);
  bool drop_early = draw(&l->random, 2) == 0; /* calls in flight hold them */
  if (drop_early) drop_shared(l);
  set_awake(thread, NULL);
  l->is_closing = true;
  arvak_loop_close(l->loop);
  for (int i = 0; i < l->count; i++) {
    record *r = &l->records[i];
    if (!r->is_free && r->stream && r->ends == 0) on_news(r->stream, r); /* a message was not taken yet */
    if (!r->is_free) CHECK(r->ends == 1);
    release(r);
  }
  if (!drop_early) drop_shared(l);
  atomic_fetch_add(&lives, 1);
}

static void *run_thread(void *ud) {
  int thread = (int)(intptr_t)ud;
  life *l = calloc(1, sizeof *l);
  l->random = seed * 2654435761u + (unsigned)thread;
  while (arvak_now_ns() < stop_at) live(l, thread);
  free(l);
  return NULL;
}

/* ---- the world ---- */

static pid_t server;

static void start_server(void) {
  static const char *const faults[] = {"rpc=GetBackendInfo,latency=0.01,rate=0.5",
                                       "rpc=SubmitJob,status=UNAVAILABLE,rate=0.1",
                                       "rpc=SubmitJob,status=RESOURCE_EXHAUSTED,rate=0.1",
                                       "rpc=ListBackends,drop=before,rate=0.01",
                                       "rpc=GetJobStatus,drop=after,rate=0.01",
                                       "rpc=GetJobResult,hang=before,rate=0.02",
                                       "rpc=WatchJob,drop=after,rate=0.02",
                                       NULL};
  server = server_start(address, faults); /* from the second time on where the first was */
  CHECK(server >= 0);
}

static void kill_server(void) { server_kill(server); }

static void on_retry(const arvak_retry_event *event, void *ud) {
  (void)event;
  (void)ud;
  atomic_fetch_add(&retries, 1);
}

static void on_change(arvak_breaker_state from, arvak_breaker_state to, void *ud) {
  (void)ud;
  CHECK(from != to);
  atomic_fetch_add(&changes, 1);
}

static bool give_headers(arvak_header_sink *sink, arvak_rpc rpc, void *ud) {
  static atomic_uint count;
  (void)rpc;
  (void)ud;
  arvak_header_sink_add(sink, "x-token", (arvak_text){"fresh", 5});
  return atomic_fetch_add(&count, 1) % 50 != 0;
}

/* Under mu, or before there are threads. */
static void make_shared(void) {
  static unsigned made;
  arvak_client_options options = {.address = address, .pool_size = POOL_SIZE, .max_concurrent_rpcs = SLOTS,
                                  .headers_fn = made % 2 ? give_headers : NULL}; /* else calls may ask */
  if (made++ % 4 < 2) options.limiter = (arvak_limiter_options){.rate = 5000, .burst = 10, .is_adaptive = true};
  arvak_retry_options retry_options = {.max_attempts = 4, .initial_backoff_ns = MS, .max_backoff_ns = 10 * MS,
                                       .budget = {100, 0.5}, .on_retry = on_retry};
  arvak_breaker_options breaker_options = {.failure_threshold = 4, .timeout_ns = 5 * MS, .on_change = on_change};
  CHECK(arvak_client_new(&options, &client, NULL) == ARVAK_OK);
  CHECK(arvak_retry_new(&retry_options, address, &retry) == ARVAK_OK);
  CHECK(arvak_breaker_new(&breaker_options, &breaker) == ARVAK_OK);
}

/* Every other client is left to the threads altogether; the others are kept, and looked at in the end. */
static void replace_shared(arvak_client **kept, int *count) {
  static bool keep;
  pthread_mutex_lock(&mu);
  arvak_client *last = client;
  arvak_retry_unref(retry);
  arvak_breaker_unref(breaker);
  make_shared();
  pthread_mutex_unlock(&mu);
  keep = !keep;
  if (keep && *count < MAX_CLIENTS - 1) kept[(*count)++] = last;
  else arvak_client_unref(last);
}

static void wake_someone(unsigned *random) {
  pthread_mutex_lock(&mu);
  arvak_loop *loop = awake[draw(random, THREADS)];
  if (loop) arvak_loop_wake(loop);
  pthread_mutex_unlock(&mu);
}

static void look_at_shared(void) {
  arvak_client_stats stats;
  arvak_breaker_info info;
  pthread_mutex_lock(&mu);
  arvak_client_get_stats(client, &stats);
  arvak_breaker_get_info(breaker, arvak_now_ns(), &info);
  arvak_retry_tokens(retry);
  pthread_mutex_unlock(&mu);
  CHECK(stats.in_flight <= SLOTS && stats.channels <= POOL_SIZE);
}

static void disturb(unsigned *random, arvak_client **kept, int *count) {
  unsigned dice = draw(random, 64);
  if (dice == 0) {
    kill_server();
    nanosleep(&(struct timespec){.tv_nsec = draw(random, 50 * MS)}, NULL);
    start_server();
  } else if (dice < 8) {
    replace_shared(kept, count);
  } else {
    for (int i = 0; i < 20; i++) wake_someone(random);
    look_at_shared();
    nanosleep(&(struct timespec){.tv_nsec = draw(random, 10 * MS)}, NULL);
  }
}

static void check_idle(arvak_client *idle) {
  arvak_client_stats stats;
  arvak_client_get_stats(idle, &stats);
  assert_int_equal(stats.in_flight, 0);
  assert_int_equal(stats.queued, 0);
  assert_true(stats.channels <= POOL_SIZE);
  arvak_client_unref(idle);
}

static void every_call_ends_once_and_every_slot_comes_back(void **state) {
  (void)state;
  static arvak_client *kept[MAX_CLIENTS];
  int count = 0;
  unsigned random = seed;
  snprintf(address, sizeof address, "127.0.0.1:0");
  start_server();
  const char *seconds = getenv("STRESS_SECONDS");
  stop_at = arvak_now_ns() + (int64_t)((seconds ? atof(seconds) : 3) * 1e9);
  make_shared();
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, run_thread, (void *)(intptr_t)i);
  while (arvak_now_ns() < stop_at) disturb(&random, kept, &count);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  kill_server();
  kept[count++] = client;
  arvak_retry_unref(retry);
  arvak_breaker_unref(breaker);
  for (int i = 0; i < count; i++) check_idle(kept[i]);
  printf("# %ld loops, %ld calls and streams, %ld succeeded, %ld let go of, %ld retries, %ld breaker states\n", lives,
         started, succeeded, let_go, retries, changes);
  assert_int_equal(started, ended + let_go);
  assert_true(lives > THREADS && succeeded > 0 && let_go > 0 && retries > 0 && changes > 0);
}

/* ---- no client in common ---- */

static void count_success(arvak_call *call, void *ud) {
  (void)ud;
  if (arvak_call_outcome(call)->kind == ARVAK_KIND_NONE) atomic_fetch_add(&succeeded, 1);
}

static void *run_alone(void *ud) {
  unsigned random = seed + (unsigned)(intptr_t)ud;
  arvak_client_options options = {.address = address};
  arvak_request request = {.rpc = ARVAK_LIST_BACKENDS};
  arvak_call_options call_options = {.fn = count_success};
  for (int i = 0; i < LIVES_ALONE; i++) {
    arvak_client *own = NULL;
    arvak_loop *loop = NULL;
    CHECK(arvak_client_new(&options, &own, NULL) == ARVAK_OK && arvak_loop_new(&loop) == ARVAK_OK);
    CHECK(arvak_call_start(loop, own, &request, &call_options, NULL) == ARVAK_OK);
    bool is_patient = draw(&random, 4) > 0;
    while (is_patient && arvak_loop_call_count(loop) > 0) arvak_loop_step(loop, arvak_now_ns() + 100 * MS);
    arvak_client_unref(own);
    arvak_loop_close(loop);
    if (draw(&random, 2) == 0) nanosleep(&(struct timespec){.tv_nsec = draw(&random, 2 * MS)}, NULL);
  }
  return NULL;
}

/* Whoever is the last ends gRPC, while another thread may just be the first again. */
static void threads_without_a_common_client_start_and_end_grpc_as_they_please(void **state) {
  (void)state;
  snprintf(address, sizeof address, "127.0.0.1:0");
  start_server();
  succeeded = 0;
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, run_alone, (void *)(intptr_t)i);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  kill_server();
  assert_true(succeeded > LIVES_ALONE);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_call_ends_once_and_every_slot_comes_back),
      cmocka_unit_test(threads_without_a_common_client_start_and_end_grpc_as_they_please)};
  if (getenv("STRESS_SEED")) seed = (unsigned)atoi(getenv("STRESS_SEED"));
  return cmocka_run_group_tests(tests, NULL, NULL);
}
