/* The connections to one target: at most so many channels, each with a connection of its own. Invariant: a channel that
 * is not READY gets an attempt only if none is READY that has streams left for sure; the pool's memory is there while
 * its owner or a watch holds it.
 * Thread-safe: guarded by mu.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_POOL_H
#define ARVAK_POOL_H

#include <grpc/grpc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "arvak.h"
#include "compat.h"
#include "cq.h"
#include "tag.h"

typedef struct arvak__pool arvak__pool;

/* Owned by its pool while in its table; afterwards it lives until its last attempt and watch have ended. */
typedef struct arvak__channel {
  arvak__tag watch_tag;
  arvak__pool *pool;     /* borrowed; held while watching */
  grpc_channel *channel; /* owned; NULL once closed */
  void *methods[ARVAK_RPC_COUNT];
  int outstanding;     /* mu */
  bool is_retired;     /* mu; not in the table any more */
  int64_t answered_ns; /* mu; when something last came over it */
  int64_t hurried_ns;  /* mu; when it was last told to connect without waiting */
  arvak__cq *watcher;  /* mu; the queue that a state watch is in, or NULL */
} arvak__channel;

struct arvak__pool {
  atomic_int holds; /* its owner's, and one of each watch */
  unsigned fork_generation;
  char *target; /* spelled so that no peer can equal it, see address.c; owned, as the next two */
  grpc_channel_credentials *credentials;
  grpc_channel_args *args; /* with all strings */
  int size;
  pthread_mutex_t mu;
  arvak__channel **channels; /* mu: size places, the first channel_count in use; owned */
  int channel_count;         /* mu */
};

/* Takes the target, the credentials and the args, also when it fails. ARVAK_ENOMEM, ARVAK_EFORKED. *out is owned:
 * arvak__pool_close. */
int arvak__pool_new(char *target, grpc_channel_credentials *credentials, grpc_channel_args *args, int size,
                    arvak__pool **out);
/* Closes the connections, and lets go of the pool; no attempt is left. In a fork they are the parent's. */
void arvak__pool_close(arvak__pool *pool);
void arvak__channel_args_free(grpc_channel_args *args); /* NULL is fine */

/* Picks a channel for one attempt on cq and counts it as outstanding; opens one where that helps. *is_full: the attempt
 * may have to wait for a stream. Returns borrowed, until arvak__pool_release. */
arvak__channel *arvak__pool_pick(arvak__pool *pool, arvak__cq *cq, bool *is_full);
/* As arvak_client_connect and arvak_client_hurry. */
bool arvak__pool_connect(arvak__pool *pool, arvak__cq *cq);
void arvak__pool_hurry(arvak__pool *pool);
typedef enum arvak__contact { CONTACT_ANSWERED, CONTACT_SILENT, CONTACT_BROKEN, CONTACT_NONE } arvak__contact;

/* An attempt that started at started_ns has ended. BROKEN: its connection died under it; the next attempt goes
 * elsewhere, since gRPC may take a while to notice for the channel as a whole (seen: every 70th call right after met
 * the dying connection). SILENT: its time ran out; if nothing came over the channel since it started, the peer may be
 * gone without a word, and the next attempt goes elsewhere too. */
void arvak__pool_release(arvak__channel *channel, arvak__contact contact, int64_t started_ns, int64_t now_ns);
bool arvak__channel_is_ready(arvak__channel *channel);

/* How many channels there are, and how many in which state. */
typedef struct arvak__pool_figures {
  int channels, ready, connecting, failing, idle;
} arvak__pool_figures;

int arvak__pool_channel_count(arvak__pool *pool);
void arvak__pool_get_figures(arvak__pool *pool, arvak__pool_figures *out);

#endif
