/* The headers that attempts carry: those of a client, and the list of a call or stream, which adds its own to them.
 * Invariant: of the slices in a list the last own_count are its own; those before are the client's, which outlives it.
 * A client's are never changed and read from any thread; a list belongs to its loop's owner thread.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_HEADERS_H
#define ARVAK_HEADERS_H

#include <grpc/grpc.h>
#include <stdbool.h>
#include <stddef.h>

#include "arvak.h"

typedef struct arvak__client_headers {
  grpc_metadata *list; /* owned, as are its slices */
  size_t count;
  arvak_headers_fn fn; /* as in the client's options, and called from any thread */
  void *ud;
} arvak__client_headers;

/* Copies. ARVAK_ENOMEM; ARVAK_EINVAL: *reason is static. After a failure fini is due all the same. */
int arvak__client_headers_init(arvak__client_headers *common, const arvak_client_options *options,
                               const char **reason);
/* In a fork the slices stay: nothing of gRPC may be touched there. */
void arvak__client_headers_fini(arvak__client_headers *common, bool is_forked);

typedef struct arvak__headers {
  grpc_metadata *list;
  size_t count, own_count; /* own_count 0: the list is the client's; else it is owned, and of its slices the last */
  bool is_guest; /* as in the call's options */
} arvak__headers;

/* common: the client's, borrowed as long as the list lives. */
int arvak__headers_init(arvak__headers *headers, const arvak__client_headers *common,
                        const arvak_call_options *options);
/* Puts other headers in the place of a call's own but the first fixed_count, which go before them. ARVAK_EINVAL: one
 * cannot be sent; ARVAK_ENOMEM. Nothing has changed then. */
int arvak__headers_renew(arvak__headers *headers, const arvak__client_headers *common, size_t fixed_count,
                         const arvak_header *fresh, size_t count);

/* What the client's function gives for one attempt. */
struct arvak_header_sink {
  arvak_header *list; /* owned, and so is each name, with its value behind it */
  size_t count, capacity;
  int status; /* of the first header that could not be added */
};
/* Calls the client's function, which is the application's and may do anything. False: it refused, or gave a header that
 * cannot be sent. Either way fini is due. */
bool arvak__headers_query(const arvak__client_headers *common, arvak_rpc rpc, arvak_header_sink *sink);
void arvak__header_sink_fini(arvak_header_sink *sink);
extern const char arvak__refused_message[];
void arvak__headers_fini(arvak__headers *headers);
bool arvak__headers_are_sound(const arvak_call_options *options);

#endif
