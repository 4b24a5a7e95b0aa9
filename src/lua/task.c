/* Tasks: coroutines that the loop resumes. Invariant: a task is anchored from spawn until its end is reported, and
 * is resumed only by larvak_tasks_run, between two other resumes, but for its first run, which may be at once.
 * What an event does, by the state that the task is in:
 *
 *                     NEW        RUNNING                  SUSPENDED                       ENDED
 *  is queued          its turn comes (of one that waits: when the wait ends)               -
 *  its turn           RUNNING    -                        RUNNING                         its end is reported
 *  turn, lost         ENDED      queued again             ENDED: somebody else has        -
 *                                                         ended its coroutine
 *  waits              -          SUSPENDED                -                               -
 *  yields             -          SUSPENDED, queued        -                               -
 *  returns, raises    -          ENDED                    -                               -
 *  is canceled        ENDED      its next waits end so    its wait ends so, and the next  -
 *
 * A task that has ended is reported as soon as it stands in no queue.
 * SPDX-License-Identifier: Apache-2.0 */
#include "task.h"

#include <lauxlib.h>
#include <string.h>

#include "interrupt.h"
#include "misuse.h"
#include "ready.h"
#include "upcall.h"
#include "wait.h"
#include "work.h"

/* In the registry: the table of tasks not ended, by address. */
static const char tasks_key = 0;
#define TASK "arvak.task"
/* Its user values: the coroutine; and what the Lua layer has to do with it, where no program can reach it. */
enum { TASK_COROUTINE = 1, TASK_SCOPE, TASK_OWNER, TASK_ON_END };

/* Tasks started inside each other take C stack, of which Lua allows 200 levels. */
enum { MAX_DEPTH = 16 };

/* ---- the end of a task ---- */

static void report_later(larvak_state *state, larvak_task *task) {
  task->next_unreported = NULL;
  *state->tasks.unreported_end = task;
  state->tasks.unreported_end = &task->next_unreported;
  larvak_work_changed(state);
}

/* Reporting lets go of the task, so one that is still queued to run is reported when its turn comes. */
static void end_task(larvak_state *state, larvak_task *task, int status, int count) {
  task->at = TASK_ENDED;
  task->status = status;
  task->result_count = count;
  state->tasks.count--;
  state->tasks.end_count++;
  if (task->wait) larvak_wait_free(task->wait);
  if (!task->is_queued) report_later(state, task);
}

/* Closes what a task that failed left to be closed, and leaves the error (that of a closer, if one raised) and the
 * traceback on its stack. Closers run here, between two turns of the loop, and so cannot wait. */
static void reset(lua_State *L, larvak_task *task) {
  lua_State *co = task->co;
  luaL_traceback(L, co, NULL, 0);
  lua_resetthread(co);
  task->is_reset = true;
  lua_xmove(L, co, 1);
}

/* Pushes whether it ended well and whether it was canceled, then the results, or the error and its traceback; they
 * stay on the task's stack as well. */
static int push_end(lua_State *L, larvak_task *task) {
  lua_State *co = task->co;
  bool has_failed = task->status != LUA_OK;
  if (has_failed && !task->is_reset) reset(L, task);
  int count = has_failed ? 2 : task->result_count, first = lua_gettop(co) - count + 1;
  bool fits = lua_checkstack(L, count + 4) && lua_checkstack(co, count);
  lua_pushboolean(L, !has_failed && fits);
  lua_pushboolean(L, task->is_canceled);
  if (!fits) {
    lua_pushfstring(L, "too many results of a task: %d", count);
    return 3;
  }
  for (int i = 0; i < count; i++) lua_pushvalue(co, first + i);
  lua_xmove(co, L, count);
  return count + 2;
}

/* (lightuserdata task): task_end(task, ok, is_canceled, results… or error, traceback). */
static int report(lua_State *L) {
  larvak_task *task = lua_touserdata(L, 1);
  larvak_upcall_push(L, UPCALL_TASK_END);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &tasks_key);
  lua_rawgetp(L, -1, task);
  lua_remove(L, -2);
  lua_call(L, push_end(L, task) + 1, 0);
  return 0;
}

/* The end itself could not be told (a hundred thousand results are too many for a call, say): that is the error then.
 * It is on top of L, and goes to the task's stack. */
static void replace_end(lua_State *L, larvak_task *task) {
  lua_settop(task->co, 0);
  lua_xmove(L, task->co, 1);
  lua_pushnil(task->co);
  task->status = LUA_ERRRUN;
  task->is_reset = true;
}

/* A task that cannot be reported for want of memory stays first in line. */
void larvak_tasks_report(lua_State *L, larvak_state *state) {
  while (state->tasks.unreported) {
    larvak_task *task = state->tasks.unreported;
    lua_pushcfunction(L, report);
    lua_pushlightuserdata(L, task);
    int status = lua_pcall(L, 1, 0, 0);
    if (status == LUA_ERRMEM) lua_error(L);
    if (status != LUA_OK && task->status == LUA_OK) {
      replace_end(L, task);
      continue;
    }
    state->tasks.unreported = task->next_unreported;
    if (!state->tasks.unreported) state->tasks.unreported_end = &state->tasks.unreported;
    lua_settop(task->co, 0);
    /* Setting a field that exists to nil allocates nothing. */
    lua_rawgetp(L, LUA_REGISTRYINDEX, &tasks_key);
    lua_pushnil(L);
    lua_rawsetp(L, -2, task);
    lua_pop(L, 1);
    if (status != LUA_OK) lua_error(L);
  }
}

/* ---- running ---- */

/* A task whose coroutine somebody else resumed or closed behind our back. True: dealt with. */
static bool is_out_of_hand(larvak_state *state, larvak_task *task) {
  lua_Debug ar;
  bool is_whole = task->at == TASK_NEW ? lua_gettop(task->co) > task->argument_count
                                       : lua_status(task->co) == LUA_YIELD;
  if (is_whole) return false;
  if (lua_status(task->co) == LUA_OK && lua_getstack(task->co, 0, &ar)) {
    larvak_ready_push(state, task); /* running below us; look again later */
    return true;
  }
  lua_settop(task->co, 0);
  lua_pushliteral(task->co, "the task's coroutine was ended by somebody else");
  end_task(state, task, LUA_ERRRUN, 1);
  return true;
}

static void run_task(lua_State *L, larvak_state *state, larvak_task *task) {
  if (is_out_of_hand(state, task)) return;
  int arguments = task->at == TASK_NEW ? task->argument_count : 0, count = 0;
  larvak_task *outer = state->tasks.current;
  task->at = TASK_RUNNING;
  task->innermost = task->co;
  state->tasks.current = task;
  int status = lua_resume(task->co, L, arguments, &count);
  state->tasks.current = outer;
  if (status != LUA_YIELD) {
    end_task(state, task, status, count);
    return;
  }
  task->at = TASK_SUSPENDED;
  lua_pop(task->co, count);
  if (!task->wait) larvak_ready_push(state, task); /* a bare coroutine.yield(): the next turn */
}

void larvak_tasks_run(lua_State *L, larvak_state *state) {
  for (size_t n = state->ready.count; n > 0; n--) {
    larvak_task *task = larvak_ready_pop(state);
    if (task->at == TASK_ENDED) report_later(state, task);
    else run_task(L, state, task);
  }
}

/* ---- for the Lua layer ---- */

/* new_task(scope, owner, on_end, fn, ...): a task that is to be queued or run at once. scope, owner and on_end are the
 * Lua layer's. */
static int task_new(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  larvak_loop_get(L, state);
  larvak_work_watch(L, state);
  int count = lua_gettop(L) - 3;
  larvak_task *task = lua_newuserdatauv(L, sizeof *task, TASK_ON_END);
  memset(task, 0, sizeof *task);
  luaL_setmetatable(L, TASK);
  lua_insert(L, 1);
  for (int i = 0; i < 3; i++) {
    lua_pushvalue(L, 2 + i);
    lua_setiuservalue(L, 1, TASK_SCOPE + i);
  }
  task->co = lua_newthread(L);
  if (lua_iscfunction(L, 5)) larvak_misuse_note_start(L, -1);
  lua_setiuservalue(L, 1, TASK_COROUTINE);
  if (!lua_checkstack(task->co, count + 1)) return luaL_error(L, "too many arguments of a task");
  lua_rawgetp(L, LUA_REGISTRYINDEX, &tasks_key);
  lua_pushvalue(L, 1);
  lua_rawsetp(L, -2, task);
  lua_pop(L, 1);
  lua_xmove(L, task->co, count);
  task->argument_count = count - 1;
  state->tasks.count++;
  lua_settop(L, 1);
  return 1;
}

/* has_room(): whether the host lets this state have one more task. */
static int task_has_room(lua_State *L) {
  const larvak_state *state = larvak_state_get(L);
  int most = state->limits.max_tasks;
  lua_pushboolean(L, most == 0 || state->tasks.count < (size_t)most);
  return 1;
}

/* limit_sleep(seconds): raises for more than the host lets this state sleep at once. */
static int task_limit_sleep(lua_State *L) {
  int64_t most = larvak_state_get(L)->limits.max_sleep_ns;
  double seconds = luaL_checknumber(L, 1);
  if (most == 0 || seconds <= (double)most * 1e-9) return 0;
  return larvak_misuse(L, "sleep: got %s, but the host lets this plugin sleep for %s s at most",
                       larvak_number_push(L, seconds), larvak_number_push(L, (double)most * 1e-9));
}

/* queue_task(task): it runs from the next turn on. */
static int task_queue(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  larvak_ready_push(state, luaL_checkudata(L, 1, TASK));
  return 0;
}

/* run_task(task): it has run to its first wait when this returns. */
static int task_run(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  larvak_task *task = luaL_checkudata(L, 1, TASK);
  if (state->tasks.depth == MAX_DEPTH) return task_queue(L);
  int hook_depth = state->hooks.depth; /* the task is nobody's hook */
  state->hooks.depth = 0;
  state->tasks.depth++;
  run_task(L, state, task);
  state->tasks.depth--;
  state->hooks.depth = hook_depth;
  larvak_work_changed(state); /* its end may have left nothing to wait for */
  return 0;
}

/* Its waits now end as canceled. True: it had not started, and never will. */
static bool cancel(larvak_state *state, larvak_task *task) {
  if (task->at == TASK_ENDED) return false;
  task->is_canceled = true;
  if (task->at == TASK_NEW) {
    end_task(state, task, LUA_OK, 0);
    return true;
  }
  larvak_wait *wait = task->wait;
  if (wait && wait->at == WAIT_PENDING) {
    wait->was_in_flight = wait->call && arvak_call_is_sent(wait->call);
    if (wait->call) arvak_call_cancel(wait->call, ARVAK_KIND_CANCELED);
    larvak_wait_end(wait, REASON_CANCELED);
  }
  return false;
}

/* cancel_task(task): true when it had not started, and never will. Canceled first: the loop that is to drive the end is
 * a program's, and may raise. */
static int task_cancel(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  bool never_starts = cancel(state, luaL_checkudata(L, 1, TASK));
  larvak_work_watch(L, state);
  lua_pushboolean(L, never_starts);
  return 1;
}

/* cancel_tasks(scope): every task of the scope. Allocates nothing, so that a run can end without memory. */
static int task_cancel_all(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  lua_settop(L, 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &tasks_key);
  for (lua_pushnil(L); lua_next(L, 2); lua_settop(L, 3)) {
    lua_getiuservalue(L, 4, TASK_SCOPE);
    if (lua_rawequal(L, 1, 5)) cancel(state, lua_touserdata(L, 4));
  }
  return 0;
}

/* current_scope(): of the task that is running, or nil. */
static int task_current_scope(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  if (!state->tasks.current) return 0;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &tasks_key);
  lua_rawgetp(L, -1, state->tasks.current);
  lua_getiuservalue(L, -1, TASK_SCOPE);
  return 1;
}

static int task_in_task(lua_State *L) {
  lua_pushboolean(L, larvak_state_get(L)->tasks.current != NULL);
  return 1;
}

/* task_owner(task): on_end, owner, scope; on_end is nil when it has been told. */
static int task_owner(lua_State *L) {
  luaL_checkudata(L, 1, TASK);
  lua_settop(L, 1);
  for (int i = TASK_ON_END; i >= TASK_SCOPE; i--) lua_getiuservalue(L, 1, i);
  return 3;
}

/* set_told(task): on_end has returned. Allocates nothing. */
static int task_set_told(lua_State *L) {
  luaL_checkudata(L, 1, TASK);
  lua_settop(L, 1);
  lua_pushnil(L);
  lua_setiuservalue(L, 1, TASK_ON_END);
  return 0;
}

/* ---- arvak.wrap: a coroutine.wrap whose waits are the task's ---- */

static int wrap_continue(lua_State *L, int status, lua_KContext context);

/* Upvalue 2 of a generator: true while it waits for a task; nobody else may resume it then. */
static void set_waiting(lua_State *L, bool is_waiting) {
  lua_pushboolean(L, is_waiting);
  lua_replace(L, lua_upvalueindex(2));
}

/* Runs co until it yields a value, ends, or waits; in the last case the coroutine around it waits too. */
static int wrap_resume(lua_State *L, lua_State *co, int arguments) {
  larvak_state *state = larvak_state_get(L);
  larvak_task *task = state->tasks.current;
  bool passes = task && task->innermost == L && lua_isyieldable(L);
  if (passes) task->innermost = co;
  if (!task) state->tasks.generator_depth++;
  int count = 0;
  int status = lua_resume(co, L, arguments, &count);
  if (passes) task->innermost = L;
  if (!task) state->tasks.generator_depth--;
  if (status == LUA_YIELD && passes && task->wait) {
    lua_pop(co, count);
    set_waiting(L, true);
    return lua_yieldk(L, 0, (lua_KContext)task, wrap_continue);
  }
  if (status != LUA_OK && status != LUA_YIELD) {
    lua_resetthread(co);
    lua_xmove(co, L, 1);
    larvak_interrupt_arm(L, state);
    return lua_error(L);
  }
  luaL_checkstack(L, count, "too many results");
  lua_xmove(co, L, count);
  return count;
}

static int wrap_continue(lua_State *L, int status, lua_KContext context) {
  (void)status;
  lua_settop(L, 0);
  /* A stray resume, not the task's turn: wait on. */
  if (larvak_state_get(L)->tasks.current != (larvak_task *)context) return lua_yieldk(L, 0, context, wrap_continue);
  set_waiting(L, false);
  lua_State *co = lua_tothread(L, lua_upvalueindex(1));
  larvak_task *task = (larvak_task *)context;
  if (lua_status(co) == LUA_YIELD) return wrap_resume(L, co, 0);
  if (task->wait) larvak_wait_free(task->wait); /* somebody closed the coroutine that it was for */
  return larvak_misuse(L, "cannot resume dead coroutine");
}

static int wrap_call(lua_State *L) {
  lua_State *co = lua_tothread(L, lua_upvalueindex(1));
  lua_Debug ar;
  int count = lua_gettop(L), status = lua_status(co);
  if (status == LUA_OK && lua_getstack(co, 0, &ar)) return larvak_misuse(L, "cannot resume a running coroutine");
  if (lua_toboolean(L, lua_upvalueindex(2)))
    return larvak_misuse(L, "cannot resume a generator that waits for another task");
  if (status != LUA_YIELD && (status != LUA_OK || lua_gettop(co) == 0))
    return larvak_misuse(L, "cannot resume dead coroutine");
  if (!lua_checkstack(co, count)) return luaL_error(L, "too many arguments");
  lua_xmove(L, co, count);
  return wrap_resume(L, co, count);
}

static int task_wrap(lua_State *L) {
  if (!lua_isfunction(L, 1))
    return larvak_misuse(L, "wrap: got %s, expected a function", larvak_describe(L, 1));
  lua_State *co = lua_newthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  lua_pushboolean(L, 0);
  lua_pushcclosure(L, wrap_call, 2);
  return 1;
}

void larvak_task_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"new_task", task_new},
                                       {"has_room", task_has_room},
                                       {"limit_sleep", task_limit_sleep},
                                       {"queue_task", task_queue},
                                       {"run_task", task_run},
                                       {"cancel_task", task_cancel},
                                       {"cancel_tasks", task_cancel_all},
                                       {"current_scope", task_current_scope},
                                       {"in_task", task_in_task},
                                       {"task_owner", task_owner},
                                       {"set_told", task_set_told},
                                       {"wrap", task_wrap},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  luaL_newmetatable(L, TASK);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &tasks_key);
}
