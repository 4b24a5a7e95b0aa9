/* The queue of tasks that run in the next turn, first in, first out. Invariant: a task is in it once at most.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ready.h"

#include "work.h"

void larvak_ready_push(larvak_state *state, larvak_task *task) {
  if (task->is_queued || task->at == TASK_ENDED) return;
  task->is_queued = true;
  task->next_ready = NULL;
  *state->ready.end = task;
  state->ready.end = &task->next_ready;
  state->ready.count++;
  larvak_work_changed(state);
}

larvak_task *larvak_ready_pop(larvak_state *state) {
  larvak_task *task = state->ready.first;
  state->ready.first = task->next_ready;
  if (!state->ready.first) state->ready.end = &state->ready.first;
  state->ready.count--;
  task->is_queued = false;
  return task;
}
