/* See inject.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "faults/inject.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DELIVERY_US = 20000 };

/* When the service gives up on a call: its own timeout, or the client's if that is sooner. */
static uint64_t timeout_due_us(const call *c) {
  gpr_timespec now = gpr_now(GPR_CLOCK_MONOTONIC);
  gpr_timespec left = gpr_time_sub(gpr_convert_clock_type(c->deadline, GPR_CLOCK_MONOTONIC), now);
  double own_us = c->owner->options.server_timeout * 1e6, client_us = gpr_timespec_to_micros(left);
  double least_us = client_us < own_us ? client_us : own_us;
  return clock_us() + (uint64_t)(least_us > 0 ? least_us : 0);
}

static void timed_out(timer *t, bool fired) {
  call *c = (call *)(void *)((char *)t - offsetof(call, hold));
  if (fired) call_fail(c, GRPC_STATUS_CANCELLED, "Timeout expired");
  call_unref(c);
}

/* The end may have come already; then the timer finds the call closed, and nothing happens. */
static void hold(call *c, uint64_t due_us, timer_fn fn) {
  call_watch(c);
  call_ref(c);
  timer_start(c->owner->clock, &c->hold, due_us, fn);
}

static void drop(call *c) {
  if (c->doomed) connection_drop(c->doomed);
}

static void drop_due(timer *t, bool fired) {
  call *c = (call *)(void *)((char *)t - offsetof(call, hold));
  if (fired) drop(c);
  call_unref(c);
}

/* A client that meets the end of a connection forgets the messages that it has not read yet. */
void inject_drop_soon(call *c) { hold(c, clock_us() + DELIVERY_US, drop_due); }

void inject_release(call *c) {
  if (c->doomed) connection_unref(c->doomed);
  free(c->fault);
}

static const char *message_of(const fault *f) { return *f->message ? f->message : "injected by a fault"; }

static void act(call *c) {
  const fault *f = c->fault;
  pthread_mutex_lock(&c->mu);
  c->fault_done = true;
  pthread_mutex_unlock(&c->mu);
  switch (f->action) {
    case FAULT_STATUS: call_fail(c, f->status, "%s%s", f->tag, message_of(f)); break;
    case FAULT_HANG: hold(c, timeout_due_us(c), timed_out); break;
    case FAULT_DROP:
      call_watch(c);
      drop(c);
      break;
    case FAULT_NONE: break;
  }
}

static void act_or_execute(call *c) {
  if (c->fault->action && !c->fault->after) {
    act(c);
  } else {
    call_execute(c);
  }
}

static void latency_over(timer *t, bool fired) {
  call *c = (call *)(void *)((char *)t - offsetof(call, hold));
  if (fired && call_pin(c)) {
    act_or_execute(c);
    call_unpin(c);
  }
  call_unref(c);
}

void inject_begin(call *c) {
  uint64_t latency_us = c->fault->latency_us;
  if (c->fault->action == FAULT_DROP) c->doomed = call_connection(c); /* later the RPC may be gone */
  if (!latency_us) {
    act_or_execute(c);
    return;
  }
  uint64_t due_us = clock_us() + latency_us, timeout_us = timeout_due_us(c);
  if (due_us < timeout_us) {
    hold(c, due_us, latency_over);
  } else {
    hold(c, timeout_us, timed_out);
  }
}

void inject_closed(call *c) {
  if (c->fault && timer_cancel(c->owner->clock, &c->hold)) call_unref(c);
}

bool inject_replaces_answer(call *c) {
  if (!c->fault || !c->fault->after) return false;
  pthread_mutex_lock(&c->mu);
  bool done = c->fault_done;
  pthread_mutex_unlock(&c->mu);
  if (!done) act(c);
  return !done;
}

size_t inject_trailer(call *c, grpc_metadata *trailer) {
  if (!c->fault || !c->fault_done || !c->fault->has_pushback) return 0;
  char text[16];
  snprintf(text, sizeof text, "%d", (int)c->fault->pushback_ms);
  trailer->key = grpc_slice_from_static_string("grpc-retry-pushback-ms");
  trailer->value = grpc_slice_from_copied_string(text); /* short enough to need no memory of its own */
  return 1;
}

bool inject_due(const call *c) {
  const fault *f = c->fault;
  if (!f || !f->after || !f->action || c->fault_done) return false;
  if (f->messages && c->messages >= f->messages) return true;
  return c->ending && !c->first;
}

bool inject_end(call *c) {
  const fault *f = c->fault;
  c->fault_done = c->ending = true;
  stream_clear(c);
  if (f->action == FAULT_STATUS) {
    char *text = NULL;
    if (asprintf(&text, "%s%s", f->tag, message_of(f)) < 0) text = NULL;
    free(c->status_text);
    c->status_text = text;
    c->status = f->status;
  } else {
    c->status_sent = true; /* it never will be, and nothing else */
  }
  return f->action == FAULT_DROP;
}
