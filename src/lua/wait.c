/* The waits of a Lua state. They live in blocks that never move, since the core holds their addresses.
 * Invariant: a wait is in use from larvak_wait_new until larvak_wait_free, and whoever is suspended on one is anchored
 * in the table of tasks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "wait.h"

#include <lauxlib.h>
#include <stdlib.h>

#include "misuse.h"
#include "ready.h"

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
    block[i].next_free = state->waits.free;
    state->waits.free = &block[i];
  }
  state->waits.blocks[state->waits.block_count++] = block;
  return true;
}

larvak_wait *larvak_wait_new(lua_State *L, larvak_state *state) {
  if (!state->waits.free && !add_block(state)) larvak_no_memory(L);
  larvak_wait *wait = state->waits.free;
  state->waits.free = wait->next_free;
  wait->generation++;
  state->waits.count++;
  wait->reason = REASON_PENDING;
  wait->is_detached = wait->was_in_flight = wait->is_foreign = wait->is_told = wait->is_orphan = false;
  wait->rpc = ARVAK_RPC_COUNT;
  return wait;
}

void larvak_wait_free(larvak_wait *wait) {
  larvak_state *state = wait->state;
  if (wait->timer.place) {
    arvak_loop_stop_timer(state->loop, &wait->timer);
    state->waits.timer_count--;
  }
  if (wait->call) arvak_call_release(wait->call);
  if (wait->task) wait->task->wait = NULL;
  wait->call = NULL;
  wait->task = NULL;
  wait->generation++;
  state->waits.count--;
  wait->next_free = state->waits.free;
  state->waits.free = wait;
}

void larvak_waits_free(larvak_state *state) {
  for (size_t i = 0; i < state->waits.block_count; i++) {
    for (size_t j = 0; j < WAITS_PER_BLOCK; j++)
      if (state->waits.blocks[i][j].call) arvak_call_release(state->waits.blocks[i][j].call);
    free(state->waits.blocks[i]);
  }
  free(state->waits.blocks);
  state->waits.blocks = NULL;
  state->waits.block_count = 0;
  state->waits.free = NULL;
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
  if (lua_pcall(L, 2, 0, 0) == LUA_OK) return;
  larvak_wait_free(wait);
  lua_error(L);
}

/* ---- ends ---- */

void larvak_wait_end(larvak_wait *wait, larvak_reason reason) {
  if (wait->reason != REASON_PENDING) return;
  wait->reason = reason;
  if (wait->task) {
    larvak_ready_push(wait->state, wait->task);
  } else if (wait->is_detached || wait->is_foreign) {
    wait->next_ended = NULL;
    *wait->state->waits.ended_end = wait;
    wait->state->waits.ended_end = &wait->next_ended;
  }
}

void larvak_wait_on_call_end(arvak_call *call, void *ud) {
  (void)call;
  larvak_wait_end(ud, REASON_DONE);
}

static void on_park_timeout(arvak_timer *timer, void *ud) {
  (void)timer;
  larvak_wait *wait = ud;
  wait->state->waits.timer_count--;
  larvak_wait_end(wait, REASON_TIMEOUT);
}

void larvak_wait_start_timer(lua_State *L, larvak_wait *wait, double seconds) {
  wait->timer.fn = on_park_timeout;
  wait->timer.ud = wait;
  int64_t delay = seconds < 3e9 ? (int64_t)(seconds * 1e9) : (int64_t)3000000000 * 1000000000;
  if (arvak_loop_set_timer(wait->state->loop, &wait->timer, arvak_now_ns() + delay) != ARVAK_OK) {
    larvak_wait_free(wait);
    larvak_no_memory(L);
  }
  wait->state->waits.timer_count++;
}

larvak_wait *larvak_waits_pop_ended(larvak_state *state) {
  larvak_wait *wait = state->waits.ended;
  state->waits.ended = wait->next_ended;
  if (!state->waits.ended) state->waits.ended_end = &state->waits.ended;
  return wait;
}

void larvak_waits_push_back(larvak_state *state, larvak_wait *wait) {
  wait->next_ended = state->waits.ended;
  if (!state->waits.ended) state->waits.ended_end = &wait->next_ended;
  state->waits.ended = wait;
}
