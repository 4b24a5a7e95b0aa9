/* A gRPC that nobody has tested: linked into a module of its own, between the core and gRPC, this replaces every text
 * that comes with a status, and the version. Invariant: nothing else that gRPC says is changed.
 * SPDX-License-Identifier: Apache-2.0 */
#include <grpc/grpc.h>
#include <lauxlib.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* The functions as gRPC has them, and in their place those that the core is linked with (--wrap). */
grpc_call_error __real_grpc_call_start_batch(grpc_call *call, const grpc_op *ops, size_t count, void *tag,
                                             void *reserved);
grpc_event __real_grpc_completion_queue_next(grpc_completion_queue *cq, gpr_timespec deadline, void *reserved);
grpc_call_error __wrap_grpc_call_start_batch(grpc_call *call, const grpc_op *ops, size_t count, void *tag,
                                             void *reserved);
grpc_event __wrap_grpc_completion_queue_next(grpc_completion_queue *cq, gpr_timespec deadline, void *reserved);
const char *__wrap_grpc_version_string(void);
__attribute__((visibility("default"))) int luaopen_foreign(lua_State *L);

/* A status that was requested and has not come. */
typedef struct status {
  void *tag;
  grpc_slice *details;
  struct status *next;
} status;

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static status *requested;                 /* mu; owned */
static const char *text = "foreign";      /* mu; NULL: as gRPC says it */
static const char *version = "999.0.0";

const char *__wrap_grpc_version_string(void) { return version; }

grpc_call_error __wrap_grpc_call_start_batch(grpc_call *call, const grpc_op *ops, size_t count, void *tag,
                                             void *reserved) {
  for (size_t i = 0; i < count; i++) {
    if (ops[i].op != GRPC_OP_RECV_STATUS_ON_CLIENT) continue;
    status *one = malloc(sizeof *one);
    pthread_mutex_lock(&mu);
    *one = (status){tag, ops[i].data.recv_status_on_client.status_details, requested};
    requested = one;
    pthread_mutex_unlock(&mu);
  }
  return __real_grpc_call_start_batch(call, ops, count, tag, reserved);
}

static void replace(const status *one) {
  if (!text) return;
  grpc_slice_unref(*one->details);
  *one->details = grpc_slice_from_static_string(text);
}

grpc_event __wrap_grpc_completion_queue_next(grpc_completion_queue *cq, gpr_timespec deadline, void *reserved) {
  grpc_event event = __real_grpc_completion_queue_next(cq, deadline, reserved);
  if (event.type != GRPC_OP_COMPLETE) return event;
  pthread_mutex_lock(&mu);
  status **at = &requested;
  while (*at && (*at)->tag != event.tag) at = &(*at)->next;
  status *one = *at;
  if (one) {
    *at = one->next;
    replace(one);
    free(one);
  }
  pthread_mutex_unlock(&mu);
  return event;
}

/* say(text, version): what gRPC says from now on; no text: its own. */
static int say(lua_State *L) {
  pthread_mutex_lock(&mu);
  text = luaL_optstring(L, 1, NULL);
  version = luaL_checkstring(L, 2);
  for (int i = 1; i <= 2; i++) { /* anchored for good */
    lua_pushvalue(L, i);
    luaL_ref(L, LUA_REGISTRYINDEX);
  }
  pthread_mutex_unlock(&mu);
  return 0;
}

int luaopen_foreign(lua_State *L) {
  lua_pushcfunction(L, say);
  return 1;
}
