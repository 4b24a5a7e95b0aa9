/* Steps of the loop: each delivers what the core has, reports the ends of calls and tasks, and gives a turn to each
 * task that is ready. A step is never made inside another.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_STEP_H
#define LARVAK_STEP_H

#include <lua.h>

#include "state.h"

/* A blocking wait comes up this often, so that a pending debug hook (Ctrl-C) can raise in it. */
#define LARVAK_AIR_NS 100000000

/* The same, or the interval at which the host wants the count hook to run. */
int64_t larvak_step_air_ns(const larvak_state *state);
/* One step of the state's loop, which is there: delivers what the core has, waiting until until_ns at most, then runs
 * every task that is ready now. True: there was something to do. */
bool larvak_step(lua_State *L, larvak_state *state, int64_t until_ns);
void larvak_step_check(lua_State *L, larvak_state *state); /* raises where the loop must not be stepped */
/* Raises when the host has interrupted the state; runs the count hook where the host wants that; lets a pending debug
 * hook raise. lua.c sets its own on the main thread alone, so a debug hook by count that appeared
 * there since the wait began (mask_before is from then) is moved to the thread that waits. */
void larvak_step_breathe(lua_State *L, larvak_state *state, int mask_before);
void larvak_step_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
