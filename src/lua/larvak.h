/* The Lua binding: stack in, core call, stack out. Everything here runs on the one thread that drives its Lua state.
 *
 * A wait is what a caller is held up by: a call of the core, or a park that Lua code ends. It is named by a ticket,
 * an integer that is never used twice, so that a continuation or a late unpark cannot meet another's wait.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_H
#define LARVAK_H

#include <lauxlib.h>
#include <lua.h>

#include "arvak.h"
#include "arvak_lua.h"

#define LARVAK_CLIENT "arvak.client"
#define LARVAK_ERROR "arvak.error"
#define LARVAK_JOB "arvak.job"
#define LARVAK_RESULT "arvak.result"
#define LARVAK_BACKEND "arvak.backend"
#define LARVAK_FUTURE "arvak.future"
#define LARVAK_STREAM "arvak.stream"
#define LARVAK_RETRY "arvak.retry_policy"
#define LARVAK_BREAKER "arvak.breaker"
#define LARVAK_POLLABLE "arvak.pollable"
#define LARVAK_ATTACHMENT "arvak.attachment"

typedef struct larvak_state larvak_state;
typedef struct larvak_task larvak_task;
typedef struct larvak_wait larvak_wait;
typedef struct larvak_event larvak_event;
typedef struct larvak_policy_hook larvak_policy_hook;

typedef enum larvak_reason { REASON_PENDING, REASON_DONE, REASON_TIMEOUT, REASON_CANCELED } larvak_reason;

struct larvak_wait {
  larvak_state *state;
  uint32_t index, generation; /* its ticket; generation is odd while in use */
  larvak_reason reason;
  bool is_detached;    /* nobody waits: the end is reported to the Lua layer */
  bool was_in_flight;  /* canceled while its call was with gRPC */
  bool is_foreign;     /* a coroutine of an attached loop waits: the end is reported, and what is left is its to free */
  bool is_told;        /* that it has ended, to the coroutine's loop */
  bool is_orphan;      /* the coroutine has died or was collected: freed when its loop has been told */
  arvak_call *call;    /* owned, or NULL for a park */
  larvak_task *task;   /* suspended on it, or NULL */
  int rpc;             /* of its call, or of the one that a canceled task would have made; ARVAK_RPC_COUNT: none */
  arvak_timer timer;   /* of a park */
  larvak_wait *next_free, *next_ended;
};

/* A coroutine that the loop resumes. A userdata: its first user value is the coroutine. */
struct larvak_task {
  lua_State *co;
  lua_State *innermost; /* co, or the coroutine inside it that arvak.wrap is running */
  larvak_wait *wait;    /* NULL: runnable */
  int argument_count;   /* on co's stack for its first run */
  int canceled_waits;   /* waits that ended as canceled so far */
  bool is_canceled, is_queued, is_started, is_ended, is_reset;
  int status, result_count; /* of its end */
  larvak_task *next_ready, *next_unreported;
};

enum { WAITS_PER_BLOCK = 64 };

/* One for each Lua state, in its registry. Its memory outlives every finalizer of the state. */
struct larvak_state {
  lua_State *main;
  arvak_loop *loop; /* owned; made at first need */
  bool is_closed, is_stepping, is_reporting;
  bool has_news; /* the last step had something to do */
  int drive_mask; /* the main thread's hook mask when the loop was last driven */
  int hook_depth;       /* inside a hook, which must not wait */
  larvak_task *current; /* the task being resumed */
  int depth;            /* of tasks that were started at once, inside each other */
  larvak_task *ready, **ready_end;
  larvak_task *unreported, **unreported_end; /* ended, and the Lua layer has not been told */
  size_t ready_count, task_count;
  uint64_t end_count; /* tasks that have ended so far */
  larvak_wait **blocks; /* owned; waits never move */
  size_t block_count;
  larvak_wait *free_waits;
  larvak_wait *ended, **ended_end; /* detached waits whose end Lua has not been told */
  size_t parked_timers, wait_count, client_count;
  larvak_event *events, **events_end; /* owned; what the hooks of policies have not been told */
  larvak_policy_hook *dead_hooks;     /* owned; of policies that are gone */
  bool is_telling;                    /* a hook runs */
  int fd_users;        /* who waits for the loop on its descriptor */
  int64_t told_ns;     /* when they mean to step at the latest; 0: they will ask */
  int generator_depth; /* coroutines of arvak.wrap that run outside any task */
  bool is_attached;    /* a foreign loop is: its coroutines are suspended instead of blocked */
  bool has_watcher;    /* a loop that is attached, or was while some of its coroutines still wait */
  bool is_watched;     /* the descriptor is, in that loop */
};

/* ---- state.c ---- */

larvak_state *larvak_state_get(lua_State *L);
arvak_loop *larvak_loop_get(lua_State *L, larvak_state *state); /* raises when closed or out of memory */
larvak_wait *larvak_wait_new(lua_State *L, larvak_state *state);
void larvak_wait_free(larvak_wait *wait);
lua_Integer larvak_ticket(const larvak_wait *wait);
larvak_wait *larvak_wait_find(larvak_state *state, lua_Integer ticket); /* NULL when it is over */
/* Ends a wait: wakes its task, or queues the report. */
void larvak_wait_end(larvak_wait *wait, larvak_reason reason);
void larvak_on_call_end(arvak_call *call, void *ud); /* arvak_call_fn; ud is the wait */

void larvak_report_calls(lua_State *L, larvak_state *state); /* tells the Lua layer of detached calls that ended */
/* One step: delivers what the core has, waiting until until_ns at most, then runs every task that is ready now. */
void larvak_step(lua_State *L, larvak_state *state, int64_t until_ns);
/* True: nothing is in flight, no timer runs and no task is ready, so no step can ever bring anything. */
bool larvak_is_idle(const larvak_state *state);
void larvak_check_step(lua_State *L, larvak_state *state); /* raises where the loop must not be stepped */
int larvak_open_state(lua_State *L); /* functions for the Lua layer, into the table on top */

/* ---- wait.c ---- */

/* A blocking wait comes up this often, so that a pending hook (Ctrl-C) can raise in it. */
#define LARVAK_AIR_NS 100000000

/* Raises, naming the method, where a wait is impossible (README, the table of waiting). True: the caller's coroutine
 * belongs to an attached loop. */
bool larvak_check_wait(lua_State *L, larvak_state *state, const char *method);
/* Suspends the task or the attached loop's coroutine (is_foreign), or blocks, until the wait ends; then pushes its
 * results and frees it. The caller returns what this returns. */
int larvak_await(lua_State *L, larvak_wait *wait, bool is_foreign);
int larvak_finish(lua_State *L, larvak_wait *wait); /* of a wait that is over: pushes its results and frees it */
/* Ends a wait by itself when seconds are over. Raises, and frees the wait, when out of memory. */
void larvak_start_timer(lua_State *L, larvak_wait *wait, double seconds);
/* Puts the wait's ticket into the table at index, if there is one. Raises, and frees the wait, when out of memory. */
void larvak_note_ticket(lua_State *L, larvak_wait *wait, int index);
/* Lets a pending hook raise. lua.c asks for one on the main thread alone, so a count hook that appeared there since the
 * wait began (mask_before is from then) is moved to the thread that waits. */
void larvak_breathe(lua_State *L, larvak_state *state, int mask_before);
int larvak_open_wait(lua_State *L); /* functions for the Lua layer, into the table on top, as the next ones */

/* ---- foreign.c ---- */

/* Whether the caller's coroutine belongs to an attached loop; raises where it cannot be suspended. */
bool larvak_is_foreign(lua_State *L, larvak_state *state, const char *method);
int larvak_await_foreign(lua_State *L, larvak_wait *wait);
/* Before something is started outside any step: lets an attached loop watch for it. May raise. */
void larvak_attend(lua_State *L, larvak_state *state);
/* After something was started, ended or failed to start outside any step: tells those who wait on the descriptor. */
void larvak_notice(larvak_state *state);
/* After steps that may have taken what the descriptor said: its users look again. pumping: how many of them (0 or 1)
 * do so by themselves. May raise. */
void larvak_rouse(lua_State *L, larvak_state *state, int pumping);
int larvak_open_foreign(lua_State *L);

/* ---- task.c ---- */

void larvak_task_ready(larvak_state *state, larvak_task *task);
void larvak_run_ready(lua_State *L, larvak_state *state);
void larvak_report_tasks(lua_State *L, larvak_state *state); /* tells the Lua layer of tasks that have ended */
int larvak_open_task(lua_State *L);

/* ---- hooks.c ---- */

/* Holds the function at this index; given to a policy as its ud, with larvak_policy_hook_release as its release. */
larvak_policy_hook *larvak_policy_hook_new(lua_State *L, int function);
void larvak_policy_hook_release(void *ud);
void larvak_on_retry(const arvak_retry_event *event, void *ud); /* arvak_retry_fn */
void larvak_on_breaker_change(arvak_breaker_state from, arvak_breaker_state to, void *ud);
void larvak_tell_hooks(lua_State *L, larvak_state *state); /* of all that has happened; not reentrant */
void larvak_tell_now(lua_State *L, const larvak_policy_hook *hook); /* of the value on top, which it pops */
void larvak_free_events(larvak_state *state);
int larvak_open_hooks(lua_State *L);

/* ---- policy.c ---- */

/* What the value at index asks for: a policy's options, one made before, true, or false and nil for none. Pushes what
 * holds it, and returns it borrowed from there, or NULL. what: its name in errors; address: as in arvak_retry_new. */
arvak_retry *larvak_retry(lua_State *L, int index, const char *what, const char *address);
arvak_breaker *larvak_breaker(lua_State *L, int index, const char *what);
void larvak_limiter(lua_State *L, int index, arvak_limiter_options *out);
void larvak_push_breaker(lua_State *L, arvak_breaker *breaker); /* nil for NULL */
const char *larvak_breaker_state_name(arvak_breaker_state state);
int larvak_open_policy(lua_State *L);

/* ---- misuse.c ---- */

/* Raises a message with the position of the nearest caller outside this library. */
int larvak_misuse(lua_State *L, const char *format, ...);
/* Names an unexpected value: "-1", "a table", "\"text\"". Pushes the text. */
const char *larvak_describe(lua_State *L, int index);
/* The same, without the text of a string: where a secret may have been put by mistake. */
const char *larvak_describe_type(lua_State *L, int index);

/* ---- options.c ---- */

typedef struct larvak_call_options {
  int64_t timeout_ns, attempt_timeout_ns, queue_timeout_ns;
  const arvak_header *headers; /* a userdata left on the stack; values borrowed from the table */
  size_t header_count, fixed_header_count;
  bool has_retry, has_breaker; /* of its own; else those that the client has when the call starts */
  arvak_retry *retry;          /* borrowed from the stack; as the next */
  arvak_breaker *breaker;
} larvak_call_options;

/* Checks that every key of the table at index is one of names (NULL-terminated). */
void larvak_check_keys(lua_State *L, int index, const char *what, const char *const *names);
/* The integer at index, described as name in errors; nil: standard. */
lua_Integer larvak_integer(lua_State *L, int index, const char *name, lua_Integer standard, lua_Integer low,
                           lua_Integer high);
/* Seconds at index as nanoseconds; nil: 0. */
int64_t larvak_seconds(lua_State *L, int index, const char *name);
/* A string that may be sent as a protobuf field. */
const char *larvak_text(lua_State *L, int index, const char *name);
/* The table of headers at index (nil: none), as a userdata pushed on the stack with room for extra more. */
arvak_header *larvak_headers(lua_State *L, int index, size_t extra, size_t *count);

/* ---- sha256.c ---- */

int larvak_open_sha256(lua_State *L);

/* ---- client.c ---- */

typedef struct larvak_client {
  arvak_client *core; /* shared; NULL when closed */
  larvak_state *state;
  bool is_counted;
  bool has_functions; /* api_key or metadata is a function: the user values 2 and 3 */
  bool is_shared;     /* pushed by a host: others use the same client */
  arvak_retry *retry; /* shared, or NULL; what calls get that name no other, as the next */
  arvak_breaker *breaker;
} larvak_client;

larvak_client *larvak_client_check(lua_State *L, int index, const char *method); /* raises when closed */
int larvak_open_client(lua_State *L);

/* ---- rpc.c, record.c, stream.c ---- */

int larvak_open_stream(lua_State *L);
/* Adds what the functions given as metadata and api_key give to the headers of a call; what it makes stays on the
 * stack. False: pushed nil and an error. The client is at index 1. */
bool larvak_ask_headers(lua_State *L, larvak_client *client, arvak_rpc rpc, const arvak_header **headers,
                        size_t *count);
/* Reads entry number i of a batch, {qasm, shots} or {qasm =, shots =, optimization_level =}; the text stays in it.
 * False: pushed nil and an error, for text that no server could take. */
bool larvak_read_entry(lua_State *L, int entry, lua_Integer i, arvak_circuit *out);

/* The keys retry and breaker of the options at index; what holds them stays on the stack. */
void larvak_read_policies(lua_State *L, int index, const larvak_client *client, larvak_call_options *out);
/* Makes a client with functions for headers findable for larvak_give_headers. */
void larvak_note_handle(lua_State *L, int index);
/* Asks the functions again, for calls that are about to make another attempt. */
void larvak_give_headers(lua_State *L, larvak_state *state);
/* What a function asked by larvak_give_headers raised, for the error of this call: sets the field cause of the table on
 * top. */
void larvak_set_cause(lua_State *L, const arvak_call *call);

int larvak_open_rpc(lua_State *L);
/* (lightuserdata call, job id or nil, target): value, or nil and error. To be called protected. */
int larvak_push_outcome(lua_State *L);
/* (lightuserdata message): its values. To be called protected. */
int larvak_push_message(lua_State *L);
/* Pushes the error of an outcome. */
void larvak_push_failure(lua_State *L, arvak_rpc rpc, const char *target, const arvak_outcome *outcome);
int larvak_open_record(lua_State *L);
/* Pushes an error object with kind, message and what is given; the rest is for the caller to set. */
void larvak_push_error(lua_State *L, arvak_kind kind, int code, const char *message);
void larvak_push_forked(lua_State *L);
int larvak_push_closed(lua_State *L); /* nil and the error of a client that was closed; returns 2 */

/* ---- module.c ---- */

/* Opens the library if it is not, and pushes it. */
void larvak_open(lua_State *L);
/* What the Lua layer is told, by functions that it sets with core.set_upcall(name, fn). */
typedef enum larvak_upcall {
  UPCALL_CALL_END,
  UPCALL_TASK_END,
  UPCALL_ADOPT,
  UPCALL_POLICY_EVENT,
  UPCALL_RUNNING, /* (): nil outside the attached loop, false where it cannot suspend */
  UPCALL_SUSPEND, /* (ticket) */
  UPCALL_WOKEN,   /* (ticket): a wait of the attached loop's coroutine has ended */
  UPCALL_BUSY,    /* (): something is in flight from now on */
  UPCALL_COUNT
} larvak_upcall;
void larvak_push_upcall(lua_State *L, larvak_upcall upcall); /* allocates nothing */

#endif
