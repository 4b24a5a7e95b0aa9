/* luaopen_arvak_store_postgres: the one symbol of the module arvak/store/postgres.so.
 * SPDX-License-Identifier: Apache-2.0 */
#include "arvak_store.h"
#include "binding.h"
#include "postgres.h"

__attribute__((visibility("default"))) int luaopen_arvak_store_postgres(lua_State *L) {
  return arvak__db_open_module(L, &arvak__db_postgres);
}
