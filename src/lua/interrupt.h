/* Interrupts, in the thread that has the Lua state: what an interrupt or a deadline of the host's does to the waits and
 * to the code there.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_INTERRUPT_H
#define LARVAK_INTERRUPT_H

#include <lua.h>
#include <stdbool.h>

#include "state.h"

bool larvak_interrupt_is_set(larvak_state *state);
/* When a step has to look at the interrupt: 0 now, a time, or ARVAK_NEVER. */
int64_t larvak_interrupt_due_ns(larvak_state *state);
/* Raises, if it is set, and arms: see arvak_lua_interrupt. */
void larvak_interrupt_check(lua_State *L, larvak_state *state);
int larvak_interrupt_raise(lua_State *L, larvak_state *state); /* in any case; arms only if it is (still) set */
/* Arms L, if it is set: a coroutine in it has raised the error, and it may go on. */
void larvak_interrupt_arm(lua_State *L, larvak_state *state);

void larvak_interrupt_clear(lua_State *L, larvak_state *state); /* takes it back, and restores the hooks */
void larvak_interrupt_set_hook_interval(larvak_state *state, int interval_ms);
void larvak_interrupt_open(lua_State *L); /* a table in the registry */

#endif
