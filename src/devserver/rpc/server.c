/* See server.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "server.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "compat.h"
#include "dispatch.h"
#include "poller.h"

enum { REQUESTS_AHEAD = 4, MIN_CORE_LIMIT_BYTES = 64 << 20 };

static void on_down(tag *t, bool ok);

static void drop_log(grpc_compat_log_args *args) { (void)args; }

/* gRPC would write to stderr what a client does wrong, which is the client's to tell. */
static void quiet_grpc(void) {
  if (!getenv("GRPC_VERBOSITY") && !grpc_is_initialized()) grpc_compat_set_log_function(drop_log);
}

void rpc_server_init(rpc_server *s) {
  quiet_grpc();
  calls_init(&s->calls);
  s->down_tag.fn = on_down;
  pthread_mutex_init(&s->down_mu, NULL);
  pthread_cond_init(&s->down_cond, NULL);
}

void rpc_server_fini(rpc_server *s) {
  calls_fini(&s->calls);
  pthread_cond_destroy(&s->down_cond);
  pthread_mutex_destroy(&s->down_mu);
}

static grpc_arg integer_arg(const char *key, int64_t value) {
  return (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)key, .value.integer = (int)value};
}

/* The core's own limits stand behind ours, which answer with the service's codes; its deadlines are off because the
 * service reports them itself, as CANCELLED; and clients may ping as often as they like, as with the reference. */
static void make_server(calls *all) {
  int64_t core_limit = 4 * (int64_t)all->max_message_size;
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
  all->server = grpc_server_create(&args, NULL);
  all->queue = grpc_completion_queue_create_for_next(NULL);
  all->looks = grpc_completion_queue_create_for_next(NULL);
  grpc_server_register_completion_queue(all->server, all->queue, NULL);
  grpc_server_register_completion_queue(all->server, all->looks, NULL);
  for (int i = 0; i < RPCS; i++) {
    char path[64];
    snprintf(path, sizeof path, RPC_PREFIX "%s", rpcs[i].name);
    all->registered[i] = grpc_server_register_method(
        all->server, path, NULL,
        rpcs[i].reads_many ? GRPC_SRM_PAYLOAD_NONE : GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
  }
}

/* Returns the private port, 0 without TLS, -1 with problem filled. */
static int add_tls_port(grpc_server *server, const tls_texts *tls, char *problem, size_t size) {
  if (!tls->cert) return 0;
  grpc_server_credentials *credentials = credentials_new(tls, problem, size);
  if (!credentials) return -1;
  int port = grpc_server_add_http2_port(server, "127.0.0.1:0", credentials);
  grpc_server_credentials_release(credentials);
  if (port > 0) return port;
  snprintf(problem, size, "cannot serve TLS: tls_cert, tls_key or tls_client_ca is not what it should be");
  return -1;
}

static bool start_poller(rpc_server *s, const method *methods) {
  for (int i = 0; i < RPCS; i++) {
    for (int k = 0; k < REQUESTS_AHEAD; k++) dispatch_expect(&s->calls, &methods[i]);
  }
  dispatch_expect(&s->calls, NULL);
  s->poller = poller_start(&s->calls);
  return s->poller != NULL;
}

bool rpc_server_start(rpc_server *s, const method *methods, const tls_texts *tls, char *problem, size_t size) {
  calls *all = &s->calls;
  snprintf(problem, size, "out of memory or threads");
  s->down = false;
  all->side_lane = timers_new();
  if (!all->side_lane) return false;
  make_server(all);
  int tls_port = add_tls_port(all->server, tls, problem, size);
  grpc_server_start(all->server);
  return tls_port >= 0 && start_poller(s, methods) && listener_start(all->listener, all->server, tls_port);
}

static void on_down(tag *t, bool ok) {
  (void)ok;
  rpc_server *s = (rpc_server *)(void *)((char *)t - offsetof(rpc_server, down_tag));
  pthread_mutex_lock(&s->down_mu);
  s->down = true;
  pthread_cond_broadcast(&s->down_cond);
  pthread_mutex_unlock(&s->down_mu);
}

/* Under down_mu. The server may be down before the last calls are: one that is just being answered by another thread,
 * say, will still look into the queue. */
static bool is_down(rpc_server *s) {
  return s->down && atomic_load_explicit(&s->calls.open, memory_order_acquire) == 0;
}

/* A connection accepted at the last moment may bring a call after the others were canceled: cancel again. */
static void wait_until_down(rpc_server *s) {
  pthread_mutex_lock(&s->down_mu);
  while (!is_down(s)) {
    pthread_mutex_unlock(&s->down_mu);
    grpc_server_cancel_all_calls(s->calls.server);
    listener_drop_all(s->calls.listener);
    pthread_mutex_lock(&s->down_mu);
    if (is_down(s)) break;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += s->down ? 1000000 : 20000000;
    if (until.tv_nsec >= 1000000000) {
      until.tv_sec++;
      until.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&s->down_cond, &s->down_mu, &until);
  }
  pthread_mutex_unlock(&s->down_mu);
}

static void take_down_server(rpc_server *s) {
  calls *all = &s->calls;
  grpc_server_shutdown_and_notify(all->server, all->queue, &s->down_tag);
  if (s->poller) wait_until_down(s);
  grpc_completion_queue_shutdown(all->queue);
  grpc_completion_queue_shutdown(all->looks);
  if (s->poller) poller_end(s->poller);
  else poller_drain(all);
  s->poller = NULL;
  grpc_server_destroy(all->server);
  grpc_completion_queue_destroy(all->looks);
  grpc_completion_queue_destroy(all->queue);
  all->server = NULL;
  all->queue = all->looks = NULL;
}

void rpc_server_stop(rpc_server *s) {
  if (s->calls.server) take_down_server(s);
  if (s->calls.side_lane) timers_stop(s->calls.side_lane);
  timers_free(s->calls.side_lane);
  s->calls.side_lane = NULL;
}
