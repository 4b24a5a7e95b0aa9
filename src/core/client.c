/* Configuration and lifetime of a client. Invariant: what is configured here never changes, so that any thread may read
 * it without a lock.
 * SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "runtime.h"

enum { OWN_ARGS = 16 }; /* at most */
enum { DEFAULT_POOL_SIZE = 4, DEFAULT_CONCURRENCY = 128, MAX_RECEIVE_BYTES = 64 << 20 };
/* gRPC would give an attempt to connect 20 s, and so use a server that is back only then. */
enum { RECONNECT_FIRST_MS = 100, RECONNECT_LAST_MS = 2000, CONNECT_TIMEOUT_MS = 2000 };
#define DEFAULT_TIMEOUT_NS 30000000000
#define DEFAULT_QUEUE_TIMEOUT_NS 300000000000

static grpc_arg integer_arg(const char *name, int value) {
  return (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)name, .value.integer = value};
}

static grpc_arg string_arg(const char *name, const char *value) {
  return (grpc_arg){.type = GRPC_ARG_STRING, .key = (char *)name, .value.string = (char *)value};
}

/* gRPC takes the first of two arguments with one name (seen on 1.51.1), so what the user gives comes before ours. */
static int make_args(arvak_client *client, const arvak_client_options *options) {
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
  args[n++] = integer_arg(GRPC_ARG_ENABLE_RETRIES, 0); /* retries are ours */
  args[n++] = integer_arg(GRPC_ARG_ENABLE_CHANNELZ, 0); /* nobody could query its counters */
  args[n++] = integer_arg(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  /* No compression is offered; and what is compressed all the same stays so, to be refused (answer.c). gRPC would
   * inflate a message of 60 KB to 60 MB before it looks at what it has offered. */
  args[n++] = integer_arg(GRPC_ARG_ENABLE_PER_MESSAGE_COMPRESSION, 0);
  args[n++] = integer_arg(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  args[n++] = string_arg(GRPC_ARG_PRIMARY_USER_AGENT_STRING, "arvak-lua/" ARVAK_VERSION);
  if (options->tls_server_name) {
    args[n++] = string_arg(GRPC_SSL_TARGET_NAME_OVERRIDE_ARG, options->tls_server_name);
    args[n++] = string_arg(GRPC_ARG_DEFAULT_AUTHORITY, options->tls_server_name);
  }
  grpc_channel_args list = {n, args};
  client->args = malloc(sizeof *client->args);
  if (client->args) {
    client->args->num_args = 0;
    client->args->args = calloc(n, sizeof *args);
    for (size_t i = 0; client->args->args && i < n; i++) {
      grpc_arg *arg = &client->args->args[client->args->num_args++];
      *arg = list.args[i];
      arg->key = strdup(arg->key);
      if (arg->type == GRPC_ARG_STRING) arg->value.string = strdup(arg->value.string);
      if (!arg->key || (arg->type == GRPC_ARG_STRING && !arg->value.string)) break;
    }
  }
  free(args);
  return client->args && client->args->num_args == n ? ARVAK_OK : ARVAK_ENOMEM;
}

static void free_args(grpc_channel_args *args) {
  if (!args) return;
  for (size_t i = 0; i < args->num_args; i++) {
    free(args->args[i].key);
    if (args->args[i].type == GRPC_ARG_STRING) free(args->args[i].value.string);
  }
  free(args->args);
  free(args);
}

static int make_credentials(arvak_client *client, const arvak_client_options *options, const char **reason) {
  if (!options->tls) {
    client->credentials = grpc_insecure_credentials_create();
    return client->credentials ? ARVAK_OK : ARVAK_ENOMEM;
  }
  if (!options->tls_cert != !options->tls_key) {
    *reason = "tls: expected cert and key together";
    return ARVAK_EINVAL;
  }
  grpc_ssl_pem_key_cert_pair pair = {options->tls_key, options->tls_cert};
  client->credentials = grpc_ssl_credentials_create(options->tls_ca, options->tls_cert ? &pair : NULL, NULL, NULL);
  if (client->credentials) return ARVAK_OK;
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

static int configure(arvak_client *client, const arvak_client_options *options, const char **reason) {
  client->is_tls = options->tls;
  client->pool_size = (int)or_default(options->pool_size, DEFAULT_POOL_SIZE);
  client->max_concurrent_rpcs = (int)or_default(options->max_concurrent_rpcs, DEFAULT_CONCURRENCY);
  arvak__limiter_init(&client->limiter, &options->limiter, client->max_concurrent_rpcs);
  client->is_paced = options->limiter.rate > 0;
  client->is_adaptive = options->limiter.is_adaptive;
  client->slots = arvak__limiter_in_flight(&client->limiter);
  client->attempt_timeout_ns = options->attempt_timeout_ns;
  client->retry = arvak_retry_ref(options->retry);
  client->breaker = arvak_breaker_ref(options->breaker);
  client->timeout_ns = or_default(options->timeout_ns, DEFAULT_TIMEOUT_NS);
  client->queue_timeout_ns = or_default(options->queue_timeout_ns, DEFAULT_QUEUE_TIMEOUT_NS);
  client->address = strdup(options->address);
  client->channels = calloc((size_t)client->pool_size, sizeof *client->channels);
  if (!client->address || !client->channels) return ARVAK_ENOMEM;
  int status = arvak__address_spell(options->address, &client->target, reason);
  if (status == ARVAK_OK) status = check_server_name(options, reason);
  if (status == ARVAK_OK) status = arvak__client_headers_init(&client->headers, options, reason);
  if (status == ARVAK_OK) status = make_args(client, options);
  if (status == ARVAK_OK) status = make_credentials(client, options, reason);
  return status;
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
  atomic_init(&client->holds, 1);
  client->fork_generation = arvak__fork_generation();
  pthread_mutex_init(&client->mu, NULL);
  int status = configure(client, options, reason);
  if (status != ARVAK_OK) arvak__client_drop(client); /* it has no connections yet */
  else *out = client;
  return status;
}

arvak_client *arvak_client_ref(arvak_client *client) {
  atomic_fetch_add_explicit(&client->refs, 1, memory_order_relaxed);
  return client;
}

int arvak__client_channel_count(arvak_client *client) {
  pthread_mutex_lock(&client->mu);
  int count = client->channel_count;
  pthread_mutex_unlock(&client->mu);
  return count;
}

void arvak__client_hold(arvak_client *client) {
  atomic_fetch_add_explicit(&client->holds, 1, memory_order_relaxed);
}

/* In a fork nothing of gRPC may be touched, not even to let go of it. */
static void free_grpc_parts(arvak_client *client) {
  if (client->credentials) grpc_channel_credentials_release(client->credentials);
  arvak__grpc_unref();
}

void arvak__client_drop(arvak_client *client) {
  if (atomic_fetch_sub_explicit(&client->holds, 1, memory_order_acq_rel) != 1) return;
  bool is_forked = client->fork_generation != arvak__fork_generation();
  arvak__client_headers_fini(&client->headers, is_forked);
  if (!is_forked) free_grpc_parts(client);
  arvak_retry_unref(client->retry);
  arvak_breaker_unref(client->breaker);
  free_args(client->args);
  free(client->channels);
  free(client->address);
  free(client->target);
  pthread_mutex_destroy(&client->mu);
  free(client);
}

const char *arvak_client_address(const arvak_client *client) { return client->address; }

arvak_retry *arvak_client_retry(const arvak_client *client) { return client->retry; }

arvak_breaker *arvak_client_breaker(const arvak_client *client) { return client->breaker; }

int64_t arvak_client_timeout_ns(const arvak_client *client) { return client->timeout_ns; }
