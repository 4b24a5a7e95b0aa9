/* Answers are read from the wire in two passes of the same code: the first measures, the second fills one block of
 * memory of exactly that size. So what an answer costs is known before anything is allocated, and a message of empty
 * parts, which would cost many times its size, is refused.
 * SPDX-License-Identifier: Apache-2.0 */
#include "answer.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

/* ---- memory ---- */

/* A decoded answer may take so many times its size on the wire, and some more, since a small one is nobody's burden. An
 * entry of a result takes 5 bytes on the wire at least, unless it is without a key, and 18 here. */
enum { BOUND = 4, BOUND_SLACK = 64 << 10 };

/* One block: this, then the lists and texts that response points at. */
typedef struct answer {
  arvak_response response; /* first: its address is the answer's */
  int refs;
  size_t size_bytes;
} answer;

/* What the parts of an answer take: how much of each while measuring, the next free place of each while filling. */
typedef struct builder {
  bool is_filling;
  size_t count_count, pointer_count, backend_count, text_bytes;
  arvak_count *counts;
  const char **pointers;
  arvak_backend *backends;
  char *texts;
} builder;

static size_t size_of(const builder *b) {
  return sizeof(answer) + b->count_count * sizeof *b->counts + b->pointer_count * sizeof *b->pointers +
         b->backend_count * sizeof *b->backends + b->text_bytes;
}

/* Divides the block; texts, which need no alignment, come last. */
static void start_filling(builder *b, answer *into) {
  b->is_filling = true;
  b->counts = (arvak_count *)(into + 1);
  b->backends = (arvak_backend *)(b->counts + b->count_count);
  b->pointers = (const char **)(b->backends + b->backend_count);
  b->texts = (char *)(b->pointers + b->pointer_count);
}

static const char *add_text(builder *b, arvak__span span) {
  size_t size = (size_t)(span.end - span.at);
  if (size == 0) return "";
  if (!b->is_filling) {
    b->text_bytes += size + 1;
    return "";
  }
  char *text = b->texts;
  memcpy(text, span.at, size);
  text[size] = '\0';
  b->texts += size + 1;
  return text;
}

static void add_pointer(builder *b, arvak__span span) {
  const char *text = add_text(b, span);
  if (b->is_filling) *b->pointers++ = text;
  else b->pointer_count++;
}

arvak_response *arvak_response_ref(arvak_response *response) {
  ((answer *)response)->refs++;
  return response;
}

size_t arvak_response_size_bytes(const arvak_response *response) { return ((const answer *)response)->size_bytes; }

void arvak_response_unref(arvak_response *response) {
  if (response && --((answer *)response)->refs == 0) free(response);
}

/* ---- from the wire ----
 * A field that is given twice counts once more: the last of a number or text, a message as if both were one. Fields of
 * numbers that we do not know are skipped; one that we know with another type than ours makes the message invalid. */

enum { TEXT = ARVAK__WIRE_BYTES, NUMBER = ARVAK__WIRE_VARINT, MESSAGE = ARVAK__WIRE_BYTES };

/* As in a case label. */
#define FIELD(number, type) ((number) << 3 | (type))

static int skip(const arvak__field *field, uint32_t last_known) {
  return field->tag >> 3 > last_known ? ARVAK_OK : ARVAK_EINVAL;
}

static int end(const arvak__span *span) { return arvak__wire_is_whole(span) ? ARVAK_OK : ARVAK_EINVAL; }

static int read_job(builder *b, arvak__span span, void *into) {
  arvak_job *job = into;
  arvak__field field;
  while (arvak__wire_next(&span, &field)) {
    switch (field.tag) {
      case FIELD(1, TEXT): job->job_id = add_text(b, field.bytes); break;
      case FIELD(2, NUMBER): job->state = (int32_t)field.value; break;
      case FIELD(3, NUMBER): job->submitted_at = (int64_t)field.value; break;
      case FIELD(4, NUMBER): job->started_at = (int64_t)field.value; break;
      case FIELD(5, NUMBER): job->completed_at = (int64_t)field.value; break;
      case FIELD(6, TEXT): job->backend_id = add_text(b, field.bytes); break;
      case FIELD(7, NUMBER): job->shots = (uint32_t)field.value; break;
      case FIELD(8, TEXT): job->error_message = add_text(b, field.bytes); break;
      default: if (skip(&field, 8) != ARVAK_OK) return ARVAK_EINVAL;
    }
  }
  return end(&span);
}

/* An entry of a map. Lua's integers end where int64_t does. */
static int add_count(builder *b, arvak__span span) {
  arvak__field field;
  arvak__span bits = arvak__span_of(NULL, 0);
  uint64_t count = 0;
  while (arvak__wire_next(&span, &field)) {
    switch (field.tag) {
      case FIELD(1, TEXT): bits = field.bytes; break;
      case FIELD(2, NUMBER): count = field.value; break;
      default: if (skip(&field, 2) != ARVAK_OK) return ARVAK_EINVAL;
    }
  }
  if (count > INT64_MAX) return ARVAK_EINVAL;
  const char *text = add_text(b, bits);
  if (b->is_filling) *b->counts++ = (arvak_count){text, count};
  else b->count_count++;
  return end(&span);
}

static int read_result(builder *b, arvak__span span, void *into) {
  arvak_result *result = into;
  arvak__field field;
  if (!result->counts) result->counts = b->counts;
  while (arvak__wire_next(&span, &field)) {
    switch (field.tag) {
      case FIELD(1, TEXT): result->job_id = add_text(b, field.bytes); break;
      case FIELD(2, MESSAGE):
        if (add_count(b, field.bytes) != ARVAK_OK) return ARVAK_EINVAL;
        result->size++;
        break;
      case FIELD(3, NUMBER): result->shots = (uint32_t)field.value; break;
      case FIELD(4, NUMBER): result->execution_time_ms = field.value; break;
      case FIELD(5, TEXT): result->metadata_json = add_text(b, field.bytes); break;
      default: if (skip(&field, 5) != ARVAK_OK) return ARVAK_EINVAL;
    }
  }
  return end(&span);
}

static int read_backend(builder *b, arvak__span span, void *into) {
  arvak_backend *backend = into;
  arvak__field field;
  if (!backend->supported_gates) backend->supported_gates = b->pointers;
  while (arvak__wire_next(&span, &field)) {
    switch (field.tag) {
      case FIELD(1, TEXT): backend->backend_id = add_text(b, field.bytes); break;
      case FIELD(2, TEXT): backend->name = add_text(b, field.bytes); break;
      case FIELD(3, NUMBER): backend->is_available = field.value != 0; break;
      case FIELD(4, NUMBER): backend->max_qubits = (uint32_t)field.value; break;
      case FIELD(5, NUMBER): backend->max_shots = (uint32_t)field.value; break;
      case FIELD(6, TEXT): backend->description = add_text(b, field.bytes); break;
      case FIELD(7, TEXT):
        add_pointer(b, field.bytes);
        backend->gate_count++;
        break;
      case FIELD(8, TEXT): backend->topology_json = add_text(b, field.bytes); break;
      default: if (skip(&field, 8) != ARVAK_OK) return ARVAK_EINVAL;
    }
  }
  return end(&span);
}

static int read_update(builder *b, arvak__span span, void *into) {
  arvak_update *update = into;
  arvak__field field;
  while (arvak__wire_next(&span, &field)) {
    switch (field.tag) {
      case FIELD(1, TEXT): update->job_id = add_text(b, field.bytes); break;
      case FIELD(2, NUMBER): update->state = (int32_t)field.value; break;
      case FIELD(3, NUMBER): update->timestamp = (int64_t)field.value; break;
      case FIELD(4, TEXT): update->error_message = add_text(b, field.bytes); break;
      default: if (skip(&field, 4) != ARVAK_OK) return ARVAK_EINVAL;
    }
  }
  return end(&span);
}

static int read_chunk(builder *b, arvak__span span, void *into) {
  arvak_chunk *chunk = into;
  arvak__field field;
  chunk->counts = b->counts;
  while (arvak__wire_next(&span, &field)) {
    switch (field.tag) {
      case FIELD(1, TEXT): chunk->job_id = add_text(b, field.bytes); break;
      case FIELD(2, MESSAGE):
        if (add_count(b, field.bytes) != ARVAK_OK) return ARVAK_EINVAL;
        chunk->size++;
        break;
      case FIELD(3, NUMBER): chunk->is_final = field.value != 0; break;
      case FIELD(4, NUMBER): chunk->index = (uint32_t)field.value; break;
      case FIELD(5, NUMBER): chunk->total = (uint32_t)field.value; break;
      default: if (skip(&field, 5) != ARVAK_OK) return ARVAK_EINVAL;
    }
  }
  return end(&span);
}

static const arvak_result no_result = {.job_id = "", .metadata_json = ""};

/* Of submitted, completed and error the last one counts. */
static int read_batch(builder *b, arvak__span span, void *into) {
  arvak_batch_answer *batch = into;
  arvak__field field;
  while (arvak__wire_next(&span, &field)) {
    switch (field.tag) {
      case FIELD(1, TEXT): batch->job_id = add_text(b, field.bytes); break;
      case FIELD(2, TEXT): batch->client_request_id = add_text(b, field.bytes); break;
      case FIELD(3, TEXT): batch->event = ARVAK_BATCH_SUBMITTED; break;
      case FIELD(4, MESSAGE):
        if (batch->event != ARVAK_BATCH_COMPLETED) batch->result = no_result;
        batch->event = ARVAK_BATCH_COMPLETED;
        if (read_result(b, field.bytes, &batch->result) != ARVAK_OK) return ARVAK_EINVAL;
        break;
      case FIELD(5, TEXT):
        batch->event = ARVAK_BATCH_ERROR;
        batch->error = add_text(b, field.bytes);
        break;
      default: if (skip(&field, 5) != ARVAK_OK) return ARVAK_EINVAL;
    }
  }
  if (batch->event != ARVAK_BATCH_ERROR) batch->error = "";
  return end(&span);
}

static int read_cancel(builder *b, arvak__span span, arvak_response *out) {
  arvak__field field;
  out->as.cancel.message = "";
  while (arvak__wire_next(&span, &field)) {
    switch (field.tag) {
      case FIELD(1, NUMBER): out->as.cancel.success = field.value != 0; break;
      case FIELD(2, TEXT): out->as.cancel.message = add_text(b, field.bytes); break;
      default: if (skip(&field, 2) != ARVAK_OK) return ARVAK_EINVAL;
    }
  }
  return end(&span);
}

static int read_ids(builder *b, arvak__span span, arvak_response *out) {
  arvak__field field;
  out->as.jobs.ids = b->pointers;
  while (arvak__wire_next(&span, &field)) {
    if (field.tag != FIELD(1, TEXT)) {
      if (skip(&field, 1) != ARVAK_OK) return ARVAK_EINVAL;
      continue;
    }
    add_pointer(b, field.bytes);
    out->as.jobs.size++;
  }
  return end(&span);
}

static const arvak_backend no_backend = {
    .backend_id = "", .name = "", .description = "", .topology_json = ""};

/* Each is another one. */
static int read_backends(builder *b, arvak__span span, arvak_response *out) {
  arvak__field field;
  out->as.backends.list = b->backends;
  while (arvak__wire_next(&span, &field)) {
    if (field.tag != FIELD(1, MESSAGE)) {
      if (skip(&field, 1) != ARVAK_OK) return ARVAK_EINVAL;
      continue;
    }
    arvak_backend backend = no_backend;
    if (read_backend(b, field.bytes, &backend) != ARVAK_OK) return ARVAK_EINVAL;
    if (b->is_filling) *b->backends++ = backend;
    else b->backend_count++;
    out->as.backends.size++;
  }
  return end(&span);
}

static int read_id(builder *b, arvak__span part, void *into) {
  *(const char **)into = add_text(b, part);
  return ARVAK_OK;
}

/* The answers that hold one message, or one text, as field 1. Without it they lack what was requested: a job without an
 * id, say, can only be a mistake of the server's, and taken for one it would be waited for in vain. */
static int read_part(builder *b, arvak__span span, int (*read)(builder *, arvak__span, void *), void *into) {
  arvak__field field;
  bool is_there = false;
  while (arvak__wire_next(&span, &field)) {
    if (field.tag != FIELD(1, MESSAGE)) {
      if (skip(&field, 1) != ARVAK_OK) return ARVAK_EINVAL;
      continue;
    }
    is_there = true;
    if (read(b, field.bytes, into) != ARVAK_OK) return ARVAK_EINVAL;
  }
  if (!arvak__wire_is_whole(&span)) return ARVAK_EINVAL;
  return is_there ? ARVAK_OK : ARVAK__EABSENT;
}

static int read_info(builder *b, arvak__span span, arvak_response *out) {
  arvak_backend backend = no_backend;
  int status = read_part(b, span, read_backend, &backend);
  out->as.backends.list = b->backends;
  out->as.backends.size = 1;
  if (b->is_filling) *b->backends = backend;
  else b->backend_count = 1;
  return status;
}

static int read_answer(builder *b, arvak__span span, arvak_response *out) {
  switch (out->rpc) {
    case ARVAK_SUBMIT_JOB: return read_part(b, span, read_id, &out->as.job_id);
    case ARVAK_SUBMIT_BATCH: return read_ids(b, span, out);
    case ARVAK_GET_JOB_STATUS:
      out->as.job = (arvak_job){.job_id = "", .backend_id = "", .error_message = ""};
      return read_part(b, span, read_job, &out->as.job);
    case ARVAK_GET_JOB_RESULT:
      out->as.result = no_result;
      return read_part(b, span, read_result, &out->as.result);
    case ARVAK_CANCEL_JOB: return read_cancel(b, span, out);
    case ARVAK_LIST_BACKENDS: return read_backends(b, span, out);
    case ARVAK_GET_BACKEND_INFO: return read_info(b, span, out);
    case ARVAK_WATCH_JOB:
      out->as.update = (arvak_update){.job_id = "", .error_message = ""};
      return read_update(b, span, &out->as.update);
    case ARVAK_STREAM_RESULTS:
      out->as.chunk = (arvak_chunk){.job_id = ""};
      return read_chunk(b, span, &out->as.chunk);
    case ARVAK_SUBMIT_BATCH_STREAM:
      out->as.batch = (arvak_batch_answer){.job_id = "", .client_request_id = "", .error = "", .result = no_result};
      return read_batch(b, span, &out->as.batch);
    case ARVAK_RPC_COUNT: break;
  }
  return ARVAK_EINVAL;
}

/* What any request would want of it. */
static int check(const arvak_response *response) {
  const arvak_batch_answer *batch = &response->as.batch;
  if (response->rpc == ARVAK_SUBMIT_JOB) return *response->as.job_id ? ARVAK_OK : ARVAK__EABSENT;
  if (response->rpc != ARVAK_SUBMIT_BATCH_STREAM) return ARVAK_OK;
  if (batch->event == ARVAK_BATCH_SUBMITTED && !*batch->job_id) return ARVAK__EABSENT;
  bool is_of_other = *batch->result.job_id && *batch->job_id && strcmp(batch->result.job_id, batch->job_id) != 0;
  return is_of_other ? ARVAK__EOTHER : ARVAK_OK;
}

int arvak_response_decode(arvak_rpc rpc, const uint8_t *data, size_t size, arvak_response **out) {
  builder b = {0};
  arvak__span all = arvak__span_of(data, size);
  arvak_response measured = {.rpc = rpc};
  int status = read_answer(&b, all, &measured);
  if (status != ARVAK_OK) return status;
  size_t size_bytes = size_of(&b);
  if (size_bytes > BOUND * size + BOUND_SLACK) return ARVAK__EBLOATED;
  answer *made = malloc(size_bytes);
  if (!made) return ARVAK_ENOMEM;
  *made = (answer){.response.rpc = rpc, .refs = 1, .size_bytes = size_bytes};
  start_filling(&b, made);
  read_answer(&b, all, &made->response);
  status = check(&made->response);
  if (status == ARVAK_OK) *out = &made->response;
  else free(made);
  return status;
}

int arvak__response_decode_buffer(arvak_rpc rpc, grpc_byte_buffer *buffer, arvak_response **out) {
  grpc_byte_buffer_reader reader;
  if (buffer->data.raw.compression != GRPC_COMPRESS_NONE) return ARVAK__ECOMPRESSED;
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

/* ---- does it answer the request? ---- */

/* The first field of this number. Our own requests are sound. */
static arvak__span find(arvak__span span, uint32_t number) {
  arvak__field field;
  while (arvak__wire_next(&span, &field))
    if (field.tag == FIELD(number, TEXT)) return field.bytes;
  return arvak__span_of(NULL, 0);
}

static int match_job(const char *job_id, arvak__span request) {
  arvak__span asked = find(request, 1);
  size_t size = strlen(job_id);
  bool is_same = size == (size_t)(asked.end - asked.at) && memcmp(job_id, asked.at, size) == 0;
  return is_same ? ARVAK_OK : ARVAK__EOTHER;
}

/* An id for each of the jobs, which are field 2. */
static int match_batch(const arvak_response *response, arvak__span request) {
  arvak__field field;
  size_t count = 0;
  while (arvak__wire_next(&request, &field)) count += field.tag == FIELD(2, MESSAGE);
  if (response->as.jobs.size != count) return ARVAK__EABSENT;
  for (size_t i = 0; i < count; i++)
    if (!*response->as.jobs.ids[i]) return ARVAK__EABSENT;
  return ARVAK_OK;
}

/* A message of a stream need not say whose it is: the stream has one job. */
int arvak__response_match(const arvak_response *response, grpc_slice request) {
  arvak__span packed = arvak__span_of(GRPC_SLICE_START_PTR(request), GRPC_SLICE_LENGTH(request));
  switch (response->rpc) {
    case ARVAK_SUBMIT_BATCH: return match_batch(response, packed);
    case ARVAK_GET_JOB_STATUS: return match_job(response->as.job.job_id, packed);
    case ARVAK_GET_JOB_RESULT: return match_job(response->as.result.job_id, packed);
    case ARVAK_WATCH_JOB:
      return *response->as.update.job_id ? match_job(response->as.update.job_id, packed) : ARVAK_OK;
    case ARVAK_STREAM_RESULTS:
      return *response->as.chunk.job_id ? match_job(response->as.chunk.job_id, packed) : ARVAK_OK;
    default: return ARVAK_OK;
  }
}
