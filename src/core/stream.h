/* Streams, as their loop knows them: only to cancel them. Owner thread of the loop.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_STREAM_H
#define ARVAK_STREAM_H

#include <stddef.h>

#include "arvak.h"

/* Cancels the streams of this owner (NULL: all); returns how many tags will come back for it. */
size_t arvak__streams_cancel(arvak_loop *loop, const void *owner, arvak_kind kind);

#endif
