/* A completion-queue tag: the first member of everything whose address is one. Invariant: gRPC has it from the batch
 * that names it until its event; then fn runs in the thread that owns the loop. Owner thread, but for next and success.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_TAG_H
#define ARVAK_TAG_H

#include <stdatomic.h>
#include <stdbool.h>

typedef struct arvak__tag arvak__tag;
typedef _Atomic(arvak__tag *) arvak__tag_link;
struct arvak__tag {
  void (*fn)(arvak__tag *tag, bool success);
  /* On its way over a bridge: written by the bridge's thread before the owner reads them. That the owner was done with
   * them before follows from gRPC's queue, into which ThreadSanitizer does not see: hence atomic. */
  arvak__tag_link next;
  atomic_bool success;
};

#endif
