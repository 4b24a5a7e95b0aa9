/* One logical unary RPC, from its start to its one report. arvak__call_move alone moves a call on: what happens to it
 * is an event, and what follows depends on its state and the event:
 *
 *   state        holds            TIMER               POSTED      GIVEN      DENIED  ANSWERED
 *   NEW          nothing          (START: to the breaker)
 *   HELD         a place in line  looks, or ends      looks       -          -       -
 *   PACED        tokens to come   to the slots        -           -          -       -
 *   QUEUED       a turn, a place  ends                has a slot  -          -       -
 *   ASKING       a slot           ends                -           to gRPC    ends    -
 *   QUERYING     a slot           -                   -           to gRPC    ends    -
 *   CONNECTING   a slot, a pass   looks, or to gRPC   -           -          -       -
 *   ACTIVE       a slot, a pass   -                   -           -          -       sleeps, is held, or ends
 *   SLEEPING     nothing          to the breaker      -           -          -       -
 *   ENDING       its outcome      -                   ends        -          -       -
 *   ENDED        nothing          -                   -           -          -       -
 *
 * A cancel is noted in the call. While it is ACTIVE gRPC is told, and the answer says what came of it; in ENDING and
 * ENDED it is too late. In every other state it is posted, and whatever event comes first finds it and ends the call as
 * canceled: no transition passes a cancel.
 *
 * Invariants: user code (the hooks of retry and breaker, the client's function for headers, fn) runs last, when the
 * call has its next state, and so it may cancel, start, release and step whatever it likes; what it does to this call
 * is one more event. The op struct is the call itself: it belongs to the loop from start until the end is reported.
 * Owner thread of the loop, but for the place.
 * SPDX-License-Identifier: Apache-2.0 */
#include <grpc/grpc.h>
#include <stddef.h>
#include <stdlib.h>

#include "call.h"
#include "client.h"
#include "clock.h"
#include "headers.h"
#include "outcome.h"
#include "policies.h"
#include "runtime.h"
#include "stats.h"

/* How long an attempt waits for a connection, and the pauses between looking. Longer would keep the call from its
 * other attempts, and the breaker from learning. */
#define CONNECT_NS 1000000000
#define FIRST_LOOK_NS 1000000
#define LAST_LOOK_NS 32000000

/* What is to be told when the call has left its state, in this order. */
typedef struct call_news {
  bool is_stepping; /* fn may run */
  arvak__changes changes;
  enum { THEN_NOTHING, THEN_REPORT_RETRY, THEN_QUERY, THEN_FINISH } then;
  int64_t delay_ns; /* before the retry */
} call_news;

/* In a fork, where the call is the parent's. Its client tells, since a child may close its loop first. */
bool arvak__call_is_foreign(const arvak_call *call) {
  return call->attempt.client->fork_generation != arvak__fork_generation();
}

void arvak__call_unref(arvak_call *call) {
  if (--call->refs > 0) return;
  arvak_response_unref(call->exchange.response);
  arvak_client_unref(call->attempt.client);
  if (call->retry) arvak_retry_unref(call->retry);
  if (call->breaker) arvak_breaker_unref(call->breaker);
  free(call->attempt.message);
  free(call);
}

/* ---- the end ---- */

/* Most calls never wait, and so have none. */
static void stop_timer(arvak_call *call) {
  if (call->timer.place != 0) arvak_loop_stop_timer(call->loop, &call->timer);
}

/* Nothing is held any more, and the outcome is there. */
static void end(arvak_call *call, call_news *news) {
  stop_timer(call);
  call->state = CALL_ENDING;
  if (news->is_stepping) news->then = THEN_FINISH;
  else arvak__loop_post(call->loop, &call->posting);
}

static void finish(arvak_call *call) {
  arvak_loop *loop = call->loop;
  arvak_client *client = call->attempt.client;
  call->state = CALL_ENDED;
  call->outcome.elapsed_ns = loop->now_ns - call->started_ns;
  if (!call->outcome.message) call->outcome.message = "";
  size_t sent = GRPC_SLICE_LENGTH(call->exchange.request) * (size_t)call->outcome.attempts;
  arvak__stats_count_call(&client->stats, call->attempt.rpc, &call->outcome,
                          (arvak__traffic){sent, call->exchange.received_bytes});
  arvak__exchange_fini(&call->exchange);
  arvak__inbox_remove(&loop->inbox, &call->posting);
  if (call->place.share) arvak__share_leave(call->place.share);
  arvak__loop_leave(loop, &call->member);
  call->refs--; /* the loop's; the transition has another */
  if (call->fn) call->fn(call, call->ud);
}

/* While a batch is with gRPC, gRPC is told; else whatever event comes next finds it. */
void arvak_call_cancel(arvak_call *call, arvak_kind kind) {
  if (call->state >= CALL_ENDING || call->attempt.cancel_kind != ARVAK_KIND_NONE) return;
  if (arvak__call_is_foreign(call)) return;
  call->attempt.cancel_kind = kind;
  if (call->state == CALL_ACTIVE) grpc_call_cancel(call->attempt.grpc, NULL);
  else arvak__loop_post(call->loop, &call->posting);
}

static void set_timer(arvak_call *call, int64_t at_ns) {
  if (arvak_loop_set_timer(call->loop, &call->timer, at_ns) != ARVAK_OK)
    arvak_call_cancel(call, ARVAK_KIND_CANCELED); /* out of memory; there is no other way to end it */
}

static void leave_breaker(arvak_call *call, arvak_verdict verdict, call_news *news) {
  if (call->pass.generation == 0) return;
  arvak__breaker_leave(call->breaker, call->loop->now_ns, call->pass, verdict, &news->changes);
  call->pass.generation = 0;
}

/* A turn that was taken and is not used: if it was to go out to see, another may. */
static void skip_turn(arvak_call *call) {
  arvak__turns *turns = &call->attempt.client->turns;
  if (call->attempt.circuit_count > 0 && turns->is_auto)
    arvak__turns_fail(turns, call->turn.taken_ns, call->loop->now_ns);
}

static void end_with_slot(arvak_call *call, call_news *news) {
  skip_turn(call);
  arvak__slots_release(&call->attempt.client->slots, &call->place);
  end(call, news);
}

/* ---- an attempt ---- */

static void on_tag(arvak__tag *tag, bool success) {
  (void)success;
  arvak__call_move((arvak_call *)tag, EVENT_ANSWERED);
}

static void start_attempt(arvak_call *call) {
  int64_t now = call->loop->now_ns;
  arvak__attempt *attempt = &call->attempt;
  int64_t cut = call->attempt_timeout_ns > 0 ? arvak__after_ns(now, call->attempt_timeout_ns) : ARVAK_NEVER;
  attempt->is_cut = cut < call->deadline_ns;
  attempt->deadline_ns = attempt->is_cut ? cut : call->deadline_ns;
  stop_timer(call);
  call->state = CALL_ACTIVE;
  call->outcome.attempts++;
  arvak__attempt_open(attempt, &call->loop->cq, now);
  arvak__exchange_start(&call->exchange, attempt, &call->loop->cq, &call->tag);
}

/* ---- the way to an attempt: breaker, turn or rate, slot, headers, breaker again, connection ---- */

/* The attempt starts in the end without a connection, so that its error is gRPC's; but not after the deadline, when
 * nobody could tell any more whether it was sent. */
static void look_for_connection(arvak_call *call, call_news *news) {
  int64_t now = call->loop->now_ns;
  if (now >= call->deadline_ns) {
    arvak__set_timeout(&call->outcome, "no connection within the call's timeout");
    leave_breaker(call, ARVAK_VERDICT_FAILURE, news);
    end_with_slot(call, news);
  } else if (now >= call->connect_until_ns || arvak_client_connect(call->attempt.client, call->loop)) {
    start_attempt(call);
  } else {
    int64_t next = now + call->look_ns;
    if (call->look_ns < LAST_LOOK_NS) call->look_ns *= 2;
    set_timer(call, next < call->connect_until_ns ? next : call->connect_until_ns);
  }
}

/* Where the attempt before was not sent, or where all depends on this one, gRPC's own pauses between its attempts to
 * connect would fail it for nothing. */
static void wait_for_connection(arvak_call *call, call_news *news) {
  int64_t longest = CONNECT_NS;
  if (call->attempt_timeout_ns > 0 && call->attempt_timeout_ns < longest) longest = call->attempt_timeout_ns;
  int64_t until = arvak__after_ns(call->loop->now_ns, longest);
  call->state = CALL_CONNECTING;
  call->connect_until_ns = until < call->deadline_ns ? until : call->deadline_ns;
  call->look_ns = FIRST_LOOK_NS;
  arvak_client_hurry(call->attempt.client);
  look_for_connection(call, news);
}

static bool was_not_sent(const arvak_call *call) {
  return call->outcome.attempts > 0 && call->attempt.delivery == DELIVERY_NOT_SENT;
}

/* It has a slot and its headers. */
static void enter(arvak_call *call, call_news *news) {
  int64_t now = call->loop->now_ns, retry_after;
  if (now >= call->deadline_ns) { /* the loop was not driven in time, or headers took too long */
    arvak__set_timeout(&call->outcome, "no headers within the call's timeout");
    end_with_slot(call, news);
  } else if (call->breaker && !arvak__breaker_enter(call->breaker, now, call->deadline_ns, &call->pass, &retry_after,
                                                    &news->changes)) {
    arvak__set_open(&call->outcome, retry_after);
    end_with_slot(call, news);
  } else if (call->pass.is_probe || was_not_sent(call)) {
    wait_for_connection(call, news);
  } else {
    start_attempt(call);
  }
}

static void ask_for_headers(arvak_call *call, call_news *news) {
  if (call->deadline_ns == 0) call->deadline_ns = arvak__after_ns(call->loop->now_ns, call->timeout_ns);
  stop_timer(call);
  if (call->asks_headers && call->has_waited && !call->is_released) {
    call->state = CALL_ASKING;
    arvak__list_append(&call->loop->asking, &call->asking);
    set_timer(call, call->deadline_ns);
  } else if (call->attempt.client->headers.fn) {
    call->state = CALL_QUERYING;
    news->then = THEN_QUERY;
  } else {
    enter(call, news);
  }
}

/* Between attempts the call's own deadline runs as well. */
static int64_t queue_end(const arvak_call *call) {
  int64_t end = arvak__after_ns(call->loop->now_ns, call->queue_timeout_ns);
  return call->deadline_ns != 0 && call->deadline_ns < end ? call->deadline_ns : end;
}

static void take_slot(arvak_call *call, call_news *news) {
  call->state = CALL_QUEUED;
  if (arvak__slots_acquire(&call->attempt.client->slots, &call->place)) {
    ask_for_headers(call, news);
    return;
  }
  call->has_waited = true;
  set_timer(call, queue_end(call));
}

static const char no_token[] = "the limiter's rate has no place for it within queue_timeout";
static const char no_turn[] = "its turn to be submitted has not come within queue_timeout (the server refuses "
                              "submits for their rate)";

/* It has its turn: waits for the tokens of its jobs, which come at the rate of the limiter. */
static void take_tokens(arvak_call *call, call_news *news) {
  int64_t now = call->loop->now_ns;
  int jobs = (int)call->attempt.circuit_count;
  int64_t at = arvak__tokens_reserve(&call->attempt.client->slots, jobs, now, queue_end(call));
  if (at == ARVAK_NEVER) {
    arvak__set_queue_timeout(&call->outcome, no_token);
    end(call, news);
  } else if (at <= now) {
    take_slot(call, news);
  } else {
    call->state = CALL_PACED;
    call->has_waited = true;
    set_timer(call, at);
  }
}

/* Looks whether its turn has come. While it waits the call's own time stands still. */
static void look_for_turn(arvak_call *call, call_news *news) {
  arvak__turns *turns = &call->attempt.client->turns;
  arvak__turn *turn = &call->turn;
  int64_t now = call->loop->now_ns, until = arvak__after_ns(turn->since_ns, turn->left_ns), at;
  if (arvak__turns_take(turns, turn, (int)call->attempt.circuit_count, now, &at)) {
    arvak__inbox_remove(&call->loop->inbox, &call->posting); /* that it is the first in line */
    turn->left_ns -= now - turn->since_ns;
    if (call->deadline_ns != 0) call->deadline_ns = arvak__after_ns(call->deadline_ns, now - turn->since_ns);
    if (turns->tokens) take_tokens(call, news);
    else take_slot(call, news);
  } else if (at == ARVAK_NEVER || now >= until) {
    arvak__turns_leave(turns, turn, now);
    arvak__set_queue_timeout(&call->outcome, turns->tokens ? no_token : no_turn);
    end(call, news);
  } else {
    call->has_waited = true;
    set_timer(call, at < until ? at : until);
  }
}

static void stand_in_line(arvak_call *call, call_news *news) {
  call->state = CALL_HELD;
  call->turn.since_ns = call->loop->now_ns;
  look_for_turn(call, news);
}

/* A slot has come. Where the server has refused others meanwhile, this one would only be the next. */
static void use_slot(arvak_call *call, call_news *news) {
  arvak_client *client = call->attempt.client;
  bool has_turn = call->attempt.circuit_count == 0 || !client->turns.is_auto ||
                  arvak__turns_hold(&client->turns, &call->turn, call->loop->now_ns);
  if (has_turn) {
    ask_for_headers(call, news);
  } else {
    arvak__slots_release(&client->slots, &call->place);
    stand_in_line(call, news);
  }
}

/* What would only be refused is not waited for. */
static bool would_be_refused(arvak_call *call, int64_t at_ns, int64_t delay_ns) {
  if (!call->breaker) return false;
  arvak_breaker_info info;
  arvak_breaker_get_info(call->breaker, at_ns, &info);
  if (!info.would_admit) arvak__set_open(&call->outcome, arvak__after_ns(delay_ns, info.retry_after_ns));
  return !info.would_admit;
}

static void set_out(arvak_call *call, call_news *news) {
  const arvak_client *client = call->attempt.client;
  if (would_be_refused(call, call->loop->now_ns, 0)) end(call, news);
  else if (call->attempt.circuit_count == 0) take_slot(call, news);
  else if (client->turns.is_auto || client->turns.tokens) stand_in_line(call, news);
  else take_slot(call, news);
}

/* One that begins later sleeps until then. */
static void begin(arvak_call *call, call_news *news) {
  if (call->not_before_ns > call->loop->now_ns) {
    call->state = CALL_SLEEPING;
    set_timer(call, call->not_before_ns);
  } else {
    set_out(call, news);
  }
}

/* ---- after an attempt ---- */

static void read_answer(arvak_call *call) {
  int64_t now = call->loop->now_ns;
  arvak__attempt_judge(&call->attempt, &call->outcome, now);
  if (call->retry) arvak__attempt_distrust(&call->attempt, &call->outcome, call->retry);
  arvak__exchange_end(&call->exchange, &call->attempt, &call->outcome);
  arvak__attempt_close(&call->attempt, now);
}

/* Whether another attempt follows, and when; then it is counted. */
static bool plan_retry(arvak_call *call, int64_t *delay_ns) {
  int64_t now = call->loop->now_ns;
  if (call->outcome.kind == ARVAK_KIND_NONE || !call->retry) return false;
  if (!arvak__attempt_may_retry(&call->attempt, &call->outcome, call->retry, delay_ns)) return false;
  int64_t at = arvak__after_ns(now, *delay_ns);
  if (call->is_released || at >= call->deadline_ns || would_be_refused(call, at, *delay_ns)) return false;
  arvak__stats_count_retry(&call->attempt.client->stats, call->outcome.code);
  call->outcome.elapsed_ns = now - call->started_ns;
  return true;
}

/* A guest could otherwise open the breaker of all with a few timeouts that no server can keep. */
static bool is_hasty(const arvak_call *call) {
  const arvak_client *client = call->attempt.client;
  if (!call->exchange.headers.is_guest || call->outcome.kind != ARVAK_KIND_TIMEOUT) return false;
  bool has_own_cut = call->attempt.is_cut && call->attempt_timeout_ns != client->attempt_timeout_ns;
  return has_own_cut || (!call->attempt.is_cut && call->timeout_ns < client->timeout_ns);
}

static void on_answer(arvak_call *call, call_news *news) {
  read_answer(call);
  bool says_nothing = is_hasty(call);
  leave_breaker(call, says_nothing ? ARVAK_VERDICT_NEUTRAL : call->attempt.verdict, news);
  call->attempt.is_hasty = says_nothing;
  arvak__refused refused = arvak__attempt_tell_limiter(&call->attempt, &call->outcome, call->exchange.response,
                                                       call->loop->now_ns, call->turn.left_ns);
  if (call->retry && call->outcome.kind == ARVAK_KIND_NONE) arvak_retry_earn(call->retry);
  arvak__slots_release(&call->attempt.client->slots, &call->place);
  if (refused == ARVAK__REFUSED_FOR_NOW && !call->is_released) {
    set_out(call, news);
    return;
  }
  if (refused != ARVAK__NOT_REFUSED || !plan_retry(call, &news->delay_ns)) {
    end(call, news);
    return;
  }
  call->state = CALL_SLEEPING;
  call->has_waited = true;
  call->turn.number = 0; /* the other shares come before its next one */
  set_timer(call, arvak__after_ns(call->loop->now_ns, news->delay_ns));
  news->then = THEN_REPORT_RETRY;
}

/* ---- the one function that moves a call ---- */

static void stop_asking(arvak_call *call) { arvak__list_remove(&call->loop->asking, &call->asking); }

/* Gives back what a call holds that waits in its state. */
static void give_back(arvak_call *call, call_news *news) {
  arvak__slots *slots = &call->attempt.client->slots;
  bool has_slot = false;
  switch (call->state) {
    case CALL_HELD: arvak__turns_leave(&call->attempt.client->turns, &call->turn, call->loop->now_ns); break;
    case CALL_PACED:
      arvak__tokens_give_back(slots, (int)call->attempt.circuit_count, call->timer.deadline_ns);
      break;
    case CALL_QUEUED: has_slot = !arvak__slots_unqueue(slots, &call->place); break;
    case CALL_ASKING: stop_asking(call); /* fall through */
    case CALL_QUERYING: case CALL_CONNECTING: has_slot = true; break;
    default: break;
  }
  leave_breaker(call, ARVAK_VERDICT_NEUTRAL, news);
  if (has_slot || call->state == CALL_QUEUED) skip_turn(call);
  if (has_slot) arvak__slots_release(slots, &call->place);
}

static void end_canceled(arvak_call *call, call_news *news) {
  give_back(call, news);
  arvak__set_canceled(&call->outcome, call->attempt.cancel_kind);
  end(call, news);
}

static void leave_queue(arvak_call *call, call_news *news) {
  if (!arvak__slots_unqueue(&call->attempt.client->slots, &call->place)) return; /* granted: that is posted */
  skip_turn(call);
  arvak__set_queue_timeout(&call->outcome,
                           "no slot came free within queue_timeout (as many calls as may be are in flight)");
  end(call, news);
}

static void transit(arvak_call *call, arvak__call_event event, call_news *news) {
  bool is_waiting = call->state != CALL_ACTIVE && call->state < CALL_ENDING;
  if (is_waiting && call->attempt.cancel_kind != ARVAK_KIND_NONE) {
    end_canceled(call, news);
    return;
  }
  switch (call->state) {
    case CALL_NEW:
      if (event == EVENT_START) begin(call, news);
      break;
    case CALL_HELD: look_for_turn(call, news); break;
    case CALL_PACED:
      if (event == EVENT_TIMER) take_slot(call, news);
      break;
    case CALL_QUEUED:
      if (event == EVENT_POSTED) use_slot(call, news);
      else if (event == EVENT_TIMER) leave_queue(call, news);
      break;
    case CALL_ASKING:
      if (event != EVENT_POSTED) stop_asking(call);
      /* fall through */
    case CALL_QUERYING:
      if (event == EVENT_DENIED) end_with_slot(call, news);
      else if (event != EVENT_POSTED) enter(call, news); /* which finds the deadline that has passed */
      break;
    case CALL_CONNECTING:
      if (event == EVENT_TIMER) look_for_connection(call, news);
      break;
    case CALL_ACTIVE:
      if (event == EVENT_ANSWERED) on_answer(call, news);
      break;
    case CALL_SLEEPING:
      if (event == EVENT_TIMER) set_out(call, news);
      break;
    case CALL_ENDING:
      if (event == EVENT_POSTED) news->then = THEN_FINISH;
      break;
    case CALL_ENDED: break;
  }
}

/* The function may have canceled the call, or ended it by stepping the loop. */
static void query_headers(arvak_call *call) {
  arvak_header_sink sink;
  const arvak__client_headers *common = &call->attempt.client->headers;
  bool is_given = arvak__headers_query(common, call->attempt.rpc, &sink);
  if (!arvak__loop_is_foreign(call->loop) && call->state == CALL_QUERYING) {
    is_given = is_given && arvak__headers_renew(&call->exchange.headers, common, call->fixed_header_count, sink.list,
                                                sink.count) == ARVAK_OK;
    if (!is_given) arvak__set_denied(&call->outcome, ARVAK_KIND_UNAUTHENTICATED, 16, arvak__refused_message);
    arvak__loop_begin(call->loop);
    arvak__call_move(call, is_given ? EVENT_GIVEN : EVENT_DENIED);
  }
  arvak__header_sink_fini(&sink);
}

/* User code, which may do anything: what comes second is told only where the first has left the call as it was, and in
 * a fork the rest is the parent's. */
static void tell(arvak_call *call, const call_news *news) {
  if (news->changes.count > 0) {
    arvak__breaker_report(call->breaker, &news->changes);
    if (arvak__loop_is_foreign(call->loop)) return;
  }
  if (news->then == THEN_FINISH && call->state == CALL_ENDING) finish(call);
  else if (news->then == THEN_QUERY && call->state == CALL_QUERYING) query_headers(call);
  else if (news->then == THEN_REPORT_RETRY && call->state == CALL_SLEEPING)
    arvak__attempt_report_retry(&call->attempt, &call->outcome, call->retry, news->delay_ns);
}

void arvak__call_move(arvak_call *call, arvak__call_event event) {
  call_news news = {.is_stepping = event == EVENT_TIMER || event == EVENT_POSTED || event == EVENT_ANSWERED};
  call->refs++;
  transit(call, event, &news);
  tell(call, &news);
  arvak__call_unref(call);
}

/* ---- events that the loop brings ---- */

static void on_timer(arvak_timer *timer, void *ud) {
  (void)timer;
  arvak__call_move(ud, EVENT_TIMER);
}

static void on_posting(arvak__posting *posting) {
  arvak__call_move((arvak_call *)((char *)posting - offsetof(arvak_call, posting)), EVENT_POSTED);
}

static size_t cancel_member(arvak__member *member, arvak_kind kind) {
  arvak_call_cancel((arvak_call *)((char *)member - offsetof(arvak_call, member)), kind);
  return 1;
}

void arvak__call_attach(arvak_call *call, arvak_loop *loop, const void *owner) {
  call->loop = loop;
  call->tag.fn = on_tag;
  call->timer.fn = on_timer;
  call->timer.ud = call;
  call->posting.fn = on_posting;
  call->turn.loop = call->place.loop = loop;
  call->turn.posting = call->place.posting = &call->posting;
  call->member.owner = owner;
  call->member.cancel = cancel_member;
}
