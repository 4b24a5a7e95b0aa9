/* Bells: how a thread that does work for a Lua state, such as a store's, wakes its loop (src/store/seam.h).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_BELL_H
#define LARVAK_BELL_H

#include <lua.h>
#include <stdbool.h>

#include "state.h"

/* Borrowed; raises for any other value, and for a bell that is finalized as the Lua state closes. */
larvak_bell *larvak_bell_check(lua_State *L, int index);
lua_Integer larvak_bell_ticket(const larvak_bell *bell); /* of the wait for it; 0: nobody waits */
/* From now on it wakes loop, and this wait is to end once it rings: at once, if it has rung since the last wait. */
void larvak_bell_await(larvak_bell *bell, arvak_loop *loop, lua_Integer ticket);

/* True: somebody waits for a bell of this state that has rung, so that a step has something to report. */
bool larvak_bells_have_rung(const larvak_state *state);
bool larvak_bells_are_awaited(const larvak_state *state);
/* The wait for one of those that have rung, which has to be ended; 0: there is none. */
lua_Integer larvak_bells_take_rung(larvak_state *state);
void larvak_bells_close(larvak_state *state); /* before the state's loop is closed: they ring on, and wake nobody */
void larvak_bell_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
