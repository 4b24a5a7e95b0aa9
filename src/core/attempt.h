/* One attempt of an RPC, unary or not: its gRPC call, and what its status means. Embedded in a call or a stream, its
 * holder. Invariant: between open and close the channel counts it as outstanding. Owner thread of the loop.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_ATTEMPT_H
#define ARVAK_ATTEMPT_H

#include <grpc/grpc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arvak.h"
#include "client.h"
#include "cq.h"
#include "pool.h"
#include "status.h"

typedef struct arvak__attempt {
  arvak_client *client; /* shared by whoever holds the attempt */
  arvak_rpc rpc;
  size_t circuit_count;   /* of the request; a batch of one cannot half succeed */
  arvak_kind cancel_kind; /* NONE: not canceled */
  int64_t deadline_ns;    /* ARVAK_NEVER: none */
  bool is_cut;            /* the deadline is that of attempt_timeout */
  arvak__contact contact; /* what it says of its connection */
  int64_t opened_ns;
  arvak__channel *channel; /* borrowed from open to close */
  bool is_crowded;         /* the channel: it may have to wait for a stream there */
  grpc_call *grpc; /* owned from open to close, as are the next three */
  grpc_metadata_array initial, trailing;
  grpc_slice details;
  grpc_status_code status;
  /* Of a failure, filled by judge: */
  arvak__delivery delivery;
  arvak_verdict verdict;
  bool is_ours, as_read; /* as in arvak_failure */
  bool never_left;       /* gRPC had it until its end, for want of a stream */
  bool is_hasty;         /* timed out earlier than the client would have: says nothing of the server */
  bool has_pushback;     /* the server sent one; pushback_ns -1: no retry */
  int64_t pushback_ns;
  int refusals; /* so far: attempts that the server has refused for their rate */
  char *message; /* owned by whoever holds the attempt; what outcome.message points at, unless static */
} arvak__attempt;

/* Whether the server has refused a SubmitJob for its rate, and so surely not executed it. FOR_NOW: it is worth to wait
 * for another turn. */
typedef enum arvak__refused { ARVAK__NOT_REFUSED, ARVAK__REFUSED_FOR_NOW, ARVAK__REFUSED_FOR_GOOD } arvak__refused;

/* Picks a channel and makes the call, on a loop's queue; the holder starts its batches. */
void arvak__attempt_open(arvak__attempt *attempt, arvak__cq *cq, int64_t now_ns);
/* Fills the outcome from a status that has come; of OK it says nothing. Before close. What the outcome says of an
 * attempt before is replaced, but for maybe_executed, which stays. */
void arvak__attempt_judge(arvak__attempt *attempt, arvak_outcome *outcome, int64_t now_ns);
/* Where the policy says so, the word of a proxy that a submit was not executed is none. */
void arvak__attempt_distrust(const arvak__attempt *attempt, arvak_outcome *outcome, const arvak_retry *retry);
/* Tells the client's limiter what came of a unary attempt that was judged. response: its answer, or NULL; left_ns: how
 * long its call may wait for other turns. */
arvak__refused arvak__attempt_tell_limiter(arvak__attempt *attempt, const arvak_outcome *outcome,
                                           const arvak_response *response, int64_t now_ns, int64_t left_ns);
/* What retry allows after the failure that was judged: true, and after which pause. */
bool arvak__attempt_may_retry(const arvak__attempt *attempt, const arvak_outcome *outcome, arvak_retry *retry,
                              int64_t *delay_ns);
/* Tells on_retry that there will be another attempt after that pause. It is the application's, and may do anything: the
 * attempt may end in it. What it is shown stays as it is until it returns. */
void arvak__attempt_report_retry(const arvak__attempt *attempt, const arvak_outcome *outcome, const arvak_retry *retry,
                                 int64_t delay_ns);
void arvak__attempt_close(arvak__attempt *attempt, int64_t now_ns);
/* An answer that could not be decoded: why. */
void arvak__attempt_refuse_answer(arvak__attempt *attempt, arvak_outcome *outcome, int status);

#endif
