/* Errors that the glue raises itself: a lack of memory that C met is the same error as that of a failed allocation in
 * Lua.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <lauxlib.h>
#include <lua.h>

#include "misuse.h"

static int raise(lua_State *L) { return larvak_no_memory(L); }

static int handle(lua_State *L) {
  lua_pushliteral(L, "handled");
  return 1;
}

/* Lua's own lack of memory calls no message handler, and has no position. */
static void test_status(void **state) {
  (void)state;
  lua_State *L = luaL_newstate();
  lua_pushcfunction(L, handle);
  lua_pushcfunction(L, raise);
  assert_int_equal(LUA_ERRMEM, lua_pcall(L, 0, 0, 1));
  assert_string_equal("not enough memory", lua_tostring(L, -1));
  lua_close(L);
}

static void test_coroutine(void **state) {
  (void)state;
  lua_State *L = luaL_newstate(), *co = lua_newthread(L);
  int count;
  lua_pushcfunction(co, raise);
  assert_int_equal(LUA_ERRMEM, lua_resume(co, L, 0, &count));
  lua_close(L);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_status), cmocka_unit_test(test_coroutine)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
