/* larvak_state: what the library knows of one Lua state, in whose registry it is; it outlives every finalizer there.
 * Everything in src/lua runs on the one thread that drives the Lua state, so nothing here is locked.
 * Each group of fields belongs to the file named above it, which alone changes them; the others read.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_STATE_H
#define LARVAK_STATE_H

#include <lua.h>

#include "arvak.h"
#include "arvak_lua.h"

typedef struct larvak_state larvak_state;
typedef struct larvak_task larvak_task;
typedef struct larvak_wait larvak_wait;
typedef struct larvak_event larvak_event;
typedef struct larvak_hook larvak_hook;
typedef struct larvak_user larvak_user;
typedef struct larvak_bell larvak_bell;

/* wait.c */
typedef struct larvak_wait_list {
  larvak_wait *first, **end;
} larvak_wait_list;

struct larvak_waits {
  larvak_wait **blocks; /* owned; waits never move */
  size_t block_count;
  larvak_wait *free;
  larvak_wait_list ended; /* which the Lua layer has to be told of */
  larvak_wait_list woken; /* of coroutines of an attached loop, which has to resume them */
  size_t count, woken_count; /* in use; in woken */
};

/* ready.c */
struct larvak_ready {
  larvak_task *first, **end;
  size_t count;
};

/* task.c */
struct larvak_tasks {
  larvak_task *current; /* the task being resumed */
  int depth;            /* of tasks that were started at once, inside each other */
  int generator_depth;  /* coroutines of arvak.wrap that run outside any task */
  larvak_task *unreported, **unreported_end; /* ended, and the Lua layer has not been told */
  size_t count;
  uint64_t end_count; /* tasks that have ended so far */
};

/* hooks.c */
struct larvak_hooks {
  int depth; /* inside a hook, which must not wait; put aside by task.c while a task runs that was started in one */
  larvak_event *events, **events_end; /* owned; what the hooks of policies have not been told */
  larvak_hook *dead;                  /* owned; of policies that are gone */
  bool is_telling;                    /* a hook runs */
};

/* descriptor.c: who waits for the loop on its descriptor; a userdata */
struct larvak_user {
  larvak_state *state;
  int64_t told_ns; /* when he means to step at the latest; 0: he looks before he waits */
  int fd;
  bool is_open;
  larvak_user *next;
};

/* work.c; users: descriptor.c */
struct larvak_work {
  larvak_user *users; /* borrowed; linked while they are open */
  bool has_strays;    /* errors that nobody has read */
  bool is_attached;   /* a foreign loop is: its coroutines are suspended instead of blocked */
  bool has_watcher;   /* a loop that is attached, or was while some of its coroutines still wait */
  bool is_watched;    /* the descriptor is, in that loop */
};

/* bell.c */
struct larvak_bells {
  larvak_bell *first; /* borrowed; linked while their userdata live */
};

/* step.c */
struct larvak_stepping {
  bool is_running;
  int drive_mask; /* the mask of the main thread's debug hook when the loop was last driven */
};

/* interrupt.c */
struct larvak_interrupt {
  bool is_carried_out; /* wait.c: the waits of those who are suspended have ended */
  int allowance;       /* instructions of the library's own chunks before the hook raises in them, too */
  int64_t hook_interval_ns, hooked_ns; /* of the count hook while something blocks, 0: never; when it last ran */
};

/* connect.c: what the host has said about the state as it pushed its clients */
struct larvak_state_limits {
  int max_tasks; /* 0: any number, as the next */
  int64_t max_sleep_ns;
  bool has_no_connect;
};

/* The rest is of state.c itself, but for what is said beside a field. */
struct larvak_state {
  lua_State *main;
  arvak_loop *loop; /* owned; made at first need */
  arvak_lua_handle *handle; /* shared with the host; NULL when the state is closed */
  bool is_closed;
  bool is_reporting;   /* outcome.c */
  size_t client_count; /* client.c */
  struct larvak_waits waits;
  struct larvak_ready ready;
  struct larvak_tasks tasks;
  struct larvak_hooks hooks;
  struct larvak_work work;
  struct larvak_bells bells;
  struct larvak_stepping step;
  struct larvak_interrupt interrupt;
  struct larvak_state_limits limits;
};

/* Makes the state of L, if there is none yet. finalizer: the __gc of its userdata, which calls larvak_state_close. */
void larvak_state_new(lua_State *L, lua_CFunction finalizer);
larvak_state *larvak_state_get(lua_State *L); /* NULL before larvak_state_new */
/* Cancels what is in flight and closes the loop. False: it is closed already. Raises nothing. */
bool larvak_state_close(larvak_state *state);
arvak_loop *larvak_loop_get(lua_State *L, larvak_state *state); /* borrowed; raises when closed or out of memory */
void larvak_state_open(lua_State *L); /* functions for the Lua layer, into the table on top */

#endif
