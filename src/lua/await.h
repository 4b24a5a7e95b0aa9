/* How a caller waits: suspended, in a task or in a coroutine of an attached loop, or blocked.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_AWAIT_H
#define LARVAK_AWAIT_H

#include <lua.h>

#include "state.h"
#include "wait.h"

typedef enum larvak_waiting {
  WAITING_NOT,       /* the Lua state is closing: a wait ends at once */
  WAITING_SUSPENDED, /* in a task */
  WAITING_ATTACHED,  /* suspended in a coroutine of an attached loop */
  WAITING_BLOCKED
} larvak_waiting;

/* How the caller can wait. Raises, naming the method, where a wait is impossible (docs/guide/many-at-once.md,
 * "Tasks"). */
larvak_waiting larvak_await_check(lua_State *L, larvak_state *state, const char *method);
/* Waits like this until the wait ends; then pushes its results and frees it. The caller returns what this returns. */
int larvak_await(lua_State *L, larvak_wait *wait, larvak_waiting waiting);
void larvak_await_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
