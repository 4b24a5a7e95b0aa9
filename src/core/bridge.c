/* The bridge: a thread that waits inside gRPC in the place of a loop's owner, who waits on a descriptor in somebody
 * else's event loop instead. It runs no callback; it only moves events. Invariant: the descriptor is readable, or about
 * to be, whenever an event has arrived that the owner has not taken.
 * SPDX-License-Identifier: Apache-2.0 */
#include "bridge.h"

#include <errno.h>
#include <grpc/grpc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "loop.h"

struct arvak__bridge {
  arvak_loop *loop; /* borrowed; outlives the bridge */
  pthread_t thread;
  arvak__tag stop_tag; /* an empty batch with it ends the thread */
  pthread_mutex_t mu;
  arvak__tag_link arrived, *arrived_end; /* mu: in the order in which they came */
};

static void append(arvak__bridge *bridge, arvak__tag *tag, bool success) {
  tag->next = NULL;
  tag->success = success;
  pthread_mutex_lock(&bridge->mu);
  *bridge->arrived_end = tag;
  bridge->arrived_end = &tag->next;
  pthread_mutex_unlock(&bridge->mu);
}

/* Not under mu: the owner, once awake, wants it at once. */
static void *run(void *ud) {
  arvak__bridge *bridge = ud;
  for (;;) {
    grpc_event event = grpc_completion_queue_next(bridge->loop->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    if (event.tag == &bridge->stop_tag) return NULL;
    append(bridge, event.tag, event.success != 0);
    arvak__bridge_signal(bridge->loop);
  }
}

/* Signals are the host's, and belong into its own threads. */
static int start_thread(arvak__bridge *bridge) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int status = pthread_create(&bridge->thread, NULL, run, bridge);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return status == 0 ? ARVAK_OK : ARVAK_ELIMIT;
}

int arvak__bridge_start(arvak_loop *loop) {
  if (loop->event_fd < 0) loop->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (loop->event_fd < 0) return ARVAK_ELIMIT;
  arvak__bridge *bridge = calloc(1, sizeof *bridge);
  if (!bridge) return ARVAK_ENOMEM;
  bridge->loop = loop;
  bridge->arrived_end = &bridge->arrived;
  pthread_mutex_init(&bridge->mu, NULL);
  int status = start_thread(bridge);
  if (status != ARVAK_OK) {
    pthread_mutex_destroy(&bridge->mu);
    free(bridge);
    return status;
  }
  loop->bridge = bridge;
  atomic_store(&loop->is_bridged, true);
  return ARVAK_OK;
}

/* Moves what has arrived behind what the owner has taken before. */
static void take(arvak_loop *loop) {
  arvak__bridge *bridge = loop->bridge;
  pthread_mutex_lock(&bridge->mu);
  if (bridge->arrived) {
    *loop->taken_end = bridge->arrived;
    loop->taken_end = bridge->arrived_end;
    bridge->arrived = NULL;
    bridge->arrived_end = &bridge->arrived;
  }
  pthread_mutex_unlock(&bridge->mu);
}

void arvak__bridge_stop(arvak_loop *loop) {
  arvak__bridge *bridge = loop->bridge;
  grpc_call_start_batch(loop->wake_call, NULL, 0, &bridge->stop_tag, NULL);
  pthread_join(bridge->thread, NULL);
  take(loop);
  loop->bridge = NULL;
  atomic_store(&loop->is_bridged, false);
  pthread_mutex_destroy(&bridge->mu);
  free(bridge);
  /* A wake that was given to the descriptor only, a moment ago, shall not be lost. */
  arvak_loop_wake(loop);
}

void arvak__bridge_abandon(arvak_loop *loop) {
  free(loop->bridge);
  loop->bridge = NULL;
}

void arvak__bridge_signal(arvak_loop *loop) {
  if (atomic_exchange(&loop->is_signaled, true)) return;
  uint64_t one = 1;
  while (write(loop->event_fd, &one, sizeof one) < 0 && errno == EINTR) {}
}

static void wait_readable(int fd, int64_t until_ns) {
  struct pollfd item = {.fd = fd, .events = POLLIN};
  int64_t left = until_ns == ARVAK_NEVER ? 0 : until_ns - arvak_now_ns();
  if (until_ns != ARVAK_NEVER && left <= 0) return;
  struct timespec timeout = {left / 1000000000, left % 1000000000};
  ppoll(&item, 1, until_ns == ARVAK_NEVER ? NULL : &timeout, NULL);
}

/* First the descriptor, then the flag, then the list: whoever appends after the flag is down writes again. */
void arvak__bridge_take(arvak_loop *loop, int64_t until_ns) {
  wait_readable(loop->event_fd, until_ns);
  uint64_t count;
  while (read(loop->event_fd, &count, sizeof count) < 0 && errno == EINTR) {}
  atomic_store(&loop->is_signaled, false);
  take(loop);
}
