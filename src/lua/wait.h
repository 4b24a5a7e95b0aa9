/* larvak_wait: what a caller is held up by, a call of the core or a park that Lua code ends.
 * It is named by a ticket, an integer that is never used twice, so that a continuation or a late unpark cannot meet
 * another's wait. In use from larvak_wait_new until larvak_wait_free.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_WAIT_H
#define LARVAK_WAIT_H

#include <lua.h>

#include "arvak.h"
#include "quota.h"
#include "state.h"

typedef enum larvak_wait_state { WAIT_FREE, WAIT_PENDING, WAIT_OVER, WAIT_TOLD } larvak_wait_state;
typedef enum larvak_reason {
  REASON_DONE,
  REASON_TIMEOUT,
  REASON_CANCELED,
  REASON_INTERRUPTED,
  REASON_CLOSING, /* nobody waits while the Lua state closes */
  REASON_REFUSED  /* the answer is more than the host lets this plugin hold */
} larvak_reason;

/* Who waits, and so what follows from the end. */
typedef enum larvak_waiter {
  WAITER_CALLER,  /* who blocks, and looks by himself; or nobody yet */
  WAITER_TASK,    /* is made ready */
  WAITER_LAYER,   /* a future, to which the Lua layer tells the end; the wait is freed then */
  WAITER_FOREIGN, /* a coroutine of an attached loop, which is resumed and frees the wait */
  WAITER_GONE     /* such a coroutine that has died since: freed when its turn comes */
} larvak_waiter;

struct larvak_wait {
  larvak_state *state;
  uint32_t index, generation; /* its ticket; generation is odd while in use */
  larvak_wait_state at;       /* changed by events: the table in wait.c */
  larvak_waiter waiter;
  larvak_reason reason;  /* of its end */
  bool was_in_flight;    /* canceled while its call was with gRPC */
  bool can_be_woken;     /* a ticket of it was given away, so an unpark may end it */
  bool is_noted;         /* whoever keeps notes of jobs is told what comes of its call */
  bool may_have_cause;   /* functions give the headers of its call */
  arvak_call *call;      /* owned, or NULL for a park */
  size_t circuit_bytes;  /* of its call's request */
  larvak_charge charge;  /* of its call, or nothing */
  larvak_task *task;     /* suspended on it, or NULL */
  int rpc;               /* of its call, or of the one that a canceled task would have made; ARVAK_RPC_COUNT: none */
  arvak_timer timer;     /* of a park */
  larvak_wait *next;     /* in the list of free, ended or woken ones */
};

larvak_wait *larvak_wait_new(lua_State *L, larvak_state *state); /* owned; raises when out of memory */
void larvak_wait_free(larvak_wait *wait);
lua_Integer larvak_wait_ticket(const larvak_wait *wait);
larvak_wait *larvak_wait_find(larvak_state *state, lua_Integer ticket); /* NULL when it is over and done with */
/* The current task is suspended on it; where that is canceled, or the wait is over, until its next turn. */
void larvak_wait_suspend(larvak_wait *wait, larvak_task *task);
/* Ends a wait that is pending, and lets the waiter know. */
void larvak_wait_end(larvak_wait *wait, larvak_reason reason);
/* Its coroutine was closed or collected: nobody reads the outcome, and what is in flight for it is canceled. */
void larvak_wait_abandon(larvak_wait *wait);
/* The same where nobody has come to wait yet, or he who blocks was interrupted: it is free afterwards. */
void larvak_wait_drop(larvak_wait *wait);
void larvak_wait_on_call_end(arvak_call *call, void *ud); /* arvak_call_fn; ud is the wait */
/* Ends a wait by itself when seconds are over. Raises, and frees the wait, when out of memory. */
void larvak_wait_start_timer(lua_State *L, larvak_wait *wait, double seconds);
/* Puts the wait's ticket into the table at index, if there is one: whoever has it may end the wait. Raises, and frees
 * the wait, when out of memory. */
void larvak_wait_note_ticket(lua_State *L, larvak_wait *wait, int index);

/* The first of those to be told to the Lua layer, taken out, or NULL. */
larvak_wait *larvak_waits_pop_ended(larvak_state *state);
void larvak_waits_push_back(larvak_state *state, larvak_wait *wait); /* first in line again */
/* The first of an attached loop's coroutines that go on: taken out, and told from now on. NULL: there is none, or its
 * coroutine has died. */
larvak_wait *larvak_waits_pop_woken(larvak_state *state);
/* The state is interrupted: ends the waits of all who are suspended, with their calls, so that they are resumed
 * and raise. */
void larvak_waits_interrupt(larvak_state *state);
void larvak_waits_settle(larvak_state *state); /* gives back what calls hold of limits, while the loop is there */
void larvak_waits_close(larvak_state *state); /* as the Lua state closes: frees all of them, with their calls */

#endif
