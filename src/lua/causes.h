/* What functions that give headers have raised, by the call that ends because of it, until the call's end is told or
 * nobody is left to be told. Of calls, only the address is used. SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_CAUSES_H
#define LARVAK_CAUSES_H

#include <lua.h>

void larvak_cause_note(lua_State *L, const void *call); /* of the value on top, which it pops; may raise */
void larvak_cause_push(lua_State *L, const void *call); /* nil: there is none */
void larvak_cause_drop(lua_State *L, const void *call); /* allocates nothing */
void larvak_causes_open(lua_State *L);                  /* a table in the registry */

#endif
