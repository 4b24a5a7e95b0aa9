/* The connections of a client: at most pool_size channels, each with a connection of its own. Invariant: a channel that
 * is not READY gets an attempt only if none is READY. Thread-safe: guarded by the client's mu.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_POOL_H
#define ARVAK_POOL_H

#include <grpc/grpc.h>
#include <stdbool.h>
#include <stdint.h>

#include "arvak.h"
#include "cq.h"
#include "tag.h"

/* Owned by its client while in its table; afterwards it lives until its last call and watch have ended. */
typedef struct arvak_channel {
  arvak__tag watch_tag;
  arvak_client *client; /* borrowed; held while watching */
  grpc_channel *channel; /* owned; NULL once closed */
  void *methods[ARVAK_RPC_COUNT];
  int outstanding;     /* client->mu */
  bool is_retired;     /* client->mu; not in the table any more */
  int64_t answered_ns; /* client->mu; when something last came over it */
  int64_t hurried_ns;  /* client->mu; when it was last told to connect without waiting */
  arvak__cq *watcher;  /* client->mu; the queue that a state watch is in, or NULL */
} arvak_channel;

/* Picks a channel for one attempt on cq and counts it as outstanding, that of a call in the statistics too; opens one
 * where that helps. Takes client->mu. Returns borrowed, until arvak__pool_release. */
arvak_channel *arvak__pool_pick(arvak_client *client, arvak__cq *cq, bool is_call);
/* As arvak_client_connect. */
bool arvak__pool_connect(arvak_client *client, arvak__cq *cq);
typedef enum arvak__contact { CONTACT_ANSWERED, CONTACT_SILENT, CONTACT_BROKEN, CONTACT_NONE } arvak__contact;

/* An attempt that started at started_ns has ended. BROKEN: its connection died under it; the next attempt goes
 * elsewhere, since gRPC may take a while to notice for the channel as a whole (seen: every 70th call right after met
 * the dying connection). SILENT: its time ran out; if nothing came over the channel since it started, the peer may be
 * gone without a word, and the next attempt goes elsewhere too. */
void arvak__pool_release(arvak_channel *channel, arvak__contact contact, int64_t started_ns);
bool arvak__channel_is_ready(arvak_channel *channel);

#endif
