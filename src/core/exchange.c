/* What a unary call sends and receives. Invariant: between start and end gRPC has the buffers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "exchange.h"

#include <grpc/byte_buffer.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "codec.h"
#include "compat.h"

int arvak__exchange_init(arvak__exchange *exchange, arvak_client *client, const arvak_request *request,
                         const arvak_call_options *options) {
  int status = arvak__request_encode(request, &exchange->request);
  if (status != ARVAK_OK) return status;
  status = arvak__headers_init(&exchange->headers, &client->headers, options);
  if (status != ARVAK_OK) grpc_slice_unref(exchange->request);
  return status;
}

void arvak__exchange_fini(arvak__exchange *exchange) {
  grpc_slice_unref(exchange->request);
  if (exchange->headers.own_count > 0) arvak__headers_fini(&exchange->headers);
}

enum { OP_COUNT = 6 };

static void fill_ops(arvak__exchange *exchange, arvak__attempt *attempt, grpc_op ops[OP_COUNT]) {
  memset(ops, 0, OP_COUNT * sizeof *ops);
  exchange->send = grpc_raw_byte_buffer_create(&exchange->request, 1);
  ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
  ops[0].data.send_initial_metadata.count = exchange->headers.count;
  ops[0].data.send_initial_metadata.metadata = exchange->headers.list;
  ops[1].op = GRPC_OP_SEND_MESSAGE;
  ops[1].data.send_message.send_message = exchange->send;
  ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
  ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
  ops[3].data.recv_initial_metadata.recv_initial_metadata = &attempt->initial;
  ops[4].op = GRPC_OP_RECV_MESSAGE;
  ops[4].data.recv_message.recv_message = &exchange->recv;
  ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
  ops[5].data.recv_status_on_client.trailing_metadata = &attempt->trailing;
  ops[5].data.recv_status_on_client.status = &attempt->status;
  ops[5].data.recv_status_on_client.status_details = &attempt->details;
}

/* Cannot fail: the operations are fixed and the headers were checked when they were taken. */
static void start_batch(const arvak__attempt *attempt, arvak__cq *cq, const grpc_op *ops, size_t count,
                        arvak__tag *tag) {
  cq->pending_tags++;
  if (grpc_call_start_batch(attempt->grpc, ops, count, tag, NULL) != GRPC_CALL_OK) abort();
}

static void end_part(arvak__exchange *exchange, bool success) {
  if (--exchange->parts == 0) exchange->end_tag->fn(exchange->end_tag, success);
}

static void on_headers(arvak__tag *tag, bool success) {
  arvak__exchange *exchange = ((arvak__part *)tag)->exchange;
  exchange->attempt->never_left = !success && grpc_compat_is_tested();
  end_part(exchange, success);
}

static void on_answer(arvak__tag *tag, bool success) { end_part(((arvak__part *)tag)->exchange, success); }

/* gRPC keeps the headers of a call until the connection has a stream for it, and fails their batch when the call ends
 * before. The other operations would say nothing: a message may have left whose batch fails. */
static void start_in_parts(arvak__exchange *exchange, arvak__attempt *attempt, arvak__cq *cq, const grpc_op *ops) {
  exchange->sending = (arvak__part){.tag.fn = on_headers, .exchange = exchange};
  exchange->answering = (arvak__part){.tag.fn = on_answer, .exchange = exchange};
  exchange->parts = 2;
  start_batch(attempt, cq, ops, 1, &exchange->sending.tag);
  start_batch(attempt, cq, ops + 1, OP_COUNT - 1, &exchange->answering.tag);
}

void arvak__exchange_start(arvak__exchange *exchange, arvak__attempt *attempt, arvak__cq *cq, arvak__tag *tag) {
  grpc_op ops[OP_COUNT];
  fill_ops(exchange, attempt, ops);
  exchange->attempt = attempt;
  exchange->end_tag = tag;
  if (attempt->is_crowded) start_in_parts(exchange, attempt, cq, ops);
  else start_batch(attempt, cq, ops, OP_COUNT, tag);
}

static int decode(arvak__exchange *exchange, const arvak__attempt *attempt) {
  if (!exchange->recv) return ARVAK__EABSENT;
  int status = arvak__response_decode_buffer(attempt->rpc, exchange->recv, &exchange->response);
  return status == ARVAK_OK ? arvak__response_match(exchange->response, exchange->request) : status;
}

void arvak__exchange_end(arvak__exchange *exchange, arvak__attempt *attempt, arvak_outcome *outcome) {
  exchange->received_bytes = exchange->recv ? grpc_byte_buffer_length(exchange->recv) : 0;
  int status = attempt->status == GRPC_STATUS_OK ? decode(exchange, attempt) : ARVAK_OK;
  if (status != ARVAK_OK) arvak__attempt_refuse_answer(attempt, outcome, status);
  grpc_byte_buffer_destroy(exchange->send);
  if (exchange->recv) grpc_byte_buffer_destroy(exchange->recv);
  exchange->recv = NULL;
}
