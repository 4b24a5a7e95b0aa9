/* See service.h. What outlasts a restart is made once: options, jobs, faults. Each run makes its listener, its threads
 * and gRPC's part. Invariant: whatever of them is there, service_stop ends it, in the order of who uses whom.
 * SPDX-License-Identifier: Apache-2.0 */
#include "service.h"

#include <grpc/grpc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/timer.h"
#include "jobs/runner.h"
#include "methods.h"

enum { EXIT_PATIENCE_MS = 5000 };

/* What outlasts a restart. */
static bool make_lasting(service *s, const server_options *options) {
  if (!context_init(&s->context, options)) return false;
  s->faults = faults_new(s->context.options.seed);
  bool ok = s->faults != NULL;
  for (size_t i = 0; ok && i < options->fault_count; i++) ok = faults_add(s->faults, &options->faults[i]);
  return ok;
}

/* What the calls of this run share. */
static void fill_calls(service *s) {
  const server_options *o = &s->context.options;
  calls *all = &s->server.calls;
  all->context = &s->context;
  all->listener = s->listener;
  all->clock = s->context.clock;
  all->faults = s->faults;
  all->api_key = o->api_key;
  all->max_message_size = o->max_message_size;
  all->server_timeout = o->server_timeout;
}

/* With the listener there. */
static bool start_run(service *s, char *problem, size_t size) {
  const server_options *o = &s->context.options;
  snprintf(problem, size, "out of memory or threads");
  if (!context_begin(&s->context)) return false;
  fill_calls(s);
  tls_texts tls = {.cert = o->tls_cert, .key = o->tls_key, .client_ca = o->tls_client_ca};
  return rpc_server_start(&s->server, service_methods, &tls, problem, size);
}

static bool start_all(service *s, const server_options *options, char *problem, size_t size) {
  if (!options_check(options, problem, size)) return false;
  s->listener = listener_new(options->address, options->unix_path, problem, size);
  if (!s->listener) return false;
  snprintf(problem, size, "out of memory");
  return make_lasting(s, options) && options_replace_text(&s->context.options.address, listener_address(s->listener)) &&
         start_run(s, problem, size);
}

service *service_start(const server_options *options, char *problem, size_t size) {
  service *s = calloc(1, sizeof *s);
  if (!s) {
    snprintf(problem, size, "out of memory");
    return NULL;
  }
  rpc_server_init(&s->server);
  grpc_init();
  s->pid = getpid();
  pthread_mutex_init(&s->stop_mu, NULL);
  if (start_all(s, options, problem, size)) return s;
  service_free(s);
  return NULL;
}

void service_stop(service *s) {
  if (getpid() != s->pid) return;
  pthread_mutex_lock(&s->stop_mu);
  bool again = s->stopping;
  s->stopping = true;
  pthread_mutex_unlock(&s->stop_mu);
  if (again) return;
  if (s->listener) listener_stop(s->listener);
  if (s->context.runner) runner_stop(s->context.runner);
  rpc_server_stop(&s->server);
  if (s->context.clock) timers_stop(s->context.clock);
  if (s->listener) listener_close(s->listener);
  grpc_shutdown();
}

void service_shut(service *s) {
  if (getpid() != s->pid || s->stopping) return;
  listener_shut(s->listener);
}

static bool renew_store(service *s, bool keep_jobs) {
  jobs_counts counted;
  if (keep_jobs) {
    jobs_abandon(s->context.store, "the server was restarted", clock_unix_s());
    return true;
  }
  jobs_count(s->context.store, &counted);
  if (!context_renew_store(&s->context)) return false;
  s->past.accepted += counted.accepted;
  s->past.evicted += counted.evicted;
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
  listener *fresh = listener_new(s->context.options.address, s->context.options.unix_path, problem, size);
  if (!fresh) return false;
  if (!renew_store(s, keep_jobs)) {
    listener_free(fresh);
    snprintf(problem, size, "out of memory");
    return false;
  }
  context_end(&s->context);
  replace_listener(s, fresh);
  s->past.restarts++;
  s->stopping = false;
  grpc_init();
  if (start_run(s, problem, size)) return true;
  service_stop(s);
  return false;
}

void service_free(service *s) {
  if (!s || getpid() != s->pid) return;
  service_stop(s);
  listener_free(s->listener);
  context_fini(&s->context);
  faults_free(s->faults);
  rpc_server_fini(&s->server);
  pthread_mutex_destroy(&s->stop_mu);
  free(s);
}

/* ---- left to a thread ---- */

/* Of whoever leaves a service and of the thread that ends it; the last of the two frees it. */
typedef struct leaving {
  service *left;
  pthread_mutex_t mu;
  pthread_cond_t ended; /* mu: is_over has become true */
  bool is_over;         /* mu: one of the two is done with it */
} leaving;

static leaving *leaving_new(service *s) {
  leaving *l = calloc(1, sizeof *l);
  if (!l) return NULL;
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&l->ended, &monotonic);
  pthread_condattr_destroy(&monotonic);
  pthread_mutex_init(&l->mu, NULL);
  l->left = s;
  return l;
}

static void leaving_free(leaving *l) {
  pthread_cond_destroy(&l->ended);
  pthread_mutex_destroy(&l->mu);
  free(l);
}

/* With mu held. */
static void leaving_done(leaving *l) {
  bool is_last = l->is_over;
  l->is_over = true;
  pthread_cond_signal(&l->ended);
  pthread_mutex_unlock(&l->mu);
  if (is_last) leaving_free(l);
}

/* gRPC's own data goes when the process exits; a server that is being ended at that moment would crash. So exit waits
 * for those that were left. The handler comes to be after gRPC, and so it runs before gRPC's. */
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;
static atomic_int left_count;

static void wait_for_left(void) {
  for (int ms = 0; ms < EXIT_PATIENCE_MS && atomic_load(&left_count) > 0; ms++)
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* In a forked child, which has none of the threads. */
static void forget_left(void) { atomic_store(&left_count, 0); }

static void prepare_exit(void) {
  pthread_atfork(NULL, NULL, forget_left);
  atexit(wait_for_left);
}

static void *end_left(void *ud) {
  leaving *l = ud;
  service_free(l->left);
  atomic_fetch_sub(&left_count, 1);
  pthread_mutex_lock(&l->mu);
  leaving_done(l);
  return NULL;
}

/* Signals are the host's, and belong into its own threads: this one may outlive the Lua state. */
static bool start_leaving(leaving *l, pthread_t *thread) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_once(&exit_once, prepare_exit);
  atomic_fetch_add(&left_count, 1);
  bool has_started = pthread_create(thread, NULL, end_left, l) == 0;
  if (!has_started) atomic_fetch_sub(&left_count, 1);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return has_started;
}

void service_leave(service *s, int64_t until_ns) {
  if (!s || getpid() != s->pid) return;
  pthread_t thread;
  leaving *l = leaving_new(s);
  if (!l || !start_leaving(l, &thread)) {
    if (l) leaving_free(l);
    service_free(s);
    return;
  }
  pthread_detach(thread);
  struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000), .tv_nsec = (long)(until_ns % 1000000000)};
  pthread_mutex_lock(&l->mu);
  for (int status = 0; !l->is_over && status == 0;) status = pthread_cond_timedwait(&l->ended, &l->mu, &until);
  leaving_done(l);
}

/* ---- figures ---- */

const char *service_address(const service *s) {
  const char *tcp = listener_address(s->listener);
  return *tcp ? tcp : listener_unix_address(s->listener);
}

const char *service_tcp_address(const service *s) { return listener_address(s->listener); }

const char *service_unix_address(const service *s) { return listener_unix_address(s->listener); }

void service_drop_connections(service *s) { listener_drop_all(s->listener); }

void service_count(service *s, service_figures *out) {
  calls *all = &s->server.calls;
  listener_count(s->listener, &out->connections_open, &out->connections_total);
  jobs_count(s->context.store, &out->jobs);
  out->connections_total += s->past.connections;
  out->jobs.accepted += s->past.accepted;
  out->jobs.evicted += s->past.evicted;
  out->restarts = s->past.restarts;
  out->faults_fired = faults_fired(s->faults);
  out->unknown_calls = atomic_load(&all->unknown);
  for (int i = 0; i < RPCS; i++) out->calls[i] = atomic_load(&all->begun[i]);
}
