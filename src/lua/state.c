/* The one loop of a Lua state, and what waits on it. Invariant: a wait is in use from larvak_wait_new until
 * larvak_wait_free, and whoever is suspended on one is anchored in the state's table of tasks.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "larvak.h"

static const char state_key = 0;

/* ---- life ---- */

static int state_gc(lua_State *L) {
  larvak_state *state = lua_touserdata(L, 1);
  if (state->is_closed) return 0;
  state->is_closed = true;
  if (state->loop) arvak_loop_close(state->loop);
  state->loop = NULL;
  for (size_t i = 0; i < state->block_count; i++) {
    for (size_t j = 0; j < WAITS_PER_BLOCK; j++)
      if (state->blocks[i][j].call) arvak_call_release(state->blocks[i][j].call);
    free(state->blocks[i]);
  }
  free(state->blocks);
  state->blocks = NULL;
  state->block_count = 0;
  state->free_waits = NULL;
  larvak_free_events(state);
  return 0;
}

static larvak_state *state_new(lua_State *L) {
  larvak_state *state = lua_newuserdatauv(L, sizeof *state, 0);
  memset(state, 0, sizeof *state);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  state->main = lua_tothread(L, -1);
  lua_pop(L, 1);
  state->ready_end = &state->ready;
  state->unreported_end = &state->unreported;
  state->ended_end = &state->ended;
  state->events_end = &state->events;
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, state_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &state_key);
  return state;
}

larvak_state *larvak_state_get(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key);
  larvak_state *state = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return state ? state : state_new(L);
}

arvak_loop *larvak_loop_get(lua_State *L, larvak_state *state) {
  if (state->loop) return state->loop;
  if (state->is_closed) larvak_misuse(L, "the Lua state is closing");
  int status = arvak_loop_new(&state->loop);
  if (status == ARVAK_EFORKED) {
    larvak_push_forked(L);
    lua_error(L);
  }
  if (status != ARVAK_OK) luaL_error(L, "not enough memory");
  return state->loop;
}

/* ---- waits ---- */

static bool add_block(larvak_state *state) {
  larvak_wait **blocks = realloc(state->blocks, (state->block_count + 1) * sizeof *blocks);
  if (!blocks) return false;
  state->blocks = blocks;
  larvak_wait *block = calloc(WAITS_PER_BLOCK, sizeof *block);
  if (!block) return false;
  for (size_t i = WAITS_PER_BLOCK; i-- > 0;) {
    block[i].state = state;
    block[i].index = (uint32_t)(state->block_count * WAITS_PER_BLOCK + i);
    block[i].next_free = state->free_waits;
    state->free_waits = &block[i];
  }
  state->blocks[state->block_count++] = block;
  return true;
}

larvak_wait *larvak_wait_new(lua_State *L, larvak_state *state) {
  if (!state->free_waits && !add_block(state)) luaL_error(L, "not enough memory");
  larvak_wait *wait = state->free_waits;
  state->free_waits = wait->next_free;
  wait->generation++;
  state->wait_count++;
  wait->reason = REASON_PENDING;
  wait->is_detached = wait->was_in_flight = wait->is_foreign = wait->is_told = wait->is_orphan = false;
  wait->rpc = ARVAK_RPC_COUNT;
  return wait;
}

void larvak_wait_free(larvak_wait *wait) {
  larvak_state *state = wait->state;
  if (wait->timer.place) {
    arvak_loop_stop_timer(state->loop, &wait->timer);
    state->parked_timers--;
  }
  if (wait->call) arvak_call_release(wait->call);
  if (wait->task) wait->task->wait = NULL;
  wait->call = NULL;
  wait->task = NULL;
  wait->generation++;
  state->wait_count--;
  wait->next_free = state->free_waits;
  state->free_waits = wait;
}

lua_Integer larvak_ticket(const larvak_wait *wait) {
  return (lua_Integer)((uint64_t)wait->generation << 32 | wait->index);
}

larvak_wait *larvak_wait_find(larvak_state *state, lua_Integer ticket) {
  uint32_t index = (uint32_t)((uint64_t)ticket & 0xffffffffu), generation = (uint32_t)((uint64_t)ticket >> 32);
  if (index >= state->block_count * WAITS_PER_BLOCK) return NULL;
  larvak_wait *wait = &state->blocks[index / WAITS_PER_BLOCK][index % WAITS_PER_BLOCK];
  return wait->generation == generation && generation % 2 == 1 ? wait : NULL;
}

void larvak_wait_end(larvak_wait *wait, larvak_reason reason) {
  if (wait->reason != REASON_PENDING) return;
  wait->reason = reason;
  if (wait->task) {
    larvak_task_ready(wait->state, wait->task);
  } else if (wait->is_detached || wait->is_foreign) {
    wait->next_ended = NULL;
    *wait->state->ended_end = wait;
    wait->state->ended_end = &wait->next_ended;
  }
}

void larvak_on_call_end(arvak_call *call, void *ud) {
  (void)call;
  larvak_wait_end(ud, REASON_DONE);
}

/* ---- stepping ---- */

/* (lightuserdata wait): call_end(ticket, value | nil, err) of a call, call_end(ticket) of a timer; woken(ticket) where
 * the attached loop's coroutine will fetch the values itself. */
static int report(lua_State *L) {
  larvak_wait *wait = lua_touserdata(L, 1);
  larvak_push_upcall(L, wait->is_foreign ? UPCALL_WOKEN : UPCALL_CALL_END);
  lua_pushinteger(L, larvak_ticket(wait));
  int count = 1;
  if (wait->call && !wait->is_foreign) {
    lua_pushcfunction(L, larvak_push_outcome);
    lua_pushlightuserdata(L, wait->call);
    lua_pushnil(L);
    lua_call(L, 2, 2);
    count = 3;
  }
  lua_call(L, count, 0);
  return 0;
}

static larvak_wait *pop_ended(larvak_state *state) {
  larvak_wait *wait = state->ended;
  state->ended = wait->next_ended;
  if (!state->ended) state->ended_end = &state->ended;
  return wait;
}

static void push_back_ended(larvak_state *state, larvak_wait *wait) {
  wait->next_ended = state->ended;
  if (!state->ended) state->ended_end = &wait->next_ended;
  state->ended = wait;
}

/* Tells the Lua layer of calls and timers that nobody is suspended on. One that cannot be told for want of memory is
 * told again; any other error there goes to whoever drives the loop. Not reentrant: a finalizer that runs meanwhile
 * and comes here leaves its own to the loop below it. */
void larvak_report_calls(lua_State *L, larvak_state *state) {
  larvak_tell_hooks(L, state); /* before the calls that caused it end */
  if (state->is_reporting) return;
  while (state->ended) {
    larvak_wait *wait = pop_ended(state);
    state->is_reporting = true;
    lua_pushcfunction(L, report);
    lua_pushlightuserdata(L, wait);
    int status = lua_pcall(L, 1, 0, 0);
    state->is_reporting = false;
    if (status == LUA_ERRMEM) push_back_ended(state, wait);
    else if (wait->is_foreign && !wait->is_orphan) wait->is_told = true;
    else larvak_wait_free(wait);
    if (status != LUA_OK) lua_error(L);
  }
}

static int deliver(lua_State *L) {
  larvak_state *state = lua_touserdata(L, 1);
  larvak_give_headers(L, state);
  larvak_report_calls(L, state);
  larvak_report_tasks(L, state);
  larvak_run_ready(L, state);
  larvak_report_tasks(L, state);
  return 0;
}

static void raise_forked(lua_State *L, larvak_state *state) {
  state->is_stepping = false;
  larvak_push_forked(L);
  lua_error(L);
}

void larvak_step(lua_State *L, larvak_state *state, int64_t until_ns) {
  arvak_loop *loop = larvak_loop_get(L, state);
  luaL_checkstack(L, 4, "stepping");
  state->is_stepping = true;
  bool has_news = state->ready || state->unreported || state->ended || state->events;
  int ran = arvak_loop_step(loop, has_news ? 0 : until_ns);
  if (ran == ARVAK_EFORKED) raise_forked(L, state);
  state->has_news = has_news || ran > 0;
  lua_pushcfunction(L, deliver);
  lua_pushlightuserdata(L, state);
  int status = lua_pcall(L, 1, 0, 0);
  state->is_stepping = false;
  if (status == LUA_OK) return;
  if (state->fd_users > 0) arvak_loop_wake(loop); /* what is left of it */
  lua_error(L);
}

bool larvak_is_idle(const larvak_state *state) {
  return !state->ready && !state->ended && !state->unreported &&
         (!state->loop || (arvak_loop_call_count(state->loop) == 0 && state->parked_timers == 0));
}

/* ---- for the Lua layer ---- */

void larvak_check_step(lua_State *L, larvak_state *state) {
  if (state->current || state->is_stepping) larvak_misuse(L, "the loop is already being stepped");
  if (state->hook_depth > 0) larvak_misuse(L, "a hook must not step the loop");
}

/* step(seconds): one step of the loop, which ends when something has happened. */
static int state_step(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  larvak_check_step(L, state);
  double seconds = luaL_checknumber(L, 1);
  int64_t until = seconds > 0 ? arvak_now_ns() + (int64_t)(seconds * 1e9) : 0;
  int mask_before = lua_gethookmask(state->main);
  do {
    int64_t air = arvak_now_ns() + LARVAK_AIR_NS;
    larvak_step(L, state, until < air ? until : air);
    larvak_breathe(L, state, mask_before);
  } while (!state->has_news && arvak_now_ns() < until);
  return 0;
}

/* drive(): steps until a task ends, nothing is left that could happen, or a tenth of a second is over. */
static int state_drive(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  larvak_check_step(L, state);
  int64_t until = arvak_now_ns() + LARVAK_AIR_NS;
  uint64_t ends = state->end_count;
  do larvak_step(L, state, until);
  while (state->end_count == ends && !larvak_is_idle(state) && arvak_now_ns() < until);
  larvak_breathe(L, state, state->drive_mask);
  state->drive_mask = lua_gethookmask(state->main);
  return 0;
}

static int state_is_idle(lua_State *L) {
  lua_pushboolean(L, larvak_is_idle(larvak_state_get(L)));
  return 1;
}

static void set_size(lua_State *L, const char *name, size_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, name);
}

/* counts(): what is alive in this Lua state, for tests. */
static int state_counts(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  lua_createtable(L, 0, 4);
  set_size(L, "calls", state->loop ? arvak_loop_call_count(state->loop) : 0);
  set_size(L, "tasks", state->task_count);
  set_size(L, "waits", state->wait_count);
  set_size(L, "clients", state->client_count);
  return 1;
}

/* Message handler: a table gets a field traceback, any other value becomes text with it. */
static int add_traceback(lua_State *L) {
  luaL_traceback(L, L, NULL, 1);
  if (lua_istable(L, 1)) {
    lua_pushliteral(L, "traceback");
    if (lua_rawget(L, 1) == LUA_TNIL) {
      lua_pushliteral(L, "traceback");
      lua_pushvalue(L, 2);
      lua_rawset(L, 1);
    }
  } else {
    lua_pushfstring(L, "%s\n%s", luaL_tolstring(L, 1, NULL), lua_tostring(L, 2));
    lua_replace(L, 1);
  }
  lua_settop(L, 1);
  return 1;
}

/* hook(fn, ...): calls a user's function that must not wait, protected; results as pcall's, an error with its
 * traceback. */
static int state_hook(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  lua_pushcfunction(L, add_traceback);
  lua_insert(L, 1);
  state->hook_depth++;
  int status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 1);
  state->hook_depth--;
  lua_pushboolean(L, status == LUA_OK);
  lua_replace(L, 1);
  return lua_gettop(L);
}

static int state_now(lua_State *L) {
  lua_pushnumber(L, (lua_Number)arvak_now_ns() * 1e-9);
  return 1;
}

static int state_misuse(lua_State *L) { return larvak_misuse(L, "%s", luaL_checkstring(L, 1)); }

static int state_describe(lua_State *L) {
  larvak_describe(L, 1);
  return 1;
}

static int state_describe_type(lua_State *L) {
  larvak_describe_type(L, 1);
  return 1;
}

int larvak_open_state(lua_State *L) {
  static const luaL_Reg functions[] = {{"step", state_step},         {"drive", state_drive},
                                       {"is_idle", state_is_idle},   {"hook", state_hook},
                                       {"now", state_now},           {"misuse", state_misuse},
                                       {"describe", state_describe}, {"describe_type", state_describe_type},
                                       {"counts", state_counts},     {NULL, NULL}};
  larvak_state_get(L);
  luaL_setfuncs(L, functions, 0);
  return 0;
}
