/* Requests into gRPC's slices, and which text may be in one. Pure.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_CODEC_H
#define ARVAK_CODEC_H

#include <grpc/slice.h>

#include "arvak.h"

/* Packs a request. ARVAK_ENOMEM; *out owned. */
int arvak__request_encode(const arvak_request *request, grpc_slice *out);
int arvak__submission_encode(const arvak_submission *submission, grpc_slice *out);

#endif
