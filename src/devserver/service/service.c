/* See service.h. The poller runs handlers itself: they are short, and a hand-over would cost more than most. One poller
 * serves more calls a second than two do, which pass the connection and its locks between them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "service/service.h"

#include <errno.h>
#include <grpc/grpc_security.h>
#include <grpc/support/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "service/backend.h"
#include "service/batch.h"
#include "rpc/call.h"
#include "rpc/credentials.h"
#include "service/results.h"
#include "service/unary.h"
#include "service/watch.h"

enum { STORE_CAPACITY = 10000, REQUESTS_AHEAD = 32, MIN_CORE_LIMIT_BYTES = 64 << 20 };

static void on_down(tag *t, bool ok);

const method service_methods[METHODS] = {
    {.name = "SubmitJob", .index = 0, .request = &arvak__v1__submit_job_request__descriptor, .run = unary_submit_job},
    {.name = "SubmitBatch",
     .index = 1,
     .request = &arvak__v1__submit_batch_request__descriptor,
     .run = unary_submit_batch},
    {.name = "GetJobStatus",
     .index = 2,
     .request = &arvak__v1__get_job_status_request__descriptor,
     .run = unary_get_job_status},
    {.name = "GetJobResult",
     .index = 3,
     .request = &arvak__v1__get_job_result_request__descriptor,
     .run = unary_get_job_result},
    {.name = "CancelJob", .index = 4, .request = &arvak__v1__cancel_job_request__descriptor, .run = unary_cancel_job},
    {.name = "ListBackends",
     .index = 5,
     .request = &arvak__v1__list_backends_request__descriptor,
     .run = unary_list_backends},
    {.name = "GetBackendInfo",
     .index = 6,
     .request = &arvak__v1__get_backend_info_request__descriptor,
     .run = unary_get_backend_info},
    {.name = "WatchJob",
     .index = 7,
     .request = &arvak__v1__watch_job_request__descriptor,
     .run = watch_run,
     .closed = watch_closed},
    {.name = "StreamResults",
     .index = 8,
     .request = &arvak__v1__stream_results_request__descriptor,
     .run = results_run,
     .sent = results_sent,
     .release = results_release},
    {.name = "SubmitBatchStream",
     .index = 9,
     .request = &arvak__v1__batch_job_submission__descriptor,
     .reads_many = true,
     .run = batch_run,
     .sent = batch_sent,
     .received = batch_received,
     .release = batch_release},
};

static void *poller_run(void *ud) {
  service *s = ud;
  for (;;) {
    grpc_event event = grpc_completion_queue_next(s->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    if (event.type == GRPC_QUEUE_SHUTDOWN) return NULL;
    tag *t = event.tag;
    t->fn(t, event.success);
  }
}

static grpc_arg integer_arg(const char *key, int64_t value) {
  return (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)key, .value.integer = (int)value};
}

/* The core's own limits stand behind ours, which answer with the service's codes; its deadlines are off because the
 * service reports them itself, as CANCELLED; and clients may ping as often as they like, as with the reference. */
static void make_server(service *s) {
  int64_t core_limit = 4 * (int64_t)s->options.max_message_size;
  if (core_limit < MIN_CORE_LIMIT_BYTES) core_limit = MIN_CORE_LIMIT_BYTES;
  if (core_limit > INT32_MAX) core_limit = INT32_MAX;
  grpc_arg list[] = {integer_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, core_limit),
                     integer_arg(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, -1),
                     integer_arg(GRPC_ARG_ENABLE_DEADLINE_CHECKS, 0),
                     integer_arg(GRPC_ARG_HTTP2_BDP_PROBE, 0),
                     integer_arg(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1 << 20),
                     integer_arg(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0),
                     integer_arg(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 0),
                     integer_arg(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1),
                     integer_arg(GRPC_ARG_MAX_METADATA_SIZE, 64 << 10),
                     integer_arg(GRPC_ARG_ENABLE_CHANNELZ, 0),
                     integer_arg(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1)};
  grpc_channel_args args = {.num_args = sizeof list / sizeof *list, .args = list};
  s->server = grpc_server_create(&args, NULL);
  s->queue = grpc_completion_queue_create_for_next(NULL);
  grpc_server_register_completion_queue(s->server, s->queue, NULL);
  for (int i = 0; i < METHODS; i++) {
    char path[64];
    const method *m = &service_methods[i];
    snprintf(path, sizeof path, "/arvak.v1.ArvakService/%s", m->name);
    s->registered[i] = grpc_server_register_method(
        s->server, path, NULL, m->reads_many ? GRPC_SRM_PAYLOAD_NONE : GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
  }
}

/* Returns the private port, 0 without TLS, -1 with problem filled. */
static int add_tls_port(service *s, const server_options *options, char *problem, size_t size) {
  if (!options->tls_cert) return 0;
  grpc_server_credentials *credentials = credentials_new(options, problem, size);
  if (!credentials) return -1;
  int port = grpc_server_add_http2_port(s->server, "127.0.0.1:0", credentials);
  grpc_server_credentials_release(credentials);
  if (port > 0) return port;
  snprintf(problem, size, "cannot serve TLS: tls_cert, tls_key or tls_client_ca is not what it should be");
  return -1;
}

static uint64_t random_seed(void) {
  uint64_t seed;
  if (getrandom(&seed, sizeof seed, 0) == sizeof seed) return seed;
  return clock_us();
}

/* What outlasts a restart. */
static bool make_lasting(service *s, const server_options *options) {
  if (!options_copy(&s->options, options)) return false;
  if (!options->seeded) s->options.seed = random_seed();
  s->limits = (jobs_limits){.max_running = (uint32_t)options->max_concurrent_jobs,
                            .max_queued = (uint32_t)options->max_queued_jobs};
  s->topology = backend_topology();
  s->store = jobs_new(STORE_CAPACITY);
  s->faults = faults_new(s->options.seed);
  bool ok = s->topology && s->store && s->faults;
  for (size_t i = 0; ok && i < options->fault_count; i++) ok = faults_add(s->faults, &options->faults[i]);
  return ok;
}

/* What a run needs besides gRPC. */
static bool make_parts(service *s) {
  const server_options *o = &s->options;
  s->rates = rates_new((uint32_t)o->rate_limit);
  s->clock = timers_new();
  s->side_lane = timers_new();
  if (!s->rates || !s->clock || !s->side_lane) return false;
  s->runner = runner_new(&(runner_options){.store = s->store,
                                           .clock = s->clock,
                                           .workers = (int)o->workers,
                                           .latency_us = (uint64_t)(o->job_latency * 1e6),
                                           .seed = s->options.seed});
  return s->runner != NULL;
}

static bool start_pollers(service *s) {
  for (int i = 0; i < METHODS; i++) {
    for (int k = 0; k < REQUESTS_AHEAD; k++) call_expect(s, &service_methods[i]);
  }
  call_expect(s, NULL);
  while (s->polling < POLLERS && pthread_create(&s->pollers[s->polling], NULL, poller_run, s) == 0) s->polling++;
  return s->polling == POLLERS;
}

/* With the listener there. */
static bool start_run(service *s, char *problem, size_t size) {
  snprintf(problem, size, "out of memory or threads");
  if (!make_parts(s)) return false;
  make_server(s);
  int tls_port = add_tls_port(s, &s->options, problem, size);
  grpc_server_start(s->server);
  return tls_port >= 0 && start_pollers(s) && listener_start(s->listener, s->server, tls_port);
}

static bool start_all(service *s, const server_options *options, char *problem, size_t size) {
  if (!options_check(options, problem, size)) return false;
  s->listener = listener_new(options->address, options->unix_path, problem, size);
  if (!s->listener) return false;
  snprintf(problem, size, "out of memory");
  return make_lasting(s, options) && options_replace_text(&s->options.address, listener_address(s->listener)) &&
         start_run(s, problem, size);
}

static void drop_log(gpr_log_func_args *args) { (void)args; }

/* gRPC would write to stderr what a client does wrong, which is the client's to tell. */
static void quiet_grpc(void) {
  if (!getenv("GRPC_VERBOSITY") && !grpc_is_initialized()) gpr_set_log_function(drop_log);
}

service *service_start(const server_options *options, char *problem, size_t size) {
  service *s = calloc(1, sizeof *s);
  if (!s) {
    snprintf(problem, size, "out of memory");
    return NULL;
  }
  quiet_grpc();
  grpc_init();
  s->pid = getpid();
  s->down_tag.fn = on_down;
  pthread_mutex_init(&s->spare_mu, NULL);
  pthread_mutex_init(&s->stop_mu, NULL);
  pthread_cond_init(&s->stopped_cond, NULL);
  if (start_all(s, options, problem, size)) return s;
  service_free(s);
  return NULL;
}

static void on_down(tag *t, bool ok) {
  (void)ok;
  service *s = (service *)(void *)((char *)t - offsetof(service, down_tag));
  pthread_mutex_lock(&s->stop_mu);
  s->down = true;
  pthread_cond_broadcast(&s->stopped_cond);
  pthread_mutex_unlock(&s->stop_mu);
}

/* Under stop_mu. The server may be down before the last calls are: one that is just being answered by another thread,
 * say, will still ask the queue for something. */
static bool is_down(service *s) { return s->down && atomic_load_explicit(&s->open, memory_order_acquire) == 0; }

/* A connection accepted at the last moment may bring a call after the others were canceled: cancel again. */
static void wait_until_down(service *s) {
  pthread_mutex_lock(&s->stop_mu);
  while (!is_down(s)) {
    pthread_mutex_unlock(&s->stop_mu);
    grpc_server_cancel_all_calls(s->server);
    listener_drop_all(s->listener);
    pthread_mutex_lock(&s->stop_mu);
    if (is_down(s)) break;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += s->down ? 1000000 : 20000000;
    if (until.tv_nsec >= 1000000000) {
      until.tv_sec++;
      until.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&s->stopped_cond, &s->stop_mu, &until);
  }
  pthread_mutex_unlock(&s->stop_mu);
}

static void take_down_server(service *s) {
  bool polled = s->polling > 0;
  grpc_server_shutdown_and_notify(s->server, s->queue, &s->down_tag);
  if (polled) wait_until_down(s);
  grpc_completion_queue_shutdown(s->queue);
  if (!polled) poller_run(s);
  for (int i = 0; i < s->polling; i++) pthread_join(s->pollers[i], NULL);
  s->polling = 0;
  grpc_server_destroy(s->server);
  grpc_completion_queue_destroy(s->queue);
  s->server = NULL;
  s->queue = NULL;
}

void service_stop(service *s) {
  if (getpid() != s->pid) return;
  pthread_mutex_lock(&s->stop_mu);
  bool again = s->stopping;
  s->stopping = true;
  pthread_mutex_unlock(&s->stop_mu);
  if (again) return;
  if (s->listener) listener_stop(s->listener);
  if (s->runner) runner_stop(s->runner);
  if (s->server) take_down_server(s);
  if (s->side_lane) timers_stop(s->side_lane);
  if (s->clock) timers_stop(s->clock);
  if (s->listener) listener_close(s->listener);
  grpc_shutdown();
}

/* What start_run has made. */
static void free_run(service *s) {
  runner_free(s->runner);
  timers_free(s->clock);
  timers_free(s->side_lane);
  rates_free(s->rates);
  s->runner = NULL;
  s->clock = s->side_lane = NULL;
  s->rates = NULL;
}

/* Jobs that end here tell their streams, which are closed. */
static bool renew_store(service *s, bool keep_jobs) {
  jobs_counts counted;
  if (keep_jobs) {
    jobs_abandon(s->store, "the server was restarted", clock_unix_s());
    return true;
  }
  jobs *fresh = jobs_new(STORE_CAPACITY);
  if (!fresh) return false;
  jobs_count(s->store, &counted);
  s->past.accepted += counted.accepted;
  s->past.evicted += counted.evicted;
  jobs_free(s->store);
  s->store = fresh;
  return true;
}

static void replace_listener(service *s, listener *fresh) {
  uint64_t open, total;
  listener_count(s->listener, &open, &total);
  s->past.connections += total;
  listener_free(s->listener);
  s->listener = fresh;
}

bool service_restart(service *s, bool keep_jobs, char *problem, size_t size) {
  snprintf(problem, size, "this process is a fork of the server's");
  if (getpid() != s->pid) return false;
  service_stop(s);
  listener *fresh = listener_new(s->options.address, s->options.unix_path, problem, size);
  if (!fresh) return false;
  if (!renew_store(s, keep_jobs)) {
    listener_free(fresh);
    snprintf(problem, size, "out of memory");
    return false;
  }
  free_run(s);
  replace_listener(s, fresh);
  s->past.restarts++;
  s->stopping = s->down = false;
  grpc_init();
  if (start_run(s, problem, size)) return true;
  service_stop(s);
  return false;
}

void service_free(service *s) {
  if (!s || getpid() != s->pid) return;
  service_stop(s);
  listener_free(s->listener);
  runner_free(s->runner);
  jobs_free(s->store);
  timers_free(s->clock);
  timers_free(s->side_lane);
  rates_free(s->rates);
  faults_free(s->faults);
  calls_free(s);
  free(s->topology);
  options_free(&s->options);
  pthread_cond_destroy(&s->stopped_cond);
  pthread_mutex_destroy(&s->stop_mu);
  pthread_mutex_destroy(&s->spare_mu);
  free(s);
}

const char *service_address(const service *s) {
  const char *tcp = listener_address(s->listener);
  return *tcp ? tcp : listener_unix_address(s->listener);
}
