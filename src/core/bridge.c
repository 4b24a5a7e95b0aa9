/* The bridge: a thread that waits inside gRPC in the place of a loop's owner, who waits on a descriptor in somebody
 * else's event loop instead. It runs no callback; it only moves events, and only one at a time: as long as the owner
 * finds events he takes them from gRPC himself, which costs half as much, and the thread rests. Invariant: the
 * descriptor is readable, or the thread waits for events, or the owner is at work.
 *
 *   state     the thread                     ARM       an event comes             STOP
 *   RESTING   waits for mu's condition       WAITING   -                          STOPPING
 *   WAITING   waits inside gRPC              -         moved, signaled: RESTING   STOPPING
 *   STOPPING  moves what comes until its own event, and ends
 * SPDX-License-Identifier: Apache-2.0 */
#include "bridge.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "arvak.h"
#include "clock.h"

typedef enum thread_state { RESTING, WAITING, STOPPING } thread_state;

/* What the owner takes from gRPC at a time: what else the host does has its turn in between. */
enum { MOST_TAKEN = 16 };

struct arvak__bridge_thread {
  arvak__bridge *bridge; /* borrowed; outlives the thread */
  pthread_t id;
  arvak__tag stop_tag; /* an empty batch with it ends the thread */
  pthread_mutex_t mu;
  pthread_cond_t changed; /* of state */
  _Atomic thread_state state; /* written under mu */
  arvak__tag_link arrived, *arrived_end; /* mu: in the order in which they came */
};

void arvak__bridge_init(arvak__bridge *bridge, grpc_completion_queue *cq, grpc_call *wake_call) {
  bridge->cq = cq;
  bridge->wake_call = wake_call;
  bridge->event_fd = -1;
  bridge->taken_end = &bridge->taken;
}

void arvak__bridge_fini(arvak__bridge *bridge) {
  free(bridge->thread);
  if (bridge->event_fd >= 0) close(bridge->event_fd);
}

static void append(arvak__bridge_thread *thread, arvak__tag *tag, bool success) {
  tag->next = NULL;
  tag->success = success;
  pthread_mutex_lock(&thread->mu);
  *thread->arrived_end = tag;
  thread->arrived_end = &tag->next;
  if (thread->state == WAITING) thread->state = RESTING;
  pthread_mutex_unlock(&thread->mu);
}

static void rest(arvak__bridge_thread *thread) {
  pthread_mutex_lock(&thread->mu);
  while (thread->state == RESTING) pthread_cond_wait(&thread->changed, &thread->mu);
  pthread_mutex_unlock(&thread->mu);
}

/* The signal not under mu: the owner, once awake, wants it at once. */
static void *run(void *ud) {
  arvak__bridge_thread *thread = ud;
  for (;;) {
    rest(thread);
    grpc_event event = grpc_completion_queue_next(thread->bridge->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    if (event.tag == &thread->stop_tag) return NULL;
    append(thread, event.tag, event.success != 0);
    arvak__bridge_signal(thread->bridge);
  }
}

/* Signals are the host's, and belong into its own threads. */
static int start_thread(arvak__bridge_thread *thread) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int status = pthread_create(&thread->id, NULL, run, thread);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return status == 0 ? ARVAK_OK : ARVAK_ELIMIT;
}

static void free_thread(arvak__bridge_thread *thread) {
  pthread_cond_destroy(&thread->changed);
  pthread_mutex_destroy(&thread->mu);
  free(thread);
}

int arvak__bridge_start(arvak__bridge *bridge) {
  if (bridge->event_fd < 0) bridge->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (bridge->event_fd < 0) return ARVAK_ELIMIT;
  arvak__bridge_thread *thread = calloc(1, sizeof *thread);
  if (!thread) return ARVAK_ENOMEM;
  thread->bridge = bridge;
  thread->state = WAITING;
  thread->arrived_end = &thread->arrived;
  pthread_mutex_init(&thread->mu, NULL);
  pthread_cond_init(&thread->changed, NULL);
  int status = start_thread(thread);
  if (status != ARVAK_OK) {
    free_thread(thread);
    return status;
  }
  bridge->thread = thread;
  atomic_store(&bridge->is_running, true);
  return ARVAK_OK;
}

bool arvak__bridge_is_resting(const arvak__bridge *bridge) {
  return atomic_load(&bridge->thread->state) == RESTING;
}

static void set_state(arvak__bridge_thread *thread, thread_state state) {
  pthread_mutex_lock(&thread->mu);
  if (thread->state == RESTING) pthread_cond_signal(&thread->changed);
  thread->state = state;
  pthread_mutex_unlock(&thread->mu);
}

void arvak__bridge_arm(arvak__bridge *bridge) {
  if (arvak__bridge_is_resting(bridge)) set_state(bridge->thread, WAITING);
}

/* Moves what has arrived behind what the owner has taken before. */
static void take(arvak__bridge *bridge) {
  arvak__bridge_thread *thread = bridge->thread;
  pthread_mutex_lock(&thread->mu);
  if (thread->arrived) {
    *bridge->taken_end = thread->arrived;
    bridge->taken_end = thread->arrived_end;
    thread->arrived = NULL;
    thread->arrived_end = &thread->arrived;
  }
  pthread_mutex_unlock(&thread->mu);
}

void arvak__bridge_stop(arvak__bridge *bridge) {
  arvak__bridge_thread *thread = bridge->thread;
  set_state(thread, STOPPING);
  grpc_call_start_batch(bridge->wake_call, NULL, 0, &thread->stop_tag, NULL);
  pthread_join(thread->id, NULL);
  take(bridge);
  bridge->thread = NULL;
  atomic_store(&bridge->is_running, false);
  free_thread(thread);
}

void arvak__bridge_signal(arvak__bridge *bridge) {
  if (atomic_exchange(&bridge->is_signaled, true)) return;
  uint64_t one = 1;
  while (write(bridge->event_fd, &one, sizeof one) < 0 && errno == EINTR) {}
}

static void wait_readable(int fd, int64_t until_ns) {
  struct pollfd item = {.fd = fd, .events = POLLIN};
  int64_t left = arvak__until_ns(until_ns, arvak_now_ns());
  if (left <= 0) return;
  struct timespec timeout = {left / 1000000000, left % 1000000000};
  ppoll(&item, 1, left == ARVAK_NEVER ? NULL : &timeout, NULL);
}

/* First the descriptor, then the flag, then the list: whoever appends after the flag is down writes again. */
static bool collect(arvak__bridge *bridge) {
  uint64_t count;
  ssize_t size;
  while ((size = read(bridge->event_fd, &count, sizeof count)) < 0 && errno == EINTR) {}
  atomic_store(&bridge->is_signaled, false);
  take(bridge);
  return size > 0;
}

/* From gRPC itself, without waiting. */
static void collect_more(arvak__bridge *bridge) {
  for (int i = 0; i < MOST_TAKEN; i++) {
    grpc_event event = grpc_completion_queue_next(bridge->cq, gpr_time_0(GPR_CLOCK_MONOTONIC), NULL);
    if (event.type != GRPC_OP_COMPLETE) return;
    arvak__tag *tag = event.tag;
    tag->next = NULL;
    tag->success = event.success != 0;
    *bridge->taken_end = tag;
    bridge->taken_end = &tag->next;
  }
}

void arvak__bridge_take(arvak__bridge *bridge, int64_t until_ns) {
  bool was_signaled = collect(bridge);
  collect_more(bridge);
  if (bridge->taken) return;
  arvak__bridge_arm(bridge);
  if (was_signaled) return;
  wait_readable(bridge->event_fd, until_ns);
  collect(bridge);
}
