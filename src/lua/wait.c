/* The waits of a Lua state. They live in blocks that never move, since the core holds their addresses.
 * Invariant: a wait is in use from larvak_wait_new until larvak_wait_free, and whoever is suspended on one is anchored
 * in the table of tasks. What an event does, by the state that the wait is in:
 *
 *            PENDING                                  OVER                           TOLD
 *  end       OVER; in a list, or its task is ready    -                              -
 *  pop       -                                        TOLD; freed if WAITER_GONE     -
 *  report    -                                        FREE                           -
 *  abandon   FREE; of a task: canceled, and so OVER   WAITER_GONE; of a task: -      FREE
 *  drop      FREE                                     FREE (of no list)              -
 *  free      FREE                                     FREE (of no list)              FREE
 *
 * pop is of a coroutine of an attached loop, report of the Lua layer's; every other waiter frees the wait by himself.
 * SPDX-License-Identifier: Apache-2.0 */
#include "wait.h"

#include <lauxlib.h>
#include <stdlib.h>

#include "causes.h"
#include "handle.h"
#include "misuse.h"
#include "ready.h"
#include "work.h"

enum { WAITS_PER_BLOCK = 64 };

/* ---- life ---- */

static bool add_block(larvak_state *state) {
  larvak_wait **blocks = realloc(state->waits.blocks, (state->waits.block_count + 1) * sizeof *blocks);
  if (!blocks) return false;
  state->waits.blocks = blocks;
  larvak_wait *block = calloc(WAITS_PER_BLOCK, sizeof *block);
  if (!block) return false;
  for (size_t i = WAITS_PER_BLOCK; i-- > 0;) {
    block[i].state = state;
    block[i].index = (uint32_t)(state->waits.block_count * WAITS_PER_BLOCK + i);
    block[i].next = state->waits.free;
    state->waits.free = &block[i];
  }
  state->waits.blocks[state->waits.block_count++] = block;
  return true;
}

larvak_wait *larvak_wait_new(lua_State *L, larvak_state *state) {
  if (!state->waits.free && !add_block(state)) larvak_no_memory(L);
  larvak_wait *wait = state->waits.free;
  state->waits.free = wait->next;
  wait->generation++;
  state->waits.count++;
  wait->at = WAIT_PENDING;
  wait->waiter = WAITER_CALLER;
  wait->was_in_flight = wait->can_be_woken = wait->is_noted = wait->may_have_cause = false;
  wait->rpc = ARVAK_RPC_COUNT;
  return wait;
}

void larvak_wait_free(larvak_wait *wait) {
  larvak_state *state = wait->state;
  if (wait->timer.place) arvak_loop_stop_timer(state->loop, &wait->timer);
  if (wait->call) {
    if (wait->may_have_cause) larvak_cause_drop(state->main, wait->call);
    arvak_call_release(wait->call);
  }
  if (wait->charge.limits) larvak_quota_end(&wait->charge);
  if (wait->task) wait->task->wait = NULL;
  wait->call = NULL;
  wait->task = NULL;
  wait->at = WAIT_FREE;
  wait->generation++;
  state->waits.count--;
  wait->next = state->waits.free;
  state->waits.free = wait;
}

void larvak_waits_settle(larvak_state *state) {
  for (size_t i = 0; i < state->waits.block_count * WAITS_PER_BLOCK; i++) {
    larvak_charge *charge = &state->waits.blocks[i / WAITS_PER_BLOCK][i % WAITS_PER_BLOCK].charge;
    if (charge->limits) larvak_quota_end(charge);
  }
}

/* Finalizers that run after the loop's end find no wait any more. */
void larvak_waits_close(larvak_state *state) {
  for (size_t i = 0; i < state->waits.block_count; i++) {
    for (size_t j = 0; j < WAITS_PER_BLOCK; j++) {
      larvak_wait *wait = &state->waits.blocks[i][j];
      if (wait->call) arvak_call_release(wait->call);
      if (wait->task) wait->task->wait = NULL;
    }
    free(state->waits.blocks[i]);
  }
  free(state->waits.blocks);
  state->waits = (struct larvak_waits){.ended = {.end = &state->waits.ended.first},
                                       .woken = {.end = &state->waits.woken.first}};
}

/* ---- lists ---- */

static void append(larvak_wait_list *list, larvak_wait *wait) {
  wait->next = NULL;
  *list->end = wait;
  list->end = &wait->next;
}

static larvak_wait *pop(larvak_wait_list *list) {
  larvak_wait *wait = list->first;
  if (!wait) return NULL;
  list->first = wait->next;
  if (!list->first) list->end = &list->first;
  return wait;
}

larvak_wait *larvak_waits_pop_ended(larvak_state *state) { return pop(&state->waits.ended); }

void larvak_waits_push_back(larvak_state *state, larvak_wait *wait) {
  larvak_wait_list *list = &state->waits.ended;
  wait->next = list->first;
  if (!list->first) list->end = &wait->next;
  list->first = wait;
}

larvak_wait *larvak_waits_pop_woken(larvak_state *state) {
  larvak_wait *wait = pop(&state->waits.woken);
  if (!wait) return NULL;
  state->waits.woken_count--;
  wait->at = WAIT_TOLD;
  if (wait->waiter != WAITER_GONE) return wait;
  larvak_wait_free(wait);
  return NULL;
}

/* ---- tickets ---- */

lua_Integer larvak_wait_ticket(const larvak_wait *wait) {
  return (lua_Integer)((uint64_t)wait->generation << 32 | wait->index);
}

larvak_wait *larvak_wait_find(larvak_state *state, lua_Integer ticket) {
  uint32_t index = (uint32_t)((uint64_t)ticket & 0xffffffffu), generation = (uint32_t)((uint64_t)ticket >> 32);
  if (index >= state->waits.block_count * WAITS_PER_BLOCK) return NULL;
  larvak_wait *wait = &state->waits.blocks[index / WAITS_PER_BLOCK][index % WAITS_PER_BLOCK];
  return wait->generation == generation && generation % 2 == 1 ? wait : NULL;
}

/* (table, ticket): table[ticket] = true. */
static int note_ticket(lua_State *L) {
  lua_pushboolean(L, 1);
  lua_rawset(L, 1);
  return 0;
}

void larvak_wait_note_ticket(lua_State *L, larvak_wait *wait, int index) {
  if (!lua_istable(L, index)) return;
  lua_pushcfunction(L, note_ticket);
  lua_pushvalue(L, index);
  lua_pushinteger(L, larvak_wait_ticket(wait));
  wait->can_be_woken = true;
  if (lua_pcall(L, 2, 0, 0) == LUA_OK) return;
  larvak_wait_free(wait);
  lua_error(L);
}

/* ---- ends ---- */

void larvak_wait_end(larvak_wait *wait, larvak_reason reason) {
  if (wait->at != WAIT_PENDING) return;
  larvak_state *state = wait->state;
  wait->at = WAIT_OVER;
  wait->reason = reason;
  switch (wait->waiter) {
    case WAITER_CALLER: return;
    case WAITER_TASK: larvak_ready_push(state, wait->task); return;
    case WAITER_LAYER: append(&state->waits.ended, wait); break;
    case WAITER_FOREIGN: case WAITER_GONE:
      append(&state->waits.woken, wait);
      state->waits.woken_count++;
  }
  larvak_work_changed(state);
}

void larvak_wait_suspend(larvak_wait *wait, larvak_task *task) {
  wait->waiter = WAITER_TASK;
  wait->task = task;
  task->wait = wait;
  if (wait->at == WAIT_OVER) larvak_ready_push(wait->state, task);
  else if (task->is_canceled) larvak_wait_end(wait, REASON_CANCELED);
}

void larvak_wait_abandon(larvak_wait *wait) {
  larvak_state *state = wait->state;
  if (wait->at == WAIT_PENDING && wait->call) arvak_call_cancel(wait->call, ARVAK_KIND_CANCELED);
  if (wait->task) {
    larvak_wait_end(wait, REASON_CANCELED);
  } else if (wait->at == WAIT_OVER) {
    wait->waiter = WAITER_GONE;
  } else {
    larvak_wait_free(wait);
    larvak_work_changed(state);
  }
}

void larvak_wait_drop(larvak_wait *wait) {
  if (wait->at == WAIT_PENDING && wait->call) arvak_call_cancel(wait->call, ARVAK_KIND_CANCELED);
  larvak_wait_free(wait);
}

/* One that is over already raises as well, if the host takes the interrupt back before its coroutine is resumed. */
static void interrupt(larvak_wait *wait) {
  if (wait->at == WAIT_OVER || wait->at == WAIT_TOLD) wait->reason = REASON_INTERRUPTED;
  if (wait->at != WAIT_PENDING) return;
  wait->was_in_flight = wait->call && arvak_call_is_sent(wait->call);
  if (wait->call) arvak_call_cancel(wait->call, ARVAK_KIND_CANCELED);
  larvak_wait_end(wait, REASON_INTERRUPTED);
}

/* A future of the Lua layer's is nobody's wait; and who blocks is told by his step. */
void larvak_waits_interrupt(larvak_state *state) {
  state->interrupt.is_carried_out = true;
  for (size_t i = 0; i < state->waits.block_count * WAITS_PER_BLOCK; i++) {
    larvak_wait *wait = &state->waits.blocks[i / WAITS_PER_BLOCK][i % WAITS_PER_BLOCK];
    if (wait->waiter == WAITER_TASK || wait->waiter == WAITER_FOREIGN) interrupt(wait);
  }
}

static uint64_t count_jobs(const arvak_response *response) {
  if (!response) return 0;
  return response->rpc == ARVAK_SUBMIT_JOB ? 1 : response->rpc == ARVAK_SUBMIT_BATCH ? response->as.jobs.size : 0;
}

static void count(const larvak_wait *wait, const arvak_outcome *outcome, const arvak_response *response) {
  arvak_lua_stats more = {.calls = 1,
                          .failures = outcome->kind != ARVAK_KIND_NONE,
                          .jobs = count_jobs(response),
                          .bytes_sent = wait->circuit_bytes * (size_t)outcome->attempts,
                          .bytes_received = response ? arvak_response_size_bytes(response) : 0};
  larvak_handle_count(wait->state->handle, &more);
  if (wait->charge.limits) larvak_stats_add(&wait->charge.limits->stats, &more);
}

/* An answer that is too much goes at once, but for the ids of jobs: somebody has to pay for these. */
void larvak_wait_on_call_end(arvak_call *call, void *ud) {
  larvak_wait *wait = ud;
  const arvak_response *response = arvak_call_response(call);
  bool is_held = true, is_submit = wait->rpc == ARVAK_SUBMIT_JOB || wait->rpc == ARVAK_SUBMIT_BATCH;
  count(wait, arvak_call_outcome(call), response);
  if (wait->charge.limits && response && !is_submit)
    is_held = larvak_quota_hold(&wait->charge, arvak_response_size_bytes(response));
  if (!is_held) {
    arvak_call_release(wait->call);
    wait->call = NULL;
  }
  larvak_wait_end(wait, is_held ? REASON_DONE : REASON_REFUSED);
}

static void on_park_timeout(arvak_timer *timer, void *ud) {
  (void)timer;
  larvak_wait_end(ud, REASON_TIMEOUT);
}

void larvak_wait_start_timer(lua_State *L, larvak_wait *wait, double seconds) {
  wait->timer.fn = on_park_timeout;
  wait->timer.ud = wait;
  int64_t delay = seconds < 3e9 ? (int64_t)(seconds * 1e9) : (int64_t)3000000000 * 1000000000;
  if (arvak_loop_set_timer(wait->state->loop, &wait->timer, arvak_now_ns() + delay) != ARVAK_OK) {
    larvak_wait_free(wait);
    larvak_no_memory(L);
  }
  larvak_work_changed(wait->state);
}
