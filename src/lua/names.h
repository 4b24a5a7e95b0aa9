/* Names: of the classes, which are the names of their metatables, and of what the core numbers.
 * Every metatable named here is in the registry from larvak_names_open on.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_NAMES_H
#define LARVAK_NAMES_H

#include <lua.h>

#include "arvak.h"

#define LARVAK_CLIENT "arvak.client"
#define LARVAK_ERROR "arvak.error"
#define LARVAK_JOB "arvak.job"
#define LARVAK_RESULT "arvak.result"
#define LARVAK_BACKEND "arvak.backend"
#define LARVAK_FUTURE "arvak.future"
#define LARVAK_STREAM "arvak.stream"
#define LARVAK_RETRY "arvak.retry_policy"
#define LARVAK_BREAKER "arvak.breaker"
#define LARVAK_POLLABLE "arvak.pollable"
#define LARVAK_ATTACHMENT "arvak.attachment"

const char *larvak_breaker_state_name(arvak_breaker_state state); /* "half_open"; static */
void larvak_names_protect(lua_State *L); /* the metatable on top: getmetatable gives false for its objects */
void larvak_names_open(lua_State *L); /* functions for the Lua layer and the table metatables, into the table on top */

#endif
