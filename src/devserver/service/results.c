/* See results.h. Invariant: at most one chunk is built and not yet sent, so one thread at a time works on a stream and
 * a slow reader costs one chunk.
 * SPDX-License-Identifier: Apache-2.0 */
#include "results.h"

#include <stdlib.h>

#include "arvak.pb-c.h"
#include "context.h"
#include "rpc/answer.h"
#include "rpc/stream.h"
#include "rpc/wire.h"
#include "unary.h"

enum { DEFAULT_CHUNK_SIZE = 1000 };

typedef struct results {
  job *job;             /* owned reference, which keeps the counts */
  const counts *counts; /* borrowed from it */
  uint32_t chunk_size, next, total;
} results;

static bool fill_chunk(arena *memory, const results *r, Arvak__V1__ResultChunk *out) {
  size_t from = (size_t)r->next * r->chunk_size, size = r->counts->size - from, key_bytes = r->counts->width + 1;
  if (size > r->chunk_size) size = r->chunk_size;
  Arvak__V1__ResultChunk__CountsEntry *entries = arena_alloc(memory, size * sizeof *entries);
  Arvak__V1__ResultChunk__CountsEntry **list = arena_alloc(memory, size * sizeof *list);
  char *keys = arena_alloc(memory, size * key_bytes);
  if (!entries || !list || !keys) return false;
  for (size_t i = 0; i < size; i++) {
    const outcome *one = &r->counts->outcomes[from + i];
    arvak__v1__result_chunk__counts_entry__init(&entries[i]);
    entries[i].key = keys + i * key_bytes;
    entries[i].value = one->count;
    counts_key(r->counts, one->bits, entries[i].key);
    list[i] = &entries[i];
  }
  arvak__v1__result_chunk__init(out);
  out->job_id = r->job->id;
  out->counts = list;
  out->n_counts = size;
  out->chunk_index = r->next;
  out->total_chunks = r->total;
  out->is_final = r->next + 1 == r->total;
  return true;
}

static void send_next(call *c) {
  results *r = c->stream;
  Arvak__V1__ResultChunk chunk;
  arena memory;
  arena_init(&memory);
  if (!fill_chunk(&memory, r, &chunk)) {
    stream_end(c, GRPC_STATUS_INTERNAL, "[transient] Storage error: out of memory");
  } else if (++r->next == r->total) {
    stream_last(c, &chunk.base);
  } else {
    stream_send(c, &chunk.base); /* results_sent may be running before this returns */
  }
  arena_fini(&memory);
}

void results_sent(call *c) {
  const results *r = c->stream;
  if (r->next < r->total && !stream_closed(c)) send_next(c);
}

void results_release(void *stream) { job_unref(((results *)stream)->job); }

static void results_open(call *c, job *j, const job_view *view, uint32_t chunk_size) {
  results *r = calloc(1, sizeof *r);
  if (!r) {
    answer_fail(c, GRPC_STATUS_INTERNAL, "[transient] Storage error: out of memory");
    return;
  }
  r->job = job_ref(j);
  r->counts = view->result;
  r->chunk_size = chunk_size ? chunk_size : DEFAULT_CHUNK_SIZE;
  r->total = (uint32_t)((r->counts->size + r->chunk_size - 1) / r->chunk_size);
  if (!r->total) r->total = 1;
  c->stream = r;
  stream_open(c);
  send_next(c);
}

void results_run(call *c, const ProtobufCMessage *message) {
  const Arvak__V1__StreamResultsRequest *request = (const Arvak__V1__StreamResultsRequest *)message;
  job_view view;
  job *j = jobs_get(context_of(c)->store, request->job_id, wire_length(request->job_id), &view);
  if (!j) {
    unary_no_job(c, request->job_id);
    return;
  }
  if (unary_has_result(c, j->id, &view)) results_open(c, j, &view, request->chunk_size);
  job_unref(j);
}
