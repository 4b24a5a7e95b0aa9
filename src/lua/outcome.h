/* What a wait that is over gives: to the caller that waited, or reported to the Lua layer where nobody did.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_OUTCOME_H
#define LARVAK_OUTCOME_H

#include <lua.h>

#include "state.h"
#include "wait.h"

/* Takes a wait that is over: pushes its results, and returns how many. Protected where it allocates before it frees. */
int larvak_outcome_finish(lua_State *L, larvak_wait *wait);
/* Drops the wait, in whose place the error on top is raised; if that is the interrupt, completes it: maybe_executed. */
void larvak_outcome_drop_interrupted(lua_State *L, larvak_wait *wait);
/* Tells the Lua layer of calls and timers that nobody is suspended on. May raise. */
void larvak_outcomes_report(lua_State *L, larvak_state *state);

#endif
