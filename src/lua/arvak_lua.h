/* arvak_lua: the Lua library, linked into a host, and one client for all the Lua states of that host.
 *
 * Link libarvak.a (pkg-config arvak) and open the library in each state with
 *     luaL_requiref(L, "arvak", luaopen_arvak, 0);
 * which needs Lua's base, coroutine, string, table and math libraries. `require "arvak"` in that state then gives this
 * library and not another copy of it. A state belongs to one thread at a time; any number of states and threads may use
 * one client.
 *
 * Do not give a client that one copy of this library made to another copy. The module arvak.so, which `require` loads,
 * exports luaopen_arvak and luaopen_arvak_circuit alone, so that its functions and those of libarvak.a do not mix.
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

/* Pushes a handle on client, which it shares. Closing the handle, or the state, ends the calls and futures that were
 * made through it; the others keep the client. Opens the library in L if it is not open yet, without a global or an
 * entry in package.loaded: a state that gets nothing but this handle can reach no other server. Raises when out of
 * memory, and an error of kind "forked" in a fork of a process whose gRPC is running. */
void arvak_lua_pushclient(struct lua_State *L, arvak_client *client);

#ifdef __cplusplus
}
#endif

#endif
