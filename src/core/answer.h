/* Answers, from what gRPC received to what programs read. Pure. Invariant: an answer is one block of memory, which goes
 * with its last reference, and is no more than a small multiple of what came over the wire.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_ANSWER_H
#define ARVAK_ANSWER_H

#include <grpc/byte_buffer.h>
#include <grpc/slice.h>

#include "arvak.h"

/* Answers that cannot be taken: one without what was requested, one that would take much more memory than its size, one
 * about another job, one that is compressed. */
enum { ARVAK__EABSENT = -100, ARVAK__EBLOATED = -101, ARVAK__EOTHER = -102, ARVAK__ECOMPRESSED = -103 };

/* As arvak_response_decode, from what gRPC received; borrowed. */
int arvak__response_decode_buffer(arvak_rpc rpc, grpc_byte_buffer *buffer, arvak_response **out);
/* Whether it answers this request, which was packed here: with an id for each circuit, or about the job that was asked
 * about. ARVAK__EABSENT, ARVAK__EOTHER. */
int arvak__response_match(const arvak_response *response, grpc_slice request);

#endif
