/* See inject.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "inject.h"

#include <stdio.h>
#include <stdlib.h>

#include "faults/fault.h"

enum { DELIVERY_US = 20000 };

/* When the service gives up on a call: its own timeout, or the client's if that is sooner. */
static uint64_t timeout_due_us(const call *c) {
  gpr_timespec now = gpr_now(GPR_CLOCK_MONOTONIC);
  gpr_timespec left = gpr_time_sub(gpr_convert_clock_type(c->deadline, GPR_CLOCK_MONOTONIC), now);
  double own_us = c->owner->server_timeout * 1e6, client_us = gpr_timespec_to_micros(left);
  double least_us = client_us < own_us ? client_us : own_us;
  return clock_us() + (uint64_t)(least_us > 0 ? least_us : 0);
}

static void timed_out(timer *t, bool fired) {
  call *c = CALL_OF(t, hold);
  if (fired && !inject_replaces_answer(c)) call_finish(c, NULL, GRPC_STATUS_CANCELLED, "Timeout expired");
  call_unref(c);
}

static void drop(call *c) {
  if (c->doomed) connection_drop(c->doomed);
}

static void drop_due(timer *t, bool fired) {
  call *c = CALL_OF(t, hold);
  if (fired) drop(c);
  call_unref(c);
}

/* A client that meets the end of a connection forgets the messages that it has not read yet. */
void inject_drop_soon(call *c) { call_hold(c, clock_us() + DELIVERY_US, drop_due); }

/* Returns owned, or NULL. */
static char *text_of(const fault *f) {
  char *text = NULL;
  if (asprintf(&text, "%s%s", f->tag, *f->message ? f->message : "injected by a fault") < 0) return NULL;
  return text;
}

/* Under the lock: the fault acts now, and its status will say when to come again. */
static void begin_to_act(call *c) {
  const fault *f = c->fault;
  char text[16];
  c->fault_done = true;
  if (!f->has_pushback) return;
  snprintf(text, sizeof text, "%d", (int)f->pushback_ms);
  c->trailer.key = grpc_slice_from_static_string("grpc-retry-pushback-ms");
  c->trailer.value = grpc_slice_from_copied_string(text); /* short enough to need no memory of its own */
  c->trailers = 1;
}

static void fail(call *c) {
  const fault *f = c->fault;
  char *text = text_of(f);
  call_finish(c, NULL, (grpc_status_code)f->status, text);
  free(text);
}

static void act(call *c) {
  pthread_mutex_lock(&c->mu);
  begin_to_act(c);
  pthread_mutex_unlock(&c->mu);
  switch (c->fault->action) {
    case FAULT_STATUS: fail(c); break;
    case FAULT_HANG: call_hold(c, timeout_due_us(c), timed_out); break;
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
    c->execute(c);
  }
}

static void latency_over(timer *t, bool fired) {
  call *c = CALL_OF(t, hold);
  if (fired && call_pin(c)) {
    act_or_execute(c);
    call_unpin(c);
  }
  call_unref(c);
}

void inject_begin(call *c, void (*execute)(call *c)) {
  c->execute = execute;
  uint64_t latency_us = c->fault->latency_us;
  if (c->fault->action == FAULT_DROP) c->doomed = call_connection(c); /* later the RPC may be gone */
  if (!latency_us) {
    act_or_execute(c);
    return;
  }
  uint64_t due_us = clock_us() + latency_us, timeout_us = timeout_due_us(c);
  if (due_us < timeout_us) {
    call_hold(c, due_us, latency_over);
  } else {
    call_hold(c, timeout_us, timed_out);
  }
}

bool inject_replaces_answer(call *c) {
  if (!c->fault || !c->fault->after) return false;
  pthread_mutex_lock(&c->mu);
  bool done = c->fault_done;
  pthread_mutex_unlock(&c->mu);
  if (!done) act(c);
  return !done;
}

bool inject_due(const call *c) {
  const fault *f = c->fault;
  if (!f || !f->after || !f->action || c->fault_done) return false;
  if (f->messages && c->messages >= f->messages) return true;
  return c->ending && !c->first;
}

bool inject_end(call *c) {
  const fault *f = c->fault;
  begin_to_act(c);
  c->ending = true;
  call_queue_clear(c);
  if (f->action == FAULT_STATUS) {
    free(c->status_text);
    c->status_text = text_of(f);
    c->status = (grpc_status_code)f->status;
  } else {
    c->status_sent = true; /* it never will be, and nothing else */
  }
  return f->action == FAULT_DROP;
}
