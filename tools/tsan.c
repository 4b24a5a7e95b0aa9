/* Linked into programs with Lua under ThreadSanitizer, which follows longjmp but not its other names. By one of them
 * Lua leaves functions of ours when it raises or yields: their frames would pile up, gigabytes of them in a minute.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>

#define NAMED_SO __attribute__((visibility("default"), no_sanitize_thread, noreturn))

NAMED_SO void _longjmp(jmp_buf env, int value) { longjmp(env, value); }

NAMED_SO void __longjmp_chk(jmp_buf env, int value);
NAMED_SO void __longjmp_chk(jmp_buf env, int value) { longjmp(env, value); }
