/* larvak_wait: what a caller is held up by, a call of the core or a park that Lua code ends.
 * It is named by a ticket, an integer that is never used twice, so that a continuation or a late unpark cannot meet
 * another's wait. In use from larvak_wait_new until larvak_wait_free.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef LARVAK_WAIT_H
#define LARVAK_WAIT_H

#include <lua.h>

#include "arvak.h"
#include "state.h"

typedef enum larvak_reason { REASON_PENDING, REASON_DONE, REASON_TIMEOUT, REASON_CANCELED } larvak_reason;

struct larvak_wait {
  larvak_state *state;
  uint32_t index, generation; /* its ticket; generation is odd while in use */
  larvak_reason reason;
  bool is_detached;    /* nobody waits: the end is reported to the Lua layer */
  bool was_in_flight;  /* canceled while its call was with gRPC */
  bool is_foreign;     /* a coroutine of an attached loop waits: the end is reported, and what is left is its to free */
  bool is_told;        /* that it has ended, to the coroutine's loop */
  bool is_orphan;      /* the coroutine has died or was collected: freed when its loop has been told */
  arvak_call *call;    /* owned, or NULL for a park */
  larvak_task *task;   /* suspended on it, or NULL */
  int rpc;             /* of its call, or of the one that a canceled task would have made; ARVAK_RPC_COUNT: none */
  arvak_timer timer;   /* of a park */
  larvak_wait *next_free, *next_ended;
};

larvak_wait *larvak_wait_new(lua_State *L, larvak_state *state); /* owned; raises when out of memory */
void larvak_wait_free(larvak_wait *wait);
lua_Integer larvak_wait_ticket(const larvak_wait *wait);
larvak_wait *larvak_wait_find(larvak_state *state, lua_Integer ticket); /* NULL when it is over */
/* Ends a wait: wakes its task, or queues the report. */
void larvak_wait_end(larvak_wait *wait, larvak_reason reason);
void larvak_wait_on_call_end(arvak_call *call, void *ud); /* arvak_call_fn; ud is the wait */
/* Ends a wait by itself when seconds are over. Raises, and frees the wait, when out of memory. */
void larvak_wait_start_timer(lua_State *L, larvak_wait *wait, double seconds);
/* Puts the wait's ticket into the table at index, if there is one. Raises, and frees the wait, when out of memory. */
void larvak_wait_note_ticket(lua_State *L, larvak_wait *wait, int index);

/* Waits that have ended and are to be reported: the first, taken out; there must be one. */
larvak_wait *larvak_waits_pop_ended(larvak_state *state);
void larvak_waits_push_back(larvak_state *state, larvak_wait *wait); /* first in line again */
void larvak_waits_free(larvak_state *state); /* as the Lua state closes: frees all of them, with their calls */

#endif
