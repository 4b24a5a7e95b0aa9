/* A bounded set of connections to one target, each a channel with a subchannel of its own: channels alike would
 * otherwise share one TCP connection. Invariant: a channel that is not READY gets an attempt only if none is READY.
 * SPDX-License-Identifier: Apache-2.0 */
#include "pool.h"

#include <grpc/support/alloc.h>
#include <pthread.h>

#include "client.h"
#include "compat.h"
#include "runtime.h"
#include "status.h"

/* Calls in flight on every open channel before another is opened. */
enum { CALLS_BEFORE_NEXT = 16 };

/* While a channel connects, somebody's queue must poll for it; a watch makes ours do so. It cannot be cancelled but
 * by its deadline, which therefore bounds how long closing a loop can take. */
#define WATCH_NS 100000000

/* Between two times that a channel is told not to wait before it connects again. */
#define HURRY_NS 100000000

/* By gRPC's allocator, which ends the process when there is no memory, as creating the channel itself would. */
static arvak_channel *open_channel(arvak_client *client) {
  arvak_channel *channel = gpr_zalloc(sizeof *channel);
  channel->client = client;
  channel->channel = grpc_channel_create(client->target, client->credentials, client->args);
  for (int rpc = 0; rpc < ARVAK_RPC_COUNT; rpc++)
    channel->methods[rpc] = grpc_channel_register_call(channel->channel, arvak__rpc_method((arvak_rpc)rpc), NULL, NULL);
  return channel;
}

/* Under client->mu. Closes a retired channel when its last call is over, and frees it when its watch is, too. */
static void let_go(arvak_channel *channel) {
  if (!channel->is_retired || channel->outstanding > 0) return;
  if (channel->channel) grpc_channel_destroy(channel->channel); /* ends the watch */
  channel->channel = NULL;
  if (!channel->watcher) gpr_free(channel);
}

/* Under client->mu. */
static void retire(arvak_channel *channel) {
  arvak_client *client = channel->client;
  int i = 0;
  while (client->channels[i] != channel) i++;
  client->channels[i] = client->channels[--client->channel_count];
  channel->is_retired = true;
}

static void on_watch(arvak__tag *tag, bool success) {
  (void)success;
  arvak_channel *channel = (arvak_channel *)tag;
  arvak_client *client = channel->client;
  pthread_mutex_lock(&client->mu);
  channel->watcher = NULL;
  let_go(channel);
  pthread_mutex_unlock(&client->mu);
  arvak__client_drop(client);
}

/* Under client->mu. Lets the loop of cq poll for the channel until its state changes, or for WATCH_NS. */
static void watch(arvak_channel *channel, grpc_connectivity_state state, arvak__cq *cq) {
  if (channel->watcher || cq->closed) return;
  channel->watcher = cq;
  channel->watch_tag.fn = on_watch;
  arvak__client_hold(channel->client);
  cq->pending_tags++;
  gpr_timespec deadline = grpc_compat_timespec(arvak_now_ns() + WATCH_NS);
  grpc_channel_watch_connectivity_state(channel->channel, state, deadline, cq->grpc, &channel->watch_tag);
}

bool arvak__channel_is_ready(arvak_channel *channel) {
  return grpc_channel_check_connectivity_state(channel->channel, 0) == GRPC_CHANNEL_READY;
}

void arvak_client_hurry(arvak_client *client) {
  if (client->fork_generation != arvak__fork_generation()) return;
  pthread_mutex_lock(&client->mu);
  int64_t now = arvak_now_ns();
  for (int i = 0; i < client->channel_count; i++) {
    arvak_channel *channel = client->channels[i];
    if (now - channel->hurried_ns < HURRY_NS) continue;
    if (grpc_channel_check_connectivity_state(channel->channel, 0) != GRPC_CHANNEL_TRANSIENT_FAILURE) continue;
    channel->hurried_ns = now;
    grpc_channel_reset_connect_backoff(channel->channel);
  }
  pthread_mutex_unlock(&client->mu);
}

/* READY before starting before failing; among equals the least outstanding. */
static int rank(grpc_connectivity_state state) {
  switch (state) {
    case GRPC_CHANNEL_READY: return 0;
    case GRPC_CHANNEL_TRANSIENT_FAILURE: case GRPC_CHANNEL_SHUTDOWN: return 2;
    default: return 1;
  }
}

static arvak_channel *pick(arvak_client *client, arvak__cq *cq, bool *crowded) {
  arvak_channel *best = NULL;
  int best_rank = 0;
  *crowded = true;
  for (int i = 0; i < client->channel_count; i++) {
    arvak_channel *channel = client->channels[i];
    grpc_connectivity_state state = grpc_channel_check_connectivity_state(channel->channel, 1);
    int r = rank(state);
    /* One that is still starting will take calls soon: do not open yet another beside it. */
    if (r == 1 || (r == 0 && channel->outstanding < CALLS_BEFORE_NEXT)) *crowded = false;
    if (r != 0) watch(channel, state, cq);
    if (!best || r < best_rank || (r == best_rank && channel->outstanding < best->outstanding)) {
      best = channel;
      best_rank = r;
    }
  }
  /* When every connection fails, another to the same target would only fail too. */
  if (best && best_rank == 2) *crowded = false;
  return best;
}

/* The least busy channel, if it is READY and nothing speaks for opening another; else NULL. One look at a state instead
 * of one for each channel: a look costs twice as much as all the rest of a pick. A channel that is passed over has
 * calls, which poll for it, or it is not needed: when it is, it is the least busy, and pick makes it connect. */
static arvak_channel *pick_least_busy(const arvak_client *client) {
  if (client->channel_count == 0) return NULL;
  arvak_channel *best = client->channels[0];
  for (int i = 1; i < client->channel_count; i++)
    if (client->channels[i]->outstanding < best->outstanding) best = client->channels[i];
  bool is_crowded = best->outstanding >= CALLS_BEFORE_NEXT && client->channel_count < client->pool_size;
  return !is_crowded && arvak__channel_is_ready(best) ? best : NULL;
}

static arvak_channel *open_next(arvak_client *client, arvak__cq *cq) {
  arvak_channel *channel = open_channel(client);
  client->channels[client->channel_count++] = channel;
  watch(channel, grpc_channel_check_connectivity_state(channel->channel, 1), cq);
  return channel;
}

arvak_channel *arvak__pool_pick(arvak_client *client, arvak__cq *cq, bool is_call) {
  pthread_mutex_lock(&client->mu);
  arvak_channel *best = pick_least_busy(client);
  if (!best) {
    bool crowded;
    arvak_channel *opened = NULL;
    best = pick(client, cq, &crowded);
    if (crowded && client->channel_count < client->pool_size) opened = open_next(client, cq);
    if (!best) best = opened;
  }
  best->outstanding++;
  if (is_call) client->stats.attempts++;
  pthread_mutex_unlock(&client->mu);
  return best;
}

bool arvak__pool_connect(arvak_client *client, arvak__cq *cq) {
  if (client->fork_generation != arvak__fork_generation()) return false;
  pthread_mutex_lock(&client->mu);
  bool crowded;
  arvak_channel *best = pick(client, cq, &crowded);
  if (!best) open_next(client, cq);
  bool ready = best && arvak__channel_is_ready(best);
  pthread_mutex_unlock(&client->mu);
  return ready;
}

void arvak__pool_release(arvak_channel *channel, arvak__contact contact, int64_t started_ns) {
  arvak_client *client = channel->client;
  pthread_mutex_lock(&client->mu);
  channel->outstanding--;
  if (contact == CONTACT_ANSWERED) channel->answered_ns = arvak_now_ns();
  bool is_dead = contact == CONTACT_BROKEN || (contact == CONTACT_SILENT && channel->answered_ns < started_ns);
  if (is_dead && !channel->is_retired) retire(channel);
  let_go(channel);
  pthread_mutex_unlock(&client->mu);
}

/* Watches end at once. No call is left. */
static void close_channels(arvak_client *client) {
  pthread_mutex_lock(&client->mu);
  while (client->channel_count > 0) {
    arvak_channel *channel = client->channels[0];
    retire(channel);
    let_go(channel);
  }
  pthread_mutex_unlock(&client->mu);
}

/* Here and not in client.c: the last reference closes the connections, and the end of a watch needs client.c. */
void arvak_client_unref(arvak_client *client) {
  if (atomic_fetch_sub_explicit(&client->refs, 1, memory_order_acq_rel) != 1) return;
  if (client->fork_generation == arvak__fork_generation()) close_channels(client);
  arvak__client_drop(client);
}
