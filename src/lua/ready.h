/* larvak_task: a coroutine that the loop resumes; and the queue of those that are ready to run.
 * A userdata; task.c makes, runs and ends tasks, and anchors them until then.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_READY_H
#define LARVAK_READY_H

#include <lua.h>

#include "state.h"

typedef enum larvak_task_state { TASK_NEW, TASK_RUNNING, TASK_SUSPENDED, TASK_ENDED } larvak_task_state;

struct larvak_task {
  lua_State *co;
  lua_State *innermost; /* co, or the coroutine inside it that arvak.wrap is running */
  larvak_wait *wait;    /* NULL: runnable */
  larvak_task_state at; /* changed by events: the table in task.c */
  bool is_queued, is_canceled;
  bool is_reset;        /* ended by an error, which is alone on its stack with the traceback */
  int argument_count;   /* on co's stack for its first run */
  int canceled_waits;   /* waits that ended as canceled so far */
  int status, result_count; /* of its end */
  larvak_task *next_ready, *next_unreported;
};

void larvak_ready_push(larvak_state *state, larvak_task *task); /* no effect on one that is queued or has ended */
larvak_task *larvak_ready_pop(larvak_state *state); /* the first; there must be one */

#endif
