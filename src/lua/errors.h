/* Error objects: what a method returns after nil. Each function pushes one, and may raise for want of memory.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_ERRORS_H
#define LARVAK_ERRORS_H

#include <lua.h>
#include <stdbool.h>

#include "arvak.h"

/* Pushes an error object with kind, message and what is given; the rest is for the caller to set. */
void larvak_error_push(lua_State *L, arvak_kind kind, int code, const char *message);
void larvak_error_push_forked(lua_State *L);
int larvak_error_push_closed(lua_State *L); /* nil and the error of a client that was closed; returns 2 */
/* Pushes the error of an outcome. */
void larvak_error_push_failure(lua_State *L, arvak_rpc rpc, const char *target, const arvak_outcome *outcome);

/* An interrupt is what a debug hook raises, the interpreter's for Ctrl-C, say: whoever catches it raises it again. The
 * function is the message handler of a protected call that has to know; then whether the error there is one. */
int larvak_note_interrupt(lua_State *L);
bool larvak_is_interrupt(lua_State *L, int err);
void larvak_set_interrupt(lua_State *L, int err); /* it is one, though no debug hook has raised it */

void larvak_errors_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
