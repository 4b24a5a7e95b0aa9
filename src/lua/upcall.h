/* Upcalls: functions of the Lua layer that C calls. The Lua layer sets each with core.set_upcall(name, fn),
 * before it uses what leads to it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_UPCALL_H
#define LARVAK_UPCALL_H

#include <lua.h>

typedef enum larvak_upcall {
  UPCALL_CALL_END,     /* (ticket, value | nil, err) of a call, (ticket) of a timer */
  UPCALL_TASK_END,     /* (task, ok, is_canceled, results… or error, traceback) */
  UPCALL_ADOPT,        /* (handle): the handle of a host's client, made ready for use */
  UPCALL_POLICY_EVENT, /* (hook, values…): the function of the user and what it is told */
  UPCALL_RUNNING,      /* (): nil outside the attached loop, false where it cannot suspend */
  UPCALL_SUSPEND,      /* (ticket) */
  UPCALL_GONE,         /* (ticket): the coroutine of an attached loop that waited has died */
  UPCALL_BUSY,         /* (): something is in flight from now on; whether a loop watches */
  UPCALL_JOB_BEGUN,    /* (keeper, ticket, rpc, id, shots of each circuit, label | nil) of a call about jobs */
  UPCALL_JOB_ANSWERED, /* (ticket, value | nil, err) of such a call, before its caller has the answer */
  UPCALL_COUNT
} larvak_upcall;

void larvak_upcall_push(lua_State *L, larvak_upcall upcall); /* allocates nothing */
void larvak_upcall_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
