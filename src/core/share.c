/* Shares of a client, which slots.c keeps in its round. Invariant: a share knows its client only while a call
 * names it, and an offer of its is in the inbox only then.
 * SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>

#include "arvak.h"
#include "client.h"
#include "loop.h"
#include "slots.h"

static void on_offer(arvak__posting *posting) {
  arvak_share *share = (arvak_share *)((char *)posting - offsetof(arvak_share, offer));
  arvak__slots_offer(&share->client->slots, share);
}

int arvak_share_new(arvak_client *client, arvak_loop *loop, int max_in_flight, arvak_share **out) {
  arvak_share *share = calloc(1, sizeof *share);
  if (!share) return ARVAK_ENOMEM;
  share->client = client;
  share->loop = loop;
  share->max_in_flight = max_in_flight > 0 ? max_in_flight : INT_MAX;
  share->offer.fn = on_offer;
  share->refs = 1;
  *out = share;
  return ARVAK_OK;
}

arvak_share *arvak_share_ref(arvak_share *share) {
  if (share) share->refs++;
  return share;
}

void arvak_share_unref(arvak_share *share) {
  if (share && --share->refs == 0) free(share);
}

arvak_share *arvak__share_join(arvak_share *share) {
  share->calls++;
  return arvak_share_ref(share);
}

/* Without calls none of its places waits, so nobody posts the offer any more; but it may be in the inbox. */
void arvak__share_leave(arvak_share *share) {
  if (--share->calls == 0 && share->loop) arvak__inbox_remove(&share->loop->inbox, &share->offer);
  arvak_share_unref(share);
}
