/* arvak_lua: the Lua library, linked into a host, and one client for all the Lua states of that host.
 *
 * Link libarvak.a (pkg-config arvak) and open the library in each state with
 *     luaL_requiref(L, "arvak", luaopen_arvak, 0);
 * which needs no more than Lua's base, coroutine, string, table and math libraries, and makes a `require "arvak"` in
 * that state, where there is one, give this library and not another copy of it. A state belongs to one thread at a
 * time; the client may be in the hands of any number of states and threads.
 *
 * The module arvak.so, which `require` loads, exports luaopen_arvak and luaopen_arvak_circuit alone: a client made by
 * one copy of this library must not be given to another, and where functions of two copies had the same visible names,
 * they would mix.
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

/* Opens the library if it is not open yet, and pushes arvak.circuit: what `require "arvak.circuit"` calls first. */
int luaopen_arvak_circuit(struct lua_State *L);

/* Pushes a handle on client, which it shares: closing the handle, or the state, ends the calls and futures that were
 * made through it, and leaves the client to the others. Opens the library in L if it is not open yet, but names it
 * nowhere: a state that gets no more than this can reach no other server. Raises when out of memory, and an error of
 * kind "forked" in a fork of a process whose gRPC is running. */
void arvak_lua_pushclient(struct lua_State *L, arvak_client *client);

#ifdef __cplusplus
}
#endif

#endif
