/* A loop's completion queue, as those see it that hand tags to it: attempts, calls, streams, and channels under watch.
 * Part of the loop. Invariant: pending_tags counts the tags that gRPC holds; whoever hands one over counts it up, the
 * loop counts it down before its fn runs. Owner thread of the loop.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_CQ_H
#define ARVAK_CQ_H

#include <grpc/grpc.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct arvak__cq {
  grpc_completion_queue *grpc; /* owned */
  size_t pending_tags;         /* handed to gRPC and not popped yet, without wakes */
  bool closed;                 /* the loop drains: nothing new is started */
} arvak__cq;

#endif
