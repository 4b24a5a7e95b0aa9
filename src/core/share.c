/* Shares of a client, which slots.c keeps in its round. Invariant: a share lives while a call names it, so that none of
 * its places waits when it goes.
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
  share->client = arvak_client_ref(client);
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

/* Nobody posts the offer any more, since no place waits; but it may be in the inbox. */
void arvak_share_unref(arvak_share *share) {
  if (!share || --share->refs > 0) return;
  if (share->loop) arvak__inbox_remove(&share->loop->inbox, &share->offer);
  arvak_client_unref(share->client);
  free(share);
}
