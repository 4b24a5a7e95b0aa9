/* Owns a completion queue and drives it from one thread. Invariant: ends of calls and changes of streams are told
 * inside arvak_loop_step, _cancel_owned and _close, and nowhere else.
 *
 * Waking: gRPC's C API has no alarm, and a thread inside completion_queue_next sleeps in a poll of gRPC's own. But
 * a batch without operations ends at once, on any call, in whatever thread it is started, and its event goes through
 * the call's queue: so a call on a lame channel, never really started, is our alarm.
 * SPDX-License-Identifier: Apache-2.0 */
#include "loop.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "compat.h"
#include "pool.h"
#include "runtime.h"
#include "stream.h"

/* The loop that this thread is stepping: what it does to that loop needs no wake. */
static _Thread_local arvak_loop *stepping;

/* A poll of gRPC's deals with one ready descriptor, and a connection that ends has up to three things to say. */
enum { ROUNDS_FOR_A_CONNECTION = 3 };

/* What the end of a canceled call may take to come over a bridge. */
#define CANCEL_NS 1000000

static void on_wake(arvak__tag *tag, bool success) {
  (void)success;
  arvak_loop *loop = (arvak_loop *)((char *)tag - offsetof(arvak_loop, wake_tag));
  atomic_store(&loop->is_waking, false);
}

int arvak_loop_new(arvak_loop **out) {
  arvak_loop *loop = calloc(1, sizeof *loop);
  if (!loop) return ARVAK_ENOMEM;
  if (!arvak__grpc_ref()) {
    free(loop);
    return ARVAK_EFORKED;
  }
  pthread_mutex_init(&loop->mu, NULL);
  loop->inbox_end = &loop->inbox;
  loop->fork_generation = arvak__fork_generation();
  loop->wake_tag.fn = on_wake;
  loop->cq.grpc = grpc_completion_queue_create_for_next(NULL);
  loop->wake_channel = grpc_lame_client_channel_create("wake", GRPC_STATUS_UNAVAILABLE, "not a channel");
  loop->wake_call = grpc_channel_create_call(loop->wake_channel, NULL, 0, loop->cq.grpc,
                                             grpc_slice_from_static_string("/"), NULL,
                                             gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
  arvak__bridge_init(&loop->bridge, loop->cq.grpc, loop->wake_call);
  *out = loop;
  return ARVAK_OK;
}

/* Not under mu: the thread that wakes up wants it at once, and would only go to sleep again. */
void arvak_loop_wake(arvak_loop *loop) {
  if (atomic_load(&loop->bridge.is_running)) arvak__bridge_signal(&loop->bridge);
  if (atomic_load(&loop->bridge.is_running)) return; /* else the bridge was just ended, and nobody may have seen that */
  if (atomic_exchange(&loop->is_waking, true)) return;
  grpc_call_start_batch(loop->wake_call, NULL, 0, &loop->wake_tag, NULL);
}

void arvak__loop_post(arvak_loop *loop, arvak_call *call) {
  pthread_mutex_lock(&loop->mu);
  bool is_new = !call->posted;
  if (is_new) {
    call->posted = true;
    arvak__call_ref(call);
    call->inbox_next = NULL;
    *loop->inbox_end = call;
    loop->inbox_end = &call->inbox_next;
  }
  pthread_mutex_unlock(&loop->mu);
  if (is_new && loop != stepping) arvak_loop_wake(loop);
}

/* Whether a step would find something to do without waiting. The lock is only about other threads' postings. */
static bool has_work(const arvak_loop *loop) {
  if (loop->asking || loop->bridge.taken) return true;
  pthread_mutex_t *mu = (pthread_mutex_t *)&loop->mu;
  pthread_mutex_lock(mu);
  bool has_postings = loop->inbox != NULL;
  pthread_mutex_unlock(mu);
  return has_postings;
}

/* What a step leaves undone was posted without a wake. Whoever waits on the descriptor is told of it; the next step
 * looks by itself before it waits. */
static void tell_rest(arvak_loop *loop) {
  if (loop->bridge.thread && has_work(loop)) arvak__bridge_signal(&loop->bridge);
}

static arvak_call *pop_inbox(arvak_loop *loop) {
  pthread_mutex_lock(&loop->mu);
  arvak_call *call = loop->inbox;
  if (call) {
    loop->inbox = call->inbox_next;
    if (!loop->inbox) loop->inbox_end = &loop->inbox;
    call->posted = false;
  }
  pthread_mutex_unlock(&loop->mu);
  return call;
}

/* Until it is empty; every call is posted a bounded number of times. */
static int run_inbox(arvak_loop *loop) {
  int ran = 0;
  arvak_call *call;
  while ((call = pop_inbox(loop))) {
    arvak__call_advance(call);
    arvak__call_unref(call);
    ran++;
  }
  return ran;
}

static int run_timers(arvak_loop *loop) {
  if (loop->timers.size == 0) return 0;
  int ran = 0;
  int64_t now = arvak_now_ns();
  arvak_timer *timer;
  while ((timer = arvak__timers_pop(&loop->timers, now))) {
    timer->fn(timer, timer->ud);
    ran++;
  }
  return ran;
}

static void run_tag(arvak_loop *loop, arvak__tag *tag, bool success) {
  if (tag != &loop->wake_tag) loop->cq.pending_tags--;
  tag->fn(tag, success);
}

/* All that has come over the bridge. A tag may be used again, or freed, by its own function. */
static int run_taken(arvak_loop *loop) {
  int ran = 0;
  arvak__bridge *bridge = &loop->bridge;
  for (arvak__tag *tag; (tag = bridge->taken); ran++) {
    bridge->taken = tag->next;
    if (!bridge->taken) bridge->taken_end = &bridge->taken;
    run_tag(loop, tag, tag->success);
  }
  return ran;
}

/* Waits for an event and deals with it; over a bridge with all that are there. Returns how many. */
static int run_events(arvak_loop *loop, int64_t until_ns) {
  arvak__bridge *bridge = &loop->bridge;
  if (bridge->thread) arvak__bridge_take(bridge, bridge->taken ? 0 : until_ns);
  if (bridge->thread || bridge->taken) return run_taken(loop);
  grpc_event event = grpc_completion_queue_next(loop->cq.grpc, grpc_compat_timespec(until_ns), NULL);
  if (event.type != GRPC_OP_COMPLETE) return 0;
  run_tag(loop, event.tag, event.success != 0);
  return 1;
}

void arvak__loop_catch_up(arvak_loop *loop, int connections) {
  if (loop->bridge.thread) return; /* its thread polls all the time */
  arvak_loop *outer = stepping;
  stepping = loop;
  bool was_woken = atomic_load(&loop->is_waking);
  for (int i = 0; i < ROUNDS_FOR_A_CONNECTION * connections; i++) run_events(loop, 0);
  stepping = outer;
  if (was_woken) arvak_loop_wake(loop); /* it is the next step that was to end early */
}

int arvak_loop_step(arvak_loop *loop, int64_t until_ns) {
  if (loop->fork_generation != arvak__fork_generation()) return ARVAK_EFORKED;
  arvak_loop *outer = stepping;
  stepping = loop;
  int ran = run_inbox(loop) + run_timers(loop);
  int64_t due = ran > 0 ? 0 : arvak_loop_due_ns(loop);
  ran += run_events(loop, due < until_ns ? due : until_ns);
  ran += run_inbox(loop) + run_timers(loop);
  stepping = outer;
  tell_rest(loop);
  return ran;
}

size_t arvak_loop_call_count(const arvak_loop *loop) { return loop->call_count; }

int arvak_loop_set_timer(arvak_loop *loop, arvak_timer *timer, int64_t deadline_ns) {
  return arvak__timers_set(&loop->timers, timer, deadline_ns);
}

void arvak_loop_stop_timer(arvak_loop *loop, arvak_timer *timer) { arvak__timers_stop(&loop->timers, timer); }

void arvak_loop_cancel_owned(arvak_loop *loop, const void *owner, arvak_kind kind) {
  if (loop->fork_generation != arvak__fork_generation()) return; /* the calls are the parent's */
  size_t count = arvak__streams_cancel(loop, owner, kind);
  for (arvak_call *call = loop->calls; call; call = call->next) {
    if (call->owner != owner) continue;
    arvak_call_cancel(call, kind);
    count++;
  }
  /* A canceled call ends at once, and its end is one event: no reason to keep its connection until the next step. Over
   * a bridge the events take a moment. */
  for (; count > 0; count--)
    if (arvak_loop_step(loop, loop->bridge.thread ? arvak_now_ns() + CANCEL_NS : 0) == 0 && loop->bridge.thread) break;
}

/* ---- in another event loop ---- */

/* A wake that was given to the descriptor only, a moment ago, shall not be lost. */
static void stop_bridge(arvak_loop *loop) {
  arvak__bridge_stop(&loop->bridge);
  arvak_loop_wake(loop);
}

int arvak_loop_open_fd(arvak_loop *loop) {
  if (loop->fork_generation != arvak__fork_generation()) return ARVAK_EFORKED;
  if (loop->fd_users == 0) {
    int status = arvak__bridge_start(&loop->bridge);
    if (status != ARVAK_OK) return status;
    arvak__bridge_signal(&loop->bridge); /* what happened before */
  }
  loop->fd_users++;
  return loop->bridge.event_fd;
}

void arvak_loop_close_fd(arvak_loop *loop) {
  if (--loop->fd_users == 0 && loop->fork_generation == arvak__fork_generation()) stop_bridge(loop);
}

int64_t arvak_loop_due_ns(const arvak_loop *loop) {
  return has_work(loop) ? 0 : arvak__timers_next(&loop->timers);
}

bool arvak_client_connect(arvak_client *client, arvak_loop *loop) { return arvak__pool_connect(client, &loop->cq); }

/* ---- the end ---- */

static void drain(arvak_loop *loop) {
  while (loop->call_count > 0 || loop->cq.pending_tags > 0) {
    run_inbox(loop);
    if (loop->call_count > 0 || loop->cq.pending_tags > 0) run_events(loop, ARVAK_NEVER);
  }
  run_inbox(loop); /* of calls that ended while they were in it */
}

void arvak_loop_close(arvak_loop *loop) {
  bool forked = loop->fork_generation != arvak__fork_generation();
  if (!forked) {
    arvak_loop *outer = stepping;
    stepping = loop;
    loop->cq.closed = true;
    if (loop->bridge.thread) stop_bridge(loop);
    for (arvak_call *call = loop->calls; call; call = call->next) arvak_call_cancel(call, ARVAK_KIND_CLOSED);
    arvak__streams_cancel(loop, NULL, ARVAK_KIND_CLOSED);
    drain(loop);
    stepping = outer;
    grpc_call_unref(loop->wake_call);
    grpc_channel_destroy(loop->wake_channel);
    grpc_completion_queue_shutdown(loop->cq.grpc);
    gpr_timespec never = grpc_compat_timespec(ARVAK_NEVER);
    while (grpc_completion_queue_next(loop->cq.grpc, never, NULL).type != GRPC_QUEUE_SHUTDOWN) {}
    grpc_completion_queue_destroy(loop->cq.grpc);
    arvak__grpc_unref();
  }
  arvak__bridge_fini(&loop->bridge);
  arvak__timers_fini(&loop->timers);
  pthread_mutex_destroy(&loop->mu);
  free(loop);
}
