/* Errors that are raised: misuse, which is an error in how the library is called, at the line of the call; and the lack
 * of memory.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_MISUSE_H
#define LARVAK_MISUSE_H

#include <lua.h>

/* Raises a message with the position of the nearest caller outside this library. Where a coroutine has no such caller
 * (a task whose function is the library's own), it is the line at which the task was started, or else the line at which
 * the main thread stands, and the message says so. */
int larvak_misuse(lua_State *L, const char *format, ...);
/* Pushes "script.lua:12: ", the nearest line of the program from that level of the stack on, or "". */
void larvak_misuse_push_line(lua_State *L, int level);
/* Notes the running line of the program as the start of the coroutine at index thread. */
void larvak_misuse_note_start(lua_State *L, int thread);
/* Names an unexpected value: "-1", "a table", "\"text\"". Text is cut after 60 bytes, and what does not print is
 * escaped as in Lua. Pushes what it returns. */
const char *larvak_describe(lua_State *L, int index);
/* The same, without the text of a string: where a secret may have been put by mistake. */
const char *larvak_describe_type(lua_State *L, int index);
/* Pushes what it returns: a number as %g has it, with a point whatever the locale says. */
const char *larvak_number_push(lua_State *L, double number);
/* Raises Lua's own error for a lack of memory, as a failed allocation of Lua's does: its status is LUA_ERRMEM. */
int larvak_no_memory(lua_State *L);
/* Raises for one of the count arguments of the running function after the one at index max, unless it is nil. first:
 * the index of the first that names names, 2 for a method, whose object is at 1. names: "qasm, backend_id". */
void larvak_misuse_check_count(lua_State *L, const char *method, int count, int first, int max, const char *names);
void larvak_misuse_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
