/* How a caller waits: suspended, in a task or in a coroutine of an attached loop, or blocked.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_AWAIT_H
#define LARVAK_AWAIT_H

#include <lua.h>

#include "state.h"
#include "wait.h"

/* Raises, naming the method, where a wait is impossible (docs/guide/many-at-once.md, "Tasks"). True: the caller's
 * coroutine belongs to an attached loop. */
bool larvak_await_check(lua_State *L, larvak_state *state, const char *method);
/* Suspends the task or the attached loop's coroutine (is_foreign), or blocks, until the wait ends; then pushes its
 * results and frees it. The caller returns what this returns. */
int larvak_await(lua_State *L, larvak_wait *wait, bool is_foreign);
void larvak_await_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
