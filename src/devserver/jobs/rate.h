/* The rate limit of submits: accepted jobs per peer in fixed windows of one second. Pure, time passed in; thread-safe.
 * Invariant: only rate_take counts, so what was refused for whatever reason is free.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_RATE_H
#define ARVAK_DEVSERVER_RATE_H

#include <stdbool.h>
#include <stdint.h>

enum { PEER_NAME_BYTES = 48 };

typedef struct rates rates;

rates *rates_new(uint32_t limit); /* Returns owned or NULL. limit 0: no limit */
void rates_free(rates *all);      /* NULL is fine */

/* False when the peer's window is full; *seen is what it has counted. */
bool rate_check(rates *all, const char *peer, uint64_t now_us, uint32_t *seen);
bool rate_take(rates *all, const char *peer, uint64_t now_us, uint32_t *seen);

uint32_t rates_peers(rates *all); /* remembered; those idle for a minute are dropped when another comes */

#endif
