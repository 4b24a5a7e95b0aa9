/* The pace at which a server takes submits, learned from those that it refuses. Pure: time is passed in. Invariant:
 * nobody waits before the first refusal; after one, a single submit at a time goes out to see, until one is accepted.
 *
 *   state    a turn is due                      accepted                refused
 *   FREE     at once                            -                       CLOSED
 *   CLOSED   after a pause, then each PROBE_NS  OPEN, at a lower rate   CLOSED, the pause is doubled
 *   OPEN     at the rate                        the rate grows          CLOSED
 *
 * What became of a submit that was sent before the last refusal changes no state. OPEN is FREE again after ten seconds
 * without a refusal.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_PACE_H
#define ARVAK_PACE_H

#include "arvak.h"

enum { ARVAK__PACE_BUCKETS = 8 };

typedef enum arvak__pace_state { ARVAK__PACE_FREE, ARVAK__PACE_CLOSED, ARVAK__PACE_OPEN } arvak__pace_state;

typedef struct arvak__pace {
  arvak__pace_state state;
  double rate;          /* jobs a second; of no meaning in FREE */
  double seen;          /* CLOSED: jobs accepted in the second before */
  int probes;           /* CLOSED: submits that went out to see and were refused */
  int64_t since_open;   /* jobs accepted since it was opened */
  int64_t turn_ns;      /* CLOSED: when the next turn is due; OPEN: when the last one was */
  int64_t pause_ns;     /* CLOSED: the last pause */
  int64_t closed_ns;    /* of the last refusal */
  bool is_full;         /* the last refusal spoke of unfinished jobs, not of a rate */
  int64_t full_ns;      /* since when all refusals did, and nothing was accepted; 0: there was none */
  int64_t unfinished_ns; /* when a job was last seen that has not ended */
  int accepted[ARVAK__PACE_BUCKETS]; /* in each of the last eighths of a second */
  int64_t bucket;       /* of the last acceptance */
} arvak__pace;

/* Of a submit that the server has refused, and not executed. */
typedef struct arvak__refusal {
  int64_t sent_ns;
  int64_t pushback_ns; /* what the server wants to wait for; 0: it does not say */
  bool is_full;        /* the server says that too many jobs are unfinished */
} arvak__refusal;

/* When a turn for so many jobs is due; a time that has passed: at once. */
int64_t arvak__pace_due(arvak__pace *pace, int jobs, int64_t now_ns);
/* That turn is taken at now_ns; it was due. */
void arvak__pace_take(arvak__pace *pace, int jobs, int64_t now_ns);
/* Whether a turn taken at turn_ns still holds: nothing has been refused since. */
bool arvak__pace_holds(const arvak__pace *pace, int64_t turn_ns, int64_t now_ns);
/* How long a turn of one job comes after another. */
int64_t arvak__pace_interval(const arvak__pace *pace);

void arvak__pace_accept(arvak__pace *pace, int jobs, int64_t sent_ns, int64_t now_ns);
void arvak__pace_refuse(arvak__pace *pace, const arvak__refusal *refusal, int64_t now_ns);
/* It came to something else: if it went out to see, another may. */
void arvak__pace_fail(arvak__pace *pace, int64_t sent_ns, int64_t now_ns);
/* A job has been seen that has not ended: its end may make room. */
void arvak__pace_note_unfinished(arvak__pace *pace, int64_t now_ns);
/* Whether waiting has no sense any more: for a minute the server has said that too many jobs are unfinished, has
 * accepted nothing, and no unfinished job has been seen. Then every turn is due at once, and a refusal is final. */
bool arvak__pace_is_stuck(const arvak__pace *pace, int64_t now_ns);

#endif
