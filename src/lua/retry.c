/* Retry policies: the tables that configure them, and what the Lua layer does with one outside calls.
 * Invariant: a userdata holds one reference to its policy until it is collected.
 * SPDX-License-Identifier: Apache-2.0 */
#include "retry.h"

#include <lauxlib.h>
#include <string.h>

#include "closing.h"
#include "fields.h"
#include "hooks.h"
#include "misuse.h"
#include "names.h"
#include "options.h"
#include "set.h"
#include "taken.h"

enum { MAX_ATTEMPTS = 1000, GRPC_CODES = 17 };

static arvak_retry **push_retry(lua_State *L) {
  larvak_closing_check(L, "retry_policy");
  arvak_retry **box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = NULL;
  luaL_setmetatable(L, LARVAK_RETRY);
  return box;
}

static int retry_gc(lua_State *L) {
  arvak_retry **box = luaL_checkudata(L, 1, LARVAK_RETRY);
  arvak_retry_unref(*box);
  *box = NULL;
  return 0;
}

/* ---- reading tables ---- */

/* The bit of the status that the value on top names. */
static uint32_t code_bit(lua_State *L, const char *name) {
  for (int code = 1; code < GRPC_CODES; code++)
    if (larvak_taken_is(L, -1, arvak_code_name(code))) return 1u << code;
  larvak_misuse(L, "%s: got %s, expected a status of gRPC such as \"UNAVAILABLE\"", name, larvak_describe(L, -1));
  return 0;
}

static uint32_t read_codes(lua_State *L, int options, const char *what) {
  const char *name = larvak_field_get(L, options, what, "codes");
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
  const char *name = larvak_field_get(L, options, what, "budget");
  int budget = lua_gettop(L) - 1;
  *out = (arvak_budget_options){10, 0.1};
  if (lua_istable(L, budget)) {
    larvak_options_check(L, budget, name, keys);
    out->max_tokens = larvak_field_number(L, budget, name, "max_tokens", out->max_tokens, 1, 1000);
    out->token_ratio = larvak_field_number(L, budget, name, "token_ratio", out->token_ratio, 0.001, 1000);
  } else if (!lua_isnil(L, budget) && !lua_isboolean(L, budget)) {
    larvak_misuse(L, "%s: got %s, expected true, false or a table", name, larvak_describe(L, budget));
  } else if (!lua_toboolean(L, budget)) {
    out->max_tokens = 0;
  }
  lua_settop(L, budget - 1);
}

static arvak_jitter read_jitter(lua_State *L, int options, const char *what) {
  static const char *const names[] = {"full", "equal", NULL};
  larvak_taken_field(L, options, "jitter");
  bool is_boolean = lua_isboolean(L, -1), is_on = lua_toboolean(L, -1);
  lua_pop(L, 1);
  if (is_boolean) return is_on ? ARVAK_JITTER_FULL : ARVAK_JITTER_NONE;
  return (arvak_jitter)larvak_field_choice(L, options, what, "jitter", names, "true, \"full\", \"equal\" or false");
}

static void read_retry(lua_State *L, int options, const char *what, arvak_retry_options *out) {
  static const char *const keys[] = {"max_attempts", "initial_backoff", "max_backoff", "backoff_multiplier", "strategy",
                                     "jitter", "codes", "assume_idempotent", "answered_unavailable", "budget",
                                     "on_retry", NULL};
  static const char *const strategies[] = {"exponential", "linear", "constant", NULL};
  larvak_options_check(L, options, what, keys);
  out->max_attempts = larvak_field_integer(L, options, what, "max_attempts", MAX_ATTEMPTS);
  out->initial_backoff_ns = larvak_field_seconds(L, options, what, "initial_backoff");
  out->max_backoff_ns = larvak_field_seconds(L, options, what, "max_backoff");
  out->backoff_multiplier = larvak_field_number(L, options, what, "backoff_multiplier", 0, 1, 1000);
  out->strategy = (arvak_strategy)larvak_field_choice(L, options, what, "strategy", strategies,
                                                      "\"exponential\", \"linear\" or \"constant\"");
  out->jitter = read_jitter(L, options, what);
  out->codes = read_codes(L, options, what);
  out->assume_idempotent = larvak_field_boolean(L, options, what, "assume_idempotent", false);
  out->distrust_unavailable = !larvak_field_boolean(L, options, what, "answered_unavailable", true);
  read_budget(L, options, what, &out->budget);
  out->ud = larvak_field_hook(L, options, what, "on_retry");
  if (!out->ud) return;
  out->on_retry = larvak_hook_on_retry;
  out->release = larvak_hook_release;
}

arvak_retry *larvak_retry_read(lua_State *L, int index, const char *what, const char *address) {
  index = lua_absindex(L, index);
  arvak_retry **given = luaL_testudata(L, index, LARVAK_RETRY);
  if (given) {
    lua_pushvalue(L, index);
    return *given;
  }
  luaL_checkstack(L, 10, NULL);
  arvak_retry_options options;
  memset(&options, 0, sizeof options);
  bool is_wanted, is_table = larvak_field_is_table(L, index, what, &is_wanted);
  if (!is_wanted) {
    lua_pushnil(L);
    return NULL;
  }
  if (address) address = lua_pushstring(L, address); /* reading the table may run what closes the client */
  arvak_retry **box = push_retry(L);
  if (is_table) read_retry(L, index, what, &options);
  int status = arvak_retry_new(&options, address, box);
  if (status != ARVAK_OK && options.ud) larvak_hook_release(options.ud);
  if (status == ARVAK_ENOMEM) larvak_no_memory(L);
  /* The client itself says what is wrong with its address. */
  return *box;
}

/* ---- for the Lua layer ---- */

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
  larvak_retry_read(L, -1, "retry_policy", NULL);
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
  int attempt = (int)larvak_option_integer(L, 2, "attempt", 1, 1, INT32_MAX);
  lua_pushnumber(L, (lua_Number)arvak_retry_delay_ns(retry, attempt, luaL_checknumber(L, 3)) / 1e9);
  return 1;
}

/* retry_obeys(policy, seconds): whether to wait for so long because the server requests it. */
static int retry_obeys(lua_State *L) {
  double ns = luaL_checknumber(L, 2) * 1e9;
  lua_pushboolean(L, ns < 0x1p62 && arvak_retry_obeys(check_retry(L, "wrap"), (int64_t)ns));
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
  if (options->ud) larvak_hook_tell(L, options->ud);
  return 0;
}

void larvak_retry_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"retry_new", retry_new},     {"retry_limits", retry_limits},
                                       {"retry_delay", retry_delay}, {"retry_obeys", retry_obeys},
                                       {"retry_is_worth", retry_is_worth},
                                       {"retry_spend", retry_spend}, {"retry_earn", retry_earn},
                                       {"retry_tell", retry_tell},   {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  luaL_newmetatable(L, LARVAK_RETRY);
  lua_pushcfunction(L, retry_gc);
  lua_setfield(L, -2, "__gc");
  larvak_set_string(L, "word", "policy"); /* in errors of its methods */
  lua_newtable(L);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}
