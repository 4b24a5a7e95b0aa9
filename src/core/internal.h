/* Struct bodies shared by more than one file of the core; nothing else belongs here.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_INTERNAL_H
#define ARVAK_INTERNAL_H

#include <grpc/grpc.h>
#include <grpc/slice.h>
#include <pthread.h>
#include <stdatomic.h>

#include "arvak.h"
#include "headers.h"
#include "slots.h"
#include "stats.h"
#include "policy/breaker.h"
#include "policy/budget.h"
#include "policy/histogram.h"
#include "policy/limiter.h"
#include "policy/retry.h"
#include "timer.h"

/* First member of everything whose address is a completion-queue tag. */
typedef struct arvak__tag arvak__tag;
typedef _Atomic(arvak__tag *) arvak__tag_link;
struct arvak__tag {
  void (*fn)(arvak__tag *tag, bool success);
  /* On its way over a bridge: written by the bridge's thread before the owner reads them. That the owner was done with
   * them before follows from gRPC's queue, into which ThreadSanitizer does not see: hence atomic. */
  arvak__tag_link next;
  atomic_bool success;
};

/* ---- runtime.c: gRPC's own life, and fork ---- */

/* grpc_init, and from the first one on a watch for forks. False in a fork of a process whose gRPC is running. */
bool arvak__grpc_ref(void);
void arvak__grpc_unref(void);
unsigned arvak__fork_generation(void); /* changes in a child process */

/* ---- loop.c ---- */

typedef struct arvak__bridge arvak__bridge;

struct arvak_loop {
  grpc_completion_queue *cq;
  grpc_channel *wake_channel; /* lame; lives to carry wake_call */
  grpc_call *wake_call;       /* never started; an empty batch on it is an event in cq */
  arvak__tag wake_tag;
  arvak__timers timers; /* owner thread, as are the next eight */
  arvak_call *calls;    /* every call not ended, linked by next and prev */
  arvak_stream *streams; /* every stream not ended, the same */
  size_t call_count;
  arvak_call *asking;    /* calls that ask for headers, linked by queue_next */
  uint64_t random;       /* for jitter */
  int64_t last_end_ns; /* when a call last ended here */
  size_t pending_tags; /* handed to gRPC and not popped yet, without wakes */
  pthread_mutex_t mu;
  arvak_call *inbox, **inbox_end; /* mu: calls to be advanced by the owner, first in first out */
  atomic_bool is_waking;          /* a wake is in cq */
  atomic_bool is_bridged;         /* wakes go to event_fd */
  atomic_bool is_signaled;        /* event_fd is readable, or about to be */
  int event_fd;                   /* owned; made with the first bridge, -1 before */
  int fd_users;                   /* owner thread, as are the next three: opened and not closed */
  arvak__bridge *bridge;          /* owned; NULL: the owner waits inside gRPC */
  arvak__tag_link taken, *taken_end; /* what came over the bridge and has not run */
  bool closed;                    /* owner thread */
  unsigned fork_generation;
};

/* Hands a call to its loop's owner thread, which will run arvak__call_advance on it. From another thread only under
 * the mu of the call's client: the owner needs that lock before the call can end, and so the loop cannot go away
 * while it is being woken. */
void arvak__loop_post(arvak_loop *loop, arvak_call *call);

/* Lets gRPC notice what happened to idle connections while nobody polled. Only while no call is on the loop: then
 * there is no callback that could run. */
void arvak__loop_catch_up(arvak_loop *loop, int connections);

/* ---- bridge.c ---- */

/* Starts the thread that takes the loop's events for it, or ends it; both by the owner. */
int arvak__bridge_start(arvak_loop *loop);
void arvak__bridge_stop(arvak_loop *loop);
void arvak__bridge_abandon(arvak_loop *loop); /* in a fork, where its thread does not exist */
void arvak__bridge_signal(arvak_loop *loop);  /* makes event_fd readable; thread-safe */
/* Waits until event_fd is readable, until_ns at most, and moves what has arrived to loop->taken. */
void arvak__bridge_take(arvak_loop *loop, int64_t until_ns);

/* ---- pool.c ---- */

/* Owned by its client while in its table; afterwards it lives until its last call and watch have ended. */
typedef struct arvak_channel {
  arvak__tag watch_tag;
  arvak_client *client; /* borrowed; held while watching */
  grpc_channel *channel; /* owned; NULL once closed */
  void *methods[ARVAK_RPC_COUNT];
  int outstanding;     /* client->mu */
  bool is_retired;     /* client->mu; not in the table any more */
  int64_t answered_ns; /* client->mu; when something last came over it */
  int64_t hurried_ns;  /* client->mu; when it was last told to connect without waiting */
  arvak_loop *watcher; /* client->mu; the loop whose queue a state watch is in, or NULL */
} arvak_channel;

/* Picks a channel for one attempt on loop and counts it as outstanding, that of a call in the statistics too; opens one
 * where that helps. Takes client->mu. Returns borrowed, until arvak__pool_release. */
arvak_channel *arvak__pool_pick(arvak_client *client, arvak_loop *loop, bool is_call);
typedef enum arvak__contact { CONTACT_ANSWERED, CONTACT_SILENT, CONTACT_BROKEN, CONTACT_NONE } arvak__contact;

/* An attempt that started at started_ns has ended. BROKEN: its connection died under it; the next attempt goes
 * elsewhere, since gRPC may take a while to notice for the channel as a whole (seen: every 70th call right after met
 * the dying connection). SILENT: its time ran out; if nothing came over the channel since it started, the peer may be
 * gone without a word, and the next attempt goes elsewhere too. */
void arvak__pool_release(arvak_channel *channel, arvak__contact contact, int64_t started_ns);
/* Closes the connections; watches end at once. No call may be left. */
void arvak__pool_close(arvak_client *client);
bool arvak__channel_is_ready(arvak_channel *channel);

/* ---- client.c ---- */

struct arvak_client {
  atomic_int refs;  /* of handles and calls: without them the connections are closed */
  atomic_int holds; /* one of all refs, and one of each watch: without them the memory is freed */
  unsigned fork_generation;
  char *address; /* as given; owned */
  char *target;  /* spelled so that no peer can equal it, see address.c; owned */
  grpc_channel_credentials *credentials; /* owned */
  grpc_channel_args *args;               /* owned, with all strings */
  arvak__client_headers headers;
  bool is_tls;
  int64_t timeout_ns, attempt_timeout_ns, queue_timeout_ns;
  int pool_size, max_concurrent_rpcs;
  bool is_paced, is_adaptive; /* limiter has a rate; a limit in flight that moves */
  arvak_retry *retry;         /* shared, or NULL, as the next */
  arvak_breaker *breaker;

  pthread_mutex_t mu;
  arvak_channel **channels; /* mu: pool_size places, the first channel_count in use */
  int channel_count;       /* mu */
  int active, slots;       /* mu: slots taken, and how many there are */
  arvak__limiter limiter;  /* mu */
  arvak_call *queue_head, *queue_tail; /* mu: calls waiting for a slot, linked by queue_next and queue_prev */
  int queued;                          /* mu */
  arvak_client_stats stats;            /* mu: the counters */
  arvak__histogram latency[ARVAK_WATCH_JOB]; /* mu: of unary calls */
};

int arvak__client_channel_count(arvak_client *client);
void arvak__client_hold(arvak_client *client);
void arvak__client_drop(arvak_client *client);
/* address.c: *out owned. ARVAK_EINVAL: *reason is static; ARVAK_ENOMEM. Else *out and *reason are untouched. */
int arvak__address_spell(const char *address, char **out, const char **reason);

/* ---- attempt.c ---- */

typedef enum arvak__delivery { DELIVERY_NOT_SENT, DELIVERY_ANSWERED, DELIVERY_BROKEN } arvak__delivery;

typedef struct arvak__attempt {
  arvak_client *client; /* shared by whoever holds the attempt */
  arvak_rpc rpc;
  size_t circuit_count;   /* of the request; a batch of one cannot half succeed */
  arvak_kind cancel_kind; /* NONE: not canceled */
  int64_t deadline_ns;    /* ARVAK_NEVER: none */
  bool is_cut;            /* the deadline is that of attempt_timeout */
  arvak__contact contact; /* what it says of its connection */
  int64_t opened_ns;
  arvak_loop *loop;
  arvak_channel *channel;
  grpc_call *grpc; /* owned from open to close, as are the next three */
  grpc_metadata_array initial, trailing;
  grpc_slice details;
  grpc_status_code status;
  /* Of a failure, filled by judge: */
  arvak__delivery delivery;
  arvak_verdict verdict;
  bool is_ours, as_read; /* as in arvak_failure */
  bool has_pushback;     /* the server sent one; pushback_ns -1: no retry */
  int64_t pushback_ns;
  char *message; /* owned by whoever holds the attempt; what outcome.message points at, unless static */
} arvak__attempt;

/* Picks a channel and makes the call, on loop's queue; the holder starts its batches. */
void arvak__attempt_open(arvak__attempt *attempt, arvak_loop *loop);
/* Fills the outcome from a status that has come; of OK it says nothing. Before close. What the outcome says of an
 * attempt before is replaced, but for maybe_executed, which stays. */
void arvak__attempt_judge(arvak__attempt *attempt, arvak_outcome *outcome);
/* What retry allows after the failure that was judged: true, and after which pause. */
bool arvak__attempt_may_retry(const arvak__attempt *attempt, const arvak_outcome *outcome, arvak_retry *retry,
                              int64_t *delay_ns);
/* There will be another attempt after that pause: counts it, and tells on_retry. */
void arvak__attempt_report_retry(const arvak__attempt *attempt, const arvak_outcome *outcome, const arvak_retry *retry,
                                 int64_t delay_ns);
void arvak__attempt_close(arvak__attempt *attempt);
void arvak__set_failure(arvak_outcome *outcome, arvak_kind kind, int code, const char *message);
void arvak__set_canceled(arvak_outcome *outcome, arvak_kind kind); /* ended by us, before or after sending */
/* An answer that could not be decoded: why. */
void arvak__attempt_refuse_answer(arvak__attempt *attempt, arvak_outcome *outcome, int status);

/* ---- call.c ---- */

typedef enum arvak__call_state {
  CALL_PACED,      /* its turn in the limiter's rate is to come */
  CALL_QUEUED,     /* in client's queue, or granted and in the loop's inbox */
  CALL_ASKING,     /* holds a slot; in the loop's list of those that ask for headers */
  CALL_CONNECTING, /* holds a slot, waits for a connection */
  CALL_ACTIVE,     /* its batch is with gRPC, which owns the op struct until the event */
  CALL_SLEEPING,   /* between two attempts, without a slot */
  CALL_REFUSED,    /* its outcome is there, and its end in the loop's inbox */
  CALL_ENDED
} arvak__call_state;

struct arvak_call {
  arvak__tag tag;
  arvak__attempt attempt;
  atomic_int refs; /* the loop's until the end, the starter's, and the inbox's */
  arvak__call_state state;
  bool granted;     /* client->mu: a slot is this call's */
  bool posted;      /* loop->mu: in the inbox */
  arvak_loop *loop; /* borrowed: outlives the call */
  const void *owner;
  arvak_call_fn fn;
  void *ud;
  arvak_call *next, *prev;             /* loop->calls */
  arvak_call *queue_next, *queue_prev; /* client's queue */
  arvak_call *inbox_next;
  arvak_timer timer; /* for what its state waits for */
  grpc_slice request; /* owned until the end, as are the headers */
  arvak__headers headers;
  int64_t timeout_ns, attempt_timeout_ns, queue_timeout_ns, started_ns;
  int64_t deadline_ns; /* of all attempts; 0: it has not held a slot yet */
  int64_t connect_until_ns, look_ns;
  arvak_retry *retry;     /* shared, or NULL, as the next */
  arvak_breaker *breaker;
  arvak_pass pass;        /* with which the breaker let the attempt through */
  bool asks_headers, has_waited; /* since the headers were given */
  size_t fixed_header_count;
  bool is_released;
  grpc_byte_buffer *send, *recv; /* owned while active */
  arvak_response *response;      /* owned */
  arvak_outcome outcome;
};

void arvak__call_ref(arvak_call *call);
void arvak__call_unref(arvak_call *call);
/* Moves a call on after something happened to it: a slot granted, or a cancellation while queued. Owner thread. */
void arvak__call_advance(arvak_call *call);

/* ---- stream.c ---- */

/* Cancels the streams of this owner (NULL: all); returns how many tags will come back for it. */
size_t arvak__streams_cancel(arvak_loop *loop, const void *owner, arvak_kind kind);

/* ---- codec.c ---- */

/* An answer without what was asked for. */
enum { ARVAK__EABSENT = -100 };

/* Packs a request. ARVAK_ENOMEM; *out owned. */
int arvak__request_encode(const arvak_request *request, grpc_slice *out);
int arvak__submission_encode(const arvak_submission *submission, grpc_slice *out);
/* As arvak_response_decode, from what gRPC received; borrowed. */
int arvak__response_decode_buffer(arvak_rpc rpc, grpc_byte_buffer *buffer, arvak_response **out);

/* ---- status.c ---- */

bool arvak__is_submit(arvak_rpc rpc);
const char *arvak__rpc_method(arvak_rpc rpc);
/* What may be wrong when a connection could not be made with this message; static, or NULL. Only words for people. */
const char *arvak__connect_hint(bool tls, const char *message);
bool arvak__is_own_message(const char *message); /* one that gRPC made itself, and not the server */
bool arvak__is_local_message(const char *message); /* about an answer that gRPC would not take */
arvak_kind arvak__kind_of(arvak_rpc rpc, int code, const char *message);
bool arvak__is_retryable(arvak_rpc rpc, int code, const char *message, arvak__delivery delivery);
bool arvak__maybe_executed(arvak_rpc rpc, size_t circuits, int code, arvak__delivery delivery);

#endif
