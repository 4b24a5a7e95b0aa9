/* arvak: the client core of the Arvak quantum job service. C11, no Lua.
 *
 * A client is a pool of connections to one service with everything that is shared about it; it may be used from any
 * thread. A loop belongs to one thread and delivers the ends of the calls started on it. A call is one logical RPC.
 * Ownership words: owned (the caller releases), borrowed (valid until a stated point), takes (the callee releases on
 * every path), shared (one more reference). Functions that can fail return ARVAK_OK or a negative ARVAK_E….
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_H
#define ARVAK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARVAK_VERSION "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

enum {
  ARVAK_OK = 0,
  ARVAK_ENOMEM = -1,  /* out of memory; nothing changed */
  ARVAK_EINVAL = -2,  /* an argument breaks its contract */
  ARVAK_ECLOSED = -3, /* the loop is closed */
  ARVAK_EFORKED = -4, /* this process is a fork of the one that made the object; gRPC cannot follow */
  ARVAK_ELIMIT = -5,  /* the system has no descriptor or thread left */
  ARVAK_EREFUSED = -6 /* the breaker lets no stream through now */
};

/* ---- names ------------------------------------------------------------------------------------------------------ */

typedef enum arvak_rpc {
  ARVAK_SUBMIT_JOB,
  ARVAK_SUBMIT_BATCH,
  ARVAK_GET_JOB_STATUS,
  ARVAK_GET_JOB_RESULT,
  ARVAK_CANCEL_JOB,
  ARVAK_LIST_BACKENDS,
  ARVAK_GET_BACKEND_INFO,
  ARVAK_WATCH_JOB, /* from here on streams */
  ARVAK_STREAM_RESULTS,
  ARVAK_SUBMIT_BATCH_STREAM,
  ARVAK_RPC_COUNT
} arvak_rpc;

/* What an error means to a program, one word for each. The order has no meaning. */
#define ARVAK_KINDS(X)                                                                                             \
  X(NONE, "none")                                                                                                  \
  X(NOT_CANCELABLE, "not_cancelable")                                                                              \
  X(INVALID_CIRCUIT, "invalid_circuit")                                                                            \
  X(BACKEND_NOT_FOUND, "backend_not_found")                                                                        \
  X(JOB_NOT_FOUND, "job_not_found")                                                                                \
  X(JOB_NOT_COMPLETED, "job_not_completed")                                                                        \
  X(JOB_FAILED, "job_failed")                                                                                      \
  X(JOB_CANCELED, "job_canceled")                                                                                  \
  X(RESULT_EXPIRED, "result_expired")                                                                              \
  X(TIMEOUT, "timeout")                                                                                            \
  X(CANCELED, "canceled")                                                                                          \
  X(CIRCUIT_OPEN, "circuit_open")                                                                                  \
  X(RESOURCE_EXHAUSTED, "resource_exhausted")                                                                      \
  X(UNAUTHENTICATED, "unauthenticated")                                                                            \
  X(UNAVAILABLE, "unavailable")                                                                                    \
  X(CLOSED, "closed")                                                                                              \
  X(FORKED, "forked")                                                                                              \
  X(INTERRUPTED, "interrupted")                                                                                    \
  X(RPC, "rpc")

typedef enum arvak_kind {
#define X(name, text) ARVAK_KIND_##name,
  ARVAK_KINDS(X)
#undef X
} arvak_kind;

const char *arvak_rpc_name(arvak_rpc rpc);    /* "SubmitJob"; static */
const char *arvak_kind_name(arvak_kind kind); /* "unavailable"; static */
const char *arvak_code_name(int code);        /* "UNAVAILABLE"; static; NULL for a number gRPC does not know */

/* Nanoseconds of gRPC's monotonic clock, the base of every deadline here. With some versions of gRPC its zero differs
 * from that of CLOCK_MONOTONIC, so compute deadlines from this function. */
int64_t arvak_now_ns(void);
#define ARVAK_NEVER INT64_MAX

/* ---- policies --------------------------------------------------------------------------------------------------- */

typedef enum arvak_strategy {
  ARVAK_STRATEGY_EXPONENTIAL,
  ARVAK_STRATEGY_LINEAR,
  ARVAK_STRATEGY_CONSTANT
} arvak_strategy;
/* How a pause of d is drawn: at random below d, at random from its upper half, or d itself. */
typedef enum arvak_jitter { ARVAK_JITTER_FULL, ARVAK_JITTER_EQUAL, ARVAK_JITTER_NONE } arvak_jitter;

typedef struct arvak_budget_options {
  double max_tokens, token_ratio; /* above 0 */
} arvak_budget_options;

typedef struct arvak_outcome arvak_outcome;
typedef struct arvak_retry_event {
  arvak_rpc rpc;
  int attempt;      /* number of the attempt that failed, from 1 */
  int64_t delay_ns; /* pause before the next attempt */
  const char *address;
  const arvak_outcome *outcome; /* borrowed, as the address */
} arvak_retry_event;
typedef void (*arvak_retry_fn)(const arvak_retry_event *event, void *ud);

/* A field that is zero takes its default, which its comment names. So in all structs of options below. */
typedef struct arvak_retry_options {
  int max_attempts;           /* the first attempt included; 3 */
  int64_t initial_backoff_ns; /* 1 s */
  int64_t max_backoff_ns;     /* longest pause, jitter included; 60 s */
  double backoff_multiplier;  /* 2 */
  arvak_strategy strategy;
  arvak_jitter jitter;
  uint32_t codes;            /* bit n: status n is worth a retry; 0: as in contract 2.10 */
  bool assume_idempotent;    /* repeats submits like reads, also those that may have been executed */
  bool distrust_unavailable; /* an answered UNAVAILABLE proves nothing about a submit: it is marked maybe executed and
                                not repeated. A proxy may answer so for a submit that its upstream has executed. */
  arvak_budget_options budget; /* gRFC A6, per target, shared by the process; max_tokens 0: none */
  arvak_retry_fn on_retry;     /* before the pause, in the thread that drives the call's loop */
  void *ud;
  void (*release)(void *ud); /* called after the last on_retry */
} arvak_retry_options;

/* When to try again; immutable, thread-safe, counted. */
typedef struct arvak_retry arvak_retry;

/* address: as given to the client; all policies of one address share a budget. NULL: this policy has its own budget.
 * *out is owned. ARVAK_EINVAL: the address cannot be read. When this fails, release is not called. */
int arvak_retry_new(const arvak_retry_options *options, const char *address, arvak_retry **out);
arvak_retry *arvak_retry_ref(arvak_retry *retry); /* shared; NULL is fine, as below */
void arvak_retry_unref(arvak_retry *retry);
const arvak_retry_options *arvak_retry_get_options(const arvak_retry *retry); /* with the defaults filled in */
double arvak_retry_tokens(const arvak_retry *retry); /* tokens of its budget; -1: it has no budget */
int64_t arvak_retry_delay_ns(const arvak_retry *retry, int attempt, double random); /* random: from 0 to below 1 */
/* Whether the policy waits as long as the server requests (grpc-retry-pushback-ms): up to a minute, or up to
 * max_backoff_ns where that is longer. A longer request ends the retries at once, with the server's error and its
 * retry_after. */
bool arvak_retry_obeys(const arvak_retry *retry, int64_t pushback_ns);

typedef struct arvak_failure {
  int code;            /* of gRPC; -1: none */
  bool is_submit;      /* repeating it could do its work twice */
  bool is_ours;        /* this side made it: canceled, refused, an answer that cannot be taken; never repeated */
  bool is_unanswered;  /* the server did not answer: nothing was sent, or the connection broke */
  bool maybe_executed;
  bool by_table, as_read; /* contract 2.10 lets this RPC be repeated; it would let a read be repeated */
} arvak_failure;
/* Whether the failure is worth another attempt; the number of attempts and the budget aside. */
bool arvak_retry_is_worth(const arvak_retry *retry, const arvak_failure *failure);
bool arvak_retry_spend(arvak_retry *retry); /* takes a failure's token; true: the budget allows a retry */
void arvak_retry_earn(arvak_retry *retry);  /* gives back a part of a token for a success */

/* All zero: the pace is learned. Nothing happens until the server refuses a SubmitJob for its rate (an answered
 * RESOURCE_EXHAUSTED: it was not executed). Then submits wait for their turn, at the pace that the server lets through,
 * and the one that was refused is sent again. */
typedef struct arvak_limiter_options {
  bool is_off;       /* submits that were refused end with that error */
  double rate;       /* jobs submitted in a second; 0: no limit; turns go round the shares */
  int burst;         /* jobs that may be submitted at once after a pause; 1 */
  int max_in_flight; /* calls; 0: max_concurrent_rpcs */
  bool is_adaptive;  /* fewer after RESOURCE_EXHAUSTED and timeouts, slowly more after successes */
} arvak_limiter_options;

typedef enum arvak_breaker_state {
  ARVAK_BREAKER_CLOSED,
  ARVAK_BREAKER_OPEN,
  ARVAK_BREAKER_HALF_OPEN
} arvak_breaker_state;

/* What an attempt says about its server's health. */
typedef enum arvak_verdict { ARVAK_VERDICT_NEUTRAL, ARVAK_VERDICT_SUCCESS, ARVAK_VERDICT_FAILURE } arvak_verdict;

typedef struct arvak_breaker_options {
  int failure_threshold;   /* failures in a row that open it; 5, or none with a failure_rate */
  double failure_rate;     /* share of failures in the window that opens it, up to 1; 0: none */
  int64_t window_ns;       /* 30 s */
  int minimum_calls;       /* calls in the window before the rate counts; 10 */
  int success_threshold;   /* successful probes that close it; 2 */
  int64_t timeout_ns;      /* how long it stays open before it lets probes through; 60 s */
  int half_open_max_calls; /* probes at once; 1 */
  /* Called at each change, in the thread that makes it, before the call that caused it ends. */
  void (*on_change)(arvak_breaker_state from, arvak_breaker_state to, void *ud);
  void *ud;
  void (*release)(void *ud); /* called after the last on_change */
} arvak_breaker_options;

/* Refuses calls while the server is down. Live, thread-safe, counted. */
typedef struct arvak_breaker arvak_breaker;

typedef struct arvak_pass {
  uint64_t generation; /* 0: the call was not let through */
  uint64_t round;      /* counts how often the places for probes were given out anew */
  bool is_probe;
} arvak_pass;

typedef struct arvak_breaker_info {
  arvak_breaker_state state;
  bool would_admit;
  int64_t retry_after_ns; /* if not, when it may again, from now; ARVAK_NEVER: it is forced open */
  uint64_t changes[3];    /* how often it came to each state */
} arvak_breaker_info;

int arvak_breaker_new(const arvak_breaker_options *options, arvak_breaker **out); /* owned */
arvak_breaker *arvak_breaker_ref(arvak_breaker *breaker); /* shared; NULL is fine, as below */
void arvak_breaker_unref(arvak_breaker *breaker);
void arvak_breaker_get_info(arvak_breaker *breaker, int64_t at_ns, arvak_breaker_info *out); /* at this time */
/* True: the call may go; give *pass to arvak_breaker_leave once, however it ends. False: *retry_after_ns says when to
 * try, as in arvak_breaker_info. until_ns: when the call will have ended; 0: unknown. A probe loses its place a second
 * after until_ns; where that is unknown, timeout_ns after entering (a second at least); in any case after a minute. If
 * it leaves later, its success still counts, its failure does not. */
bool arvak_breaker_enter(arvak_breaker *breaker, int64_t until_ns, arvak_pass *pass, int64_t *retry_after_ns);
void arvak_breaker_leave(arvak_breaker *breaker, arvak_pass pass, arvak_verdict verdict);
void arvak_breaker_record(arvak_breaker *breaker, arvak_verdict verdict); /* counts something that did not enter */
/* Holds it open or closed until reset. While it is forced open, it names no time to try again. */
void arvak_breaker_force(arvak_breaker *breaker, arvak_breaker_state state);
void arvak_breaker_reset(arvak_breaker *breaker);
/* Fills in the outcome of a call that a breaker has refused with this retry_after_ns. Of a breaker that is forced open,
 * the message says so, and the outcome has no retry_after and is not retryable. */
void arvak_breaker_explain(int64_t retry_after_ns, arvak_outcome *out);
/* What a status says about its server. */
arvak_verdict arvak_verdict_of(arvak_rpc rpc, int code, const char *message);

/* ---- client ----------------------------------------------------------------------------------------------------- */

typedef struct arvak_text {
  const char *data;
  size_t size;
} arvak_text;

typedef struct arvak_header {
  const char *name;
  arvak_text value;
} arvak_header;

typedef struct arvak_channel_arg {
  const char *name;
  const char *string; /* NULL: the integer counts */
  int integer;
} arvak_channel_arg;

/* Adds headers to one attempt: a fresh token, say. The client calls it before each attempt in the thread that drives
 * the attempt's loop. It must not wait. It may cancel calls, its own too, and release the client. When it returns false
 * or adds a header that cannot be sent, there is no attempt, and the call or stream ends as unauthenticated. */
typedef struct arvak_header_sink arvak_header_sink;
typedef bool (*arvak_headers_fn)(arvak_header_sink *sink, arvak_rpc rpc, void *ud);
/* Copies a header. Of several headers with one name the call's own counts, then this one, then the client's.
 * ARVAK_EINVAL, as arvak_header_check; ARVAK_ENOMEM. */
int arvak_header_sink_add(arvak_header_sink *sink, const char *name, arvak_text value);

/* Everything is copied. */
typedef struct arvak_client_options {
  const char *address;        /* "host:port", "dns:///h:p", "ipv4:a:p,b:q", "ipv6:[a]:p", "unix:/path" */
  int pool_size;              /* connections at most; 4 */
  int max_concurrent_rpcs;    /* calls inside gRPC at most; the rest wait, those of a share in order; 128 */
  int64_t timeout_ns;         /* of a call with all its attempts, from the moment it first leaves the queue; 30 s */
  int64_t attempt_timeout_ns; /* of one attempt; none */
  int64_t queue_timeout_ns;   /* how long a call may wait in the queue; 300 s */
  const arvak_header *headers; /* sent with every call */
  size_t header_count;
  const arvak_channel_arg *channel_args; /* handed to gRPC, before our own */
  size_t channel_arg_count;
  bool tls;
  const char *tls_ca, *tls_cert, *tls_key; /* PEM; NULL: the system's roots, no client certificate */
  const char *tls_server_name;             /* NULL: the host of the address */
  arvak_limiter_options limiter;
  arvak_retry *retry;     /* shared; the policy of the handles that Lua states get. A call in C names its own. */
  arvak_breaker *breaker; /* shared; the breaker of these handles, one for all states of a host */
  arvak_headers_fn headers_fn; /* NULL: none. With one, asks_headers of a call has no effect. */
  void *headers_ud;
} arvak_client_options;

typedef struct arvak_client arvak_client;
/* Makes a client; opens no connection and never waits. On ARVAK_EINVAL *reason, if given, is a static sentence that
 * names the option and what was expected; it never repeats a header's value. *out is owned. */
int arvak_client_new(const arvak_client_options *options, arvak_client **out, const char **reason);
arvak_client *arvak_client_ref(arvak_client *client); /* shared */
void arvak_client_unref(arvak_client *client);        /* closes the connections when the last reference goes */
arvak_retry *arvak_client_retry(const arvak_client *client); /* of its options; borrowed, or NULL; so the next one */
arvak_breaker *arvak_client_breaker(const arvak_client *client);
bool arvak_client_has_header(const arvak_client *client, const char *name); /* in its options */
const char *arvak_client_address(const arvak_client *client); /* as given; borrowed, lives as long as the client */

bool arvak_client_is_paced(const arvak_client *client); /* its limiter learns the pace of submits */
/* For how long the server has refused every submit for its rate; -1: it has accepted the last. words, of size bytes,
 * 1 at least, gets the server's last ones. */
int64_t arvak_client_get_refusal(arvak_client *client, char *words, size_t size);
int64_t arvak_client_timeout_ns(const arvak_client *client); /* the deadline of a call that names none */

/* NULL if a header of this name and value may be sent, else a static reason. */
const char *arvak_header_check(const char *name, arvak_text value);

typedef struct arvak_client_stats {
  uint64_t calls;    /* calls that have ended; streams are not counted */
  uint64_t attempts; /* attempts of calls that were handed to gRPC */
  uint64_t failures; /* calls that ended without OK */
  uint64_t bytes_sent, bytes_received; /* of messages, also of streams, without framing */
  int in_flight, queued;
  int channels, ready, connecting, failing, idle; /* channels opened, and how many are in which state */
  uint64_t retries[17]; /* by the status that was retried */
  double limiter_tokens; /* now; -1 without a rate */
  int in_flight_limit;
  int held;           /* calls that wait for their turn, since the server has refused submits for their rate */
  double submit_rate; /* jobs a second at which turns come now; -1 while there are none */
  uint64_t refused;   /* submits that the server refused for their rate; each was sent again later, or ended so */
} arvak_client_stats;
void arvak_client_get_stats(arvak_client *client, arvak_client_stats *out);

/* How long calls of an RPC took, from start to end, to within 6 %. Calls without an attempt are not counted. */
typedef struct arvak_latency {
  uint64_t count;
  int64_t p50_ns, p90_ns, p99_ns, max_ns;
} arvak_latency;
void arvak_client_get_latency(arvak_client *client, arvak_rpc rpc, arvak_latency *out);

/* ---- loop ------------------------------------------------------------------------------------------------------- */

/* Belongs to one thread; others may call arvak_loop_wake only. Outlives its calls. */
typedef struct arvak_loop arvak_loop;
typedef struct arvak_timer arvak_timer;
typedef void (*arvak_timer_fn)(arvak_timer *timer, void *ud);
/* Part of the object that it times; zero it before first use. */
struct arvak_timer {
  int64_t deadline_ns;
  size_t place; /* in the heap, from 1; 0: not started */
  arvak_timer_fn fn;
  void *ud;
};

int arvak_loop_new(arvak_loop **out); /* owned; ARVAK_EFORKED in a fork of a process whose gRPC is running */
/* Cancels every call (they end as closed, their callbacks run), drains, releases: within 40 ms of a step or call. */
void arvak_loop_close(arvak_loop *loop);
/* Waits for an event, a timer or a wake, until_ns at the latest, and runs the callbacks that are due; they run nowhere
 * else. What they start, cancel or set belongs to the next step, so a step always returns. Returns how many ran. */
int arvak_loop_step(arvak_loop *loop, int64_t until_ns);
int64_t arvak_loop_now_ns(const arvak_loop *loop); /* when the last step had waited, or a call was started since */
/* Ends the step that is under way, or else the next one, early. Thread-safe, as long as the loop is not closed
 * meanwhile; costs one atomic when a wake is pending already. In a fork it has no effect. */
void arvak_loop_wake(arvak_loop *loop);
size_t arvak_loop_call_count(const arvak_loop *loop); /* calls and streams started and not ended */
/* Starts or moves a timer. ARVAK_ENOMEM only when it was not running. */
int arvak_loop_set_timer(arvak_loop *loop, arvak_timer *timer, int64_t deadline_ns);
void arvak_loop_stop_timer(arvak_loop *loop, arvak_timer *timer); /* not running: no effect */

/* For another event loop: opens a descriptor that becomes readable when a step has something to do. From the first
 * open until the last close a thread waits inside gRPC in the owner's place; callbacks still run in arvak_loop_step.
 * Opens are counted. Returns the descriptor (borrowed, the same each time, only to be polled for reading) or a
 * negative ARVAK_E…. */
int arvak_loop_open_fd(arvak_loop *loop);
/* After a step that found something the owner is expected to wait on the descriptor, or to step, soon: until then
 * nobody waits inside gRPC. Says that it may take a while: the thread waits there now. */
void arvak_loop_pause(arvak_loop *loop);
void arvak_loop_close_fd(arvak_loop *loop);
/* When the next step has something to do, for an owner that waits elsewhere. 0: now, because something was posted to
 * the loop, because events have come over the descriptor and not run, or because a call asks for its headers
 * (arvak_loop_next_asking). Else the time of the next timer; ARVAK_NEVER: no timer runs. A step does not wait while
 * this is 0. With an open descriptor, whatever makes it 0 also makes the descriptor readable, within a step too.
 * Setting a timer does not: after setting one outside a step, call this again before the wait. */
int64_t arvak_loop_due_ns(const arvak_loop *loop);

/* Makes client connect, unless it does; loop polls for the connection. True: a connection is ready now. */
bool arvak_client_connect(arvak_client *client, arvak_loop *loop);
/* Lets connections that have failed connect now, without gRPC's pause; at most every 100 ms for each. */
void arvak_client_hurry(arvak_client *client);

/* What one part of a program has of a client, such as a Lua state: slots go round the shares whose calls wait, and the
 * last are kept for shares that hold none. Counted; of one thread. max_in_flight: calls with gRPC; 0: any number. loop:
 * of its calls, outlives it: while nobody drives it, others get its turns; NULL: several. Does not keep the client. */
typedef struct arvak_share arvak_share;
int arvak_share_new(arvak_client *client, arvak_loop *loop, int max_in_flight, arvak_share **out); /* owned */
arvak_share *arvak_share_ref(arvak_share *share); /* shared; NULL is fine, as below */
void arvak_share_unref(arvak_share *share);

/* ---- messages --------------------------------------------------------------------------------------------------- */

typedef struct arvak_circuit {
  const char *qasm; /* NUL-terminated UTF-8, see arvak_text_check */
  uint32_t shots;
  uint32_t optimization_level;
} arvak_circuit;

/* One job of SubmitBatchStream. */
typedef struct arvak_submission {
  arvak_circuit circuit;
  const char *backend_id;
  const char *client_request_id; /* echoed in every answer about this job */
} arvak_submission;

typedef struct arvak_request {
  arvak_rpc rpc;
  uint32_t chunk_size; /* of StreamResults; 0: the server's, 1000 */
  const char *id; /* backend (submits, GetBackendInfo) or job; NUL-terminated UTF-8 */
  const arvak_circuit *circuits; /* one for SubmitJob, any number for SubmitBatch */
  size_t circuit_count;
} arvak_request;

/* Protobuf strings are UTF-8, and a NUL would cut a C string short. Returns the offset of the first byte that cannot
 * be sent, or size. */
size_t arvak_text_check(const char *text, size_t size);

typedef struct arvak_job {
  const char *job_id;
  int state; /* as on the wire; unknown numbers are kept */
  int64_t submitted_at, started_at, completed_at; /* Unix seconds; 0: not yet */
  const char *backend_id;
  uint32_t shots;
  const char *error_message;
} arvak_job;

typedef struct arvak_count {
  const char *bits;
  uint64_t count;
} arvak_count;

typedef struct arvak_result {
  const char *job_id;
  const arvak_count *counts; /* in the order received; of repeated keys the last one counts */
  size_t size;
  uint32_t shots;
  uint64_t execution_time_ms;
  const char *metadata_json;
} arvak_result;

typedef struct arvak_backend {
  const char *backend_id, *name;
  bool is_available;
  uint32_t max_qubits, max_shots;
  const char *description;
  const char *const *supported_gates;
  size_t gate_count;
  const char *topology_json;
} arvak_backend;

typedef struct arvak_update {
  const char *job_id;
  int state;
  int64_t timestamp; /* Unix seconds, the server's clock when it sent this */
  const char *error_message;
} arvak_update;

typedef struct arvak_chunk {
  const char *job_id;
  const arvak_count *counts; /* of this chunk alone */
  size_t size;
  bool is_final;
  uint32_t index, total;
} arvak_chunk;

typedef enum arvak_batch_event {
  ARVAK_BATCH_UNKNOWN,
  ARVAK_BATCH_SUBMITTED,
  ARVAK_BATCH_COMPLETED,
  ARVAK_BATCH_ERROR
} arvak_batch_event;

typedef struct arvak_batch_answer {
  arvak_batch_event event;
  const char *job_id; /* empty on error */
  const char *client_request_id;
  const char *error;
  arvak_result result;
} arvak_batch_answer;

/* A decoded answer; rpc says which member holds. It is one block of memory. */
typedef struct arvak_response {
  arvak_rpc rpc;
  union {
    const char *job_id; /* SubmitJob */
    struct {
      const char *const *ids;
      size_t size;
    } jobs;           /* SubmitBatch */
    arvak_job job;    /* GetJobStatus */
    arvak_result result; /* GetJobResult */
    struct {
      bool success;
      const char *message;
    } cancel; /* CancelJob */
    struct {
      const arvak_backend *list;
      size_t size;
    } backends; /* ListBackends, and GetBackendInfo with size 1 */
    arvak_update update;      /* WatchJob */
    arvak_chunk chunk;        /* StreamResults */
    arvak_batch_answer batch; /* SubmitBatchStream */
  } as;
} arvak_response;

arvak_response *arvak_response_ref(arvak_response *response); /* shared; for one thread at a time */
void arvak_response_unref(arvak_response *response);          /* NULL is fine */
/* The memory that the last arvak_response_unref frees; never changes. */
size_t arvak_response_size_bytes(const arvak_response *response);

/* Decodes the bytes of an answer. It takes at most 4 times their number and 64 KiB of memory. ARVAK_ENOMEM;
 * ARVAK_EINVAL: not such a message. Another negative number: it would take more memory, or it lacks an essential part,
 * such as a job's id. *out is owned. */
int arvak_response_decode(arvak_rpc rpc, const uint8_t *data, size_t size, arvak_response **out);

/* ---- call ------------------------------------------------------------------------------------------------------- */

typedef struct arvak_call arvak_call;
typedef void (*arvak_call_fn)(arvak_call *call, void *ud);
typedef struct arvak_call_options {
  int64_t timeout_ns;       /* 0: the client's; so the next two */
  int64_t attempt_timeout_ns;
  int64_t queue_timeout_ns; /* how long it may wait for a slot */
  arvak_retry *retry;       /* shared; NULL: one attempt */
  arvak_breaker *breaker;   /* shared; NULL: none */
  arvak_share *share;       /* shared, of this client and loop; NULL: the common one; a stream has none */
  int64_t not_before_ns;    /* the call begins then; 0: now */
  bool is_guest; /* of code that the owner of the client does not trust: the client's function for headers goes before
                    this call's headers, and a timeout shorter than the client's says nothing of the server's health */
  bool asks_headers; /* a call that has waited asks for fresh headers before its attempt: arvak_loop_next_asking */
  const arvak_header *headers; /* besides the client's; copied */
  size_t header_count;
  size_t fixed_header_count; /* how many of them stay when fresh headers replace the others */
  const void *owner; /* a mark for arvak_loop_cancel_owned; never followed */
  arvak_call_fn fn;  /* runs once, inside arvak_loop_step, _cancel_owned or _close of the loop */
  void *ud;
} arvak_call_options;

typedef enum arvak_scope { ARVAK_SCOPE_NONE, ARVAK_SCOPE_QUEUE, ARVAK_SCOPE_CALL } arvak_scope;

/* How a call ended. Strings are borrowed and live as long as the call. */
struct arvak_outcome {
  arvak_kind kind; /* ARVAK_KIND_NONE: it succeeded */
  int code;        /* gRPC status */
  const char *message;
  arvak_scope scope;   /* of a timeout */
  int attempts;        /* that left for gRPC */
  int64_t elapsed_ns;  /* since start */
  bool retryable;      /* contract 2.10 */
  bool maybe_executed; /* the server may have acted on it, in any of the attempts */
  bool has_retry_after;
  int64_t retry_after_ns; /* when trying again may help, as the server or the breaker says */
};

/* Starts a call of client on loop; never waits. fn reports how the call ended; this function only reports misuse and
 * lack of memory. out may be NULL. *out is owned: arvak_call_release it. A call lives until its end in any case. */
int arvak_call_start(arvak_loop *loop, arvak_client *client, const arvak_request *request,
                     const arvak_call_options *options, arvak_call **out);
/* Makes the call end soon, as kind (ARVAK_KIND_CANCELED or ARVAK_KIND_CLOSED) unless an answer is already here. */
void arvak_call_cancel(arvak_call *call, arvak_kind kind);
/* The caller needs the call no longer: fn will not run any more. The call itself goes on to its end. */
void arvak_call_release(arvak_call *call);
const arvak_outcome *arvak_call_outcome(const arvak_call *call); /* NULL before the end */
const void *arvak_call_owner(const arvak_call *call);
/* A call that asks for fresh headers and waits for arvak_call_proceed or arvak_call_refuse; NULL: there is none. */
arvak_call *arvak_loop_next_asking(arvak_loop *loop);
/* Lets the call begin its attempt. headers replace those that are not fixed; NULL: the same again. */
int arvak_call_proceed(arvak_call *call, const arvak_header *headers, size_t count);
void arvak_call_refuse(arvak_call *call, arvak_kind kind, int code, const char *message); /* message: static */
arvak_rpc arvak_call_rpc(const arvak_call *call);
/* True: an attempt is with gRPC, or an earlier one may have been executed. */
bool arvak_call_is_sent(const arvak_call *call);
const char *arvak_call_address(const arvak_call *call); /* its client's, borrowed as long as the call lives */
/* The decoded answer of a call that succeeded, else NULL; borrowed. A failed SubmitBatch may have one, too. */
arvak_response *arvak_call_response(const arvak_call *call);
/* Cancels all calls and streams on loop that were started with this owner. Reports those that have ended by then. */
void arvak_loop_cancel_owned(arvak_loop *loop, const void *owner, arvak_kind kind);
void arvak_loop_leave_owned(arvak_loop *loop, const void *owner, arvak_kind kind); /* reports them in the next step */

/* ---- stream ----------------------------------------------------------------------------------------------------- */

/* One RPC of many messages. It reads and writes one message at a time, so a slow reader holds the server back. It
 * holds no slot, and has no deadline but its own timeout. fn runs whenever something has changed: a message has come,
 * a write is through, the stream has ended. */
typedef struct arvak_stream arvak_stream;
typedef void (*arvak_stream_fn)(arvak_stream *stream, void *ud);
/* Starts a stream; never waits. options: timeout_ns 0 is none; fn is ignored. ARVAK_EREFUSED. *out is owned:
 * arvak_stream_release. A breaker is told of success with the first message, and of a failure whenever it comes. */
int arvak_stream_start(arvak_loop *loop, arvak_client *client, const arvak_request *request,
                       const arvak_call_options *options, arvak_stream_fn fn, arvak_stream **out);
/* Requests the next message, unless one is requested or waits to be taken, or the stream has ended. A stream reports
 * its end after all messages have been read; so a stream that nobody reads does not end, unless it is canceled. */
void arvak_stream_read(arvak_stream *stream);
/* The message that has come: owned; NULL when there is none yet. */
arvak_response *arvak_stream_take(arvak_stream *stream);
/* True: nothing is being written, and the stream takes more. */
bool arvak_stream_can_write(const arvak_stream *stream);
/* Writes one submission (SubmitBatchStream); only while arvak_stream_can_write. */
int arvak_stream_write(arvak_stream *stream, const arvak_submission *submission);
void arvak_stream_close_writes(arvak_stream *stream); /* only while arvak_stream_can_write */
void arvak_stream_cancel(arvak_stream *stream, arvak_kind kind);
/* Cancels it if it has not ended. The caller needs it no longer: fn will not run any more. */
void arvak_stream_release(arvak_stream *stream);
/* How it ended; NULL before, and while a message waits to be taken. */
const arvak_outcome *arvak_stream_outcome(const arvak_stream *stream);
/* Whether its retry policy allows another stream in place of this one, which has failed without a message. attempts:
 * how many streams there were. True: *delay_ns is the pause; the retry is counted, and on_retry called. */
bool arvak_stream_plan_retry(arvak_stream *stream, int attempts, int64_t *delay_ns);
arvak_rpc arvak_stream_rpc(const arvak_stream *stream);
const char *arvak_stream_address(const arvak_stream *stream);

#ifdef __cplusplus
}
#endif

#endif
