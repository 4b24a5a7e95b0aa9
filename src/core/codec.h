/* Messages in and out of gRPC's slices. Pure. Invariant: an answer is one block of memory, which goes with its last
 * reference.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_CODEC_H
#define ARVAK_CODEC_H

#include <grpc/byte_buffer.h>
#include <grpc/slice.h>

#include "arvak.h"

/* An answer without what was requested. */
enum { ARVAK__EABSENT = -100 };

/* Packs a request. ARVAK_ENOMEM; *out owned. */
int arvak__request_encode(const arvak_request *request, grpc_slice *out);
int arvak__submission_encode(const arvak_submission *submission, grpc_slice *out);
/* As arvak_response_decode, from what gRPC received; borrowed. */
int arvak__response_decode_buffer(arvak_rpc rpc, grpc_byte_buffer *buffer, arvak_response **out);

#endif
