/* Records: jobs, results and backends as Lua tables. Each function pushes them, and may raise for want of memory.
 * A large result keeps its counts packed in a userdata, and makes the table of them at first use.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_RECORD_H
#define LARVAK_RECORD_H

#include <lua.h>

#include "arvak.h"

void larvak_record_push_ids(lua_State *L, const arvak_response *response); /* of the jobs of a batch */
void larvak_record_push_response(lua_State *L, const arvak_response *response); /* the value of a unary call */
/* (lightuserdata message): its values. To be called protected. */
int larvak_record_push_message(lua_State *L);
void larvak_record_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
