/* Messages there and back, and rubbish in.
 * SPDX-License-Identifier: Apache-2.0 */
#include <grpc/grpc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arvak.pb-c.h"
#include "answer.h"
#include "codec.h"

static const char qasm[] = "OPENQASM 3.0; qubit q; h q;";

static void packs_a_submit(void **state) {
  (void)state;
  arvak_circuit circuit = {qasm, 4294967295u, 2};
  arvak_request request = {.rpc = ARVAK_SUBMIT_JOB, .id = "simulator", .circuits = &circuit, .circuit_count = 1};
  grpc_slice slice;
  assert_int_equal(arvak__request_encode(&request, &slice), ARVAK_OK);
  Arvak__V1__SubmitJobRequest *message =
      arvak__v1__submit_job_request__unpack(NULL, GRPC_SLICE_LENGTH(slice), GRPC_SLICE_START_PTR(slice));
  assert_non_null(message);
  assert_int_equal(message->circuit->format_case, ARVAK__V1__CIRCUIT_PAYLOAD__FORMAT_QASM3);
  assert_string_equal(message->circuit->qasm3, qasm);
  assert_string_equal(message->backend_id, "simulator");
  assert_int_equal(message->shots, 4294967295u);
  assert_int_equal(message->optimization_level, 2);
  arvak__v1__submit_job_request__free_unpacked(message, NULL);
  grpc_slice_unref(slice);
}

/* An empty program must arrive as one, not as a payload without a format (contract 2.1 tells them apart). */
static void packs_an_empty_circuit_as_one(void **state) {
  (void)state;
  arvak_circuit circuits[2] = {{"", 0, 0}, {qasm, 1, 0}};
  arvak_request request = {.rpc = ARVAK_SUBMIT_BATCH, .id = "b", .circuits = circuits, .circuit_count = 2};
  grpc_slice slice;
  assert_int_equal(arvak__request_encode(&request, &slice), ARVAK_OK);
  Arvak__V1__SubmitBatchRequest *message =
      arvak__v1__submit_batch_request__unpack(NULL, GRPC_SLICE_LENGTH(slice), GRPC_SLICE_START_PTR(slice));
  assert_non_null(message);
  assert_int_equal(message->n_jobs, 2);
  assert_int_equal(message->jobs[0]->circuit->format_case, ARVAK__V1__CIRCUIT_PAYLOAD__FORMAT_QASM3);
  assert_string_equal(message->jobs[0]->circuit->qasm3, "");
  assert_string_equal(message->jobs[1]->circuit->qasm3, qasm);
  arvak__v1__submit_batch_request__free_unpacked(message, NULL);
  grpc_slice_unref(slice);
}

static uint8_t *pack_result(size_t keys, size_t *size) {
  Arvak__V1__JobResult__CountsEntry *entries = calloc(keys, sizeof *entries);
  Arvak__V1__JobResult__CountsEntry **pointers = calloc(keys, sizeof *pointers);
  char(*names)[24] = calloc(keys, sizeof *names);
  for (size_t i = 0; i < keys; i++) {
    arvak__v1__job_result__counts_entry__init(&entries[i]);
    for (int bit = 0; bit < 20; bit++) names[i][19 - bit] = (char)('0' + (i >> bit & 1));
    entries[i].key = names[i];
    entries[i].value = i + 1;
    pointers[i] = &entries[i];
  }
  Arvak__V1__JobResult result = ARVAK__V1__JOB_RESULT__INIT;
  result.job_id = "job";
  result.n_counts = keys;
  result.counts = pointers;
  result.shots = 7;
  result.metadata_json = "null";
  Arvak__V1__GetJobResultResponse response = ARVAK__V1__GET_JOB_RESULT_RESPONSE__INIT;
  response.result = &result;
  *size = arvak__v1__get_job_result_response__get_packed_size(&response);
  uint8_t *bytes = malloc(*size);
  arvak__v1__get_job_result_response__pack(&response, bytes);
  free(entries);
  free(pointers);
  free(names);
  return bytes;
}

static void decodes_a_large_result(void **state) {
  (void)state;
  size_t size;
  uint8_t *bytes = pack_result(100000, &size);
  arvak_response *response = NULL;
  assert_int_equal(arvak_response_decode(ARVAK_GET_JOB_RESULT, bytes, size, &response), ARVAK_OK);
  free(bytes);
  assert_int_equal(response->as.result.size, 100000);
  assert_string_equal(response->as.result.counts[5].bits, "00000000000000000101");
  for (size_t i = 0; i < 100000; i++) assert_int_equal(response->as.result.counts[i].count, i + 1);
  assert_string_equal(response->as.result.metadata_json, "null");
  assert_in_range(arvak_response_size_bytes(response), size, 16 * size);
  arvak_response_unref(response);
}

/* An empty message is valid protobuf, but no job, result, backend or id is in it. */
static void refuses_an_answer_without_what_was_asked_for(void **state) {
  (void)state;
  static const bool may_be_empty[ARVAK_RPC_COUNT] = {
      [ARVAK_SUBMIT_BATCH] = true,  [ARVAK_CANCEL_JOB] = true,     [ARVAK_LIST_BACKENDS] = true,
      [ARVAK_WATCH_JOB] = true,     [ARVAK_STREAM_RESULTS] = true, [ARVAK_SUBMIT_BATCH_STREAM] = true,
  };
  for (int rpc = 0; rpc < ARVAK_RPC_COUNT; rpc++) {
    arvak_response *response = NULL;
    int status = arvak_response_decode((arvak_rpc)rpc, NULL, 0, &response);
    assert_int_equal(status, may_be_empty[rpc] ? ARVAK_OK : ARVAK__EABSENT);
    arvak_response_unref(response);
  }
}

/* Every prefix of an answer, and every answer with one byte changed, is decoded or refused, never more. */
static void survives_damage(void **state) {
  (void)state;
  size_t size;
  uint8_t *bytes = pack_result(4, &size);
  int refused = 0;
  for (size_t n = 0; n < size; n++) {
    arvak_response *response = NULL;
    if (arvak_response_decode(ARVAK_GET_JOB_RESULT, bytes, n, &response) == ARVAK_OK) arvak_response_unref(response);
    else refused++;
  }
  assert_true(refused > 0);
  for (size_t i = 0; i < size * 256; i++) {
    uint8_t kept = bytes[i / 256];
    bytes[i / 256] = (uint8_t)(i % 256);
    arvak_response *response = NULL;
    if (arvak_response_decode(ARVAK_GET_JOB_RESULT, bytes, size, &response) == ARVAK_OK) arvak_response_unref(response);
    bytes[i / 256] = kept;
  }
  free(bytes);
}

static void checks_text(void **state) {
  (void)state;
  static const struct {
    const char *text;
    size_t size, good;
  } cases[] = {
      {"", 0, 0},
      {"plain ascii text", 16, 16},
      {"a\0b", 3, 1},
      {"12345678\0", 9, 8},
      {"1234567\0a", 9, 7},
      {"\xc3\xa9", 2, 2},
      {"\xe2\x82\xac", 3, 3},
      {"\xf0\x9f\x98\x80", 4, 4},
      {"\xc0\x80", 2, 0},             /* overlong NUL */
      {"\xed\xa0\x80", 3, 0},         /* surrogate */
      {"\xf4\x90\x80\x80", 4, 0},     /* above U+10FFFF */
      {"abc\xe2\x82", 5, 3},          /* cut short */
      {"\x80", 1, 0},
      {"12345678\xff", 9, 8},
      {"\xe0\x80\x80", 3, 0},         /* overlong */
      {"\xf0\x80\x80\x80", 4, 0},     /* overlong */
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_int_equal(arvak_text_check(cases[i].text, cases[i].size), cases[i].good);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(packs_a_submit),           cmocka_unit_test(packs_an_empty_circuit_as_one),
      cmocka_unit_test(decodes_a_large_result),   cmocka_unit_test(refuses_an_answer_without_what_was_asked_for),
      cmocka_unit_test(survives_damage),          cmocka_unit_test(checks_text),
  };
  grpc_init();
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  grpc_shutdown();
  return failed;
}
