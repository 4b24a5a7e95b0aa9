/* Work: what a step of the loop would find to do, and who has to know of it.
 * One predicate says when the next thing is due. Each function that puts something in where a step finds it calls
 * larvak_work_changed, so nobody who starts or ends anything has to think of those who wait.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_WORK_H
#define LARVAK_WORK_H

#include <lua.h>

#include "state.h"

/* True: the lists of this Lua state have something for the next step. */
bool larvak_has_ready(const larvak_state *state);
/* When the next step has something to do: 0 now, a time, or ARVAK_NEVER. */
int64_t larvak_due_ns(const larvak_state *state);
/* Who drives the loop from outside also resumes coroutines of an attached loop whose waits are over, and raises the
 * errors that nobody has read. True: there are some, so he must not wait in a step. */
bool larvak_driver_is_wanted(const larvak_state *state);
/* As larvak_due_ns, for him. */
int64_t larvak_driver_due_ns(larvak_state *state);
/* True: nothing is in flight and nothing will be due, so no step can ever bring anything. */
bool larvak_is_idle(const larvak_state *state);

/* After work was put in or taken back: tells whoever waits on the descriptor, if he has to look again. Within a step it
 * has no effect, since who steps looks afterwards. */
void larvak_work_changed(larvak_state *state);
/* Before something is started outside any step: an attached loop watches the descriptor from now on. May raise. */
void larvak_work_watch(lua_State *L, larvak_state *state);
/* After steps that no user of the descriptor has made: an attached loop watches for what they left in flight, and the
 * users look again. May raise. */
void larvak_work_hand_over(lua_State *L, larvak_state *state);
void larvak_work_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
