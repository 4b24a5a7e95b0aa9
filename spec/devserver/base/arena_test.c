/* An arena: pieces of any size, aligned, which remember their size and are given back together.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"

static void an_arena_takes_pieces_of_any_size(void **state) {
  (void)state;
  arena a;
  arena_init(&a);
  for (int round = 0; round < 3; round++) {
    for (size_t size = 0; size < 100000; size = size * 2 + 1) {
      char *piece = arena_alloc(&a, size);
      assert_non_null(piece);
      assert_int_equal((uintptr_t)piece % 16, 0);
      memset(piece, 0xa5, size);
      assert_int_equal(arena_size(piece), size);
    }
    assert_string_equal(arena_printf(&a, "%s %d", "text", 5), "text 5");
    arena_fini(&a);
  }
  assert_null(arena_alloc(&a, SIZE_MAX));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_arena_takes_pieces_of_any_size),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
