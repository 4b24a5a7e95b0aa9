/* A bell outlives its Lua state as long as a thread holds it. Invariant: it knows its state's loop only while that is
 * open, under mu, so a wake never meets one that is closed. In a child process a thread that is not there may hold mu
 * for ever: nothing is locked then, and nobody is woken.
 * SPDX-License-Identifier: Apache-2.0 */
#include "bell.h"

#include <lauxlib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "../store/seam.h"
#include "closing.h"
#include "misuse.h"

struct larvak_bell {
  atomic_int refs; /* the userdata's, and the threads' */
  atomic_bool has_rung;
  pid_t pid;
  pthread_mutex_t mu;
  arvak_loop *loop; /* mu; borrowed, or NULL: nobody has waited for it yet, or the state has closed */
  /* The Lua thread's: */
  larvak_state *state;
  lua_Integer ticket; /* of the wait for it; 0: there is none */
  bool is_orphan;     /* its userdata is gone, and its wait has to end: the list has its reference */
  larvak_bell *next;  /* of the state's */
};

static bool is_foreign(const larvak_bell *bell) { return bell->pid != getpid(); }

/* ---- the seam: any thread ---- */

static void retain(void *ud) {
  larvak_bell *bell = ud;
  atomic_fetch_add_explicit(&bell->refs, 1, memory_order_relaxed);
}

static void release(void *ud) {
  larvak_bell *bell = ud;
  if (atomic_fetch_sub_explicit(&bell->refs, 1, memory_order_acq_rel) != 1) return;
  pthread_mutex_destroy(&bell->mu);
  free(bell);
}

static void wake(void *ud) {
  larvak_bell *bell = ud;
  atomic_store(&bell->has_rung, true);
  if (is_foreign(bell)) return;
  pthread_mutex_lock(&bell->mu);
  if (bell->loop) arvak_loop_wake(bell->loop);
  pthread_mutex_unlock(&bell->mu);
}

static const arvak__bell_functions functions = {ARVAK_BELL_VERSION, retain, wake, release};

/* ---- the Lua thread ---- */

static void set_loop(larvak_bell *bell, arvak_loop *loop) {
  if (is_foreign(bell)) return;
  pthread_mutex_lock(&bell->mu);
  bell->loop = loop;
  pthread_mutex_unlock(&bell->mu);
}

lua_Integer larvak_bell_ticket(const larvak_bell *bell) { return bell->ticket; }

/* A ring between the two lines is not lost: whoever waits looks at has_rung before he sleeps. */
void larvak_bell_await(larvak_bell *bell, arvak_loop *loop, lua_Integer ticket) {
  set_loop(bell, loop);
  bell->ticket = ticket;
}

static bool is_due(const larvak_bell *bell) { return bell->ticket != 0 && atomic_load(&bell->has_rung); }

bool larvak_bells_have_rung(const larvak_state *state) {
  for (const larvak_bell *bell = state->bells.first; bell; bell = bell->next)
    if (is_due(bell)) return true;
  return false;
}

bool larvak_bells_are_awaited(const larvak_state *state) {
  for (const larvak_bell *bell = state->bells.first; bell; bell = bell->next)
    if (bell->ticket != 0) return true;
  return false;
}

/* Takes the reference. */
static void let_go(larvak_bell *bell) {
  set_loop(bell, NULL);
  larvak_bell **place = &bell->state->bells.first;
  while (*place != bell) place = &(*place)->next;
  *place = bell->next;
  release(bell);
}

/* What rings from now on is for the next wait. */
lua_Integer larvak_bells_take_rung(larvak_state *state) {
  larvak_bell *bell = state->bells.first;
  while (bell && !is_due(bell)) bell = bell->next;
  if (!bell) return 0;
  lua_Integer ticket = bell->ticket;
  bell->ticket = 0;
  atomic_store(&bell->has_rung, false);
  if (bell->is_orphan) let_go(bell);
  return ticket;
}

void larvak_bells_close(larvak_state *state) {
  for (larvak_bell *bell = state->bells.first, *next; bell; bell = next) {
    next = bell->next;
    set_loop(bell, NULL);
    bell->ticket = 0;
    if (bell->is_orphan) let_go(bell);
  }
}

/* ---- for the Lua layer ---- */

/* The userdata's end. Who waits for it is told in the next step, as if it had rung. */
static int bell_gc(lua_State *L) {
  arvak__bell_seam *seam = luaL_checkudata(L, 1, ARVAK_BELL);
  larvak_bell *bell = seam->bell;
  if (!bell) return 0;
  seam->bell = NULL;
  bell->is_orphan = bell->ticket != 0;
  if (bell->is_orphan) wake(bell);
  else let_go(bell);
  return 0;
}

/* new_bell(): a bell of this state, which a store rings. */
static int bell_new(lua_State *L) {
  larvak_state *state = larvak_state_get(L);
  bool is_closing = state->is_closed || larvak_closing(L); /* nobody would free it */
  if (is_closing) larvak_misuse(L, "the Lua state is closing");
  arvak__bell_seam *seam = lua_newuserdatauv(L, sizeof *seam, 0);
  *seam = (arvak__bell_seam){.functions = &functions};
  luaL_setmetatable(L, ARVAK_BELL);
  larvak_bell *bell = calloc(1, sizeof *bell);
  if (!bell) return larvak_no_memory(L);
  atomic_init(&bell->refs, 1);
  bell->pid = getpid();
  bell->state = state;
  pthread_mutex_init(&bell->mu, NULL);
  bell->next = state->bells.first;
  state->bells.first = bell;
  seam->bell = bell;
  return 1;
}

/* ring_bell(bell): as a store does; no effect when the bell is finalized, as the Lua state closes. */
static int bell_ring(lua_State *L) {
  larvak_bell *bell = ((arvak__bell_seam *)luaL_checkudata(L, 1, ARVAK_BELL))->bell;
  if (bell) wake(bell);
  return 0;
}

larvak_bell *larvak_bell_check(lua_State *L, int index) {
  larvak_bell *bell = ((arvak__bell_seam *)luaL_checkudata(L, index, ARVAK_BELL))->bell;
  if (!bell) larvak_misuse(L, "the Lua state is closing");
  return bell;
}

void larvak_bell_open(lua_State *L) {
  static const luaL_Reg layer[] = {{"new_bell", bell_new}, {"ring_bell", bell_ring}, {NULL, NULL}};
  luaL_setfuncs(L, layer, 0);
  luaL_newmetatable(L, ARVAK_BELL);
  lua_pushcfunction(L, bell_gc);
  lua_setfield(L, -2, "__gc");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}
