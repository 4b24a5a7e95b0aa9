/* What a status means: names, kinds, whether to try again, whether the server may have acted.
 * The rules are those of docs/contract.md 2.1 and 2.10; message texts decide only where the tables here say so.
 * SPDX-License-Identifier: Apache-2.0 */
#include "status.h"

#include <grpc/status.h>
#include <string.h>

static const char *const rpc_methods[ARVAK_RPC_COUNT] = {
    [ARVAK_SUBMIT_JOB] = "/arvak.v1.ArvakService/SubmitJob",
    [ARVAK_SUBMIT_BATCH] = "/arvak.v1.ArvakService/SubmitBatch",
    [ARVAK_GET_JOB_STATUS] = "/arvak.v1.ArvakService/GetJobStatus",
    [ARVAK_GET_JOB_RESULT] = "/arvak.v1.ArvakService/GetJobResult",
    [ARVAK_CANCEL_JOB] = "/arvak.v1.ArvakService/CancelJob",
    [ARVAK_LIST_BACKENDS] = "/arvak.v1.ArvakService/ListBackends",
    [ARVAK_GET_BACKEND_INFO] = "/arvak.v1.ArvakService/GetBackendInfo",
    [ARVAK_WATCH_JOB] = "/arvak.v1.ArvakService/WatchJob",
    [ARVAK_STREAM_RESULTS] = "/arvak.v1.ArvakService/StreamResults",
    [ARVAK_SUBMIT_BATCH_STREAM] = "/arvak.v1.ArvakService/SubmitBatchStream",
};

static const char *const code_names[] = {
    "OK",        "CANCELLED",           "UNKNOWN",       "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
    "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
    "UNIMPLEMENTED", "INTERNAL",        "UNAVAILABLE",   "DATA_LOSS",        "UNAUTHENTICATED",
};

/* Beginnings of the messages that the core of gRPC makes itself when a link dies, of 1.51 to 1.83. A status with one of
 * these did not come from the server; or it did, but from the core of gRPC there as it shut down, or as it passed on
 * what its own peer had done, whatever had been executed. So these words are believed against all other evidence.
 * "GOAWAY received" may be about a stream that the server had processed: seen when rubbish followed the GOAWAY. */
static const char *const transport_messages[] = {
    "Socket closed", "recvmsg:", "Connection reset", "Connection timed out", "Connection cancelled", "Broken pipe",
    "sendmsg", "No route to host", "Network is unreachable", "Transport endpoint is not connected",
    "Software caused connection abort", "Endpoint ", "FD Shutdown", "FD shutdown", "Failed parsing HTTP/2",
    "keepalive watchdog timeout", "Too many pings", "GOAWAY received", "Received RST_STREAM",
    "Received http2 header with status", "Stream refused by server", "RST_STREAM", "failed to connect",
    "Failed to connect", "Last stream ", "Stream IDs exhausted", "Transport ", "Write failed", "write failed",
    "Pending writes failed", "Attempt to send", "Delayed close", "connections to all backends failing", "channel shut",
    "Channel shut", "No status received", "Trying to connect", "Stream removed", "Cancelling all calls",
};

/* REFUSED_STREAM: by HTTP/2 nothing of the request has been processed, which is as good as the server's own word.
 * The only texts that make a verdict less careful, so they are whole, and believed of tested versions alone. */
static const char *const refused_stream[] = {
    "Received RST_STREAM with error code 7",                                /* 1.51, 1.56 */
    "Stream removed (RST_STREAM (Received RST_STREAM with error code 7))", /* 1.83 */
};

/* Messages of gRPC's about an answer it would not take: the server has acted, and trying again cannot help. */
static const char *const local_messages[] = {
    "Received message larger than max", "CLIENT: Received message larger than max",
    "received initial metadata size exceeds limit", "received trailing metadata size exceeds limit",
};

/* Beginnings of what the service says with codes that gRPC could have made itself (contract 2.3): the word of the
 * server, whatever the version of gRPC. */
static const char *const service_messages[] = {
    "[transient] ", "[permanent] ", "Circuit compilation failed:", "Timeout expired", "Concurrency limit reached: ",
    "Queue full: ", "Rate limit exceeded: ",
};

const char *arvak__rpc_method(arvak_rpc rpc) { return rpc_methods[rpc]; }

const char *arvak_rpc_name(arvak_rpc rpc) { return strrchr(rpc_methods[rpc], '/') + 1; }

const char *arvak_kind_name(arvak_kind kind) {
  switch (kind) {
#define X(name, text) \
  case ARVAK_KIND_##name: return text;
    ARVAK_KINDS(X)
#undef X
  }
  return "rpc";
}

const char *arvak_code_name(int code) {
  return code >= 0 && (size_t)code < sizeof code_names / sizeof *code_names ? code_names[code] : NULL;
}

static bool starts_with(const char *text, const char *beginning) {
  return strncmp(text, beginning, strlen(beginning)) == 0;
}

static bool starts_with_any(const char *message, const char *const *beginnings, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (starts_with(message, beginnings[i])) return true;
  return false;
}

bool arvak__is_local_message(const char *message) {
  return starts_with_any(message, local_messages, sizeof local_messages / sizeof *local_messages);
}

bool arvak__is_full_message(const char *message) {
  return starts_with(message, "Concurrency limit reached") || starts_with(message, "Queue full");
}

static bool is_transport_message(const char *message) {
  return starts_with_any(message, transport_messages, sizeof transport_messages / sizeof *transport_messages);
}

static bool is_own_message(const char *message) {
  return arvak__is_local_message(message) || is_transport_message(message);
}

static bool is_service_message(const char *message) {
  return starts_with_any(message, service_messages, sizeof service_messages / sizeof *service_messages);
}

static bool is_refused_stream(const char *message) {
  for (size_t i = 0; i < sizeof refused_stream / sizeof *refused_stream; i++)
    if (strcmp(message, refused_stream[i]) == 0) return true;
  return false;
}

/* The codes that gRPC promises never to make itself. */
static bool is_of_server_alone(int code) {
  switch (code) {
    case GRPC_STATUS_INVALID_ARGUMENT: case GRPC_STATUS_NOT_FOUND: case GRPC_STATUS_ALREADY_EXISTS: return true;
    case GRPC_STATUS_FAILED_PRECONDITION: case GRPC_STATUS_ABORTED: case GRPC_STATUS_OUT_OF_RANGE: return true;
    default: return false;
  }
}

/* Every doubt ends in BROKEN: a table that lacks a text may cost a repetition, and never repeats a submit. */
arvak__delivery arvak__delivery_of(const arvak__evidence *evidence) {
  bool is_unavailable = evidence->code == GRPC_STATUS_UNAVAILABLE;
  if (!evidence->was_sent) return is_unavailable ? DELIVERY_NOT_SENT : DELIVERY_BROKEN;
  if (evidence->origin != ORIGIN_UNKNOWN && is_refused_stream(evidence->message)) return DELIVERY_ANSWERED;
  if (is_own_message(evidence->message)) return DELIVERY_BROKEN;
  if (is_unavailable && !evidence->is_ready) return DELIVERY_BROKEN;
  bool is_doubtful = evidence->origin == ORIGIN_UNKNOWN && !is_of_server_alone(evidence->code);
  return is_doubtful && !is_service_message(evidence->message) ? DELIVERY_BROKEN : DELIVERY_ANSWERED;
}

/* What gRPC says of a connection that could not be made, and what that means to whoever configured it. */
static const struct {
  bool tls;
  const char *part, *hint;
} connect_hints[] = {
    {true, "certificate verify failed",
     "the server's certificate is not signed by a certificate of tls.ca (or the system's), or has expired"},
    {true, "is not in peer certificate", "the server's certificate is for another host; tls.server_name names it"},
    {true, "wrong version number", "the server does not speak TLS on this port"},
    {true, "Socket closed", "the server ended the TLS handshake: it may demand a client certificate of its own CA, "
                            "tls.cert and tls.key"},
    {true, "empty address list", "the certificates given as tls cannot be used: unreadable PEM text, or a key that "
                                 "does not belong to its certificate"},
    {false, "Socket closed", "the server ended the connection before it spoke HTTP/2: it may expect TLS"},
};

const char *arvak__connect_hint(bool tls, const char *message) {
  for (size_t i = 0; i < sizeof connect_hints / sizeof *connect_hints; i++)
    if (connect_hints[i].tls == tls && strstr(message, connect_hints[i].part)) return connect_hints[i].hint;
  return NULL;
}

bool arvak__is_submit(arvak_rpc rpc) {
  return rpc == ARVAK_SUBMIT_JOB || rpc == ARVAK_SUBMIT_BATCH || rpc == ARVAK_SUBMIT_BATCH_STREAM;
}

static bool reads_result(arvak_rpc rpc) { return rpc == ARVAK_GET_JOB_RESULT || rpc == ARVAK_STREAM_RESULTS; }

/* The reference server tells its own timeout this way (contract 2.1). */
static bool is_server_timeout(int code, const char *message) {
  return code == GRPC_STATUS_CANCELLED && strcmp(message, "Timeout expired") == 0;
}

/* NOT_FOUND carries only an id: which thing was missing follows from the RPC (contract 2.9, item 1). */
static arvak_kind kind_of_not_found(arvak_rpc rpc) {
  bool is_backend = arvak__is_submit(rpc) || rpc == ARVAK_GET_BACKEND_INFO;
  return is_backend ? ARVAK_KIND_BACKEND_NOT_FOUND : ARVAK_KIND_JOB_NOT_FOUND;
}

/* Rubbish, or the page of a proxy: which code gRPC makes of it depends on its version (docs/internals/grpc.md). */
static bool is_no_answer(int code, const char *message) {
  return (code == GRPC_STATUS_UNKNOWN || code == GRPC_STATUS_UNIMPLEMENTED) && is_transport_message(message);
}

arvak_kind arvak__kind_of(arvak_rpc rpc, int code, const char *message) {
  switch (code) {
    case GRPC_STATUS_OK: return ARVAK_KIND_NONE;
    /* Not by us: our own cancellations never come here. */
    case GRPC_STATUS_CANCELLED: return is_server_timeout(code, message) ? ARVAK_KIND_TIMEOUT : ARVAK_KIND_RPC;
    case GRPC_STATUS_DEADLINE_EXCEEDED: return ARVAK_KIND_TIMEOUT;
    case GRPC_STATUS_INVALID_ARGUMENT:
      return arvak__is_submit(rpc) ? ARVAK_KIND_INVALID_CIRCUIT : ARVAK_KIND_RPC;
    case GRPC_STATUS_NOT_FOUND: return rpc == ARVAK_LIST_BACKENDS ? ARVAK_KIND_RPC : kind_of_not_found(rpc);
    case GRPC_STATUS_FAILED_PRECONDITION:
      return reads_result(rpc) ? ARVAK_KIND_JOB_NOT_COMPLETED : ARVAK_KIND_RPC;
    case GRPC_STATUS_ABORTED: return reads_result(rpc) ? ARVAK_KIND_JOB_FAILED : ARVAK_KIND_RPC;
    case GRPC_STATUS_RESOURCE_EXHAUSTED: return ARVAK_KIND_RESOURCE_EXHAUSTED;
    case GRPC_STATUS_UNAUTHENTICATED: return ARVAK_KIND_UNAUTHENTICATED;
    case GRPC_STATUS_UNAVAILABLE: return ARVAK_KIND_UNAVAILABLE;
    default: return is_no_answer(code, message) ? ARVAK_KIND_UNAVAILABLE : ARVAK_KIND_RPC;
  }
}

bool arvak__is_retryable(arvak_rpc rpc, int code, const char *message, arvak__delivery delivery) {
  bool read = !arvak__is_submit(rpc);
  switch (code) {
    case GRPC_STATUS_UNAVAILABLE:
      return read || delivery == DELIVERY_NOT_SENT ||
             (rpc == ARVAK_SUBMIT_JOB && delivery == DELIVERY_ANSWERED);
    case GRPC_STATUS_RESOURCE_EXHAUSTED:
      return (read || (rpc == ARVAK_SUBMIT_JOB && delivery == DELIVERY_ANSWERED)) && !arvak__is_local_message(message);
    case GRPC_STATUS_DEADLINE_EXCEEDED: return read || delivery == DELIVERY_NOT_SENT;
    case GRPC_STATUS_CANCELLED: return read && is_server_timeout(code, message);
    case GRPC_STATUS_INTERNAL: return read && starts_with(message, "[transient]");
    default: return false;
  }
}

/* CANCELLED and RESOURCE_EXHAUSTED say nothing of a server's health, nor does INTERNAL of a watch, which stands for an
 * unknown job (contract 2.9, item 2). A circuit that cannot be compiled is nobody's outage. */
arvak_verdict arvak_verdict_of(arvak_rpc rpc, int code, const char *message) {
  switch (code) {
    case GRPC_STATUS_CANCELLED: case GRPC_STATUS_RESOURCE_EXHAUSTED: return ARVAK_VERDICT_NEUTRAL;
    case GRPC_STATUS_UNAVAILABLE: case GRPC_STATUS_UNKNOWN: case GRPC_STATUS_DATA_LOSS: return ARVAK_VERDICT_FAILURE;
    case GRPC_STATUS_INTERNAL:
      if (rpc == ARVAK_WATCH_JOB) return ARVAK_VERDICT_NEUTRAL;
      if (starts_with(message, "[permanent]") || starts_with(message, "Circuit compilation failed:"))
        return ARVAK_VERDICT_SUCCESS;
      return ARVAK_VERDICT_FAILURE;
    default: return ARVAK_VERDICT_SUCCESS;
  }
}

/* A batch stops at its first bad job while the earlier ones run (contract 2.4), unless it was refused whole. */
static bool batch_may_run(size_t circuits, int code) {
  return circuits > 1 && code != GRPC_STATUS_NOT_FOUND && code != GRPC_STATUS_UNAUTHENTICATED &&
         code != GRPC_STATUS_UNIMPLEMENTED && code != GRPC_STATUS_OUT_OF_RANGE;
}

/* Answers of a server that does not know itself what it has done. */
static bool is_unclear(int code) {
  switch (code) {
    case GRPC_STATUS_CANCELLED: case GRPC_STATUS_DEADLINE_EXCEEDED: return true;
    case GRPC_STATUS_UNKNOWN: case GRPC_STATUS_DATA_LOSS: return true;
    default: return !arvak_code_name(code);
  }
}

bool arvak__maybe_executed(arvak_rpc rpc, size_t circuits, int code, arvak__delivery delivery) {
  if (delivery == DELIVERY_NOT_SENT) return false;
  if (delivery == DELIVERY_BROKEN || is_unclear(code)) return true;
  /* A stream may break at any of its jobs, whatever the others came to. */
  if (rpc == ARVAK_SUBMIT_BATCH_STREAM) return code != GRPC_STATUS_UNAUTHENTICATED && code != GRPC_STATUS_UNIMPLEMENTED;
  return rpc == ARVAK_SUBMIT_BATCH && batch_may_run(circuits, code);
}
