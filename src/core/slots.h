/* The slots of a client. A slot is a permit to have a call with gRPC; whoever gets none waits in a place that is
 * embedded in him. Slots go round the shares that wait, and within one first in, first out; the last slots are kept for
 * shares that hold none. Tokens are the limiter's permission to submit jobs, one each.
 * Thread-safe: guarded by mu. Places are borrowed while they are in a queue.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_SLOTS_H
#define ARVAK_SLOTS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "arvak.h"
#include "link.h"
#include "loop.h"
#include "policy/limiter.h"

typedef struct arvak__place {
  arvak__link link;         /* mu; first: its address is the place's */
  bool is_granted;          /* mu: a slot is this place's */
  arvak_share *share;       /* shared by whoever has the place, or NULL: that of all who have none */
  arvak_loop *loop;         /* borrowed; where it is posted that a slot has been granted; its clock is the slots' */
  arvak__posting *posting;  /* borrowed */
} arvak__place;

/* A share stands in the round while it has a place that waits, may have another slot, and somebody drives its loop, as
 * far as is known: it leaves when an offer is made, and is back when its loop has seen the offer. */
struct arvak_share {
  arvak__link link;     /* mu: in the round; first: its address is the share's */
  bool is_in_round;     /* mu */
  bool has_come;        /* mu: for the last offer, and has been given no slot between two steps since */
  arvak__list queue;    /* mu: places */
  int taken;            /* mu: slots */
  int max_in_flight;    /* INT_MAX: no limit of its own */
  arvak_loop *loop;     /* borrowed; NULL: of many loops, which count as driven */
  arvak__posting offer; /* to the loop, which was not driven when it was this share's turn */
  arvak_client *client; /* borrowed while calls name the share, else a mark; NULL: the share of all who have none */
  int64_t rank;         /* mu of the client's turns: of its last turn, see turns.h */
  int refs, calls;      /* owner thread of the loop; calls: those of the refs that are calls */
};

typedef struct arvak__slots {
  pthread_mutex_t mu;
  arvak__limiter limiter; /* mu */
  int taken, count;       /* mu: slots taken, and how many there are */
  int holders;            /* mu: shares that hold some */
  int64_t met_ns;         /* mu: when a share that held none last asked beside one that held some; 0: never */
  arvak__list round;      /* mu: shares */
  int queued;             /* mu: places in all queues */
  arvak_share common;     /* of those who have no share */
} arvak__slots;

typedef struct arvak__slots_figures {
  int taken, count, queued;
  double tokens; /* -1 without a rate */
} arvak__slots_figures;

void arvak__slots_init(arvak__slots *slots, const arvak_limiter_options *limiter, int max_concurrent_rpcs);
void arvak__slots_fini(arvak__slots *slots);
/* Takes a slot, or queues the place. True: taken. */
bool arvak__slots_acquire(arvak__slots *slots, arvak__place *place);
/* Gives a place's slot back: to the next in the round, which is posted to its loop, or to the client. */
void arvak__slots_release(arvak__slots *slots, const arvak__place *place);
/* Takes a place out of the queue. False: it is not there any more, its slot is granted and on the way. */
bool arvak__slots_unqueue(arvak__slots *slots, arvak__place *place);

/* A call names the share, whose client outlives the call. Both in the loop's owner thread. */
arvak_share *arvak__share_join(arvak_share *share);
void arvak__share_leave(arvak_share *share);
/* The share's loop is driven again: it stands in the round, if it waits. */
void arvak__slots_offer(arvak__slots *slots, arvak_share *share);

/* When tokens for so many jobs are to be had; see arvak__limiter_reserve. */
int64_t arvak__tokens_reserve(arvak__slots *slots, int jobs, int64_t now_ns, int64_t latest_ns);
/* When the next token is to be had after so many others, and how long one comes after another. */
int64_t arvak__tokens_due(arvak__slots *slots, int64_t ahead, int64_t now_ns);
int64_t arvak__tokens_interval(const arvak__slots *slots);
/* Of a call that does not use its tokens, which would have come at at_ns. */
void arvak__tokens_give_back(arvak__slots *slots, int jobs, int64_t at_ns);
/* What an attempt that started at started_ns says of the limit of calls in flight. */
void arvak__slots_adapt(arvak__slots *slots, bool is_overload, int64_t started_ns, int64_t now_ns);
void arvak__slots_get_figures(arvak__slots *slots, int64_t now_ns, arvak__slots_figures *out);

#endif
