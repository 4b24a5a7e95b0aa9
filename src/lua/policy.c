/* Retry policies and circuit breakers as Lua objects, and the tables that configure them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "larvak.h"

enum { MAX_ATTEMPTS = 1000, MAX_COUNT = 1000000, GRPC_CODES = 17 };

#define PASS "arvak.breaker_pass"

/* ---- objects ---- */

static arvak_retry **push_retry(lua_State *L) {
  arvak_retry **box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = NULL;
  luaL_setmetatable(L, LARVAK_RETRY);
  return box;
}

static arvak_breaker **push_breaker(lua_State *L) {
  arvak_breaker **box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = NULL;
  luaL_setmetatable(L, LARVAK_BREAKER);
  return box;
}

void larvak_push_breaker(lua_State *L, arvak_breaker *breaker) {
  if (breaker) *push_breaker(L) = arvak_breaker_ref(breaker);
  else lua_pushnil(L);
}

static int retry_gc(lua_State *L) {
  arvak_retry **box = luaL_checkudata(L, 1, LARVAK_RETRY);
  arvak_retry_unref(*box);
  *box = NULL;
  return 0;
}

static int breaker_gc(lua_State *L) {
  arvak_breaker **box = luaL_checkudata(L, 1, LARVAK_BREAKER);
  arvak_breaker_unref(*box);
  *box = NULL;
  return 0;
}

/* ---- reading tables ---- */

/* options[field], on top of the stack; its name in errors follows it. */
static const char *get_field(lua_State *L, int options, const char *what, const char *field) {
  lua_getfield(L, options, field);
  const char *name = lua_pushfstring(L, "%s.%s", what, field);
  return name;
}

static int read_integer(lua_State *L, int options, const char *what, const char *field, lua_Integer high) {
  const char *name = get_field(L, options, what, field);
  int value = (int)larvak_integer(L, -2, name, 0, 1, high);
  lua_pop(L, 2);
  return value;
}

static int64_t read_seconds(lua_State *L, int options, const char *what, const char *field) {
  const char *name = get_field(L, options, what, field);
  int64_t value = larvak_seconds(L, -2, name);
  lua_pop(L, 2);
  return value > 1 ? value - 1 : value; /* rounded up there; a bound must not be */
}

/* nil: standard. */
static double read_number(lua_State *L, int options, const char *what, const char *field, double standard, double low,
                          double high) {
  const char *name = get_field(L, options, what, field);
  double value = standard;
  if (!lua_isnil(L, -2)) {
    value = lua_type(L, -2) == LUA_TNUMBER ? lua_tonumber(L, -2) : low - 1;
    if (!(value >= low && value <= high)) {
      char range[64];
      snprintf(range, sizeof range, "%g to %g", low, high);
      larvak_misuse(L, "%s: got %s, expected a number from %s", name, larvak_describe(L, -2), range);
    }
  }
  lua_pop(L, 2);
  return value;
}

static bool read_boolean(lua_State *L, int options, const char *what, const char *field, bool standard) {
  const char *name = get_field(L, options, what, field);
  if (!lua_isnil(L, -2) && !lua_isboolean(L, -2))
    larvak_misuse(L, "%s: got %s, expected true or false", name, larvak_describe(L, -2));
  bool value = lua_isnil(L, -2) ? standard : lua_toboolean(L, -2) != 0;
  lua_pop(L, 2);
  return value;
}

/* One of names (NULL-terminated): its place; nil: 0. */
static int read_choice(lua_State *L, int options, const char *what, const char *field, const char *const *names,
                       const char *expected) {
  const char *name = get_field(L, options, what, field);
  int place = lua_isnil(L, -2) ? 0 : -1;
  for (int i = 0; place < 0 && names[i] && lua_type(L, -2) == LUA_TSTRING; i++)
    if (strcmp(lua_tostring(L, -2), names[i]) == 0) place = i;
  if (place < 0) larvak_misuse(L, "%s: got %s, expected %s", name, larvak_describe(L, -2), expected);
  lua_pop(L, 2);
  return place;
}

static bool is_callable(lua_State *L, int index) {
  if (lua_isfunction(L, index)) return true;
  if (luaL_getmetafield(L, index, "__call") == LUA_TNIL) return false;
  lua_pop(L, 1);
  return true;
}

/* The function in options[field] as a hook, or NULL. */
static larvak_policy_hook *read_hook(lua_State *L, int options, const char *what, const char *field) {
  const char *name = get_field(L, options, what, field);
  larvak_policy_hook *hook = NULL;
  if (!lua_isnil(L, -2)) {
    if (!is_callable(L, -2))
      larvak_misuse(L, "%s: got %s, expected a function", name, larvak_describe(L, -2));
    hook = larvak_policy_hook_new(L, -2);
  }
  lua_pop(L, 2);
  return hook;
}

/* The bit of the status that the value on top names. */
static uint32_t code_bit(lua_State *L, const char *name) {
  for (int code = 1; code < GRPC_CODES && lua_type(L, -1) == LUA_TSTRING; code++)
    if (strcmp(lua_tostring(L, -1), arvak_code_name(code)) == 0) return 1u << code;
  larvak_misuse(L, "%s: got %s, expected a status of gRPC such as \"UNAVAILABLE\"", name, larvak_describe(L, -1));
  return 0;
}

static uint32_t read_codes(lua_State *L, int options, const char *what) {
  const char *name = get_field(L, options, what, "codes");
  int list = lua_gettop(L) - 1;
  uint32_t codes = 0;
  if (!lua_isnil(L, list)) {
    if (!lua_istable(L, list) || lua_rawlen(L, list) == 0)
      larvak_misuse(L, "%s: got %s, expected a list of at least one status", name, larvak_describe(L, list));
    for (lua_Integer i = 1; lua_rawgeti(L, list, i) != LUA_TNIL; i++) {
      codes |= code_bit(L, name);
      lua_pop(L, 1);
    }
  }
  lua_settop(L, list - 1);
  return codes;
}

static void read_budget(lua_State *L, int options, const char *what, arvak_budget_options *out) {
  static const char *const keys[] = {"max_tokens", "token_ratio", NULL};
  const char *name = get_field(L, options, what, "budget");
  int budget = lua_gettop(L) - 1;
  *out = (arvak_budget_options){10, 0.1};
  if (lua_istable(L, budget)) {
    larvak_check_keys(L, budget, name, keys);
    out->max_tokens = read_number(L, budget, name, "max_tokens", out->max_tokens, 1, 1000);
    out->token_ratio = read_number(L, budget, name, "token_ratio", out->token_ratio, 0.001, 1000);
  } else if (!lua_isnil(L, budget) && !lua_isboolean(L, budget)) {
    larvak_misuse(L, "%s: got %s, expected true, false or a table", name, larvak_describe(L, budget));
  } else if (!lua_toboolean(L, budget)) {
    out->max_tokens = 0;
  }
  lua_settop(L, budget - 1);
}

static arvak_jitter read_jitter(lua_State *L, int options, const char *what) {
  static const char *const names[] = {"full", "equal", NULL};
  lua_getfield(L, options, "jitter");
  bool is_boolean = lua_isboolean(L, -1), is_on = lua_toboolean(L, -1);
  lua_pop(L, 1);
  if (is_boolean) return is_on ? ARVAK_JITTER_FULL : ARVAK_JITTER_NONE;
  return (arvak_jitter)read_choice(L, options, what, "jitter", names, "true, \"full\", \"equal\" or false");
}

static void read_retry(lua_State *L, int options, const char *what, arvak_retry_options *out) {
  static const char *const keys[] = {"max_attempts", "initial_backoff", "max_backoff", "backoff_multiplier", "strategy",
                                     "jitter", "codes", "assume_idempotent", "answered_unavailable", "budget",
                                     "on_retry", NULL};
  static const char *const strategies[] = {"exponential", "linear", "constant", NULL};
  larvak_check_keys(L, options, what, keys);
  out->max_attempts = read_integer(L, options, what, "max_attempts", MAX_ATTEMPTS);
  out->initial_backoff_ns = read_seconds(L, options, what, "initial_backoff");
  out->max_backoff_ns = read_seconds(L, options, what, "max_backoff");
  out->backoff_multiplier = read_number(L, options, what, "backoff_multiplier", 0, 1, 1000);
  out->strategy = (arvak_strategy)read_choice(L, options, what, "strategy", strategies,
                                              "\"exponential\", \"linear\" or \"constant\"");
  out->jitter = read_jitter(L, options, what);
  out->codes = read_codes(L, options, what);
  out->assume_idempotent = read_boolean(L, options, what, "assume_idempotent", false);
  out->distrust_unavailable = !read_boolean(L, options, what, "answered_unavailable", true);
  read_budget(L, options, what, &out->budget);
  out->ud = read_hook(L, options, what, "on_retry");
  if (!out->ud) return;
  out->on_retry = larvak_on_retry;
  out->release = larvak_policy_hook_release;
}

static void read_breaker(lua_State *L, int options, const char *what, arvak_breaker_options *out) {
  static const char *const keys[] = {"failure_threshold", "failure_rate", "window", "minimum_calls",
                                     "success_threshold", "timeout", "half_open_max_calls", "on_state_change", NULL};
  larvak_check_keys(L, options, what, keys);
  out->failure_threshold = read_integer(L, options, what, "failure_threshold", MAX_COUNT);
  out->failure_rate = read_number(L, options, what, "failure_rate", 0, 0.001, 1);
  out->window_ns = read_seconds(L, options, what, "window");
  out->minimum_calls = read_integer(L, options, what, "minimum_calls", MAX_COUNT);
  out->success_threshold = read_integer(L, options, what, "success_threshold", MAX_COUNT);
  out->timeout_ns = read_seconds(L, options, what, "timeout");
  out->half_open_max_calls = read_integer(L, options, what, "half_open_max_calls", MAX_COUNT);
  out->ud = read_hook(L, options, what, "on_state_change");
  if (!out->ud) return;
  out->on_change = larvak_on_breaker_change;
  out->release = larvak_policy_hook_release;
}

/* nil and false are none, true the defaults. True: there is a table at index to read. */
static bool wants_policy(lua_State *L, int index, const char *what, bool *out) {
  *out = lua_toboolean(L, index) != 0;
  if (lua_istable(L, index)) return true;
  if (!lua_isnoneornil(L, index) && !lua_isboolean(L, index))
    larvak_misuse(L, "%s: got %s, expected a table of options, true or false", what, larvak_describe(L, index));
  return false;
}

arvak_retry *larvak_retry(lua_State *L, int index, const char *what, const char *address) {
  index = lua_absindex(L, index);
  arvak_retry **given = luaL_testudata(L, index, LARVAK_RETRY);
  if (given) {
    lua_pushvalue(L, index);
    return *given;
  }
  luaL_checkstack(L, 10, NULL);
  arvak_retry_options options;
  memset(&options, 0, sizeof options);
  bool is_wanted, is_table = wants_policy(L, index, what, &is_wanted);
  if (!is_wanted) {
    lua_pushnil(L);
    return NULL;
  }
  if (address) address = lua_pushstring(L, address); /* reading the table may run what closes the client */
  arvak_retry **box = push_retry(L);
  if (is_table) read_retry(L, index, what, &options);
  int status = arvak_retry_new(&options, address, box);
  if (status != ARVAK_OK && options.ud) larvak_policy_hook_release(options.ud);
  if (status == ARVAK_ENOMEM) luaL_error(L, "not enough memory");
  /* The client itself says what is wrong with its address. */
  return *box;
}

arvak_breaker *larvak_breaker(lua_State *L, int index, const char *what) {
  index = lua_absindex(L, index);
  arvak_breaker **given = luaL_testudata(L, index, LARVAK_BREAKER);
  if (given) {
    lua_pushvalue(L, index);
    return *given;
  }
  luaL_checkstack(L, 10, NULL);
  arvak_breaker_options options;
  memset(&options, 0, sizeof options);
  bool is_wanted, is_table = wants_policy(L, index, what, &is_wanted);
  if (!is_wanted) {
    lua_pushnil(L);
    return NULL;
  }
  arvak_breaker **box = push_breaker(L);
  if (is_table) read_breaker(L, index, what, &options);
  int status = arvak_breaker_new(&options, box);
  if (status != ARVAK_OK && options.ud) larvak_policy_hook_release(options.ud);
  if (status != ARVAK_OK) luaL_error(L, "not enough memory");
  return *box;
}

void larvak_limiter(lua_State *L, int index, arvak_limiter_options *out) {
  static const char *const keys[] = {"rate", "burst", "max_in_flight", NULL};
  index = lua_absindex(L, index);
  if (lua_isnoneornil(L, index) || (lua_isboolean(L, index) && !lua_toboolean(L, index))) return;
  if (!lua_istable(L, index))
    larvak_misuse(L, "limiter: got %s, expected a table of options or false", larvak_describe(L, index));
  larvak_check_keys(L, index, "limiter", keys);
  out->rate = read_number(L, index, "limiter", "rate", 0, 0.001, 1e6);
  out->burst = read_integer(L, index, "limiter", "burst", MAX_COUNT);
  lua_getfield(L, index, "max_in_flight");
  out->is_adaptive = lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "adaptive") == 0;
  if (!out->is_adaptive && !lua_isnil(L, -1) && lua_type(L, -1) != LUA_TNUMBER)
    larvak_misuse(L, "limiter.max_in_flight: got %s, expected \"adaptive\" or an integer from 1 to %d",
                  larvak_describe(L, -1), MAX_COUNT);
  lua_pop(L, 1);
  if (!out->is_adaptive) out->max_in_flight = read_integer(L, index, "limiter", "max_in_flight", MAX_COUNT);
}

/* ---- retry for the Lua layer ---- */

static arvak_retry *check_retry(lua_State *L, const char *method) {
  arvak_retry **box = luaL_testudata(L, 1, LARVAK_RETRY);
  if (!box || !*box)
    larvak_misuse(L, "%s: got %s as the policy, expected policy:%s(...)", method, larvak_describe(L, 1), method);
  return *box;
}

/* retry_new(options) */
static int retry_new(lua_State *L) {
  lua_settop(L, 1);
  if (lua_isnil(L, 1)) lua_pushboolean(L, 1);
  if (!lua_istable(L, 1) && !lua_isnil(L, 1))
    larvak_misuse(L, "retry_policy: got %s, expected a table of options", larvak_describe(L, 1));
  larvak_retry(L, -1, "retry_policy", NULL);
  return 1;
}

/* retry_limits(policy, method): max_attempts, assume_idempotent. */
static int retry_limits(lua_State *L) {
  const arvak_retry_options *options = arvak_retry_get_options(check_retry(L, luaL_checkstring(L, 2)));
  lua_pushinteger(L, options->max_attempts);
  lua_pushboolean(L, options->assume_idempotent);
  return 2;
}

/* retry_delay(policy, attempt, random): seconds. */
static int retry_delay(lua_State *L) {
  arvak_retry *retry = check_retry(L, "backoff");
  int attempt = (int)larvak_integer(L, 2, "attempt", 1, 1, INT32_MAX);
  lua_pushnumber(L, (lua_Number)arvak_retry_delay_ns(retry, attempt, luaL_checknumber(L, 3)) / 1e9);
  return 1;
}

static bool flag(lua_State *L, const char *name) {
  lua_getfield(L, 2, name);
  bool value = lua_toboolean(L, -1) != 0;
  lua_pop(L, 1);
  return value;
}

/* retry_is_worth(policy, failure): failure has the fields of arvak_failure. */
static int retry_is_worth(lua_State *L) {
  arvak_retry *retry = check_retry(L, "should_retry");
  lua_getfield(L, 2, "code");
  arvak_failure failure = {.code = (int)luaL_optinteger(L, -1, -1),
                           .is_submit = flag(L, "is_submit"),
                           .is_ours = flag(L, "is_ours"),
                           .maybe_executed = flag(L, "maybe_executed"),
                           .by_table = flag(L, "by_table"),
                           .as_read = flag(L, "as_read")};
  lua_pushboolean(L, arvak_retry_is_worth(retry, &failure));
  return 1;
}

/* retry_spend(policy): whether the budget allows a retry of what has failed. */
static int retry_spend(lua_State *L) {
  lua_pushboolean(L, arvak_retry_spend(check_retry(L, "wrap")));
  return 1;
}

static int retry_earn(lua_State *L) {
  arvak_retry_earn(check_retry(L, "wrap"));
  return 0;
}

/* retry_tell(policy, event): tells on_retry now. */
static int retry_tell(lua_State *L) {
  const arvak_retry_options *options = arvak_retry_get_options(check_retry(L, "wrap"));
  lua_settop(L, 2);
  if (options->ud) larvak_tell_now(L, options->ud);
  return 0;
}

/* ---- breakers for the Lua layer ---- */

static arvak_breaker *check_breaker(lua_State *L, const char *method) {
  arvak_breaker **box = luaL_testudata(L, 1, LARVAK_BREAKER);
  if (!box || !*box)
    larvak_misuse(L, "%s: got %s as the breaker, expected breaker:%s(...)", method, larvak_describe(L, 1), method);
  return *box;
}

const char *larvak_breaker_state_name(arvak_breaker_state state) {
  static const char *const names[] = {"closed", "open", "half_open"};
  return names[state];
}

/* breaker_new(options) */
static int breaker_new(lua_State *L) {
  lua_settop(L, 1);
  if (lua_isnil(L, 1)) lua_pushboolean(L, 1);
  if (!lua_istable(L, 1) && !lua_isnil(L, 1))
    larvak_misuse(L, "circuit_breaker: got %s, expected a table of options", larvak_describe(L, 1));
  larvak_breaker(L, -1, "circuit_breaker");
  return 1;
}

static int breaker_state(lua_State *L) {
  arvak_breaker_info info;
  arvak_breaker_get_info(check_breaker(L, "state"), arvak_now_ns(), &info);
  lua_pushstring(L, larvak_breaker_state_name(info.state));
  return 1;
}

/* can_proceed(): true, or false and in how many seconds to ask again. */
static int breaker_can_proceed(lua_State *L) {
  arvak_breaker_info info;
  arvak_breaker_get_info(check_breaker(L, "can_proceed"), arvak_now_ns(), &info);
  lua_pushboolean(L, info.would_admit);
  if (info.would_admit) return 1;
  lua_pushnumber(L, (lua_Number)info.retry_after_ns * 1e-9);
  return 2;
}

static int told(lua_State *L) {
  larvak_tell_hooks(L, larvak_state_get(L));
  return 0;
}

static int breaker_record_success(lua_State *L) {
  arvak_breaker_record(check_breaker(L, "record_success"), ARVAK_VERDICT_SUCCESS);
  return told(L);
}

static int breaker_record_failure(lua_State *L) {
  arvak_breaker_record(check_breaker(L, "record_failure"), ARVAK_VERDICT_FAILURE);
  return told(L);
}

static int breaker_force_open(lua_State *L) {
  arvak_breaker_force(check_breaker(L, "force_open"), ARVAK_BREAKER_OPEN);
  return told(L);
}

static int breaker_force_closed(lua_State *L) {
  arvak_breaker_force(check_breaker(L, "force_closed"), ARVAK_BREAKER_CLOSED);
  return told(L);
}

static int breaker_reset(lua_State *L) {
  arvak_breaker_reset(check_breaker(L, "reset"));
  return told(L);
}

/* A pass is left with also when the function that it was for never ends. */
typedef struct pass {
  arvak_breaker *breaker; /* owned; NULL: left */
  arvak_pass core;
} pass;

/* breaker_enter(breaker): a pass, or nil and in how many seconds to ask again. */
static int breaker_enter(lua_State *L) {
  arvak_breaker *breaker = check_breaker(L, "wrap");
  int64_t retry_after = 0;
  pass *p = lua_newuserdatauv(L, sizeof *p, 0);
  p->breaker = NULL;
  luaL_setmetatable(L, PASS);
  bool is_admitted = arvak_breaker_enter(breaker, &p->core, &retry_after);
  if (is_admitted) p->breaker = arvak_breaker_ref(breaker);
  larvak_tell_hooks(L, larvak_state_get(L));
  if (is_admitted) return 1;
  lua_pushnil(L);
  lua_pushnumber(L, (lua_Number)retry_after * 1e-9);
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
static int policy_verdict_of(lua_State *L) {
  static const char *const verdicts[] = {"neutral", "success", "failure"};
  arvak_verdict verdict = arvak_verdict_of(ARVAK_SUBMIT_JOB, (int)luaL_checkinteger(L, 1), luaL_optstring(L, 2, ""));
  lua_pushstring(L, verdicts[verdict]);
  return 1;
}

/* ---- opening ---- */

static void new_class(lua_State *L, const char *name, lua_CFunction gc, const luaL_Reg *methods) {
  luaL_newmetatable(L, name);
  lua_pushcfunction(L, gc);
  lua_setfield(L, -2, "__gc");
  lua_newtable(L);
  if (methods) luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

int larvak_open_policy(lua_State *L) {
  static const luaL_Reg functions[] = {{"retry_new", retry_new},           {"retry_limits", retry_limits},
                                       {"retry_delay", retry_delay},       {"retry_is_worth", retry_is_worth},
                                       {"retry_spend", retry_spend},       {"retry_earn", retry_earn},
                                       {"retry_tell", retry_tell},         {"breaker_new", breaker_new},
                                       {"breaker_enter", breaker_enter},   {"pass_leave", pass_leave},
                                       {"verdict_of", policy_verdict_of},  {NULL, NULL}};
  static const luaL_Reg breaker_methods[] = {
      {"state", breaker_state},   {"can_proceed", breaker_can_proceed},   {"record_success", breaker_record_success},
      {"reset", breaker_reset},   {"record_failure", breaker_record_failure}, {"force_open", breaker_force_open},
      {"force_closed", breaker_force_closed}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  new_class(L, LARVAK_RETRY, retry_gc, NULL);
  new_class(L, LARVAK_BREAKER, breaker_gc, breaker_methods);
  new_class(L, PASS, pass_close, NULL);
  luaL_getmetatable(L, PASS);
  lua_pushcfunction(L, pass_close);
  lua_setfield(L, -2, "__close");
  lua_pop(L, 1);
  return 0;
}
