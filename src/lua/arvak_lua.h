/* arvak_lua: the Lua library, linked into a host, and one client for all the Lua states of that host.
 *
 * Link libarvak.a (pkg-config arvak) and open the library in each state with
 *     luaL_requiref(L, "arvak", luaopen_arvak, 0);
 * which needs no more than Lua's base, coroutine, string, table and math libraries, and makes a `require "arvak"` in
 * that state, where there is one, give this library and not another copy of it. A state belongs to one thread at a
 * time; the client may be in the hands of any number of states and threads.
 *
 * The module arvak.so, which `require` loads, exports luaopen_arvak alone: a client made by one copy of this library
 * must not be given to another, and where functions of two copies had the same visible names, they would mix.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_LUA_H
#define ARVAK_LUA_H

#include "arvak.h"

#ifdef __cplusplus
extern "C" {
#endif

struct lua_State;

/* Opens the library in L, once, and pushes it: a lua_CFunction. Raises when out of memory. */
int luaopen_arvak(struct lua_State *L);

/* Pushes a handle on client, which it shares: closing the handle, or the state, ends the calls and futures that were
 * made through it, and leaves the client to the others. Opens the library in L if it is not open yet, but names it
 * nowhere: a state that gets no more than this can reach no other server. Raises when out of memory, and an error of
 * kind "forked" in a fork of a process whose gRPC is running. */
void arvak_lua_pushclient(struct lua_State *L, arvak_client *client);

/* ---- interrupts ------------------------------------------------------------------------------------------------- */

/* What a host keeps of a Lua state, in order to stop it. Counted; every function that takes one is thread-safe; it
 * outlives its state, and then they have no effect. */
typedef struct arvak_lua_handle arvak_lua_handle;

/* The handle of L's state, always the same: owned, arvak_lua_handle_unref. Opens the library if it is not open yet, but
 * names it nowhere. Like all functions that take a lua_State, only for the thread that has the state. Raises when out
 * of memory. */
arvak_lua_handle *arvak_lua_get_handle(struct lua_State *L);
arvak_lua_handle *arvak_lua_handle_ref(arvak_lua_handle *handle); /* shared */
void arvak_lua_handle_unref(arvak_lua_handle *handle);            /* NULL is fine */

/* Interrupts the state until arvak_lua_clear_interrupt. Whatever waits in it, and whatever begins to wait, raises an
 * error of kind "interrupted" with this reason as its message (copied; NULL: a text of the library's). Suspended tasks
 * and coroutines of attached loops are resumed to raise it. From then on a count hook in the coroutine that raised, and
 * in the main one, raises the error again at every instruction of the plugin, so that no pcall goes on. What computes
 * without waiting, and coroutines that the plugin resumes itself, are for the host's own hook: see arvak_lua_check. */
void arvak_lua_interrupt(arvak_lua_handle *handle, const char *reason);
/* The same from this time on, of arvak_now_ns; ARVAK_NEVER: no deadline. A later deadline takes the place of one that
 * has passed. */
void arvak_lua_set_deadline(arvak_lua_handle *handle, int64_t deadline_ns);
bool arvak_lua_interrupted(const arvak_lua_handle *handle); /* also by its deadline */
/* Takes back the interrupt and the deadline, and restores the debug hooks that were there before. */
void arvak_lua_clear_interrupt(struct lua_State *L);
/* For a debug hook of the host's, in C: raises if the state is interrupted, and does so again at every instruction of
 * this coroutine. Does not need the library to be open. */
void arvak_lua_check(struct lua_State *L);
/* While something blocks in L's state, its count hook runs about this often, in milliseconds; 0, as at first: waiting
 * fires no count hook, so that a limit on instructions does not hit a plugin that only waits. */
void arvak_lua_set_hook_interval(struct lua_State *L, int interval_ms);

#ifdef __cplusplus
}
#endif

#endif
