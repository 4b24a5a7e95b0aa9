/* Requests are packed by protobuf-c, straight into a slice. SPDX-License-Identifier: Apache-2.0 */
#include "codec.h"

#include <stdlib.h>
#include <string.h>

#include "arvak.pb-c.h"

/* ---- requests ---- */

static void fill_payload(Arvak__V1__CircuitPayload *payload, const arvak_circuit *circuit) {
  arvak__v1__circuit_payload__init(payload);
  payload->format_case = ARVAK__V1__CIRCUIT_PAYLOAD__FORMAT_QASM3;
  payload->qasm3 = (char *)circuit->qasm;
}

static int pack(const ProtobufCMessage *message, grpc_slice *out) {
  size_t size = protobuf_c_message_get_packed_size(message);
  grpc_slice slice = grpc_slice_malloc(size);
  protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
  *out = slice;
  return ARVAK_OK;
}

static int encode_submit_job(const arvak_request *request, grpc_slice *out) {
  Arvak__V1__CircuitPayload payload;
  Arvak__V1__SubmitJobRequest message = ARVAK__V1__SUBMIT_JOB_REQUEST__INIT;
  fill_payload(&payload, &request->circuits[0]);
  message.circuit = &payload;
  message.backend_id = (char *)request->id;
  message.shots = request->circuits[0].shots;
  message.optimization_level = request->circuits[0].optimization_level;
  return pack(&message.base, out);
}

typedef struct batch_entry {
  Arvak__V1__BatchJobRequest job;
  Arvak__V1__CircuitPayload payload;
} batch_entry;

static int encode_submit_batch(const arvak_request *request, grpc_slice *out) {
  size_t n = request->circuit_count;
  batch_entry *entries = calloc(n + 1, sizeof *entries);
  Arvak__V1__BatchJobRequest **jobs = calloc(n + 1, sizeof *jobs);
  int status = ARVAK_ENOMEM;
  if (entries && jobs) {
    for (size_t i = 0; i < n; i++) {
      arvak__v1__batch_job_request__init(&entries[i].job);
      fill_payload(&entries[i].payload, &request->circuits[i]);
      entries[i].job.circuit = &entries[i].payload;
      entries[i].job.shots = request->circuits[i].shots;
      entries[i].job.optimization_level = request->circuits[i].optimization_level;
      jobs[i] = &entries[i].job;
    }
    Arvak__V1__SubmitBatchRequest message = ARVAK__V1__SUBMIT_BATCH_REQUEST__INIT;
    message.backend_id = (char *)request->id;
    message.n_jobs = n;
    message.jobs = jobs;
    status = pack(&message.base, out);
  }
  free(entries);
  free(jobs);
  return status;
}

/* Requests of GetJobStatus, GetJobResult, CancelJob, WatchJob and GetBackendInfo have the same single field. */
static int encode_id(const arvak_request *request, grpc_slice *out) {
  Arvak__V1__GetJobStatusRequest message = ARVAK__V1__GET_JOB_STATUS_REQUEST__INIT;
  message.job_id = (char *)request->id;
  return pack(&message.base, out);
}

static int encode_stream_results(const arvak_request *request, grpc_slice *out) {
  Arvak__V1__StreamResultsRequest message = ARVAK__V1__STREAM_RESULTS_REQUEST__INIT;
  message.job_id = (char *)request->id;
  message.chunk_size = request->chunk_size;
  return pack(&message.base, out);
}

int arvak__submission_encode(const arvak_submission *submission, grpc_slice *out) {
  Arvak__V1__CircuitPayload payload;
  Arvak__V1__BatchJobSubmission message = ARVAK__V1__BATCH_JOB_SUBMISSION__INIT;
  fill_payload(&payload, &submission->circuit);
  message.circuit = &payload;
  message.backend_id = (char *)submission->backend_id;
  message.shots = submission->circuit.shots;
  message.optimization_level = submission->circuit.optimization_level;
  message.client_request_id = (char *)submission->client_request_id;
  return pack(&message.base, out);
}

int arvak__request_encode(const arvak_request *request, grpc_slice *out) {
  switch (request->rpc) {
    case ARVAK_STREAM_RESULTS: return encode_stream_results(request, out);
    case ARVAK_SUBMIT_BATCH_STREAM:
    case ARVAK_SUBMIT_JOB: return encode_submit_job(request, out);
    case ARVAK_SUBMIT_BATCH: return encode_submit_batch(request, out);
    case ARVAK_LIST_BACKENDS: *out = grpc_empty_slice(); return ARVAK_OK;
    default: return encode_id(request, out);
  }
}

/* ---- text ---- */

/* Length of the valid UTF-8 sequence at s, or 0: no surrogates, nothing over U+10FFFF, no overlong forms, no NUL. */
static size_t sequence_length(const unsigned char *s, size_t left) {
  if (s[0] < 0x80) return s[0] != 0;
  size_t n = s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
  if (n == 0 || n > left) return 0;
  for (size_t i = 1; i < n; i++)
    if ((s[i] & 0xc0) != 0x80) return 0;
  if (s[0] == 0xe0 && s[1] < 0xa0) return 0;
  if (s[0] == 0xed && s[1] >= 0xa0) return 0;
  if (s[0] == 0xf0 && s[1] < 0x90) return 0;
  if (s[0] == 0xf4 && s[1] >= 0x90) return 0;
  return n;
}

/* Eight bytes at a time while they are plain: no high bit, no zero byte. */
static size_t skip_plain(const unsigned char *s, size_t i, size_t size) {
  while (i + 8 <= size) {
    uint64_t word;
    memcpy(&word, s + i, 8);
    if ((word & 0x8080808080808080u) || ((word - 0x0101010101010101u) & 0x8080808080808080u)) break;
    i += 8;
  }
  return i;
}

size_t arvak_text_check(const char *text, size_t size) {
  const unsigned char *s = (const unsigned char *)text;
  size_t i = 0;
  while (i < size) {
    i = skip_plain(s, i, size);
    if (i == size) break;
    size_t n = sequence_length(s + i, size - i);
    if (n == 0) return i;
    i += n;
  }
  return size;
}
