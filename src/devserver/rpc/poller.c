/* See poller.h. One thread does all, handlers included: they are short, and a hand-over would cost more than most. Two
 * need half as much again for each call, since they pass connections and their locks between them. So the second one
 * stands by, and polls only while the first has not come back from gRPC for a while and is not idle either: then it
 * reads what one client sends without a break, such as thousands of streams that are opened and reset.
 * SPDX-License-Identifier: Apache-2.0 */
#include "poller.h"

#include <stdlib.h>
#include <time.h>

enum { EVENTS_A_TURN = 8 };
#define LOOK_NS 15000000L  /* between two looks of the stand-in at the first thread */
#define STUCK_NS 1000000L  /* of CPU that a thread has taken without an event */
#define SERVE_NS 5000000   /* that the stand-in waits for an event */

struct poller {
  calls *calls; /* borrowed */
  pthread_t first, stand_in;
  atomic_ulong rounds; /* of the first thread */
  pthread_mutex_t mu;
  pthread_cond_t cond;
  bool ending; /* guarded by mu */
};

/* ---- turns ---- */

/* The streams of one thread that have something to do, each once, in the order in which they came. */
typedef struct turns {
  tag *first, **end;
  int passed_over; /* other events since the last turn */
} turns;

static void add_turn(turns *waiting, tag *t, bool ok) {
  t->ok = ok;
  t->next = NULL;
  *waiting->end = t;
  waiting->end = &t->next;
}

static void run_turn(turns *waiting) {
  tag *t = waiting->first;
  waiting->passed_over = 0;
  if (!t) return;
  waiting->first = t->next;
  if (!t->next) waiting->end = &waiting->first;
  t->fn(t, t->ok);
}

/* gRPC looks at no socket as long as its queue holds an event; a queue that is always empty makes it look. */
static void look_at_sockets(calls *all) {
  grpc_completion_queue_next(all->looks, gpr_inf_past(GPR_CLOCK_REALTIME), NULL);
}

/* Takes one event, or waits for it until a time; while streams wait for their turns, it does not wait. A message that
 * goes out at once is an event too, so a stream sends its next message only in its turn, for which the queue must be
 * empty; or EVENTS_A_TURN other events have passed, lest unary calls keep the streams from it. False: the queue is shut
 * down, and so no call is open, and none waits for its turn. */
static bool take_event(calls *all, turns *waiting, gpr_timespec until) {
  if (waiting->first) until = gpr_inf_past(GPR_CLOCK_REALTIME);
  grpc_event event = grpc_completion_queue_next(all->queue, until, NULL);
  if (event.type == GRPC_QUEUE_SHUTDOWN) return false;
  tag *t = event.type == GRPC_OP_COMPLETE ? event.tag : NULL;
  if (t) TAG_TAKEN(t);
  if (t && t->takes_turns) add_turn(waiting, t, event.success);
  else if (t) t->fn(t, event.success);
  if (t && ++waiting->passed_over < EVENTS_A_TURN) return true;
  look_at_sockets(all);
  run_turn(waiting);
  return true;
}

/* ---- the threads ---- */

static void *run_first(void *ud) {
  poller *p = ud;
  turns waiting = {.end = &waiting.first};
  while (take_event(p->calls, &waiting, gpr_inf_future(GPR_CLOCK_REALTIME)))
    atomic_fetch_add_explicit(&p->rounds, 1, memory_order_relaxed);
  return NULL;
}

static int64_t cpu_ns(pthread_t thread) {
  clockid_t clock;
  struct timespec used = {0, 0};
  if (pthread_getcpuclockid(thread, &clock) == 0) clock_gettime(clock, &used);
  return used.tv_sec * INT64_C(1000000000) + used.tv_nsec;
}

/* Until the first thread has come back, which then takes all events, those of these streams too. */
static void serve(poller *p, unsigned long round) {
  turns waiting = {.end = &waiting.first};
  bool goes_on = true;
  while (goes_on && atomic_load_explicit(&p->rounds, memory_order_relaxed) == round)
    goes_on = take_event(p->calls, &waiting, gpr_time_add(gpr_now(GPR_CLOCK_REALTIME),
                                                          gpr_time_from_nanos(SERVE_NS, GPR_TIMESPAN)));
  while (waiting.first) run_turn(&waiting);
}

/* Waits for the next look. False: it is the end. */
static bool pause_watch(poller *p) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += LOOK_NS;
  if (until.tv_nsec >= 1000000000L) {
    until.tv_sec++;
    until.tv_nsec -= 1000000000L;
  }
  pthread_mutex_lock(&p->mu);
  if (!p->ending) pthread_cond_timedwait(&p->cond, &p->mu, &until);
  bool goes_on = !p->ending;
  pthread_mutex_unlock(&p->mu);
  return goes_on;
}

static void *run_stand_in(void *ud) {
  poller *p = ud;
  unsigned long round = 0;
  int64_t used_ns = 0;
  while (pause_watch(p)) {
    unsigned long now = atomic_load_explicit(&p->rounds, memory_order_relaxed);
    if (now != round) {
      round = now;
      used_ns = cpu_ns(p->first);
    } else if (cpu_ns(p->first) - used_ns >= STUCK_NS) {
      serve(p, round);
    }
  }
  return NULL;
}

/* ---- made from outside ---- */

static void destroy(poller *p) {
  pthread_cond_destroy(&p->cond);
  pthread_mutex_destroy(&p->mu);
  free(p);
}

poller *poller_start(calls *all) {
  poller *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  p->calls = all;
  pthread_mutex_init(&p->mu, NULL);
  pthread_cond_init(&p->cond, NULL);
  if (pthread_create(&p->first, NULL, run_first, p) != 0) {
    destroy(p);
    return NULL;
  }
  if (pthread_create(&p->stand_in, NULL, run_stand_in, p) != 0) p->stand_in = p->first;
  return p;
}

void poller_end(poller *p) {
  pthread_mutex_lock(&p->mu);
  p->ending = true;
  pthread_cond_signal(&p->cond);
  pthread_mutex_unlock(&p->mu);
  if (!pthread_equal(p->first, p->stand_in)) pthread_join(p->stand_in, NULL); /* which looks at the first */
  pthread_join(p->first, NULL);
  look_at_sockets(p->calls); /* learns that this queue is shut down, too */
  destroy(p);
}

void poller_drain(calls *all) {
  turns waiting = {.end = &waiting.first};
  while (take_event(all, &waiting, gpr_inf_future(GPR_CLOCK_REALTIME))) {}
  look_at_sockets(all);
}
