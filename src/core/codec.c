/* protobuf-c in and out of gRPC's slices. Every answer is one arena: its strings, lists and views go with one free.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codec.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <stdlib.h>
#include <string.h>

#include "arvak.pb-c.h"

/* ---- arena ---- */

typedef struct chunk chunk;
struct chunk {
  chunk *next;
  char bytes[];
};

/* Lives in the first chunk itself; arvak_response is its first member, so that freeing needs no second pointer. */
typedef struct arena {
  arvak_response response;
  int refs;
  size_t size_bytes; /* of all chunks */
  chunk *chunks;
  char *at, *end;
} arena;

/* A message of n bytes unpacks to about 3 n; small ones to a few hundred whatever n is. */
static size_t first_chunk_size(size_t message_size) { return 512 + 4 * message_size; }

static chunk *chunk_new(size_t size, chunk *next) {
  chunk *c = malloc(sizeof *c + size);
  if (c) c->next = next;
  return c;
}

static arena *arena_new(size_t message_size) {
  size_t size = first_chunk_size(message_size) + sizeof(arena);
  chunk *c = chunk_new(size, NULL);
  if (!c) return NULL;
  arena *a = (arena *)c->bytes;
  memset(a, 0, sizeof *a);
  a->refs = 1;
  a->size_bytes = sizeof *c + size;
  a->chunks = c;
  a->at = c->bytes + sizeof *a;
  a->end = c->bytes + size;
  return a;
}

static void *arena_alloc(void *data, size_t size) {
  arena *a = data;
  if (size > SIZE_MAX / 2) return NULL;
  size = (size + 7) & ~(size_t)7;
  if (size > (size_t)(a->end - a->at)) {
    size_t room = size > 4096 ? size : 4096;
    /* The oldest chunk, which holds the arena, must stay last in the list. */
    chunk *c = chunk_new(room, a->chunks);
    if (!c) return NULL;
    a->size_bytes += sizeof *c + room;
    a->chunks = c;
    a->at = c->bytes;
    a->end = c->bytes + room;
  }
  void *block = a->at;
  a->at += size;
  return block;
}

static void arena_skip_free(void *data, void *block) {
  (void)data;
  (void)block;
}

arvak_response *arvak_response_ref(arvak_response *response) {
  ((arena *)response)->refs++;
  return response;
}

size_t arvak_response_size_bytes(const arvak_response *response) { return ((const arena *)response)->size_bytes; }

void arvak_response_unref(arvak_response *response) {
  if (!response || --((arena *)response)->refs > 0) return;
  chunk *c = ((arena *)response)->chunks;
  while (c) {
    chunk *next = c->next;
    free(c);
    c = next;
  }
}

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

/* ---- answers ---- */

static const ProtobufCMessageDescriptor *const answers[ARVAK_RPC_COUNT] = {
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

/* An answer has to hold what was requested: a job without an id, say, can only be a mistake of the server's, and taken
 * for one it would be waited for in vain. */
static int view_job(const Arvak__V1__Job *job, arvak_job *out) {
  if (!job) return ARVAK__EABSENT;
  *out = (arvak_job){.job_id = job->job_id,
                     .state = (int)job->state,
                     .submitted_at = job->submitted_at,
                     .started_at = job->started_at,
                     .completed_at = job->completed_at,
                     .backend_id = job->backend_id,
                     .shots = job->shots,
                     .error_message = job->error_message};
  return ARVAK_OK;
}

/* Lua's integers end where int64_t does. */
static int view_counts(arena *a, Arvak__V1__JobResult__CountsEntry **entries, size_t size, const arvak_count **out) {
  arvak_count *counts = arena_alloc(a, size * sizeof *counts);
  if (!counts) return ARVAK_ENOMEM;
  for (size_t i = 0; i < size; i++) {
    if (entries[i]->value > INT64_MAX) return ARVAK_EINVAL;
    counts[i] = (arvak_count){entries[i]->key, entries[i]->value};
  }
  *out = counts;
  return ARVAK_OK;
}

static int view_result(arena *a, const Arvak__V1__JobResult *result, arvak_result *out) {
  if (!result) return ARVAK__EABSENT;
  *out = (arvak_result){.job_id = result->job_id,
                        .size = result->n_counts,
                        .shots = result->shots,
                        .execution_time_ms = result->execution_time_ms,
                        .metadata_json = result->metadata_json};
  return view_counts(a, result->counts, result->n_counts, &out->counts);
}

static void view_backend(const Arvak__V1__BackendInfo *backend, arvak_backend *out) {
  *out = (arvak_backend){.backend_id = backend->backend_id,
                         .name = backend->name,
                         .is_available = backend->is_available,
                         .max_qubits = backend->max_qubits,
                         .max_shots = backend->max_shots,
                         .description = backend->description,
                         .supported_gates = (const char *const *)backend->supported_gates,
                         .gate_count = backend->n_supported_gates,
                         .topology_json = backend->topology_json};
}

static int view_backends(arena *a, Arvak__V1__BackendInfo **list, size_t size, arvak_response *out) {
  arvak_backend *backends = arena_alloc(a, size * sizeof *backends);
  if (!backends) return ARVAK_ENOMEM;
  for (size_t i = 0; i < size; i++) view_backend(list[i], &backends[i]);
  out->as.backends.list = backends;
  out->as.backends.size = size;
  return ARVAK_OK;
}

static void view_update(const Arvak__V1__JobStatusUpdate *update, arvak_update *out) {
  *out = (arvak_update){.job_id = update->job_id,
                        .state = (int)update->state,
                        .timestamp = update->timestamp,
                        .error_message = update->error_message};
}

/* The entries of both maps are laid out alike: protobuf-c makes one type for each. */
static int view_chunk(arena *a, const Arvak__V1__ResultChunk *part, arvak_chunk *out) {
  *out = (arvak_chunk){.size = part->n_counts,
                       .is_final = part->is_final,
                       .index = part->chunk_index,
                       .total = part->total_chunks};
  return view_counts(a, (Arvak__V1__JobResult__CountsEntry **)part->counts, part->n_counts, &out->counts);
}

static int view_batch(arena *a, const Arvak__V1__BatchJobResult *answer, arvak_batch_answer *out) {
  out->job_id = answer->job_id;
  out->client_request_id = answer->client_request_id;
  out->error = "";
  switch (answer->result_case) {
    case ARVAK__V1__BATCH_JOB_RESULT__RESULT_SUBMITTED: out->event = ARVAK_BATCH_SUBMITTED; return ARVAK_OK;
    case ARVAK__V1__BATCH_JOB_RESULT__RESULT_ERROR:
      out->event = ARVAK_BATCH_ERROR;
      out->error = answer->error;
      return ARVAK_OK;
    case ARVAK__V1__BATCH_JOB_RESULT__RESULT_COMPLETED:
      out->event = ARVAK_BATCH_COMPLETED;
      return view_result(a, answer->completed, &out->result);
    default: out->event = ARVAK_BATCH_UNKNOWN; return ARVAK_OK;
  }
}

static int view(arena *a, const ProtobufCMessage *message, arvak_response *out) {
  switch (out->rpc) {
    case ARVAK_SUBMIT_JOB:
      out->as.job_id = ((const Arvak__V1__SubmitJobResponse *)message)->job_id;
      return *out->as.job_id ? ARVAK_OK : ARVAK__EABSENT;
    case ARVAK_SUBMIT_BATCH: {
      const Arvak__V1__SubmitBatchResponse *batch = (const Arvak__V1__SubmitBatchResponse *)message;
      out->as.jobs.ids = (const char *const *)batch->job_ids;
      out->as.jobs.size = batch->n_job_ids;
      return ARVAK_OK;
    }
    case ARVAK_GET_JOB_STATUS:
      return view_job(((const Arvak__V1__GetJobStatusResponse *)message)->job, &out->as.job);
    case ARVAK_GET_JOB_RESULT:
      return view_result(a, ((const Arvak__V1__GetJobResultResponse *)message)->result, &out->as.result);
    case ARVAK_CANCEL_JOB: {
      const Arvak__V1__CancelJobResponse *cancel = (const Arvak__V1__CancelJobResponse *)message;
      out->as.cancel.success = cancel->success;
      out->as.cancel.message = cancel->message;
      return ARVAK_OK;
    }
    case ARVAK_LIST_BACKENDS: {
      const Arvak__V1__ListBackendsResponse *list = (const Arvak__V1__ListBackendsResponse *)message;
      return view_backends(a, list->backends, list->n_backends, out);
    }
    case ARVAK_GET_BACKEND_INFO: {
      Arvak__V1__BackendInfo *one = ((const Arvak__V1__GetBackendInfoResponse *)message)->backend;
      return one ? view_backends(a, &one, 1, out) : ARVAK__EABSENT;
    }
    case ARVAK_WATCH_JOB:
      view_update((const Arvak__V1__JobStatusUpdate *)message, &out->as.update);
      return ARVAK_OK;
    case ARVAK_STREAM_RESULTS: return view_chunk(a, (const Arvak__V1__ResultChunk *)message, &out->as.chunk);
    case ARVAK_SUBMIT_BATCH_STREAM:
      return view_batch(a, (const Arvak__V1__BatchJobResult *)message, &out->as.batch);
    case ARVAK_RPC_COUNT: break;
  }
  return ARVAK_EINVAL;
}

int arvak_response_decode(arvak_rpc rpc, const uint8_t *data, size_t size, arvak_response **out) {
  arena *a = arena_new(size);
  if (!a) return ARVAK_ENOMEM;
  ProtobufCAllocator allocator = {arena_alloc, arena_skip_free, a};
  ProtobufCMessage *message = protobuf_c_message_unpack(answers[rpc], &allocator, size, data);
  a->response.rpc = rpc;
  int status = message ? view(a, message, &a->response) : ARVAK_EINVAL;
  if (status != ARVAK_OK) {
    arvak_response_unref(&a->response);
    return status;
  }
  *out = &a->response;
  return ARVAK_OK;
}

int arvak__response_decode_buffer(arvak_rpc rpc, grpc_byte_buffer *buffer, arvak_response **out) {
  grpc_byte_buffer_reader reader;
  if (!grpc_byte_buffer_reader_init(&reader, buffer)) return ARVAK_EINVAL;
  size_t size = grpc_byte_buffer_length(buffer);
  grpc_slice *first = NULL;
  grpc_slice whole = grpc_empty_slice();
  if (size > 0 && !grpc_byte_buffer_reader_peek(&reader, &first)) size = 0;
  if (first && GRPC_SLICE_LENGTH(*first) < size) {
    grpc_byte_buffer_reader_destroy(&reader);
    if (!grpc_byte_buffer_reader_init(&reader, buffer)) return ARVAK_EINVAL;
    whole = grpc_byte_buffer_reader_readall(&reader);
    first = &whole;
  }
  const uint8_t *data = first ? GRPC_SLICE_START_PTR(*first) : NULL;
  int status = arvak_response_decode(rpc, data, size, out);
  grpc_slice_unref(whole);
  grpc_byte_buffer_reader_destroy(&reader);
  return status;
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
