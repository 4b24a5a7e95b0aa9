/* See dispatch.h. Runs on the poller's thread, but for large requests and for what a fault delays.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dispatch.h"

#include <string.h>

#include "answer.h"
#include "faults/faults.h"
#include "inject.h"
#include "wire.h"

/* A request past this takes its time to be parsed, and is not parsed on the poller's thread. */
enum { LARGE_REQUEST_BYTES = 64 << 10 };

static const char service_prefix[] = RPC_PREFIX;

/* The time it takes says nothing about where two keys differ. */
static bool same_key(const char *key, grpc_slice given) {
  size_t length = strlen(key);
  if (GRPC_SLICE_LENGTH(given) != length) return false;
  unsigned char difference = 0;
  for (size_t i = 0; i < length; i++) difference |= (unsigned char)key[i] ^ GRPC_SLICE_START_PTR(given)[i];
  return !difference;
}

static bool authorized(const call *c) {
  const char *key = c->owner->api_key;
  if (!key) return true;
  if (!c->method) {
    size_t length = sizeof service_prefix - 1;
    grpc_slice path = c->details.method;
    if (GRPC_SLICE_LENGTH(path) < length || memcmp(GRPC_SLICE_START_PTR(path), service_prefix, length) != 0)
      return true;
  }
  for (size_t i = 0; i < c->metadata.count; i++) {
    const grpc_metadata *entry = &c->metadata.metadata[i];
    if (grpc_slice_str_cmp(entry->key, "x-api-key") == 0) return same_key(key, entry->value);
  }
  return false;
}

/* From another thread than the poller's only between call_pin and call_unpin: the RPC may end at any moment. */
static void execute(call *c) {
  const method *m = c->method;
  if (rpcs[m->rpc].reads_many) {
    m->run(c, NULL);
    return;
  }
  size_t length = c->payload ? grpc_byte_buffer_length(c->payload) : 0;
  if (length > c->owner->max_message_size) {
    answer_fail(c, GRPC_STATUS_OUT_OF_RANGE, MESSAGE_TOO_LARGE, "decoded", length, (size_t)c->owner->max_message_size);
    return;
  }
  const char *problem;
  ProtobufCMessage *request = wire_unpack(&c->memory, m->request, c->payload, &problem);
  if (request) {
    m->run(c, request);
  } else {
    answer_fail(c, GRPC_STATUS_INTERNAL, "%s", problem);
  }
}

static void turn_come(timer *t, bool fired) {
  call *c = CALL_OF(t, turn);
  if (fired && call_pin(c)) {
    execute(c);
    call_unpin(c);
  }
  call_unref(c);
}

static void execute_soon(call *c) {
  if (!c->payload || grpc_byte_buffer_length(c->payload) < LARGE_REQUEST_BYTES) {
    execute(c);
    return;
  }
  call_watch(c);
  timer_start(c->owner->side_lane, &call_ref(c)->turn, clock_us(), turn_come);
}

static void dispatch(call *c) {
  if (!authorized(c)) {
    answer_fail(c, GRPC_STATUS_UNAUTHENTICATED, "Invalid or missing API key");
  } else if (!c->method) {
    answer_fail(c, GRPC_STATUS_UNIMPLEMENTED, "%s", "");
  } else {
    c->fault = faults_call(c->owner->faults, c->method->rpc);
    if (c->fault) {
      inject_begin(c, execute);
    } else {
      execute_soon(c);
    }
  }
}

static void on_accepted(tag *t, bool ok) {
  call *c = CALL_OF(t, accepted);
  calls *all = c->owner;
  if (!ok) {
    call_over(c);
    return;
  }
  dispatch_expect(all, c->method);
  atomic_fetch_add_explicit(c->method ? &all->begun[c->method->rpc] : &all->unknown, 1, memory_order_relaxed);
  call_ref(c); /* an answer may be through before dispatch returns */
  dispatch(c);
  call_unref(c);
}

void dispatch_expect(calls *all, const method *m) {
  call *c = call_new(all, m);
  if (!c) return; /* one request fewer is out; those that are out still serve */
  c->accepted.fn = on_accepted;
  grpc_call_error error;
  TAG_GIVEN(&c->accepted);
  if (m) {
    error = grpc_server_request_registered_call(all->server, all->registered[m->rpc], &c->rpc, &c->deadline,
                                                &c->metadata, rpcs[m->rpc].reads_many ? NULL : &c->payload, all->queue,
                                                all->queue, &c->accepted);
  } else {
    error = grpc_server_request_call(all->server, &c->rpc, &c->details, &c->metadata, all->queue, all->queue,
                                     &c->accepted);
  }
  if (error != GRPC_CALL_OK) call_over(c);
}
