/* A bounded set of connections to one target, each a channel with a subchannel of its own: channels alike would
 * otherwise share one TCP connection. Invariant: a channel that is not READY gets an attempt only if none is READY that
 * has streams left for sure.
 * SPDX-License-Identifier: Apache-2.0 */
#include "pool.h"

#include <grpc/support/alloc.h>
#include <limits.h>
#include <stdlib.h>

#include "runtime.h"
#include "status.h"

/* Calls in flight on every open channel before another is opened. */
enum { CALLS_BEFORE_NEXT = 16 };

/* HTTP/2 recommends that a connection takes 100 streams at least. What is more waits inside gRPC. */
enum { STREAMS_FOR_SURE = 100, FAILING = 1 << 20 };

/* While a channel connects, somebody's queue must poll for it; a watch makes ours do so. It cannot be cancelled but
 * by its deadline, which therefore bounds how long closing a loop can wait. */
#define WATCH_NS 40000000

/* Between two times that a channel is told not to wait before it connects again. */
#define HURRY_NS 100000000

/* By gRPC's allocator, which ends the process when there is no memory, as creating the channel itself would. */
static arvak__channel *open_channel(arvak__pool *pool) {
  arvak__channel *channel = gpr_zalloc(sizeof *channel);
  channel->pool = pool;
  channel->channel = grpc_channel_create(pool->target, pool->credentials, pool->args);
  for (int rpc = 0; rpc < ARVAK_RPC_COUNT; rpc++)
    channel->methods[rpc] = grpc_channel_register_call(channel->channel, arvak__rpc_method((arvak_rpc)rpc), NULL, NULL);
  return channel;
}

void arvak__channel_args_free(grpc_channel_args *args) {
  if (!args) return;
  for (size_t i = 0; i < args->num_args; i++) {
    free(args->args[i].key);
    if (args->args[i].type == GRPC_ARG_STRING) free(args->args[i].value.string);
  }
  free(args->args);
  free(args);
}

/* In a fork nothing of gRPC may be touched, not even to let go of it. */
static void drop(arvak__pool *pool) {
  if (atomic_fetch_sub_explicit(&pool->holds, 1, memory_order_acq_rel) != 1) return;
  if (pool->fork_generation == arvak__fork_generation()) {
    if (pool->credentials) grpc_channel_credentials_release(pool->credentials);
    arvak__grpc_unref();
  }
  arvak__channel_args_free(pool->args);
  free(pool->channels);
  free(pool->target);
  pthread_mutex_destroy(&pool->mu);
  free(pool);
}

/* Under pool->mu. Closes a retired channel when its last call is over, and frees it when its watch is, too. */
static void let_go(arvak__channel *channel) {
  if (!channel->is_retired || channel->outstanding > 0) return;
  if (channel->channel) grpc_channel_destroy(channel->channel); /* ends the watch */
  channel->channel = NULL;
  if (!channel->watcher) gpr_free(channel);
}

/* Under pool->mu. */
static void retire(arvak__channel *channel) {
  arvak__pool *pool = channel->pool;
  int i = 0;
  while (pool->channels[i] != channel) i++;
  pool->channels[i] = pool->channels[--pool->channel_count];
  channel->is_retired = true;
}

static void on_watch(arvak__tag *tag, bool success) {
  (void)success;
  arvak__channel *channel = (arvak__channel *)tag;
  arvak__pool *pool = channel->pool;
  pthread_mutex_lock(&pool->mu);
  channel->watcher = NULL;
  let_go(channel);
  pthread_mutex_unlock(&pool->mu);
  drop(pool);
}

/* Under pool->mu. Lets the loop of cq poll for the channel until its state changes, or for WATCH_NS. */
static void watch(arvak__channel *channel, grpc_connectivity_state state, arvak__cq *cq) {
  if (channel->watcher || cq->closed) return;
  channel->watcher = cq;
  channel->watch_tag.fn = on_watch;
  atomic_fetch_add_explicit(&channel->pool->holds, 1, memory_order_relaxed);
  cq->pending_tags++;
  gpr_timespec deadline = grpc_compat_timespec(arvak_now_ns() + WATCH_NS);
  grpc_channel_watch_connectivity_state(channel->channel, state, deadline, cq->grpc, &channel->watch_tag);
}

bool arvak__channel_is_ready(arvak__channel *channel) {
  return grpc_channel_check_connectivity_state(channel->channel, 0) == GRPC_CHANNEL_READY;
}

void arvak__pool_hurry(arvak__pool *pool) {
  if (pool->fork_generation != arvak__fork_generation()) return;
  pthread_mutex_lock(&pool->mu);
  int64_t now = arvak_now_ns();
  for (int i = 0; i < pool->channel_count; i++) {
    arvak__channel *channel = pool->channels[i];
    if (now - channel->hurried_ns < HURRY_NS) continue;
    if (grpc_channel_check_connectivity_state(channel->channel, 0) != GRPC_CHANNEL_TRANSIENT_FAILURE) continue;
    channel->hurried_ns = now;
    grpc_channel_reset_connect_backoff(channel->channel);
  }
  pthread_mutex_unlock(&pool->mu);
}

/* How busy a channel is. To one that still starts calls go when each READY one has as many as any server takes at a
 * time; to one that fails when there is no other. */
static int load_of(const arvak__channel *channel, grpc_connectivity_state state) {
  switch (state) {
    case GRPC_CHANNEL_READY: return channel->outstanding;
    case GRPC_CHANNEL_TRANSIENT_FAILURE: case GRPC_CHANNEL_SHUTDOWN: return channel->outstanding + FAILING;
    default: return channel->outstanding + STREAMS_FOR_SURE;
  }
}

/* Crowded: the calls in flight speak for another channel. When every connection fails, another to the same target would
 * only fail too. */
static arvak__channel *pick(arvak__pool *pool, arvak__cq *cq, bool *crowded) {
  arvak__channel *best = NULL;
  int least = INT_MAX, fewest = INT_MAX;
  for (int i = 0; i < pool->channel_count; i++) {
    arvak__channel *channel = pool->channels[i];
    grpc_connectivity_state state = grpc_channel_check_connectivity_state(channel->channel, 1);
    int load = load_of(channel, state);
    if (state != GRPC_CHANNEL_READY) watch(channel, state, cq);
    if (load < FAILING && channel->outstanding < fewest) fewest = channel->outstanding;
    if (load < least) best = channel, least = load;
  }
  *crowded = !best || (fewest >= CALLS_BEFORE_NEXT && fewest < INT_MAX);
  return best;
}

/* The least busy channel, if it is READY and nothing speaks for opening another; else NULL. One look at a state instead
 * of one for each channel: a look costs twice as much as all the rest of a pick. A channel that is passed over has
 * calls, which poll for it, or it is not needed: when it is, it is the least busy, and pick makes it connect. */
static arvak__channel *pick_least_busy(const arvak__pool *pool) {
  if (pool->channel_count == 0) return NULL;
  arvak__channel *best = pool->channels[0];
  for (int i = 1; i < pool->channel_count; i++)
    if (pool->channels[i]->outstanding < best->outstanding) best = pool->channels[i];
  bool is_crowded = best->outstanding >= CALLS_BEFORE_NEXT && pool->channel_count < pool->size;
  return !is_crowded && arvak__channel_is_ready(best) ? best : NULL;
}

static arvak__channel *open_next(arvak__pool *pool, arvak__cq *cq) {
  arvak__channel *channel = open_channel(pool);
  pool->channels[pool->channel_count++] = channel;
  watch(channel, grpc_channel_check_connectivity_state(channel->channel, 1), cq);
  return channel;
}

arvak__channel *arvak__pool_pick(arvak__pool *pool, arvak__cq *cq, bool *is_full) {
  pthread_mutex_lock(&pool->mu);
  arvak__channel *best = pick_least_busy(pool);
  if (!best) {
    bool crowded;
    arvak__channel *opened = NULL;
    best = pick(pool, cq, &crowded);
    if (crowded && pool->channel_count < pool->size) opened = open_next(pool, cq);
    if (opened && (!best || best->outstanding >= STREAMS_FOR_SURE || !arvak__channel_is_ready(best))) best = opened;
  }
  best->outstanding++;
  *is_full = best->outstanding > STREAMS_FOR_SURE;
  pthread_mutex_unlock(&pool->mu);
  return best;
}

bool arvak__pool_connect(arvak__pool *pool, arvak__cq *cq) {
  if (pool->fork_generation != arvak__fork_generation()) return false;
  pthread_mutex_lock(&pool->mu);
  bool crowded;
  arvak__channel *best = pick(pool, cq, &crowded);
  if (!best) open_next(pool, cq);
  bool ready = best && arvak__channel_is_ready(best);
  pthread_mutex_unlock(&pool->mu);
  return ready;
}

void arvak__pool_release(arvak__channel *channel, arvak__contact contact, int64_t started_ns, int64_t now_ns) {
  arvak__pool *pool = channel->pool;
  pthread_mutex_lock(&pool->mu);
  channel->outstanding--;
  if (contact == CONTACT_ANSWERED) channel->answered_ns = now_ns;
  bool is_dead = contact == CONTACT_BROKEN || (contact == CONTACT_SILENT && channel->answered_ns < started_ns);
  if (is_dead && !channel->is_retired) retire(channel);
  let_go(channel);
  pthread_mutex_unlock(&pool->mu);
}

/* Watches end at once. No call is left. */
static void close_channels(arvak__pool *pool) {
  pthread_mutex_lock(&pool->mu);
  while (pool->channel_count > 0) {
    arvak__channel *channel = pool->channels[0];
    retire(channel);
    let_go(channel);
  }
  pthread_mutex_unlock(&pool->mu);
}

void arvak__pool_close(arvak__pool *pool) {
  if (pool->fork_generation == arvak__fork_generation()) close_channels(pool);
  drop(pool);
}

int arvak__pool_new(char *target, grpc_channel_credentials *credentials, grpc_channel_args *args, int size,
                    arvak__pool **out) {
  arvak__pool *pool = calloc(1, sizeof *pool);
  arvak__channel **channels = calloc((size_t)size, sizeof(arvak__channel *));
  bool has_memory = pool && channels;
  if (!has_memory || !arvak__grpc_ref()) {
    free(pool);
    free(channels);
    free(target);
    grpc_channel_credentials_release(credentials);
    arvak__channel_args_free(args);
    return has_memory ? ARVAK_EFORKED : ARVAK_ENOMEM;
  }
  atomic_init(&pool->holds, 1);
  pthread_mutex_init(&pool->mu, NULL);
  pool->fork_generation = arvak__fork_generation();
  pool->target = target;
  pool->credentials = credentials;
  pool->args = args;
  pool->size = size;
  pool->channels = channels;
  *out = pool;
  return ARVAK_OK;
}

/* ---- figures ---- */

int arvak__pool_channel_count(arvak__pool *pool) {
  pthread_mutex_lock(&pool->mu);
  int count = pool->channel_count;
  pthread_mutex_unlock(&pool->mu);
  return count;
}

void arvak__pool_get_figures(arvak__pool *pool, arvak__pool_figures *out) {
  pthread_mutex_lock(&pool->mu);
  *out = (arvak__pool_figures){.channels = pool->channel_count};
  int count = pool->fork_generation == arvak__fork_generation() ? pool->channel_count : 0;
  for (int i = 0; i < count; i++) {
    switch (grpc_channel_check_connectivity_state(pool->channels[i]->channel, 0)) {
      case GRPC_CHANNEL_READY: out->ready++; break;
      case GRPC_CHANNEL_CONNECTING: out->connecting++; break;
      case GRPC_CHANNEL_TRANSIENT_FAILURE: out->failing++; break;
      default: out->idle++;
    }
  }
  pthread_mutex_unlock(&pool->mu);
}
