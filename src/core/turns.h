/* The turns of a client's submits. Once the server has refused one for its rate, each waits for its turn, at the pace
 * that the server lets through (policy/pace.h); where the client has a rate of its own, each waits for its tokens.
 * Turns go round the shares, and within a share first in, first out; whoever has submitted many jobs at once lets as
 * many rounds pass. Nobody is handed a turn: whoever is first in line takes it when it is due.
 * Thread-safe: guarded by mu. A turn is borrowed while it is in line.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_TURNS_H
#define ARVAK_TURNS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "arvak.h"
#include "link.h"
#include "loop.h"
#include "policy/pace.h"
#include "slots.h"

/* What a submit waits for and holds; embedded in its call. */
typedef struct arvak__turn {
  arvak__link link;        /* mu; first: its address is the turn's */
  bool is_in_line;         /* mu */
  int64_t number;          /* the round in which it is its turn; 0: it has no place from before */
  int jobs;                /* mu */
  int64_t *rank;           /* mu; borrowed: the last number of its share; NULL: of those without a share */
  int64_t taken_ns;        /* the holder's, as the next two */
  int64_t since_ns;        /* when it began to wait */
  int64_t left_ns;         /* how long it may wait from then on */
  arvak_loop *loop;        /* borrowed; where it is posted that it is first in line, or that the pace has changed */
  arvak__posting *posting; /* borrowed */
} arvak__turn;

typedef struct arvak__turns {
  bool is_auto;     /* their pace is learned; set once, as the next */
  arvak__slots *tokens; /* borrowed; their rate is the limiter's; NULL: it has none */
  atomic_bool is_on; /* somebody may have to wait; written under mu */
  pthread_mutex_t mu;
  arvak__pace pace; /* mu */
  arvak__list line; /* mu */
  int waiting;      /* mu */
  int64_t jobs;     /* mu: of those in line */
  int64_t round;    /* mu: the number of the last turn taken */
  int64_t rank;     /* mu: the last number of those without a share */
  int64_t told_ns;  /* mu: when the first in line was last posted */
  int64_t refused_ns; /* mu: since when submits have been refused and none accepted; 0: one was */
  char words[160];    /* mu: the server's, of the last refusal */
  uint64_t refused; /* mu */
} arvak__turns;

typedef struct arvak__turns_figures {
  int waiting;
  double rate; /* jobs a second; -1 while nothing waits for its turn */
  uint64_t refused;
} arvak__turns_figures;

/* tokens: borrowed, of a client with a rate of its own; NULL: of any other. */
void arvak__turns_init(arvak__turns *turns, bool is_auto, arvak__slots *tokens);
void arvak__turns_fini(arvak__turns *turns);
/* Takes a turn for so many jobs: true. Else it stands in line, and looks again at *at_ns or when it is posted;
 * ARVAK_NEVER: it is not in line, since the rate has no place for it in the time that it may wait. */
bool arvak__turns_take(arvak__turns *turns, arvak__turn *turn, int jobs, int64_t now_ns, int64_t *at_ns);
/* Whether a turn that was taken still holds. */
bool arvak__turns_hold(arvak__turns *turns, const arvak__turn *turn, int64_t now_ns);
/* Takes it out of the line, if it is there. It is not posted any more, but may have been. */
void arvak__turns_leave(arvak__turns *turns, arvak__turn *turn, int64_t now_ns);

/* A submit that was sent at sent_ns has brought so many jobs. */
void arvak__turns_accept(arvak__turns *turns, int jobs, int64_t sent_ns, int64_t now_ns);
/* A submit has failed, and not for its rate. */
void arvak__turns_fail(arvak__turns *turns, int64_t sent_ns, int64_t now_ns);
/* A submit was refused, with these words. False: to wait for another turn has no sense. */
bool arvak__turns_refuse(arvak__turns *turns, const arvak__refusal *refusal, const char *words, int64_t now_ns);
/* A job has been seen that has not ended. */
void arvak__turns_note_unfinished(arvak__turns *turns, int64_t now_ns);
/* For how long submits have been refused while none was accepted, or -1. words, of size bytes, gets the last ones. */
int64_t arvak__turns_get_refusal(arvak__turns *turns, char *words, size_t size, int64_t now_ns);
void arvak__turns_get_figures(arvak__turns *turns, arvak__turns_figures *out);

#endif
