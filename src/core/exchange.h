/* What a unary call sends and receives: its request and headers, the same for each attempt, and the answer of the last.
 * Embedded in a call. Invariant: between start and end gRPC has the buffers. Owner thread of the loop.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_EXCHANGE_H
#define ARVAK_EXCHANGE_H

#include <grpc/grpc.h>
#include <stddef.h>

#include "arvak.h"
#include "attempt.h"
#include "cq.h"
#include "headers.h"
#include "tag.h"

/* One of the batches of an attempt, where there are two. */
typedef struct arvak__part {
  arvak__tag tag;
  struct arvak__exchange *exchange;
} arvak__part;

typedef struct arvak__exchange {
  grpc_slice request; /* owned from init to fini, as are the headers */
  arvak__headers headers;
  /* Where the connection may have no stream left, the headers go as a batch of their own: see start_in_parts. */
  arvak__part sending, answering;
  arvak__attempt *attempt; /* borrowed from start to end, as is the tag that ends it */
  arvak__tag *end_tag;
  int parts; /* that gRPC has */
  grpc_byte_buffer *send, *recv; /* owned from start to end */
  size_t received_bytes;         /* by the last attempt */
  arvak_response *response;      /* owned by whoever holds the exchange */
} arvak__exchange;

/* ARVAK_ENOMEM, ARVAK_EINVAL. */
int arvak__exchange_init(arvak__exchange *exchange, arvak_client *client, const arvak_request *request,
                         const arvak_call_options *options);
void arvak__exchange_fini(arvak__exchange *exchange); /* the response stays */
/* Hands the request to gRPC, for an attempt that is open on this queue; its end comes with the tag. */
void arvak__exchange_start(arvak__exchange *exchange, arvak__attempt *attempt, arvak__cq *cq, arvak__tag *tag);
/* The batch is through and the attempt judged: decodes the answer, where there is one. What cannot be decoded becomes
 * the outcome. Of a batch with too few ids those that came stay in the response. */
void arvak__exchange_end(arvak__exchange *exchange, arvak__attempt *attempt, arvak_outcome *outcome);

#endif
