/* The module is for the library's own Lua layer, and for hosts; bad arguments are errors that name them.
 * Invariant: an outcome leaves its store only when Lua has all of it, so that none is lost for want of memory.
 * SPDX-License-Identifier: Apache-2.0 */
#include "binding.h"

#include <lauxlib.h>
#include <limits.h>
#include <string.h>

#include "../closing/closing.h"
#include "seam.h"
#include "store.h"

/* Upvalues of every function: the driver, and the metatables, which no other module has. */
enum { UPVALUE_DRIVER = 1, UPVALUE_STORE, UPVALUE_TRANSACTION, UPVALUE_COUNT = UPVALUE_TRANSACTION };

typedef struct store_box {
  arvak__db_store *store; /* owned; NULL: abandoned */
} store_box;

typedef struct transaction_box {
  arvak__db_transaction tx;
  bool is_submitted;
} transaction_box;

static const arvak__db_driver *driver_of(lua_State *L) { return lua_touserdata(L, lua_upvalueindex(UPVALUE_DRIVER)); }

static void *check_object(lua_State *L, int index, int metatable, const char *what) {
  bool is_ours = lua_getmetatable(L, index) && lua_rawequal(L, -1, lua_upvalueindex(metatable));
  if (!is_ours) luaL_error(L, "got %s, expected a %s of this module", luaL_typename(L, index), what);
  lua_pop(L, 1);
  return lua_touserdata(L, index);
}

static store_box *check_store(lua_State *L) { return check_object(L, 1, UPVALUE_STORE, "store"); }

static arvak__db_store *check_living(lua_State *L) {
  store_box *box = check_store(L);
  if (!box->store) luaL_error(L, "the store was abandoned");
  return box->store;
}

static transaction_box *check_transaction(lua_State *L, int index) {
  transaction_box *box = check_object(L, index, UPVALUE_TRANSACTION, "transaction");
  if (box->is_submitted) luaL_error(L, "the transaction was submitted already");
  return box;
}

/* Lua knows its own text, and gives the status LUA_ERRMEM. */
static int raise_no_memory(lua_State *L) {
  lua_pushliteral(L, "not enough memory");
  return lua_error(L);
}

/* ---- transactions ---- */

static int store_transaction(lua_State *L) {
  check_store(L);
  transaction_box *box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = (transaction_box){0};
  lua_pushvalue(L, lua_upvalueindex(UPVALUE_TRANSACTION));
  lua_setmetatable(L, -2);
  return 1;
}

static bool is_scalar(int type) {
  return type == LUA_TNIL || type == LUA_TBOOLEAN || type == LUA_TNUMBER || type == LUA_TSTRING;
}

/* ---- lists as arrays of PostgreSQL's ---- */

enum { DIGITS = 20 }; /* of an integer, with its sign */

/* How many values a list has: its n, or its length. The string "n" is on top of the stack: to make it here might run a
 * finalizer, which could change a list between its being measured and written. */
static lua_Integer size_of_list(lua_State *L, int index) {
  lua_pushvalue(L, -1);
  lua_rawget(L, index);
  lua_Integer size = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : (lua_Integer)lua_rawlen(L, index);
  lua_pop(L, 1);
  return size;
}

static size_t count_escaped(const char *text, size_t size_bytes) {
  size_t count = 0;
  for (size_t i = 0; i < size_bytes; i++) count += (text[i] == '"') | (text[i] == '\\');
  return count;
}

/* How many bytes the element on top of the stack needs at most; 0: an array holds no such value. */
static size_t room_of_element(lua_State *L) {
  size_t size;
  const char *text;
  switch (lua_type(L, -1)) {
    case LUA_TNIL: return sizeof "NULL" - 1;
    case LUA_TBOOLEAN: return 1;
    case LUA_TNUMBER: return lua_isinteger(L, -1) ? DIGITS : 0;
    case LUA_TSTRING:
      text = lua_tolstring(L, -1, &size);
      return size + count_escaped(text, size) + 2;
    default: return 0;
  }
}

/* These write, and return the place behind what they wrote. */
static char *put(char *place, const char *bytes, size_t size_bytes) {
  memcpy(place, bytes, size_bytes);
  return place + size_bytes;
}

static char *put_integer(char *place, lua_Integer number) {
  char digits[DIGITS], *first = digits + DIGITS;
  lua_Unsigned rest = number < 0 ? 0u - (lua_Unsigned)number : (lua_Unsigned)number;
  do *--first = (char)('0' + rest % 10);
  while ((rest /= 10) > 0);
  if (number < 0) *--first = '-';
  return put(place, first, (size_t)(digits + DIGITS - first));
}

static char *put_quoted(char *place, const char *text, size_t size_bytes) {
  *place++ = '"';
  if (count_escaped(text, size_bytes) == 0) {
    place = put(place, text, size_bytes);
  } else {
    for (size_t i = 0; i < size_bytes; i++) {
      if (text[i] == '"' || text[i] == '\\') *place++ = '\\';
      *place++ = text[i];
    }
  }
  *place++ = '"';
  return place;
}

/* The element on top of the stack. */
static char *put_element(lua_State *L, char *place) {
  size_t size;
  const char *text;
  switch (lua_type(L, -1)) {
    case LUA_TNIL: return put(place, "NULL", 4);
    case LUA_TBOOLEAN: return put(place, lua_toboolean(L, -1) ? "t" : "f", 1);
    case LUA_TSTRING:
      text = lua_tolstring(L, -1, &size);
      return put_quoted(place, text, size);
    default: return put_integer(place, lua_tointeger(L, -1));
  }
}

/* How many bytes the text of a list needs at most, with its NUL. Raises where it holds what no array can. */
static size_t room_of_list(lua_State *L, int index) {
  size_t room = sizeof "{}";
  for (lua_Integer i = 1, size = size_of_list(L, index); i <= size; i++) {
    int type = lua_rawgeti(L, index, i);
    size_t element = room_of_element(L);
    if (element == 0)
      luaL_error(L, "add: value %d holds a %s, expected nil, booleans, integers and strings", index - 2,
                 type == LUA_TNUMBER ? "float" : lua_typename(L, type));
    lua_pop(L, 1);
    room += element + 1;
  }
  return room;
}

/* Writes a list as the text of an array, with a NUL behind it. */
static char *put_list(lua_State *L, int index, char *place) {
  *place++ = '{';
  for (lua_Integer i = 1, size = size_of_list(L, index); i <= size; i++) {
    if (i > 1) *place++ = ',';
    lua_rawgeti(L, index, i);
    place = put_element(L, place);
    lua_pop(L, 1);
  }
  return put(place, "}", sizeof "}");
}

/* ---- their values ---- */

/* How many bytes a list needs beside its value. Raises for a value that no statement takes. */
static size_t check_value(lua_State *L, int index) {
  int type = lua_type(L, index);
  if (type == LUA_TTABLE) return room_of_list(L, index);
  if (!is_scalar(type))
    luaL_error(L, "add: value %d is a %s, expected nil, a boolean, a number, a string or a list of them", index - 2,
               lua_typename(L, type));
  return 0;
}

/* *place: where lists are written. False: out of memory. */
static bool set_value(lua_State *L, int index, arvak__db_transaction *tx, arvak__db_value *value, char **place) {
  size_t size;
  switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
      *value = (arvak__db_value){.type = DB_BOOLEAN, .as.integer = lua_toboolean(L, index)};
      return true;
    case LUA_TNUMBER:
      if (lua_isinteger(L, index))
        *value = (arvak__db_value){.type = DB_INTEGER, .as.integer = lua_tointeger(L, index)};
      else
        *value = (arvak__db_value){.type = DB_FLOAT, .as.number = lua_tonumber(L, index)};
      return true;
    case LUA_TSTRING: {
      const char *text = lua_tolstring(L, index, &size);
      return arvak__db_transaction_set_text(tx, value, text, size);
    }
    case LUA_TTABLE:
      *value = (arvak__db_value){.type = DB_TEXT, .as.text = *place};
      *place = put_list(L, index, *place);
      value->size_bytes = (size_t)(*place - value->as.text) - 1;
      return true;
    default: return true; /* nil */
  }
}

/* tx:add(sql, values…): a list becomes an array, as PostgreSQL writes them; its n is its size where it has nils. */
static int transaction_add(lua_State *L) {
  transaction_box *box = check_transaction(L, 1);
  size_t size;
  const char *sql = luaL_checklstring(L, 2, &size);
  int count = lua_gettop(L) - 2;
  if (strlen(sql) != size) luaL_error(L, "add: the statement has a NUL in it");
  if (size > INT_MAX / 2) luaL_error(L, "add: the statement has %d MiB or more", INT_MAX / 2 >> 20);
  size_t room = 0;
  lua_pushliteral(L, "n");
  check_transaction(L, 1); /* which a finalizer may have submitted */
  for (int i = 0; i < count; i++) room += check_value(L, 3 + i);
  char *place = arvak__db_arena_take(&box->tx.arena, room);
  arvak__db_statement *previous = box->tx.last;
  arvak__db_statement *statement = place ? arvak__db_transaction_add(&box->tx, sql, size, (size_t)count) : NULL;
  if (!statement) return raise_no_memory(L);
  for (int i = 0; i < count; i++) {
    if (set_value(L, 3 + i, &box->tx, &statement->values[i], &place)) continue;
    arvak__db_transaction_drop_last(&box->tx, previous);
    return raise_no_memory(L);
  }
  lua_settop(L, 1);
  return 1;
}

/* tx:bytes(): the memory of its statements and values. */
static int transaction_bytes(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)check_transaction(L, 1)->tx.arena.size_bytes);
  return 1;
}

/* tx:count(): its statements. */
static int transaction_count(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)check_transaction(L, 1)->tx.count);
  return 1;
}

/* Its end, by the collector or by a variable. */
static int transaction_gc(lua_State *L) {
  transaction_box *box = lua_touserdata(L, 1);
  arvak__db_arena_fini(&box->tx.arena);
  *box = (transaction_box){.is_submitted = true};
  return 0;
}

/* A "blind" one writes, and its outcome has no results. */
static void set_mode(lua_State *L, int index, arvak__db_transaction *tx) {
  static const char *const names[] = {"write", "read", "raw", "blind", NULL};
  static const arvak__db_mode modes[] = {DB_WRITE, DB_READ, DB_RAW, DB_WRITE};
  int number = luaL_checkoption(L, index, "write", names);
  tx->mode = modes[number];
  tx->is_blind = strcmp(names[number], "blind") == 0;
}

/* store:submit(tx, mode, is_beat): its id. */
static int store_submit(lua_State *L) {
  arvak__db_store *store = check_living(L);
  transaction_box *box = check_transaction(L, 2);
  set_mode(L, 3, &box->tx);
  arvak__closing_forget(L);
  int64_t id = arvak__db_store_submit(store, &box->tx, lua_toboolean(L, 4) != 0);
  if (id == 0) return raise_no_memory(L);
  arvak__db_store_touch(store);
  box->is_submitted = true;
  lua_pushinteger(L, (lua_Integer)id);
  return 1;
}

/* ---- beats ---- */

static int64_t check_seconds(lua_State *L, int index) {
  lua_Number seconds = luaL_checknumber(L, index);
  luaL_argcheck(L, seconds > 0, index, "expected seconds, more than 0");
  return seconds < 9e9 ? (int64_t)(seconds * 1e9) : DB_NEVER;
}

/* store:beat(tx, every, quiet_after, turn or nil), or store:beat(nil): see arvak__db_pulse. */
static int store_beat(lua_State *L) {
  arvak__db_store *store = check_living(L);
  arvak__db_pulse pulse = {0};
  transaction_box *box = lua_isnoneornil(L, 2) ? NULL : check_transaction(L, 2);
  if (box) {
    luaL_argcheck(L, box->tx.first, 2, "expected a statement in it");
    pulse = (arvak__db_pulse){.every_ns = check_seconds(L, 3), .quiet_ns = check_seconds(L, 4)};
    pulse.turn = (size_t)luaL_optinteger(L, 5, 0);
    luaL_argcheck(L, pulse.turn <= box->tx.first->value_count, 5, "expected a value's number in its first statement");
    pulse.tx = box->tx;
    pulse.tx.mode = DB_WRITE;
  }
  if (!arvak__db_store_beat(store, &pulse)) return raise_no_memory(L);
  if (box) *box = (transaction_box){.is_submitted = true};
  return 0;
}

/* store:touch(): a turn of the loop. */
static int store_touch(lua_State *L) {
  arvak__db_store_touch(check_living(L));
  return 0;
}

/* store:last_beat(): when it was sent, or nil, and what the time is, in seconds of CLOCK_BOOTTIME. */
static int store_last_beat(lua_State *L) {
  int64_t last_ns = arvak__db_store_last_beat(check_living(L));
  if (last_ns == 0) lua_pushnil(L);
  else lua_pushnumber(L, (lua_Number)last_ns * 1e-9);
  lua_pushnumber(L, (lua_Number)arvak__db_boot_ns() * 1e-9);
  return 2;
}

/* ---- outcomes ---- */

static void push_value(lua_State *L, const arvak__db_value *value) {
  switch (value->type) {
    case DB_NULL: lua_pushnil(L); return;
    case DB_INTEGER: lua_pushinteger(L, (lua_Integer)value->as.integer); return;
    case DB_FLOAT: lua_pushnumber(L, (lua_Number)value->as.number); return;
    case DB_BOOLEAN: lua_pushboolean(L, value->as.integer != 0); return;
    case DB_TEXT: lua_pushlstring(L, value->as.text, value->size_bytes); return;
  }
}

static int hint(size_t count) { return count < INT_MAX ? (int)count : INT_MAX; }

/* Names of columns that are pushed once for all rows: so many at most, as they stand on the stack. */
enum { MOST_NAMES = 200 };

static void push_rows(lua_State *L, const arvak__db_result *result) {
  int names = lua_gettop(L) + 1;
  size_t named = result->column_count < MOST_NAMES ? result->column_count : MOST_NAMES;
  luaL_checkstack(L, (int)named + 8, "taking an outcome");
  lua_createtable(L, hint(result->row_count), 1);
  lua_insert(L, names);
  for (size_t i = 0; i < named; i++) lua_pushstring(L, result->columns[i]);
  lua_Integer place = 0;
  for (const arvak__db_row *row = result->first; row; row = row->next) {
    lua_createtable(L, 0, hint(result->column_count));
    for (size_t i = 0; i < result->column_count; i++) {
      if (i < named) lua_pushvalue(L, names + 1 + (int)i);
      else lua_pushstring(L, result->columns[i]);
      push_value(L, &row->values[i]);
      lua_rawset(L, -3);
    }
    lua_rawseti(L, names, ++place);
  }
  lua_settop(L, names);
  lua_pushinteger(L, (lua_Integer)result->changes);
  lua_setfield(L, names, "changes");
}

static void push_failure(lua_State *L, const arvak__db_outcome *outcome) {
  lua_pushstring(L, arvak__db_what_name(outcome->what));
  lua_setfield(L, -2, "what");
  lua_pushstring(L, outcome->message);
  lua_setfield(L, -2, "message");
  if (outcome->state[0]) lua_pushstring(L, outcome->state);
  else lua_pushinteger(L, outcome->code);
  lua_setfield(L, -2, "code");
  if (outcome->statement == 0) return;
  lua_pushinteger(L, (lua_Integer)outcome->statement);
  lua_setfield(L, -2, "statement");
}

/* store:take(): the next outcome, or nil. */
static int store_take(lua_State *L) {
  arvak__db_store *store = check_store(L)->store;
  arvak__db_view view;
  if (!store || !arvak__db_store_peek(store, &view)) return 0;
  lua_createtable(L, hint(view.outcome->count), 6);
  if (view.kind == DB_ENDED) lua_pushliteral(L, "closed");
  else if (view.kind == DB_BEATEN) lua_pushliteral(L, "beat");
  else lua_pushinteger(L, (lua_Integer)view.id);
  lua_setfield(L, -2, "id");
  lua_pushboolean(L, !view.outcome->has_failed);
  lua_setfield(L, -2, "ok");
  if (view.outcome->has_failed) push_failure(L, view.outcome);
  lua_Integer place = 0;
  for (const arvak__db_result *result = view.outcome->first; result; result = result->next) {
    push_rows(L, result);
    lua_rawseti(L, -2, ++place);
  }
  arvak__db_store_drop(store);
  arvak__db_store_touch(store);
  return 1;
}

/* ---- stores ---- */

static int store_close(lua_State *L) {
  arvak__db_store_close(check_living(L));
  return 0;
}

/* store:abandon(), and its end. */
static int store_abandon(lua_State *L) {
  store_box *box = check_store(L);
  arvak__db_store *store = box->store;
  box->store = NULL;
  if (store && arvak__closing(L)) arvak__db_store_abandon_until(store, arvak__closing_until_ns(L));
  else if (store) arvak__db_store_abandon(store);
  return 0;
}

static const arvak__db_option *find_option(const arvak__db_driver *driver, const char *name) {
  for (const arvak__db_option *option = driver->options; option->name; option++)
    if (strcmp(option->name, name) == 0) return option;
  return NULL;
}

/* The value is on top of the stack. */
static void set_option(lua_State *L, const arvak__db_option *option, arvak__db_settings *settings) {
  void *field = (char *)settings + option->offset;
  int type = lua_type(L, -1);
  static const int expected[] = {
      [DB_OPTION_SECONDS] = LUA_TNUMBER, [DB_OPTION_BOOLEAN] = LUA_TBOOLEAN, [DB_OPTION_TEXT] = LUA_TSTRING};
  if (type != expected[option->type])
    luaL_error(L, "open: option %s is a %s, expected a %s", option->name, lua_typename(L, type),
               lua_typename(L, expected[option->type]));
  if (option->type == DB_OPTION_BOOLEAN) *(bool *)field = lua_toboolean(L, -1) != 0;
  if (option->type == DB_OPTION_TEXT) *(const char **)field = lua_tostring(L, -1);
  if (option->type != DB_OPTION_SECONDS) return;
  lua_Number seconds = lua_tonumber(L, -1);
  if (!(seconds >= 0)) luaL_error(L, "open: option %s is %f, expected seconds from 0 on", option->name, seconds);
  *(int64_t *)field = seconds < 9e9 ? (int64_t)(seconds * 1e9) : DB_NEVER;
}

static void read_settings(lua_State *L, const arvak__db_driver *driver, arvak__db_settings *settings) {
  for (const arvak__db_option *option = driver->options; option->name; option++)
    if (option->type == DB_OPTION_SECONDS)
      *(int64_t *)((char *)settings + option->offset) = (int64_t)(option->default_seconds * 1e9);
  if (lua_isnoneornil(L, 3)) return;
  luaL_checktype(L, 3, LUA_TTABLE);
  for (lua_pushnil(L); lua_next(L, 3); lua_pop(L, 1)) {
    const arvak__db_option *option = lua_type(L, -2) == LUA_TSTRING ? find_option(driver, lua_tostring(L, -2)) : NULL;
    if (!option) luaL_error(L, "open: %s has no option %s", driver->name, luaL_tolstring(L, -2, NULL));
    set_option(L, option, settings);
  }
}

/* The seam begins the userdata of a bell, whatever version the library has. */
static const arvak__bell_seam *check_bell(lua_State *L, int index) {
  const arvak__bell_seam *seam = luaL_testudata(L, index, ARVAK_BELL);
  if (!seam) luaL_error(L, "open: got %s, expected a bell of arvak's", luaL_typename(L, index));
  int version = seam->functions->version;
  if (version != ARVAK_BELL_VERSION)
    luaL_error(L, "this module works with version %d of arvak's stores, and arvak here has version %d: "
               "install both from the same release", (int)ARVAK_BELL_VERSION, version);
  return seam;
}

/* open(bell, where, options): a store, which is on its way. */
static int module_open(lua_State *L) {
  const arvak__db_driver *driver = driver_of(L);
  const arvak__bell_seam *seam = check_bell(L, 1);
  size_t size;
  arvak__db_settings settings = {.where = luaL_checklstring(L, 2, &size)};
  if (strlen(settings.where) != size) luaL_error(L, "open: the name of the database has a NUL in it");
  lua_settop(L, 3);
  read_settings(L, driver, &settings);
  store_box *box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = (store_box){0};
  lua_pushvalue(L, lua_upvalueindex(UPVALUE_STORE));
  lua_setmetatable(L, -2);
  arvak__closing_forget(L);
  box->store = arvak__db_store_new(driver, seam, &settings);
  return box->store ? 1 : raise_no_memory(L);
}

/* ---- the module ---- */

/* The upvalues are at 1, 2 and 3. */
static void add_functions(lua_State *L, const luaL_Reg *functions) {
  for (int i = 1; i <= UPVALUE_COUNT; i++) lua_pushvalue(L, i);
  luaL_setfuncs(L, functions, UPVALUE_COUNT);
}

static void fill_class(lua_State *L, int metatable, const char *name, const luaL_Reg *meta, const luaL_Reg *methods) {
  lua_pushvalue(L, metatable);
  add_functions(L, meta);
  lua_newtable(L);
  add_functions(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__name");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}

int arvak__db_open_module(lua_State *L, const arvak__db_driver *driver) {
  static const luaL_Reg store_meta[] = {{"__gc", store_abandon}, {"__close", store_abandon}, {NULL, NULL}};
  static const luaL_Reg store_methods[] = {{"transaction", store_transaction}, {"submit", store_submit},
                                           {"take", store_take},               {"close", store_close},
                                           {"abandon", store_abandon},         {"beat", store_beat},
                                           {"touch", store_touch},             {"last_beat", store_last_beat},
                                           {NULL, NULL}};
  static const luaL_Reg tx_meta[] = {{"__gc", transaction_gc}, {"__close", transaction_gc}, {NULL, NULL}};
  static const luaL_Reg tx_methods[] = {
      {"add", transaction_add}, {"bytes", transaction_bytes}, {"count", transaction_count}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"open", module_open}, {NULL, NULL}};
  luaL_checkversion(L);
  arvak__closing_open(L);
  lua_settop(L, 0);
  lua_pushlightuserdata(L, (void *)driver);
  lua_newtable(L);
  lua_newtable(L);
  fill_class(L, UPVALUE_STORE, "arvak.store", store_meta, store_methods);
  fill_class(L, UPVALUE_TRANSACTION, "arvak.transaction", tx_meta, tx_methods);
  lua_newtable(L);
  add_functions(L, functions);
  lua_pushstring(L, driver->name);
  lua_setfield(L, -2, "name");
  lua_pushstring(L, driver->version());
  lua_setfield(L, -2, "version");
  return 1;
}
