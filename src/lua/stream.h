/* Streams of the core for the Lua layer: each step by itself, so that reading and writing can be interleaved there.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_STREAM_H
#define LARVAK_STREAM_H

#include <lua.h>

void larvak_stream_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
