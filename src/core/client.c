/* Configuration and lifetime of a client. Invariant: what is configured here never changes, so that any thread may read
 * it without a lock.
 * SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "loop.h"
#include "runtime.h"

enum { OWN_ARGS = 20 }; /* at most */
enum { DEFAULT_POOL_SIZE = 4, DEFAULT_CONCURRENCY = 128, MAX_RECEIVE_BYTES = 64 << 20 };
/* gRPC would give an attempt to connect 20 s, and so use a server that is back only then. */
enum { RECONNECT_FIRST_MS = 100, RECONNECT_LAST_MS = 2000, CONNECT_TIMEOUT_MS = 2000 };
/* While calls are in flight on a connection that has been silent for so long, gRPC pings. What it writes to a
 * connection that has died unnoticed fails, and so its calls end. It sends two pings at most without data between them,
 * which servers that count pings allow. */
enum { KEEPALIVE_MS = 10000, PING_TIMEOUT_MS = 20000 };
#define DEFAULT_TIMEOUT_NS 30000000000
#define DEFAULT_QUEUE_TIMEOUT_NS 300000000000

static grpc_arg integer_arg(const char *name, int value) {
  return (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)name, .value.integer = value};
}

static grpc_arg string_arg(const char *name, const char *value) {
  return (grpc_arg){.type = GRPC_ARG_STRING, .key = (char *)name, .value.string = (char *)value};
}

/* Owned: arvak__channel_args_free. NULL: out of memory. */
static grpc_channel_args *copy_args(const grpc_arg *args, size_t count) {
  bool has_all = true;
  grpc_channel_args *copy = calloc(1, sizeof *copy);
  if (copy) copy->args = calloc(count, sizeof *args);
  for (size_t i = 0; copy && copy->args && i < count; i++) {
    grpc_arg *arg = &copy->args[copy->num_args++];
    *arg = args[i];
    arg->key = strdup(arg->key);
    if (arg->type == GRPC_ARG_STRING) arg->value.string = strdup(arg->value.string);
    has_all = has_all && arg->key && (arg->type != GRPC_ARG_STRING || arg->value.string);
  }
  if (has_all && copy && copy->args) return copy;
  arvak__channel_args_free(copy);
  return NULL;
}

/* gRPC takes the first of two arguments with one name (seen on 1.51.1), so what the user gives comes before ours. */
static int make_args(const arvak_client_options *options, grpc_channel_args **out) {
  size_t n = 0;
  grpc_arg *args = calloc(OWN_ARGS + options->channel_arg_count, sizeof *args);
  if (!args) return ARVAK_ENOMEM;
  for (size_t i = 0; i < options->channel_arg_count; i++) {
    const arvak_channel_arg *arg = &options->channel_args[i];
    args[n++] = arg->string ? string_arg(arg->name, arg->string) : integer_arg(arg->name, arg->integer);
  }
  args[n++] = integer_arg(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args[n++] = integer_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, MAX_RECEIVE_BYTES);
  args[n++] = integer_arg(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, -1);
  args[n++] = integer_arg(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, RECONNECT_FIRST_MS);
  args[n++] = integer_arg(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, RECONNECT_LAST_MS);
  args[n++] = integer_arg(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, CONNECT_TIMEOUT_MS);
  args[n++] = integer_arg(GRPC_ARG_KEEPALIVE_TIME_MS, KEEPALIVE_MS);
  args[n++] = integer_arg(GRPC_ARG_PING_TIMEOUT_MS, PING_TIMEOUT_MS); /* the same as gRPC's keepalive timeout */
  args[n++] = integer_arg(GRPC_ARG_ENABLE_RETRIES, 0); /* retries are ours */
  args[n++] = integer_arg(GRPC_ARG_ENABLE_CHANNELZ, 0); /* nobody could query its counters */
  args[n++] = integer_arg(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  /* No compression is offered; and what is compressed all the same stays so, to be refused (answer.c). gRPC would
   * inflate a message of 60 KB to 60 MB before it looks at what it has offered. */
  args[n++] = integer_arg(GRPC_ARG_ENABLE_PER_MESSAGE_COMPRESSION, 0);
  args[n++] = integer_arg(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  /* A proxy elsewhere would look for the server on its own machine. */
  if (arvak__address_is_local(options->address)) args[n++] = integer_arg(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  args[n++] = string_arg(GRPC_ARG_PRIMARY_USER_AGENT_STRING, "arvak-lua/" ARVAK_VERSION);
  if (options->tls_server_name) {
    args[n++] = string_arg(GRPC_SSL_TARGET_NAME_OVERRIDE_ARG, options->tls_server_name);
    args[n++] = string_arg(GRPC_ARG_DEFAULT_AUTHORITY, options->tls_server_name);
  }
  *out = copy_args(args, n);
  free(args);
  return *out ? ARVAK_OK : ARVAK_ENOMEM;
}

static int make_credentials(const arvak_client_options *options, grpc_channel_credentials **out,
                            const char **reason) {
  if (!options->tls) {
    *out = grpc_insecure_credentials_create();
    return *out ? ARVAK_OK : ARVAK_ENOMEM;
  }
  if (!options->tls_cert != !options->tls_key) {
    *reason = "tls: expected cert and key together";
    return ARVAK_EINVAL;
  }
  grpc_ssl_pem_key_cert_pair pair = {options->tls_key, options->tls_cert};
  *out = grpc_ssl_credentials_create(options->tls_ca, options->tls_cert ? &pair : NULL, NULL, NULL);
  if (*out) return ARVAK_OK;
  *reason = "tls: the certificates cannot be read";
  return ARVAK_EINVAL;
}

/* It goes into the headers of every call, and so does nothing but a host. */
static int check_server_name(const arvak_client_options *options, const char **reason) {
  if (!options->tls_server_name || arvak__address_is_host(options->tls_server_name)) return ARVAK_OK;
  *reason = "tls.server_name: expected a host name, as in \"localhost\"";
  return ARVAK_EINVAL;
}

static int64_t or_default(int64_t value, int64_t standard) { return value > 0 ? value : standard; }

static int make_pool(arvak_client *client, const arvak_client_options *options, const char **reason) {
  char *target = NULL;
  grpc_channel_args *args = NULL;
  grpc_channel_credentials *credentials = NULL;
  int status = arvak__address_spell(options->address, &target, reason);
  if (status == ARVAK_OK) status = check_server_name(options, reason);
  if (status == ARVAK_OK) status = make_args(options, &args);
  if (status == ARVAK_OK) status = make_credentials(options, &credentials, reason);
  if (status == ARVAK_OK)
    return arvak__pool_new(target, credentials, args, (int)or_default(options->pool_size, DEFAULT_POOL_SIZE),
                           &client->pool);
  free(target);
  arvak__channel_args_free(args);
  return status;
}

static int configure(arvak_client *client, const arvak_client_options *options, const char **reason) {
  client->is_tls = options->tls;
  client->is_adaptive = options->limiter.is_adaptive;
  client->attempt_timeout_ns = options->attempt_timeout_ns;
  client->retry = arvak_retry_ref(options->retry);
  client->breaker = arvak_breaker_ref(options->breaker);
  client->timeout_ns = or_default(options->timeout_ns, DEFAULT_TIMEOUT_NS);
  client->queue_timeout_ns = or_default(options->queue_timeout_ns, DEFAULT_QUEUE_TIMEOUT_NS);
  client->address = strdup(options->address);
  int status = client->address ? ARVAK_OK : ARVAK_ENOMEM;
  if (status == ARVAK_OK) status = make_pool(client, options, reason);
  if (status == ARVAK_OK) status = arvak__client_headers_init(&client->headers, options, reason);
  return status;
}

static bool is_auto(const arvak_limiter_options *limiter) {
  return !limiter->is_off && !(limiter->rate > 0) && limiter->max_in_flight == 0 && !limiter->is_adaptive;
}

int arvak_client_new(const arvak_client_options *options, arvak_client **out, const char **reason) {
  const char *ignored = NULL;
  if (!reason) reason = &ignored;
  *reason = NULL;
  arvak_client *client = calloc(1, sizeof *client);
  if (!client) return ARVAK_ENOMEM;
  if (!arvak__grpc_ref()) {
    free(client);
    return ARVAK_EFORKED;
  }
  atomic_init(&client->refs, 1);
  client->fork_generation = arvak__fork_generation();
  arvak__slots_init(&client->slots, &options->limiter,
                    (int)or_default(options->max_concurrent_rpcs, DEFAULT_CONCURRENCY));
  arvak__turns_init(&client->turns, is_auto(&options->limiter), options->limiter.rate > 0 ? &client->slots : NULL);
  arvak__stats_init(&client->stats);
  int status = configure(client, options, reason);
  if (status != ARVAK_OK) arvak_client_unref(client);
  else *out = client;
  return status;
}

arvak_client *arvak_client_ref(arvak_client *client) {
  atomic_fetch_add_explicit(&client->refs, 1, memory_order_relaxed);
  return client;
}

void arvak_client_unref(arvak_client *client) {
  if (atomic_fetch_sub_explicit(&client->refs, 1, memory_order_acq_rel) != 1) return;
  bool is_forked = client->fork_generation != arvak__fork_generation();
  if (client->pool) arvak__pool_close(client->pool);
  arvak__client_headers_fini(&client->headers, is_forked);
  arvak_retry_unref(client->retry);
  arvak_breaker_unref(client->breaker);
  arvak__slots_fini(&client->slots);
  arvak__turns_fini(&client->turns);
  arvak__stats_fini(&client->stats);
  free(client->address);
  free(client);
  if (!is_forked) arvak__grpc_unref();
}

const char *arvak_client_address(const arvak_client *client) { return client->address; }

bool arvak_client_has_header(const arvak_client *client, const char *name) {
  for (size_t i = 0; i < client->headers.count; i++)
    if (grpc_slice_str_cmp(client->headers.list[i].key, name) == 0) return true;
  return false;
}

arvak_retry *arvak_client_retry(const arvak_client *client) { return client->retry; }

arvak_breaker *arvak_client_breaker(const arvak_client *client) { return client->breaker; }

bool arvak_client_is_paced(const arvak_client *client) { return client->turns.is_auto; }

int64_t arvak_client_get_refusal(arvak_client *client, char *words, size_t size) {
  return arvak__turns_get_refusal(&client->turns, words, size, arvak_now_ns());
}

int64_t arvak_client_timeout_ns(const arvak_client *client) { return client->timeout_ns; }

bool arvak_client_connect(arvak_client *client, arvak_loop *loop) {
  return arvak__pool_connect(client->pool, &loop->cq);
}

void arvak_client_hurry(arvak_client *client) { arvak__pool_hurry(client->pool); }

/* ---- figures ---- */

void arvak_client_get_stats(arvak_client *client, arvak_client_stats *out) {
  arvak__slots_figures slots;
  arvak__pool_figures pool;
  arvak__turns_figures turns;
  arvak__stats_get_counts(&client->stats, out);
  arvak__slots_get_figures(&client->slots, arvak_now_ns(), &slots);
  arvak__pool_get_figures(client->pool, &pool);
  arvak__turns_get_figures(&client->turns, &turns);
  out->in_flight = slots.taken;
  out->in_flight_limit = slots.count;
  out->queued = slots.queued;
  out->limiter_tokens = slots.tokens;
  out->held = turns.waiting;
  out->submit_rate = turns.rate;
  out->refused = turns.refused;
  out->channels = pool.channels;
  out->ready = pool.ready;
  out->connecting = pool.connecting;
  out->failing = pool.failing;
  out->idle = pool.idle;
}

void arvak_client_get_latency(arvak_client *client, arvak_rpc rpc, arvak_latency *out) {
  arvak__stats_get_latency(&client->stats, rpc, out);
}
