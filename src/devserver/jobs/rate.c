/* See rate.h. A list: the peers of a development server are few.
 * SPDX-License-Identifier: Apache-2.0 */
#include "rate.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t window_us = 1000000, idle_us = 60000000;

typedef struct peer {
  char name[PEER_NAME_BYTES];
  uint64_t window_start_us;
  uint32_t accepted;
  struct peer *next;
} peer;

struct rates {
  pthread_mutex_t mu;
  uint32_t limit; /* constant */
  peer *peers;    /* owned list, guarded by mu */
};

rates *rates_new(uint32_t limit) {
  rates *all = calloc(1, sizeof *all);
  if (!all) return NULL;
  pthread_mutex_init(&all->mu, NULL);
  all->limit = limit;
  return all;
}

void rates_free(rates *all) {
  if (!all) return;
  while (all->peers) {
    peer *next = all->peers->next;
    free(all->peers);
    all->peers = next;
  }
  pthread_mutex_destroy(&all->mu);
  free(all);
}

static void drop_idle(rates *all, uint64_t now_us) {
  for (peer **link = &all->peers; *link;) {
    peer *p = *link;
    if (now_us - p->window_start_us < idle_us) {
      link = &p->next;
      continue;
    }
    *link = p->next;
    free(p);
  }
}

static peer *peer_find(rates *all, const char *name, uint64_t now_us) {
  for (peer *p = all->peers; p; p = p->next) {
    if (strcmp(p->name, name) != 0) continue;
    if (now_us - p->window_start_us >= window_us) {
      p->window_start_us = now_us;
      p->accepted = 0;
    }
    return p;
  }
  return NULL;
}

static peer *peer_add(rates *all, const char *name, uint64_t now_us) {
  drop_idle(all, now_us);
  peer *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  snprintf(p->name, sizeof p->name, "%s", name);
  p->window_start_us = now_us;
  p->next = all->peers;
  all->peers = p;
  return p;
}

static bool consult(rates *all, const char *name, uint64_t now_us, uint32_t *seen, uint32_t take) {
  *seen = 0;
  if (!all->limit) return true;
  pthread_mutex_lock(&all->mu);
  peer *p = peer_find(all, name, now_us);
  if (!p && take) p = peer_add(all, name, now_us);
  bool free_place = !p || p->accepted < all->limit;
  if (p) *seen = p->accepted;
  if (p && free_place) p->accepted += take;
  pthread_mutex_unlock(&all->mu);
  return free_place;
}

bool rate_check(rates *all, const char *name, uint64_t now_us, uint32_t *seen) {
  return consult(all, name, now_us, seen, 0);
}

bool rate_take(rates *all, const char *name, uint64_t now_us, uint32_t *seen) {
  return consult(all, name, now_us, seen, 1);
}

uint32_t rates_peers(rates *all) {
  uint32_t n = 0;
  pthread_mutex_lock(&all->mu);
  for (peer *p = all->peers; p; p = p->next) n++;
  pthread_mutex_unlock(&all->mu);
  return n;
}
