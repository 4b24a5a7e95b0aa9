/* Circuit breakers: the tables that configure them, their methods, and passes through one.
 * Invariant: a pass is left once, at the latest when it is collected, so that a probe is never lost.
 * SPDX-License-Identifier: Apache-2.0 */
#include "breaker.h"

#include <lauxlib.h>
#include <string.h>

#include "closing.h"
#include "fields.h"
#include "hooks.h"
#include "misuse.h"
#include "names.h"
#include "options.h"

enum { MAX_COUNT = 1000000 };

#define PASS "arvak.breaker_pass"

typedef struct breaker_box {
  arvak_breaker *core; /* shared */
  bool is_fixed;       /* a host's, which a plugin can look at and nothing more */
} breaker_box;

static breaker_box *push_breaker(lua_State *L) {
  larvak_closing_check(L, "circuit_breaker");
  breaker_box *box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = (breaker_box){NULL, false};
  luaL_setmetatable(L, LARVAK_BREAKER);
  return box;
}

void larvak_breaker_push(lua_State *L, arvak_breaker *breaker, bool is_fixed) {
  if (breaker) *push_breaker(L) = (breaker_box){arvak_breaker_ref(breaker), is_fixed};
  else lua_pushnil(L);
}

static int breaker_gc(lua_State *L) {
  breaker_box *box = luaL_checkudata(L, 1, LARVAK_BREAKER);
  arvak_breaker_unref(box->core);
  box->core = NULL;
  return 0;
}

/* What else a plugin could have it go by would move it. */
static void check_free(lua_State *L, const breaker_box *box, const char *what) {
  if (box->is_fixed) larvak_misuse(L, "%s: this breaker belongs to the host, and a plugin can only look at it", what);
}

/* ---- reading tables ---- */

static void read_breaker(lua_State *L, int options, const char *what, arvak_breaker_options *out) {
  static const char *const keys[] = {"failure_threshold", "failure_rate", "window", "minimum_calls",
                                     "success_threshold", "timeout", "half_open_max_calls", "on_state_change", NULL};
  larvak_options_check(L, options, what, keys);
  out->failure_threshold = larvak_field_integer(L, options, what, "failure_threshold", MAX_COUNT);
  out->failure_rate = larvak_field_number(L, options, what, "failure_rate", 0, 0.001, 1);
  out->window_ns = larvak_field_seconds(L, options, what, "window");
  out->minimum_calls = larvak_field_integer(L, options, what, "minimum_calls", MAX_COUNT);
  out->success_threshold = larvak_field_integer(L, options, what, "success_threshold", MAX_COUNT);
  out->timeout_ns = larvak_field_seconds(L, options, what, "timeout");
  out->half_open_max_calls = larvak_field_integer(L, options, what, "half_open_max_calls", MAX_COUNT);
  out->ud = larvak_field_hook(L, options, what, "on_state_change");
  if (!out->ud) return;
  out->on_change = larvak_hook_on_breaker_change;
  out->release = larvak_hook_release;
}

arvak_breaker *larvak_breaker_read(lua_State *L, int index, const char *what) {
  index = lua_absindex(L, index);
  breaker_box *given = luaL_testudata(L, index, LARVAK_BREAKER);
  if (given) {
    check_free(L, given, what);
    lua_pushvalue(L, index);
    return given->core;
  }
  luaL_checkstack(L, 10, NULL);
  arvak_breaker_options options;
  memset(&options, 0, sizeof options);
  bool is_wanted, is_table = larvak_field_is_table(L, index, what, &is_wanted);
  if (!is_wanted) {
    lua_pushnil(L);
    return NULL;
  }
  breaker_box *box = push_breaker(L);
  if (is_table) read_breaker(L, index, what, &options);
  int status = arvak_breaker_new(&options, &box->core);
  if (status != ARVAK_OK && options.ud) larvak_hook_release(options.ud);
  if (status != ARVAK_OK) larvak_no_memory(L);
  return box->core;
}

/* ---- methods ---- */

static breaker_box *check_box(lua_State *L, const char *method) {
  breaker_box *box = luaL_testudata(L, 1, LARVAK_BREAKER);
  if (!box || !box->core)
    larvak_misuse(L, "%s: got %s as the breaker, expected breaker:%s(...)", method, larvak_describe(L, 1), method);
  larvak_misuse_check_count(L, method, lua_gettop(L), 2, 1, "");
  return box;
}

static arvak_breaker *check_breaker(lua_State *L, const char *method) { return check_box(L, method)->core; }

static arvak_breaker *check_movable(lua_State *L, const char *method) {
  breaker_box *box = check_box(L, method);
  check_free(L, box, method);
  return box->core;
}

/* breaker_new(options) */
static int breaker_new(lua_State *L) {
  lua_settop(L, 1);
  if (lua_isnil(L, 1)) lua_pushboolean(L, 1);
  if (!lua_istable(L, 1) && !lua_isnil(L, 1))
    larvak_misuse(L, "circuit_breaker: got %s, expected a table of options", larvak_describe(L, 1));
  larvak_breaker_read(L, -1, "circuit_breaker");
  return 1;
}

static int breaker_state(lua_State *L) {
  arvak_breaker_info info;
  arvak_breaker_get_info(check_breaker(L, "state"), arvak_now_ns(), &info);
  lua_pushstring(L, larvak_breaker_state_name(info.state));
  return 1;
}

/* In how many seconds to try again; nil while it is forced open. */
static void push_retry_after(lua_State *L, int64_t retry_after_ns) {
  if (retry_after_ns == ARVAK_NEVER) lua_pushnil(L);
  else lua_pushnumber(L, (lua_Number)retry_after_ns * 1e-9);
}

/* can_proceed(): true, or false and in how many seconds to try again. */
static int breaker_can_proceed(lua_State *L) {
  arvak_breaker_info info;
  arvak_breaker_get_info(check_breaker(L, "can_proceed"), arvak_now_ns(), &info);
  lua_pushboolean(L, info.would_admit);
  if (info.would_admit) return 1;
  push_retry_after(L, info.retry_after_ns);
  return 2;
}

static int told(lua_State *L) {
  larvak_hooks_tell(L, larvak_state_get(L));
  return 0;
}

static int breaker_record_success(lua_State *L) {
  arvak_breaker_record(check_movable(L, "record_success"), ARVAK_VERDICT_SUCCESS);
  return told(L);
}

static int breaker_record_failure(lua_State *L) {
  arvak_breaker_record(check_movable(L, "record_failure"), ARVAK_VERDICT_FAILURE);
  return told(L);
}

static int breaker_force_open(lua_State *L) {
  arvak_breaker_force(check_movable(L, "force_open"), ARVAK_BREAKER_OPEN);
  return told(L);
}

static int breaker_force_closed(lua_State *L) {
  arvak_breaker_force(check_movable(L, "force_closed"), ARVAK_BREAKER_CLOSED);
  return told(L);
}

static int breaker_reset(lua_State *L) {
  arvak_breaker_reset(check_movable(L, "reset"));
  return told(L);
}

/* ---- passes ---- */

/* A pass is left with also when the function that it was for never ends. */
typedef struct pass {
  arvak_breaker *breaker; /* owned; NULL: left */
  arvak_pass core;
} pass;

/* breaker_enter(breaker): a pass, or nil and in how many seconds to try again. */
static int breaker_enter(lua_State *L) {
  arvak_breaker *breaker = check_movable(L, "wrap");
  int64_t retry_after = 0;
  larvak_closing_check(L, "wrap");
  pass *p = lua_newuserdatauv(L, sizeof *p, 0);
  p->breaker = NULL;
  luaL_setmetatable(L, PASS);
  bool is_admitted = arvak_breaker_enter(breaker, 0, &p->core, &retry_after);
  if (is_admitted) p->breaker = arvak_breaker_ref(breaker);
  larvak_hooks_tell(L, larvak_state_get(L));
  if (is_admitted) return 1;
  lua_pushnil(L);
  push_retry_after(L, retry_after);
  return 2;
}

static void leave(pass *p, arvak_verdict verdict) {
  arvak_breaker *breaker = p->breaker;
  p->breaker = NULL;
  if (!breaker) return;
  arvak_breaker_leave(breaker, p->core, verdict);
  arvak_breaker_unref(breaker);
}

/* pass_leave(pass, "neutral" | "success" | "failure") */
static int pass_leave(lua_State *L) {
  static const char *const verdicts[] = {"neutral", "success", "failure", NULL};
  leave(luaL_checkudata(L, 1, PASS), (arvak_verdict)luaL_checkoption(L, 2, NULL, verdicts));
  return told(L);
}

static int pass_close(lua_State *L) {
  leave(luaL_checkudata(L, 1, PASS), ARVAK_VERDICT_NEUTRAL);
  return 0;
}

/* verdict_of(code, message): of a status, as a word. */
static int breaker_verdict_of(lua_State *L) {
  static const char *const verdicts[] = {"neutral", "success", "failure"};
  arvak_verdict verdict = arvak_verdict_of(ARVAK_SUBMIT_JOB, (int)luaL_checkinteger(L, 1), luaL_optstring(L, 2, ""));
  lua_pushstring(L, verdicts[verdict]);
  return 1;
}

void larvak_breaker_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"breaker_new", breaker_new},
                                       {"breaker_enter", breaker_enter},
                                       {"pass_leave", pass_leave},
                                       {"verdict_of", breaker_verdict_of},
                                       {NULL, NULL}};
  static const luaL_Reg methods[] = {
      {"state", breaker_state},   {"can_proceed", breaker_can_proceed},   {"record_success", breaker_record_success},
      {"reset", breaker_reset},   {"record_failure", breaker_record_failure}, {"force_open", breaker_force_open},
      {"force_closed", breaker_force_closed}, {NULL, NULL}};
  static const luaL_Reg pass_meta[] = {{"__gc", pass_close}, {"__close", pass_close}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  luaL_newmetatable(L, LARVAK_BREAKER);
  lua_pushcfunction(L, breaker_gc);
  lua_setfield(L, -2, "__gc");
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  luaL_newmetatable(L, PASS);
  luaL_setfuncs(L, pass_meta, 0);
  larvak_names_protect(L);
  lua_pop(L, 1);
}
