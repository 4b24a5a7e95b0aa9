/* larvak_task: a coroutine that the loop resumes; and the queue of those that are ready to run.
 * A userdata whose first user value is the coroutine. task.c makes, runs and ends tasks, and anchors them until then.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_READY_H
#define LARVAK_READY_H

#include <lua.h>

#include "state.h"

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

void larvak_ready_push(larvak_state *state, larvak_task *task); /* no effect on one that is queued or has ended */
larvak_task *larvak_ready_pop(larvak_state *state); /* the first; there must be one */

#endif
