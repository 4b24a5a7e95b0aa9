/* Entries: the circuits that a user writes as arguments, read into those of the core; their text stays on the stack.
 * Misuse is raised; text that no server could take is an outcome: nil and an error.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_ENTRY_H
#define LARVAK_ENTRY_H

#include <lua.h>

#include "arvak.h"

enum { LARVAK_DEFAULT_SHOTS = 1024 };

/* The OpenQASM text at index, borrowed from there. False: pushed nil and an error, for text that no server could
 * take. */
bool larvak_entry_read_qasm(lua_State *L, int index, const char *name, arvak_circuit *out);
uint32_t larvak_entry_read_shots(lua_State *L, int index, const char *name); /* nil: LARVAK_DEFAULT_SHOTS */
/* Levels go from 0 to 3; the server takes more as 3 (contract 1.2), so that is not ours to refuse. */
uint32_t larvak_entry_read_level(lua_State *L, int index, const char *name);
/* Reads entry number i of a batch, {qasm, shots} or {qasm =, shots =, optimization_level =}, and pushes its text, from
 * which the circuit borrows it. False: pushed nil and an error, for text that no server could take. */
bool larvak_entry_read(lua_State *L, int entry, lua_Integer i, arvak_circuit *out);
/* Reads the list at index for one SubmitBatch. The circuits, and the texts that they borrow, are left on the stack.
 * False: pushed nil and an error. */
bool larvak_entries_read(lua_State *L, int index, arvak_request *request);
void larvak_entry_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
