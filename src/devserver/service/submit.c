/* See submit.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "submit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backend.h"
#include "context.h"
#include "faults/faults.h"
#include "qasm/qasm.h"
#include "rpc/answer.h"
#include "rpc/wire.h"

enum { MAX_QUBITS = 200, MAX_OPERATIONS = 50000, QUOTE_BYTES = 120 };

static bool refuse(refusal *why, refusal_kind kind, const char *text) {
  *why = (refusal){.kind = kind, .text = text ? text : "out of memory"};
  return false;
}

static bool refuse_full(call *c, jobs_verdict verdict, const jobs_counts *seen, refusal *why) {
  const jobs_limits *limits = &context_of(c)->limits;
  if (verdict == JOBS_NO_MEMORY) return refuse(why, REFUSED_STORE, "out of memory");
  if (verdict == JOBS_RUNNING_FULL) {
    return refuse(why, REFUSED_LIMIT,
                  arena_printf(&c->memory, "Concurrency limit reached: %" PRIu32 " jobs running (limit: %" PRIu32 ")",
                               seen->by_state[JOB_RUNNING], limits->max_running));
  }
  return refuse(why, REFUSED_LIMIT,
                arena_printf(&c->memory, "Queue full: %" PRIu32 " jobs queued (limit: %" PRIu32 ")",
                             seen->by_state[JOB_QUEUED], limits->max_queued));
}

static bool refuse_rate(call *c, uint32_t seen, refusal *why) {
  uint32_t limit = (uint32_t)context_of(c)->options.rate_limit;
  return refuse(
      why, REFUSED_LIMIT,
      arena_printf(&c->memory, "Rate limit exceeded: %" PRIu32 " req/s (limit: %" PRIu32 " req/s)", seen, limit));
}

bool submit_admit(call *c, const char *peer, refusal *why) {
  context *x = context_of(c);
  jobs_counts figures;
  uint32_t seen;
  jobs_verdict verdict = jobs_check(x->store, &x->limits, &figures);
  if (verdict != JOBS_OK) return refuse_full(c, verdict, &figures, why);
  if (!rate_check(x->rates, peer, clock_us(), &seen)) return refuse_rate(c, seen, why);
  return true;
}

bool submit_backend(call *c, const char *backend, refusal *why) {
  if (backend_find(backend, wire_length(backend))) return true;
  return refuse(why, REFUSED_BACKEND, submit_quote(c, backend));
}

const char *submit_quote(call *c, const char *text) {
  size_t length = strlen(text);
  if (length <= QUOTE_BYTES) return text;
  length = QUOTE_BYTES;
  while (length && ((unsigned char)text[length] & 0xc0) == 0x80) length--;
  char *cut = arena_printf(&c->memory, "%.*s...", (int)length, text);
  return cut ? cut : "";
}

static bool has_format(const submission *what, refusal *why) {
  if (!what->circuit) return refuse(why, REFUSED_CIRCUIT, "Missing circuit payload");
  switch (what->circuit->format_case) {
    case ARVAK__V1__CIRCUIT_PAYLOAD__FORMAT_QASM3: return true;
    case ARVAK__V1__CIRCUIT_PAYLOAD__FORMAT_ARVAK_IR_JSON:
      return refuse(why, REFUSED_CIRCUIT, "Arvak IR JSON format not yet supported. Use OpenQASM 3 format instead.");
    default: return refuse(why, REFUSED_CIRCUIT, "No circuit format specified");
  }
}

static circuit *parse(call *c, const submission *what, refusal *why) {
  static const qasm_limits limits = {.max_qubits = MAX_QUBITS, .max_operations = MAX_OPERATIONS};
  qasm_error error;
  if (!has_format(what, why)) return NULL;
  const char *text = what->circuit->qasm3;
  circuit *parsed = qasm_parse(text, wire_length(text), &limits, &error);
  if (parsed) return parsed;
  if (error.class == QASM_NO_MEMORY) {
    refuse(why, REFUSED_STORE, "out of memory");
  } else if (error.class == QASM_COMPLEXITY) {
    refuse(why, REFUSED_COMPLEXITY, arena_printf(&c->memory, "Circuit exceeds complexity limits: %s", error.message));
  } else {
    refuse(why, REFUSED_QASM,
           arena_printf(&c->memory, "%s: line %" PRIu32 ", column %" PRIu32 ": %s", qasm_class_name(error.class),
                        error.line, error.column, error.message));
  }
  return NULL;
}

/* The reference compiles onto its whole device: a circuit that is wider is refused, any other is widened. */
static bool compile(call *c, const circuit *parsed, uint32_t level, uint32_t *width, refusal *why) {
  *width = 0;
  if (!level) return true;
  if (parsed->qubits > BACKEND_QUBITS) {
    return refuse(why, REFUSED_COMPILE,
                  arena_printf(&c->memory, "Circuit requires %" PRIu64 " qubits but target only has %d", parsed->qubits,
                               (int)BACKEND_QUBITS));
  }
  *width = BACKEND_QUBITS;
  return true;
}

job *submit_prepare(call *c, const submission *what, refusal *why) {
  uint32_t width;
  circuit *parsed = parse(c, what, why);
  if (!parsed) return NULL;
  if (!submit_backend(c, what->backend, why) || !compile(c, parsed, what->level, &width, why)) {
    circuit_free(parsed);
    return NULL;
  }
  job *j = job_new(parsed, what->shots, width);
  if (!j) refuse(why, REFUSED_STORE, "out of memory");
  return j;
}

bool submit_store(call *c, job *j, const char *peer, refusal *why) {
  context *x = context_of(c);
  uint32_t seen;
  faults_job(c->owner->faults, c->method->rpc, &j->plan);
  if (peer && !rate_take(x->rates, peer, clock_us(), &seen)) return refuse_rate(c, seen, why);
  jobs_verdict verdict = jobs_add(x->store, j, peer ? &x->limits : NULL, clock_unix_s());
  if (verdict == JOBS_OK) return true;
  jobs_counts figures;
  jobs_count(x->store, &figures);
  return refuse_full(c, verdict, &figures, why);
}

void submit_fail(call *c, const refusal *why) {
  switch (why->kind) {
    case REFUSED_NOT: break;
    case REFUSED_LIMIT: answer_fail(c, GRPC_STATUS_RESOURCE_EXHAUSTED, "%s", why->text); break;
    case REFUSED_CIRCUIT: answer_fail(c, GRPC_STATUS_INVALID_ARGUMENT, "[permanent] %s", why->text); break;
    case REFUSED_QASM:
      answer_fail(c, GRPC_STATUS_INVALID_ARGUMENT, "[permanent] QASM parse error: %s", why->text);
      break;
    case REFUSED_COMPLEXITY: answer_fail(c, GRPC_STATUS_INVALID_ARGUMENT, "%s", why->text); break;
    case REFUSED_BACKEND: answer_fail(c, GRPC_STATUS_NOT_FOUND, "[permanent] Backend not found: %s", why->text); break;
    case REFUSED_COMPILE: answer_fail(c, GRPC_STATUS_INTERNAL, "Circuit compilation failed: %s", why->text); break;
    case REFUSED_STORE: answer_fail(c, GRPC_STATUS_INTERNAL, "[transient] Storage error: %s", why->text); break;
  }
}
