/* The RPCs of the service, by number: their names, and what kind each is. Read-only data.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_RPCS_H
#define ARVAK_DEVSERVER_RPCS_H

#include <stdbool.h>

/* Before the name, in the path of a call. */
#define RPC_PREFIX "/arvak.v1.ArvakService/"

enum {
  RPC_SUBMIT_JOB,
  RPC_SUBMIT_BATCH,
  RPC_GET_JOB_STATUS,
  RPC_GET_JOB_RESULT,
  RPC_CANCEL_JOB,
  RPC_LIST_BACKENDS,
  RPC_GET_BACKEND_INFO,
  RPC_WATCH_JOB,
  RPC_STREAM_RESULTS,
  RPC_SUBMIT_BATCH_STREAM,
  RPCS
};

typedef struct rpc_spec {
  const char *name; /* "SubmitJob" */
  bool submits;     /* makes jobs */
  bool reads_many;  /* the request is a stream */
  bool sends_many;  /* the answer is a stream */
} rpc_spec;

extern const rpc_spec rpcs[RPCS];

#endif
