/* Misuse is raised at the line of the caller, however deep inside the library it is noticed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "misuse.h"

#include <lauxlib.h>
#include <locale.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { MAX_SHOWN = 60 }; /* bytes of a text in an error */

/* Chunks of the Lua layer are named after their files. */
static bool is_ours(const lua_Debug *ar) {
  return *ar->what == 'C' || strncmp(ar->source, "=lua/arvak", 10) == 0;
}

/* Pushes the position of the nearest line of the program on this thread; false: it has none, and nothing is pushed. */
static bool push_line(lua_State *L, lua_State *thread, int level, const char *remark) {
  lua_Debug ar;
  for (; lua_getstack(thread, level, &ar); level++) {
    lua_getinfo(thread, "Sl", &ar);
    if (is_ours(&ar)) continue;
    if (ar.currentline > 0) lua_pushfstring(L, "%s:%d: %s", ar.short_src, ar.currentline, remark);
    else lua_pushliteral(L, "");
    return true;
  }
  return false;
}

void larvak_misuse_push_line(lua_State *L, int level) {
  if (!push_line(L, L, level, "")) lua_pushliteral(L, "");
}

/* In the registry: where coroutines were started whose function is in C and so has no line of its own. Weak. */
static const char starts_key = 0;

void larvak_misuse_note_start(lua_State *L, int thread) {
  thread = lua_absindex(L, thread);
  if (!push_line(L, L, 0, "(its task was started here) ")) return;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &starts_key);
  lua_pushvalue(L, thread);
  lua_pushvalue(L, -3);
  lua_rawset(L, -3);
  lua_pop(L, 2);
}

static bool push_start(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &starts_key);
  lua_pushthread(L);
  lua_rawget(L, -2);
  lua_remove(L, -2);
  if (lua_isstring(L, -1)) return true;
  lua_pop(L, 1);
  return false;
}

static void push_position(lua_State *L) {
  if (push_line(L, L, 0, "") || push_start(L)) return;
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  lua_State *thread = lua_tothread(L, -1);
  lua_pop(L, 1);
  bool is_found = thread != L && push_line(L, thread, 0, "(the nearest line of the program) ");
  if (!is_found) lua_pushliteral(L, "");
}

int larvak_misuse(lua_State *L, const char *format, ...) {
  luaL_checkstack(L, 4, NULL);
  push_position(L);
  va_list arguments;
  va_start(arguments, format);
  lua_pushvfstring(L, format, arguments);
  va_end(arguments);
  lua_concat(L, 2);
  return lua_error(L);
}

/* lua_error knows the message of Lua's own error, which is a string that every state holds. */
int larvak_no_memory(lua_State *L) {
  lua_pushliteral(L, "not enough memory");
  return lua_error(L);
}

const char *larvak_describe_type(lua_State *L, int index) {
  if (lua_type(L, index) == LUA_TSTRING) lua_pushfstring(L, "a string of %d bytes", (int)lua_rawlen(L, index));
  else larvak_describe(L, index);
  return lua_tostring(L, -1);
}

static size_t utf8_length(const unsigned char *text, size_t size) {
  size_t length = *text < 0x80 ? 1 : *text >= 0xc2 && *text < 0xe0 ? 2 : *text >= 0xe0 && *text < 0xf0 ? 3
                  : *text >= 0xf0 && *text < 0xf5 ? 4 : 0;
  if (length == 0 || length > size) return 0;
  for (size_t i = 1; i < length; i++)
    if ((text[i] & 0xc0) != 0x80) return 0;
  return length;
}

/* Whether a terminal would act upon a character instead of showing it: controls, marks of direction, ends of lines,
 * tags; the same as in lua/arvak/base/text.lua. */
static bool is_acted_upon(const unsigned char *text, size_t length) {
  uint32_t code = length == 1 ? *text : *text & (0x7fu >> length);
  for (size_t i = 1; i < length; i++) code = code << 6 | (text[i] & 0x3f);
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x61c || code == 0x200e || code == 0x200f ||
         (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069) ||
         (code >= 0xe0000 && code <= 0xe007f);
}

/* Adds the first character of a text, escaped if it does not print: how many bytes it was. */
static size_t add_shown(luaL_Buffer *out, const unsigned char *text, size_t size) {
  size_t length = utf8_length(text, size);
  if (length > 0 && !is_acted_upon(text, length)) {
    if (*text == '"' || *text == '\\') luaL_addchar(out, '\\');
    luaL_addlstring(out, (const char *)text, length);
    return length;
  }
  if (length == 0) length = 1;
  for (size_t i = 0; i < length; i++) {
    bool is_before_digit = i + 1 < size && text[i + 1] >= '0' && text[i + 1] <= '9';
    char escape[8];
    if (text[i] == '\n') strcpy(escape, "\\n");
    else snprintf(escape, sizeof escape, is_before_digit ? "\\%03d" : "\\%d", text[i]);
    luaL_addstring(out, escape);
  }
  return length;
}

static void push_shown(lua_State *L, int index) {
  size_t size, place = 0;
  const unsigned char *text = (const unsigned char *)lua_tolstring(L, index, &size);
  luaL_Buffer out;
  luaL_buffinit(L, &out);
  luaL_addchar(&out, '"');
  while (place < size && place < MAX_SHOWN) place += add_shown(&out, text + place, size - place);
  luaL_addchar(&out, '"');
  luaL_pushresult(&out);
  if (place < size) lua_pushfstring(L, "%s... (%I bytes)", lua_tostring(L, -1), (LUAI_UACINT)size);
}

/* The text of a number, on the stack, with a point in it. */
static const char *set_point(lua_State *L) {
  luaL_gsub(L, lua_tostring(L, -1), localeconv()->decimal_point, ".");
  lua_remove(L, -2);
  return lua_tostring(L, -1);
}

const char *larvak_number_push(lua_State *L, double number) {
  char text[40];
  snprintf(text, sizeof text, "%g", number);
  lua_pushstring(L, text);
  return set_point(L);
}

const char *larvak_describe(lua_State *L, int index) {
  index = lua_absindex(L, index);
  luaL_checkstack(L, 8, NULL);
  switch (lua_type(L, index)) {
    case LUA_TNONE: case LUA_TNIL: lua_pushliteral(L, "nil"); break;
    case LUA_TNUMBER: luaL_tolstring(L, index, NULL); set_point(L); break;
    case LUA_TBOOLEAN: lua_pushstring(L, lua_toboolean(L, index) ? "true" : "false"); break;
    case LUA_TSTRING: push_shown(L, index); break;
    default: lua_pushfstring(L, "a %s", luaL_typename(L, index));
  }
  return lua_tostring(L, -1);
}

void larvak_misuse_check_count(lua_State *L, const char *method, int count, int first, int max,
                               const char *names) {
  for (int i = max + 1; i <= count; i++) {
    if (lua_isnil(L, i)) continue;
    const char *value = larvak_describe(L, i);
    if (max < first) larvak_misuse(L, "%s: got %s as argument %d, expected none", method, value, i - first + 1);
    larvak_misuse(L, "%s: got %s as argument %d, expected at most %d (%s)", method, value, i - first + 1,
                  max - first + 1, names);
  }
}

/* ---- for the Lua layer ---- */

static int misuse_raise(lua_State *L) { return larvak_misuse(L, "%s", luaL_checkstring(L, 1)); }

static int misuse_describe(lua_State *L) {
  larvak_describe(L, 1);
  return 1;
}

static int misuse_describe_type(lua_State *L) {
  larvak_describe_type(L, 1);
  return 1;
}

void larvak_misuse_open(lua_State *L) {
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &starts_key);
  static const luaL_Reg functions[] = {{"misuse", misuse_raise},
                                       {"describe", misuse_describe},
                                       {"describe_type", misuse_describe_type},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
