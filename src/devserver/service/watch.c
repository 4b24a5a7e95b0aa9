/* See watch.h. Invariant: from watch_run on there is one tick ahead, which holds a reference to the call, until an
 * update ends the stream or a tick finds it closed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "watch.h"

#include <stdlib.h>
#include <string.h>

#include "arvak.pb-c.h"
#include "context.h"
#include "rpc/answer.h"
#include "rpc/stream.h"
#include "rpc/wire.h"
#include "submit.h"

enum { STALE_UPDATES_MAX = 16 };

static const uint64_t watch_limit_us = UINT64_C(3600) * 1000000;

typedef struct watch {
  call *owner; /* its reference is the tick's */
  timer tick;
  uint64_t started_us, due_us;
  size_t id_length; /* of the requested id, however long; what does not fit is no job's */
  char id[128];
} watch;

static void tick(timer *t, bool fired);

/* False: that was the last one. */
static bool update(watch *w) {
  call *c = w->owner;
  job_view view;
  job *j = jobs_get(context_of(c)->store, w->id, w->id_length, &view);
  if (!j) {
    stream_flush(c); /* the reference opens the stream before it looks */
    stream_end(c, GRPC_STATUS_INTERNAL, "Failed to get job: Job not found: %s", w->id);
    return false;
  }
  Arvak__V1__JobStatusUpdate message = ARVAK__V1__JOB_STATUS_UPDATE__INIT;
  message.job_id = j->id;
  message.state = (Arvak__V1__JobState)view.state;
  message.timestamp = clock_unix_s();
  message.error_message = (char *)view.error;
  bool last = job_state_is_terminal(view.state);
  if (last) {
    stream_last(c, &message.base);
  } else if (stream_queued(c) < STALE_UPDATES_MAX) {
    stream_send(c, &message.base);
  }
  job_unref(j);
  return !last;
}

static void go_on(watch *w) {
  call *c = w->owner;
  bool more = !stream_closed(c);
  if (more && w->due_us - w->started_us >= watch_limit_us) {
    stream_end(c, GRPC_STATUS_DEADLINE_EXCEEDED, "Watch stream timed out after 1 hour");
    more = false;
  }
  if (more && update(w)) {
    w->due_us += (uint64_t)(context_of(c)->options.watch_interval * 1e6);
    timer_start(c->owner->clock, &w->tick, w->due_us, tick);
  } else {
    call_unref(c);
  }
}

static void tick(timer *t, bool fired) {
  watch *w = (watch *)(void *)((char *)t - offsetof(watch, tick));
  if (fired) {
    go_on(w);
  } else {
    call_unref(w->owner);
  }
}

void watch_run(call *c, const ProtobufCMessage *message) {
  const Arvak__V1__WatchJobRequest *request = (const Arvak__V1__WatchJobRequest *)message;
  watch *w = calloc(1, sizeof *w);
  if (!w) {
    answer_fail(c, GRPC_STATUS_INTERNAL, "out of memory");
    return;
  }
  w->owner = call_ref(c);
  w->started_us = w->due_us = clock_us();
  w->id_length = wire_length(request->job_id);
  strncpy(w->id, submit_quote(c, request->job_id), sizeof w->id - 1);
  c->stream = w;
  stream_open(c);
  go_on(w);
}

void watch_closed(call *c) {
  watch *w = c->stream;
  if (timer_cancel(c->owner->clock, &w->tick)) call_unref(c);
}
