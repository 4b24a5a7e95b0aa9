/* The descriptor of a Lua state's loop, for those who wait for the loop from outside: users of the descriptor, and the
 * loop that is attached, which watches it.
 * It is readable whenever something is due earlier than they were told.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_DESCRIPTOR_H
#define LARVAK_DESCRIPTOR_H

#include <lua.h>

#include "state.h"

/* Before something is started outside any step: lets an attached loop watch for it. May raise. */
void larvak_descriptor_attend(lua_State *L, larvak_state *state);
/* After something was started, ended or failed to start outside any step: tells those who wait on the descriptor. */
void larvak_descriptor_notice(larvak_state *state);
/* After steps that may have taken what the descriptor said: its users look again. pumping: how many of them (0 or 1)
 * do so by themselves. May raise. */
void larvak_descriptor_rouse(lua_State *L, larvak_state *state, int pumping);
void larvak_descriptor_wake(larvak_state *state); /* makes it readable, if it has users */
void larvak_descriptor_enter_pump(larvak_state *state); /* before the step of a user that calls due() afterwards */
void larvak_descriptor_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
