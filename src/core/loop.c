/* Owns a completion queue and drives it from one thread. Invariant: tags, timers and postings run inside
 * arvak_loop_step, _cancel_owned and _close, and nowhere else; and a step runs those alone that are there when its wait
 * is over, so that it returns, whatever they do.
 *
 * Waking: gRPC's C API has no alarm, and a thread inside completion_queue_next sleeps in a poll of gRPC's own. But
 * a batch without operations ends at once, on any call, in whatever thread it is started, and its event goes through
 * the call's queue: so a call on a lame channel, never really started, is our alarm.
 * SPDX-License-Identifier: Apache-2.0 */
#include "loop.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "compat.h"
#include "runtime.h"

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
  arvak__inbox_init(&loop->inbox);
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

/* Not under the inbox's mu: the thread that wakes up wants it at once, and would only go to sleep again. */
void arvak_loop_wake(arvak_loop *loop) {
  if (arvak__loop_is_foreign(loop)) return;
  if (atomic_load(&loop->bridge.is_running)) arvak__bridge_signal(&loop->bridge);
  if (atomic_load(&loop->bridge.is_running)) return; /* else the bridge was just ended, and nobody may have seen that */
  if (atomic_exchange(&loop->is_waking, true)) return;
  grpc_call_start_batch(loop->wake_call, NULL, 0, &loop->wake_tag, NULL);
}

bool arvak__loop_is_foreign(const arvak_loop *loop) { return loop->fork_generation != arvak__fork_generation(); }

int64_t arvak__loop_begin(arvak_loop *loop) { return loop->now_ns = arvak_now_ns(); }

/* ---- members ---- */

void arvak__loop_join(arvak_loop *loop, arvak__member *member) {
  arvak__list_append(&loop->members, &member->link);
  loop->member_count++;
}

void arvak__loop_leave(arvak_loop *loop, arvak__member *member) {
  arvak__list_remove(&loop->members, &member->link);
  loop->member_count--;
  loop->last_end_ns = loop->now_ns;
}

/* ---- what there is to do ---- */

void arvak__loop_post(arvak_loop *loop, arvak__posting *posting) {
  if (arvak__inbox_put(&loop->inbox, posting) && loop != stepping) arvak_loop_wake(loop);
}

/* Whether a step would find something to do without waiting. */
static bool has_work(const arvak_loop *loop) {
  return loop->asking.first || loop->bridge.taken || atomic_load(&loop->inbox.size) > 0 ||
         (loop->bridge.thread && arvak__bridge_is_resting(&loop->bridge));
}

int64_t arvak_loop_due_ns(const arvak_loop *loop) {
  return has_work(loop) ? 0 : arvak__timers_next(&loop->timers);
}

/* Those that are there now. Any of them may fork. */
static int run_inbox(arvak_loop *loop) {
  int ran = 0;
  for (size_t left = atomic_load(&loop->inbox.size); left > 0 && !arvak__loop_is_foreign(loop); left--, ran++) {
    arvak__posting *posting = arvak__inbox_take(&loop->inbox);
    if (!posting) break;
    posting->fn(posting);
  }
  return ran;
}

/* Those that are due now: what is set meanwhile is due later than now (arvak_loop_set_timer). */
static int run_timers(arvak_loop *loop) {
  int ran = 0;
  int64_t now = loop->now_ns;
  for (; arvak__timers_next(&loop->timers) <= now && !arvak__loop_is_foreign(loop); ran++) {
    arvak_timer *timer = arvak__timers_pop(&loop->timers, now);
    timer->fn(timer, timer->ud);
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
  for (arvak__tag *tag; !arvak__loop_is_foreign(loop) && (tag = bridge->taken); ran++) {
    bridge->taken = tag->next;
    if (!bridge->taken) bridge->taken_end = &bridge->taken;
    run_tag(loop, tag, tag->success);
  }
  return ran;
}

/* Waits for an event, begins, and deals with it; over a bridge with all that are there. Returns how many. */
static int run_events(arvak_loop *loop, int64_t until_ns) {
  arvak__bridge *bridge = &loop->bridge;
  bool is_bridged = bridge->thread || bridge->taken;
  grpc_event event = {.type = GRPC_QUEUE_TIMEOUT};
  if (bridge->thread) arvak__bridge_take(bridge, bridge->taken ? 0 : until_ns);
  else if (!is_bridged) event = grpc_completion_queue_next(loop->cq.grpc, grpc_compat_timespec(until_ns), NULL);
  arvak__loop_begin(loop);
  if (is_bridged) return run_taken(loop);
  if (event.type != GRPC_OP_COMPLETE) return 0;
  run_tag(loop, event.tag, event.success != 0);
  return 1;
}

/* A wake that comes meanwhile is for the next step. */
void arvak__loop_catch_up(arvak_loop *loop, int connections) {
  if (loop->bridge.thread) { /* which polls */
    arvak__bridge_arm(&loop->bridge);
    return;
  }
  bool was_woken = atomic_load(&loop->is_waking);
  gpr_timespec at_once = grpc_compat_timespec(0);
  for (int i = 0; i < ROUNDS_FOR_A_CONNECTION * connections; i++) {
    grpc_event event = grpc_completion_queue_next(loop->cq.grpc, at_once, NULL);
    if (event.type != GRPC_OP_COMPLETE) continue;
    run_tag(loop, event.tag, event.success != 0);
    was_woken |= event.tag == &loop->wake_tag;
  }
  if (was_woken) arvak_loop_wake(loop);
}

int arvak_loop_step(arvak_loop *loop, int64_t until_ns) {
  if (arvak__loop_is_foreign(loop)) return ARVAK_EFORKED;
  arvak_loop *outer = stepping;
  bool was_driven = atomic_exchange(&loop->is_driven, true);
  stepping = loop;
  int64_t due = arvak_loop_due_ns(loop);
  int ran = run_events(loop, due < until_ns ? due : until_ns);
  ran += run_inbox(loop);
  ran += run_timers(loop);
  stepping = outer;
  atomic_store(&loop->is_driven, was_driven);
  if (arvak__loop_is_foreign(loop)) return ARVAK_EFORKED;
  /* What the step leaves undone was posted without a wake. Whoever waits on the descriptor is told of it; the next step
   * looks by itself before it waits. */
  if (loop->bridge.thread && has_work(loop)) arvak__bridge_signal(&loop->bridge);
  return ran;
}

int64_t arvak_loop_now_ns(const arvak_loop *loop) { return loop->now_ns; }

void arvak_loop_pause(arvak_loop *loop) {
  if (!arvak__loop_is_foreign(loop) && loop->bridge.thread) arvak__bridge_arm(&loop->bridge);
}

size_t arvak_loop_call_count(const arvak_loop *loop) { return loop->member_count; }

/* One that is set anew from its own function, for a time that has passed, is due in the next step. */
int arvak_loop_set_timer(arvak_loop *loop, arvak_timer *timer, int64_t deadline_ns) {
  return arvak__timers_set(&loop->timers, timer, deadline_ns > loop->now_ns ? deadline_ns : loop->now_ns + 1);
}

void arvak_loop_stop_timer(arvak_loop *loop, arvak_timer *timer) { arvak__timers_stop(&loop->timers, timer); }

static size_t cancel_members(arvak_loop *loop, const void *owner, arvak_kind kind) {
  size_t count = 0;
  for (arvak__link *link = loop->members.first; link; link = link->next) {
    arvak__member *member = (arvak__member *)link;
    if (member->owner == owner) count += member->cancel(member, kind);
  }
  return count;
}

void arvak_loop_leave_owned(arvak_loop *loop, const void *owner, arvak_kind kind) {
  if (!arvak__loop_is_foreign(loop)) cancel_members(loop, owner, kind);
}

/* A canceled call ends at once, and its end is one event or posting: no reason to keep its connection until the next
 * step. Over a bridge the events take a moment. A step that brings many ends stands for as many: one costs up to 40 us
 * where other threads of the process wait in gRPC, and ten thousand calls that waited for slots end in one. */
void arvak_loop_cancel_owned(arvak_loop *loop, const void *owner, arvak_kind kind) {
  if (arvak__loop_is_foreign(loop)) return; /* the calls are the parent's */
  for (size_t count = cancel_members(loop, owner, kind); count > 0;) {
    int ran = arvak_loop_step(loop, loop->bridge.thread ? arvak_now_ns() + CANCEL_NS : 0);
    if (ran <= 0 && loop->bridge.thread) return;
    size_t ends = ran > 1 ? (size_t)ran : 1;
    count -= ends < count ? ends : count;
  }
}

/* ---- in another event loop ---- */

/* A wake that was given to the descriptor only, a moment ago, shall not be lost. */
static void stop_bridge(arvak_loop *loop) {
  arvak__bridge_stop(&loop->bridge);
  arvak_loop_wake(loop);
}

int arvak_loop_open_fd(arvak_loop *loop) {
  if (arvak__loop_is_foreign(loop)) return ARVAK_EFORKED;
  if (loop->fd_users == 0) {
    int status = arvak__bridge_start(&loop->bridge);
    if (status != ARVAK_OK) return status;
    arvak__bridge_signal(&loop->bridge); /* what happened before */
  }
  loop->fd_users++;
  return loop->bridge.event_fd;
}

void arvak_loop_close_fd(arvak_loop *loop) {
  if (--loop->fd_users == 0 && !arvak__loop_is_foreign(loop)) stop_bridge(loop);
}

/* ---- the end ---- */

static void cancel_all(arvak_loop *loop) {
  for (arvak__link *link = loop->members.first; link; link = link->next) {
    arvak__member *member = (arvak__member *)link;
    member->cancel(member, ARVAK_KIND_CLOSED);
  }
}

/* Until nothing is under way. An end may fork; then the rest is the parent's. */
static void drain(arvak_loop *loop) {
  while ((loop->member_count > 0 || loop->cq.pending_tags > 0) && !arvak__loop_is_foreign(loop)) {
    run_inbox(loop);
    if (atomic_load(&loop->inbox.size) > 0) continue;
    if (loop->member_count > 0 || loop->cq.pending_tags > 0) run_events(loop, ARVAK_NEVER);
  }
}

static void end_all(arvak_loop *loop) {
  arvak_loop *outer = stepping;
  stepping = loop;
  loop->cq.closed = true;
  if (loop->bridge.thread) stop_bridge(loop);
  cancel_all(loop);
  drain(loop);
  stepping = outer;
}

static void free_grpc_parts(arvak_loop *loop) {
  grpc_call_unref(loop->wake_call);
  grpc_channel_destroy(loop->wake_channel);
  grpc_completion_queue_shutdown(loop->cq.grpc);
  gpr_timespec never = grpc_compat_timespec(ARVAK_NEVER);
  while (grpc_completion_queue_next(loop->cq.grpc, never, NULL).type != GRPC_QUEUE_SHUTDOWN) {}
  grpc_completion_queue_destroy(loop->cq.grpc);
  arvak__grpc_unref();
}

void arvak_loop_close(arvak_loop *loop) {
  if (!arvak__loop_is_foreign(loop)) end_all(loop);
  if (!arvak__loop_is_foreign(loop)) free_grpc_parts(loop);
  arvak__bridge_fini(&loop->bridge);
  arvak__timers_fini(&loop->timers);
  arvak__inbox_fini(&loop->inbox);
  free(loop);
}
