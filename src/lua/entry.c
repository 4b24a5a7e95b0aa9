/* Circuits as a user writes them: the arguments of one submit, and the entries of a batch.
 * Invariant: what is wrong with an entry is told by its number and the name of its field.
 * SPDX-License-Identifier: Apache-2.0 */
#include "entry.h"

#include <lauxlib.h>

#include "errors.h"
#include "misuse.h"
#include "options.h"
#include "taken.h"

enum { MAX_BATCH = 50 };

/* ---- one circuit ---- */

bool larvak_entry_read_qasm(lua_State *L, int index, const char *name, arvak_circuit *out) {
  if (lua_type(L, index) != LUA_TSTRING)
    larvak_misuse(L, "%s: got %s, expected OpenQASM 3 text or a circuit", name, larvak_describe(L, index));
  size_t size;
  out->qasm = lua_tolstring(L, index, &size);
  size_t bad = arvak_text_check(out->qasm, size);
  if (bad == size) return true;
  lua_pushnil(L);
  const char *what = out->qasm[bad] == '\0' ? "is NUL" : "is not UTF-8";
  lua_pushfstring(L, "%s: byte %I %s, expected UTF-8 text without NUL bytes", name, (LUAI_UACINT)bad + 1, what);
  larvak_error_push(L, ARVAK_KIND_INVALID_CIRCUIT, 3, lua_tostring(L, -1));
  lua_pushinteger(L, 0);
  lua_setfield(L, -2, "attempts");
  lua_remove(L, -2);
  return false;
}

uint32_t larvak_entry_read_shots(lua_State *L, int index, const char *name) {
  return (uint32_t)larvak_option_integer(L, index, name, LARVAK_DEFAULT_SHOTS, 0, UINT32_MAX);
}

uint32_t larvak_entry_read_level(lua_State *L, int index, const char *name) {
  return (uint32_t)larvak_option_integer(L, index, name, 0, 0, UINT32_MAX);
}

/* ---- batches ---- */

/* {qasm, shots} and nothing else: an option by name beside it would be overlooked. */
static void check_list_entry(lua_State *L, int entry, const char *name) {
  for (lua_pushnil(L); lua_next(L, entry); lua_pop(L, 1)) {
    lua_Integer key = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
    if (key != 1 && key != 2)
      larvak_misuse(L, "%s: got the key %s beside {qasm, shots}; expected {qasm =, shots =, optimization_level =}",
                    name, larvak_describe(L, -2));
  }
}

/* Pushes the three fields, each asked for once: named ones may come from a metamethod __index, which can do anything,
 * so that nothing is computed from one before all are here. */
static void push_fields(lua_State *L, int entry, const char *name) {
  static const char *const keys[] = {"qasm", "shots", "optimization_level", NULL};
  if (lua_rawgeti(L, entry, 1) != LUA_TNIL) {
    check_list_entry(L, entry, name);
    lua_rawgeti(L, entry, 2);
    lua_pushnil(L);
    return;
  }
  lua_pop(L, 1);
  larvak_options_check(L, entry, name, keys);
  for (int i = 0; keys[i]; i++) lua_getfield(L, entry, keys[i]);
}

bool larvak_entry_read(lua_State *L, int entry, lua_Integer i, arvak_circuit *out) {
  const char *name = lua_pushfstring(L, "circuits[%I]", (LUAI_UACINT)i);
  if (!lua_istable(L, entry))
    larvak_misuse(L, "%s: got %s, expected {qasm, shots} or {qasm =, shots =, optimization_level =}", name,
                  larvak_describe(L, entry));
  push_fields(L, entry, name);
  int qasm = lua_gettop(L) - 2;
  if (!larvak_entry_read_qasm(L, qasm, lua_pushfstring(L, "%s.qasm", name), out)) return false;
  out->shots = larvak_entry_read_shots(L, qasm + 1, lua_pushfstring(L, "%s.shots", name));
  out->optimization_level = larvak_entry_read_level(L, qasm + 2, lua_pushfstring(L, "%s.optimization_level", name));
  lua_settop(L, qasm);
  return true;
}

bool larvak_entries_read(lua_State *L, int index, arvak_request *request) {
  if (!lua_istable(L, index))
    larvak_misuse(L, "circuits: got %s, expected a list of circuits", larvak_describe(L, index));
  lua_Unsigned n = lua_rawlen(L, index);
  if (n > MAX_BATCH)
    larvak_misuse(L, "circuits: got %d, expected at most %d for one SubmitBatch (split = true sends several)", (int)n,
                  MAX_BATCH);
  int first = lua_gettop(L) + 1;
  larvak_taken_list(L, index, n);
  arvak_circuit *circuits = lua_newuserdatauv(L, (n + 1) * sizeof *circuits, 0);
  int top = lua_gettop(L);
  for (lua_Unsigned i = 0; i < n; i++) {
    if (!larvak_entry_read(L, first + (int)i, (lua_Integer)i + 1, &circuits[i])) return false;
    lua_replace(L, first + (int)i); /* the text, in the place of its entry */
    lua_settop(L, top);
  }
  request->circuits = circuits;
  request->circuit_count = n;
  return true;
}

/* check_batch(circuits): every entry of a list of any length; true, or nil and the error of the first text that no
 * server could take. Raises on misuse. */
static int entry_check_batch(lua_State *L) {
  luaL_checkstack(L, 20, NULL);
  arvak_circuit circuit;
  lua_settop(L, 1);
  lua_pushnil(L); /* 2: the first error */
  lua_Integer n = (lua_Integer)lua_rawlen(L, 1);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, 1, i);
    if (!larvak_entry_read(L, 3, i, &circuit) && lua_isnil(L, 2)) lua_replace(L, 2);
    lua_settop(L, 2);
  }
  lua_pushboolean(L, 1);
  if (lua_isnil(L, 2)) return 1;
  lua_pushnil(L);
  lua_pushvalue(L, 2);
  return 2;
}

void larvak_entry_open(lua_State *L) {
  lua_pushcfunction(L, entry_check_batch);
  lua_setfield(L, -2, "check_batch");
}
