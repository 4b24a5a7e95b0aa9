/* arvak_store: the databases of journals and ledgers, linked into a host that has linked libarvak.a.
 *
 * Link libarvak-sqlite.a (pkg-config arvak-sqlite) or libarvak-postgres.a (pkg-config arvak-postgres) and open the
 * module in each Lua state that is to have it:
 *     luaL_requiref(L, "arvak.store.sqlite", luaopen_arvak_store_sqlite, 0);
 * The library finds it there, also in a state without Lua's package library. Where a state has package and the module
 * is installed, nothing needs to be done: the library requires it by that name.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_STORE_H
#define ARVAK_STORE_H

#ifdef __cplusplus
extern "C" {
#endif

struct lua_State;

/* Each pushes its module: a lua_CFunction. Raises when out of memory. */
int luaopen_arvak_store_sqlite(struct lua_State *L);   /* over libsqlite3 */
int luaopen_arvak_store_postgres(struct lua_State *L); /* over libpq */

#ifdef __cplusplus
}
#endif

#endif
