/* Answers: read as protobuf-c reads them, within their bound of memory, and only taken for what was requested.
 * SPDX-License-Identifier: Apache-2.0 */
#include <grpc/grpc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "answer.h"
#include "arvak.pb-c.h"
#include "codec.h"

/* ---- against protobuf-c ---- */

static const ProtobufCMessageDescriptor *const descriptors[ARVAK_RPC_COUNT] = {
    [ARVAK_SUBMIT_JOB] = &arvak__v1__submit_job_response__descriptor,
    [ARVAK_SUBMIT_BATCH] = &arvak__v1__submit_batch_response__descriptor,
    [ARVAK_GET_JOB_STATUS] = &arvak__v1__get_job_status_response__descriptor,
    [ARVAK_GET_JOB_RESULT] = &arvak__v1__get_job_result_response__descriptor,
    [ARVAK_CANCEL_JOB] = &arvak__v1__cancel_job_response__descriptor,
    [ARVAK_LIST_BACKENDS] = &arvak__v1__list_backends_response__descriptor,
    [ARVAK_GET_BACKEND_INFO] = &arvak__v1__get_backend_info_response__descriptor,
    [ARVAK_WATCH_JOB] = &arvak__v1__job_status_update__descriptor,
    [ARVAK_STREAM_RESULTS] = &arvak__v1__result_chunk__descriptor,
    [ARVAK_SUBMIT_BATCH_STREAM] = &arvak__v1__batch_job_result__descriptor,
};

enum { MESSAGES = 20000, ROOM = 1 << 16 };

typedef struct bytes {
  uint8_t data[ROOM];
  size_t size;
} bytes;

static void add_byte(bytes *to, uint8_t byte) {
  if (to->size < ROOM) to->data[to->size++] = byte;
}

static void add_varint(bytes *to, uint64_t value) {
  for (; value > 127; value >>= 7) add_byte(to, (uint8_t)(value | 0x80));
  add_byte(to, (uint8_t)value);
}

static void add_bytes(bytes *to, const void *data, size_t size) {
  add_varint(to, size);
  for (size_t i = 0; i < size; i++) add_byte(to, ((const uint8_t *)data)[i]);
}

static uint64_t any_number(void) {
  uint64_t bits = (uint64_t)rand() << 40 ^ (uint64_t)rand() << 20 ^ (uint64_t)rand();
  return bits >> rand() % 64;
}

static void add_message(bytes *to, const ProtobufCMessageDescriptor *of, int depth);

static void add_field(bytes *to, const ProtobufCFieldDescriptor *field, int depth) {
  char text[40];
  if (field->type == PROTOBUF_C_TYPE_STRING) {
    size_t size = (size_t)rand() % sizeof text;
    for (size_t i = 0; i < size; i++) text[i] = (char)('0' + rand() % 75);
    add_varint(to, field->id << 3 | 2);
    add_bytes(to, text, size);
  } else if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
    bytes *part = calloc(1, sizeof *part);
    add_message(part, field->descriptor, depth + 1);
    add_varint(to, field->id << 3 | 2);
    add_bytes(to, part->data, part->size);
    free(part);
  } else {
    add_varint(to, field->id << 3);
    add_varint(to, field->type == PROTOBUF_C_TYPE_UINT64 ? any_number() >> 1 : any_number());
  }
}

static void add_unknown(bytes *to) {
  uint32_t number = 9 + (uint32_t)rand() % 5000;
  int type = (int[]){0, 1, 2, 5}[rand() % 4];
  add_varint(to, number << 3 | (uint32_t)type);
  if (type == 0) add_varint(to, any_number());
  else if (type == 2) add_bytes(to, "unknown", (size_t)rand() % 8);
  else for (int i = 0; i < (type == 1 ? 8 : 4); i++) add_byte(to, (uint8_t)rand());
}

/* Fields in any order, some of them twice, and some that nobody knows. Not a message twice that is there once: of those
 * protobuf-c makes one in a way of its own. */
static void add_message(bytes *to, const ProtobufCMessageDescriptor *of, int depth) {
  int count = rand() % (depth ? 8 : 14);
  bool has_part = false;
  for (int i = 0; i < count; i++) {
    const ProtobufCFieldDescriptor *field = &of->fields[(unsigned)rand() % of->n_fields];
    bool is_part = field->type == PROTOBUF_C_TYPE_MESSAGE && field->label != PROTOBUF_C_LABEL_REPEATED;
    if (rand() % 10 == 0) add_unknown(to);
    else if (!is_part || !has_part) add_field(to, field, depth), has_part |= is_part;
  }
}

static void same_counts(const arvak_count *counts, size_t size, Arvak__V1__JobResult__CountsEntry **entries, size_t n) {
  assert_int_equal(size, n);
  for (size_t i = 0; i < n; i++) {
    assert_string_equal(counts[i].bits, entries[i]->key);
    assert_true(counts[i].count == entries[i]->value);
  }
}

static void same_job(const arvak_job *job, const Arvak__V1__Job *as) {
  assert_string_equal(job->job_id, as->job_id);
  assert_int_equal(job->state, (int)as->state);
  assert_true(job->submitted_at == as->submitted_at && job->started_at == as->started_at);
  assert_true(job->completed_at == as->completed_at && job->shots == as->shots);
  assert_string_equal(job->backend_id, as->backend_id);
  assert_string_equal(job->error_message, as->error_message);
}

static void same_result(const arvak_result *result, const Arvak__V1__JobResult *as) {
  assert_string_equal(result->job_id, as->job_id);
  assert_true(result->shots == as->shots && result->execution_time_ms == as->execution_time_ms);
  assert_string_equal(result->metadata_json, as->metadata_json);
  same_counts(result->counts, result->size, as->counts, as->n_counts);
}

static void same_backend(const arvak_backend *backend, const Arvak__V1__BackendInfo *as) {
  assert_string_equal(backend->backend_id, as->backend_id);
  assert_string_equal(backend->name, as->name);
  assert_string_equal(backend->description, as->description);
  assert_string_equal(backend->topology_json, as->topology_json);
  assert_int_equal(backend->is_available, as->is_available);
  assert_true(backend->max_qubits == as->max_qubits && backend->max_shots == as->max_shots);
  assert_int_equal(backend->gate_count, as->n_supported_gates);
  for (size_t i = 0; i < backend->gate_count; i++)
    assert_string_equal(backend->supported_gates[i], as->supported_gates[i]);
}

static void same_batch(const arvak_batch_answer *batch, const Arvak__V1__BatchJobResult *as) {
  static const arvak_batch_event events[] = {
      [ARVAK__V1__BATCH_JOB_RESULT__RESULT__NOT_SET] = ARVAK_BATCH_UNKNOWN,
      [ARVAK__V1__BATCH_JOB_RESULT__RESULT_SUBMITTED] = ARVAK_BATCH_SUBMITTED,
      [ARVAK__V1__BATCH_JOB_RESULT__RESULT_COMPLETED] = ARVAK_BATCH_COMPLETED,
      [ARVAK__V1__BATCH_JOB_RESULT__RESULT_ERROR] = ARVAK_BATCH_ERROR};
  assert_string_equal(batch->job_id, as->job_id);
  assert_string_equal(batch->client_request_id, as->client_request_id);
  assert_int_equal(batch->event, events[as->result_case]);
  if (batch->event == ARVAK_BATCH_COMPLETED) same_result(&batch->result, as->completed);
  assert_string_equal(batch->error, batch->event == ARVAK_BATCH_ERROR ? as->error : "");
}

static void same(const arvak_response *response, const ProtobufCMessage *message) {
  const void *as = message;
  const Arvak__V1__SubmitBatchResponse *ids = as;
  const Arvak__V1__ListBackendsResponse *list = as;
  const Arvak__V1__JobStatusUpdate *update = as;
  const Arvak__V1__ResultChunk *chunk = as;
  switch (response->rpc) {
    case ARVAK_SUBMIT_JOB:
      assert_string_equal(response->as.job_id, ((const Arvak__V1__SubmitJobResponse *)as)->job_id);
      break;
    case ARVAK_SUBMIT_BATCH:
      assert_int_equal(response->as.jobs.size, ids->n_job_ids);
      for (size_t i = 0; i < ids->n_job_ids; i++) assert_string_equal(response->as.jobs.ids[i], ids->job_ids[i]);
      break;
    case ARVAK_GET_JOB_STATUS: same_job(&response->as.job, ((const Arvak__V1__GetJobStatusResponse *)as)->job); break;
    case ARVAK_GET_JOB_RESULT:
      same_result(&response->as.result, ((const Arvak__V1__GetJobResultResponse *)as)->result);
      break;
    case ARVAK_CANCEL_JOB:
      assert_int_equal(response->as.cancel.success, ((const Arvak__V1__CancelJobResponse *)as)->success);
      assert_string_equal(response->as.cancel.message, ((const Arvak__V1__CancelJobResponse *)as)->message);
      break;
    case ARVAK_LIST_BACKENDS:
      assert_int_equal(response->as.backends.size, list->n_backends);
      for (size_t i = 0; i < list->n_backends; i++) same_backend(&response->as.backends.list[i], list->backends[i]);
      break;
    case ARVAK_GET_BACKEND_INFO:
      same_backend(&response->as.backends.list[0], ((const Arvak__V1__GetBackendInfoResponse *)as)->backend);
      break;
    case ARVAK_WATCH_JOB:
      assert_string_equal(response->as.update.job_id, update->job_id);
      assert_int_equal(response->as.update.state, (int)update->state);
      assert_true(response->as.update.timestamp == update->timestamp);
      assert_string_equal(response->as.update.error_message, update->error_message);
      break;
    case ARVAK_STREAM_RESULTS:
      assert_string_equal(response->as.chunk.job_id, chunk->job_id);
      assert_true(response->as.chunk.is_final == chunk->is_final && response->as.chunk.index == chunk->chunk_index);
      assert_true(response->as.chunk.total == chunk->total_chunks);
      same_counts(response->as.chunk.counts, response->as.chunk.size,
                  (Arvak__V1__JobResult__CountsEntry **)chunk->counts, chunk->n_counts);
      break;
    default: same_batch(&response->as.batch, as);
  }
}

/* True: both took it. The values of damaged numbers need not be the same. */
static bool compare(arvak_rpc rpc, const bytes *message, bool is_whole) {
  arvak_response *response = NULL;
  ProtobufCMessage *as = protobuf_c_message_unpack(descriptors[rpc], NULL, message->size, message->data);
  int status = arvak_response_decode(rpc, message->data, message->size, &response);
  if (!as) assert_int_equal(status, ARVAK_EINVAL);
  if (as && status == ARVAK_OK && is_whole) same(response, as);
  if (as) protobuf_c_message_free_unpacked(as, NULL);
  if (response) assert_in_range(arvak_response_size_bytes(response), 1, 4 * message->size + (64 << 10));
  arvak_response_unref(response);
  return as && status == ARVAK_OK;
}

static void any_message_is_read_as_protobuf_c_reads_it(void **state) {
  (void)state;
  int taken[ARVAK_RPC_COUNT] = {0};
  bytes *message = calloc(1, sizeof *message);
  srand(11);
  for (int i = 0; i < MESSAGES; i++) {
    int rpc = i % ARVAK_RPC_COUNT;
    message->size = 0;
    add_message(message, descriptors[rpc], 0);
    taken[rpc] += compare((arvak_rpc)rpc, message, true);
  }
  for (int rpc = 0; rpc < ARVAK_RPC_COUNT; rpc++) assert_true(taken[rpc] > MESSAGES / ARVAK_RPC_COUNT / 4);
  free(message);
}

static void what_protobuf_c_refuses_is_refused(void **state) {
  (void)state;
  int taken = 0;
  bytes *message = calloc(1, sizeof *message);
  srand(12);
  for (int i = 0; i < MESSAGES; i++) {
    int rpc = i % ARVAK_RPC_COUNT;
    message->size = 0;
    add_message(message, descriptors[rpc], 0);
    for (int j = rand() % 3; message->size > 0 && j >= 0; j--) {
      size_t at = (size_t)rand() % message->size;
      if (rand() % 4 == 0) message->size = at;
      else message->data[at] = (uint8_t)rand();
    }
    taken += compare((arvak_rpc)rpc, message, false);
  }
  assert_true(taken > MESSAGES / 100);
  free(message);
}

/* ---- what an answer may cost ---- */

enum { FLOOD = 1 << 20 };

/* A message of parts that are all alike, perhaps inside a field of the answer. */
static uint8_t *flood(const char *part, size_t part_size, int outer, size_t *size) {
  uint8_t *data = malloc(FLOOD + 8), *at = data;
  size_t inner = FLOOD / part_size * part_size;
  if (outer) *at++ = (uint8_t)(outer << 3 | 2);
  for (size_t left = inner; outer; left >>= 7) {
    *at++ = (uint8_t)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
    if (left <= 0x7f) break;
  }
  for (size_t i = 0; i < inner; i += part_size, at += part_size) memcpy(at, part, part_size);
  *size = (size_t)(at - data);
  return data;
}

static void an_answer_costs_a_small_multiple_of_its_size(void **state) {
  (void)state;
  static const struct {
    arvak_rpc rpc;
    int outer; /* field that holds the parts; 0: the answer itself */
    const char *part;
    size_t size;
    int status;
  } rows[] = {
      {ARVAK_GET_JOB_RESULT, 1, "\x12\0", 2, ARVAK__EBLOATED}, /* entries without key and count */
      {ARVAK_STREAM_RESULTS, 0, "\x12\0", 2, ARVAK__EBLOATED},
      {ARVAK_SUBMIT_BATCH_STREAM, 4, "\x12\0", 2, ARVAK__EBLOATED},
      {ARVAK_GET_JOB_RESULT, 0, "\x0a\x02\x12\0", 4, ARVAK_OK}, /* a result for each of them */
      {ARVAK_GET_JOB_RESULT, 1, "\x12\x02\x10\x01", 4, ARVAK_OK},
      {ARVAK_GET_JOB_RESULT, 1, "\x12\x03\x0a\x01" "0", 5, ARVAK_OK},
      {ARVAK_GET_JOB_RESULT, 1, "\x12\x05\x0a\x01" "1\x10\x01", 7, ARVAK_OK},
      {ARVAK_GET_JOB_RESULT, 1, "\x2a\x04null", 6, ARVAK_OK}, /* metadata, again and again */
      {ARVAK_LIST_BACKENDS, 0, "\x0a\0", 2, ARVAK__EBLOATED},
      {ARVAK_LIST_BACKENDS, 0, "\x0a\x03\x0a\x01x", 5, ARVAK__EBLOATED},
      {ARVAK_LIST_BACKENDS, 0, "\x0a\x02\x3a\0", 4, ARVAK__EBLOATED},
      {ARVAK_GET_BACKEND_INFO, 1, "\x3a\0", 2, ARVAK_OK}, /* gates without a name */
      {ARVAK_GET_BACKEND_INFO, 1, "\x3a\x01h", 3, ARVAK_OK},
      {ARVAK_SUBMIT_BATCH, 0, "\x0a\0", 2, ARVAK_OK},
      {ARVAK_SUBMIT_BATCH, 0, "\x0a\x01j", 3, ARVAK_OK},
      {ARVAK_SUBMIT_JOB, 0, "\x0a\x01j", 3, ARVAK_OK},
      {ARVAK_CANCEL_JOB, 0, "\x78\x01", 2, ARVAK_OK}, /* fields that nobody knows */
      {ARVAK_SUBMIT_JOB, 0, "\x78\x01", 2, ARVAK__EABSENT},
      {ARVAK_WATCH_JOB, 0, "\x7a\0", 2, ARVAK_OK},
      {ARVAK_GET_JOB_STATUS, 0, "\x0a\0", 2, ARVAK_OK},
      {ARVAK_GET_JOB_STATUS, 1, "\x78\x01", 2, ARVAK_OK},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    size_t size;
    uint8_t *data = flood(rows[i].part, rows[i].size, rows[i].outer, &size);
    arvak_response *response = NULL;
    assert_int_equal(arvak_response_decode(rows[i].rpc, data, size, &response), rows[i].status);
    if (response) assert_in_range(arvak_response_size_bytes(response), 1, 4 * size + (64 << 10));
    arvak_response_unref(response);
    free(data);
  }
}

/* A few empty parts are nobody's burden. */
static void a_small_answer_may_hold_empty_parts(void **state) {
  (void)state;
  static const uint8_t entries[] = "\x0a\x06\x12\0\x12\0\x12\0", backends[] = "\x0a\0\x0a\0";
  arvak_response *response = NULL;
  assert_int_equal(arvak_response_decode(ARVAK_GET_JOB_RESULT, entries, 8, &response), ARVAK_OK);
  assert_int_equal(response->as.result.size, 3);
  assert_string_equal(response->as.result.counts[2].bits, "");
  arvak_response_unref(response);
  assert_int_equal(arvak_response_decode(ARVAK_LIST_BACKENDS, backends, 4, &response), ARVAK_OK);
  assert_int_equal(response->as.backends.size, 2);
  assert_string_equal(response->as.backends.list[1].topology_json, "");
  arvak_response_unref(response);
}

/* ---- whose answer it is ---- */

/* What becomes of these bytes as the answer to a request about "job-1", or with that many circuits. */
static int match(arvak_rpc rpc, const char *data, size_t size, size_t circuit_count) {
  static const arvak_circuit circuits[3] = {{"a", 1, 0}, {"b", 1, 0}, {"c", 1, 0}};
  arvak_request request = {.rpc = rpc, .id = "job-1", .chunk_size = 7, .circuits = circuits,
                           .circuit_count = circuit_count};
  grpc_slice packed = grpc_empty_slice();
  if (rpc != ARVAK_SUBMIT_BATCH_STREAM) assert_int_equal(arvak__request_encode(&request, &packed), ARVAK_OK);
  arvak_response *response = NULL;
  int status = arvak_response_decode(rpc, (const uint8_t *)data, size, &response);
  if (status == ARVAK_OK) status = arvak__response_match(response, packed);
  arvak_response_unref(response);
  grpc_slice_unref(packed);
  return status;
}

static void an_answer_is_about_the_job_that_was_asked_about(void **state) {
  (void)state;
  static const struct {
    arvak_rpc rpc;
    const char *data;
    size_t size;
    int status;
  } rows[] = {
      {ARVAK_GET_JOB_STATUS, "\x0a\x07\x0a\x05job-1", 9, ARVAK_OK},
      {ARVAK_GET_JOB_STATUS, "\x0a\x07\x0a\x05job-2", 9, ARVAK__EOTHER},
      {ARVAK_GET_JOB_STATUS, "\x0a\x06\x0a\x04job-", 8, ARVAK__EOTHER},
      {ARVAK_GET_JOB_STATUS, "\x0a\x08\x0a\x06job-10", 10, ARVAK__EOTHER},
      {ARVAK_GET_JOB_STATUS, "\x0a\x02\x10\x03", 4, ARVAK__EOTHER}, /* a state, and no id */
      {ARVAK_GET_JOB_RESULT, "\x0a\x07\x0a\x05job-1", 9, ARVAK_OK},
      {ARVAK_GET_JOB_RESULT, "\x0a\x07\x0a\x05JOB-1", 9, ARVAK__EOTHER},
      {ARVAK_GET_JOB_RESULT, "\x0a\x02\x18\x03", 4, ARVAK__EOTHER},
      {ARVAK_WATCH_JOB, "\x0a\x05job-1", 7, ARVAK_OK},
      {ARVAK_WATCH_JOB, "\x0a\x05job-2", 7, ARVAK__EOTHER},
      {ARVAK_WATCH_JOB, "\x10\x01", 2, ARVAK_OK}, /* a message of a stream need not say whose it is */
      {ARVAK_STREAM_RESULTS, "\x0a\x05job-1", 7, ARVAK_OK},
      {ARVAK_STREAM_RESULTS, "\x0a\x05job-2", 7, ARVAK__EOTHER},
      {ARVAK_STREAM_RESULTS, "\x18\x01", 2, ARVAK_OK},
      {ARVAK_SUBMIT_BATCH_STREAM, "\x0a\x01" "a\x1a\0", 5, ARVAK_OK},
      {ARVAK_SUBMIT_BATCH_STREAM, "\x12\x01" "1\x1a\0", 5, ARVAK__EABSENT}, /* accepted, and nobody knows the job */
      {ARVAK_SUBMIT_BATCH_STREAM, "\x12\x01" "1\x2a\x01" "e", 6, ARVAK_OK}, /* refused, so there is none */
      {ARVAK_SUBMIT_BATCH_STREAM, "\x0a\x01" "a\x22\x03\x0a\x01" "a", 8, ARVAK_OK},
      {ARVAK_SUBMIT_BATCH_STREAM, "\x0a\x01" "a\x22\x03\x0a\x01" "b", 8, ARVAK__EOTHER},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    assert_int_equal(match(rows[i].rpc, rows[i].data, rows[i].size, 0), rows[i].status);
}

static void a_submit_is_answered_with_an_id_for_each_circuit(void **state) {
  (void)state;
  assert_int_equal(match(ARVAK_SUBMIT_JOB, "\x0a\x01" "a", 3, 1), ARVAK_OK);
  assert_int_equal(match(ARVAK_SUBMIT_JOB, "\x0a\0", 2, 1), ARVAK__EABSENT);
  assert_int_equal(match(ARVAK_SUBMIT_JOB, "\x0a\x01" "a\x0a\0", 5, 1), ARVAK__EABSENT); /* the last one counts */
  assert_int_equal(match(ARVAK_SUBMIT_BATCH, "", 0, 0), ARVAK_OK);
  assert_int_equal(match(ARVAK_SUBMIT_BATCH, "\x0a\x01" "a\x0a\x01" "b", 6, 2), ARVAK_OK);
  assert_int_equal(match(ARVAK_SUBMIT_BATCH, "\x0a\x01" "a\x0a\x01" "b", 6, 3), ARVAK__EABSENT);
  assert_int_equal(match(ARVAK_SUBMIT_BATCH, "\x0a\x01" "a\x0a\x01" "b", 6, 1), ARVAK__EABSENT);
  assert_int_equal(match(ARVAK_SUBMIT_BATCH, "\x0a\x01" "a\x0a\0", 5, 2), ARVAK__EABSENT);
  assert_int_equal(match(ARVAK_SUBMIT_BATCH, "\x0a\0\x0a\x01" "a", 5, 2), ARVAK__EABSENT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(any_message_is_read_as_protobuf_c_reads_it),
      cmocka_unit_test(what_protobuf_c_refuses_is_refused),
      cmocka_unit_test(an_answer_costs_a_small_multiple_of_its_size),
      cmocka_unit_test(a_small_answer_may_hold_empty_parts),
      cmocka_unit_test(an_answer_is_about_the_job_that_was_asked_about),
      cmocka_unit_test(a_submit_is_answered_with_an_id_for_each_circuit),
  };
  grpc_init();
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  grpc_shutdown();
  return failed;
}
