/* larvak_hook: a function of the user that a policy tells of what happens, on_retry or on_state_change.
 * It belongs to one Lua state, which alone drives the calls that use it, and is owned by its policy.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_HOOKS_H
#define LARVAK_HOOKS_H

#include <lua.h>

#include "arvak.h"
#include "state.h"

/* Holds the function at this index. Owned: given to a policy as its ud, with larvak_hook_release as its release. */
larvak_hook *larvak_hook_new(lua_State *L, int function);
void larvak_hook_release(void *ud);
void larvak_hook_on_retry(const arvak_retry_event *event, void *ud); /* arvak_retry_fn */
void larvak_hook_on_breaker_change(arvak_breaker_state from, arvak_breaker_state to, void *ud);
void larvak_hook_tell(lua_State *L, const larvak_hook *hook); /* of the value on top, which it pops */
void larvak_hooks_tell(lua_State *L, larvak_state *state); /* of all that has happened; not reentrant */
void larvak_hooks_free(larvak_state *state); /* as the Lua state closes: frees what has not been told */
/* lua_pcall of a function of the user that must not wait; inside it larvak_await_check raises. */
int larvak_hook_pcall(lua_State *L, larvak_state *state, int arguments, int results, int handler);
void larvak_hooks_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
