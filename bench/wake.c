/* What it costs to wake a thread that sleeps in completion_queue_next: our wake (an empty batch on a call that is
 * never started), beside the other way that gRPC's C API offers (a state watch with a deadline in the past), and
 * beside an eventfd, which is the floor. Round trips between two threads, medians of interleaved runs.
 * SPDX-License-Identifier: Apache-2.0 */
#include <grpc/grpc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "arvak.h"
#include "compat.h"

enum { TRIPS = 20000, RUNS = 5 };

typedef struct side {
  arvak_loop *loop;
  grpc_completion_queue *cq;
  grpc_channel *channel;
  int fd;
} side;

typedef struct way {
  const char *name;
  void (*wake)(side *s);
  void (*sleep)(side *s);
} way;

static void wake_loop(side *s) { arvak_loop_wake(s->loop); }
static void sleep_loop(side *s) { arvak_loop_step(s->loop, ARVAK_NEVER); }

static void wake_watch(side *s) {
  grpc_channel_watch_connectivity_state(s->channel, GRPC_CHANNEL_IDLE, gpr_time_0(GPR_CLOCK_MONOTONIC), s->cq, s);
}
static void sleep_watch(side *s) {
  grpc_completion_queue_next(s->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
}

static void wake_eventfd(side *s) {
  uint64_t one = 1;
  if (write(s->fd, &one, sizeof one) < 0) abort();
}
static void sleep_eventfd(side *s) {
  uint64_t count;
  if (read(s->fd, &count, sizeof count) < 0) abort();
}

static const way ways[] = {{"arvak_loop_wake (empty batch)", wake_loop, sleep_loop},
                           {"watch_connectivity_state", wake_watch, sleep_watch},
                           {"eventfd, no gRPC", wake_eventfd, sleep_eventfd}};

typedef struct match {
  const way *way;
  side sides[2];
} match;

static void *answer(void *ud) {
  match *m = ud;
  for (int i = 0; i < TRIPS; i++) {
    m->way->sleep(&m->sides[1]);
    m->way->wake(&m->sides[0]);
  }
  return NULL;
}

static void open_side(side *s) {
  grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
  if (arvak_loop_new(&s->loop) != ARVAK_OK) abort();
  s->cq = grpc_completion_queue_create_for_next(NULL);
  s->channel = grpc_channel_create("ipv4:///127.0.0.1:1", credentials, NULL);
  grpc_channel_credentials_release(credentials);
  s->fd = eventfd(0, 0);
}

static double run(match *m, const way *w) {
  m->way = w;
  pthread_t thread;
  pthread_create(&thread, NULL, answer, m);
  int64_t start = arvak_now_ns();
  for (int i = 0; i < TRIPS; i++) {
    w->wake(&m->sides[1]);
    w->sleep(&m->sides[0]);
  }
  int64_t took = arvak_now_ns() - start;
  pthread_join(thread, NULL);
  return (double)took / TRIPS / 2 / 1000;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

int main(void) {
  match m;
  grpc_init();
  open_side(&m.sides[0]);
  open_side(&m.sides[1]);
  double times[3][RUNS];
  for (int r = 0; r < RUNS; r++)
    for (int w = 0; w < 3; w++) times[w][r] = run(&m, &ways[w]);
  for (int w = 0; w < 3; w++) {
    qsort(times[w], RUNS, sizeof(double), by_size);
    printf("%-32s %6.2f us a wake (%.2f to %.2f)\n", ways[w].name, times[w][RUNS / 2], times[w][0], times[w][RUNS - 1]);
  }
  return 0;
}
