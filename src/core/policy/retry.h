/* What a retry policy decides: whether a failed attempt is worth another, and after which pause. Pure: randomness is
 * passed in. Invariant: no pause is longer than max_backoff, or than a minute where a
 * server requests it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_RETRY_H
#define ARVAK_RETRY_H

#include "arvak.h"

/* The options with every default in its place. */
arvak_retry_options arvak__retry_resolve(const arvak_retry_options *options);

/* These take resolved options. */
bool arvak__retry_is_worth(const arvak_retry_options *options, const arvak_failure *failure);
/* The pause after attempt number attempt (from 1). random is from 0 to below 1. */
int64_t arvak__retry_delay_ns(const arvak_retry_options *options, int attempt, double random);

/* Whether to wait for so long because a server requests it. It may request more than max_backoff, but not more than a
 * minute then: whoever requests an hour gets no other attempt, and the caller learns at once how long it would be. */
bool arvak__retry_obeys(const arvak_retry_options *options, int64_t pushback_ns);

/* Milliseconds of a grpc-retry-pushback-ms trailer. True: *ns is how long to wait. False: the server wants no retry,
 * which is also what a value that is no number means (gRFC A6). */
bool arvak__retry_read_pushback(const char *text, size_t size, int64_t *ns);

#endif
