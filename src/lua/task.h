/* Tasks, as the loop runs and reports them; the struct larvak_task is in ready.h.
 * A task is resumed only by larvak_tasks_run, but for its first run, which may be at once.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_TASK_H
#define LARVAK_TASK_H

#include <lua.h>

#include "state.h"

void larvak_tasks_run(lua_State *L, larvak_state *state); /* those that are ready now */
void larvak_tasks_report(lua_State *L, larvak_state *state); /* tells the Lua layer of tasks that have ended */
void larvak_task_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
