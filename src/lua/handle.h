/* arvak_lua_handle: what a host keeps of a Lua state, and any thread may use. It knows the state's loop to wake it.
 * The functions here are for the thread that has the state; those for hosts are in arvak_lua.h.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_HANDLE_H
#define LARVAK_HANDLE_H

#include <stdbool.h>
#include <stddef.h>

#include "arvak_lua.h"

arvak_lua_handle *larvak_handle_new(void); /* owned; NULL: out of memory */
/* The state's loop, borrowed until the next call; NULL: there is none (any more). */
void larvak_handle_set_loop(arvak_lua_handle *handle, arvak_loop *loop);
/* When the state is interrupted: 0 it is already, its deadline, or ARVAK_NEVER. */
int64_t larvak_handle_due_ns(const arvak_lua_handle *handle);
/* Copies the reason of the interrupt, cut to size bytes with the NUL. */
void larvak_handle_get_reason(arvak_lua_handle *handle, char *reason, size_t size);
void larvak_handle_count(arvak_lua_handle *handle, const arvak_lua_stats *more); /* adds to the figures */
void larvak_stats_add(arvak_lua_stats *stats, const arvak_lua_stats *more);
void larvak_handle_clear(arvak_lua_handle *handle); /* takes back the interrupt and the deadline */

#endif
