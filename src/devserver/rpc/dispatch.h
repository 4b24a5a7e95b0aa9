/* How an RPC begins: it is expected, arrives, is let in or refused, meets its fault or runs its method.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_DISPATCH_H
#define ARVAK_DEVSERVER_DISPATCH_H

#include "call.h"

/* Posts a request for the next call of a method (NULL: of any unknown one). A call that arrives posts another. */
void dispatch_expect(calls *all, const method *m);

#endif
