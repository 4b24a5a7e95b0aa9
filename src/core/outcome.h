/* What calls and streams come to when we end them, and not the server. Invariant: once an attempt has failed, its error
 * is what the call comes to, whatever stops the next one; but for a cancel and headers that are denied.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_OUTCOME_H
#define ARVAK_OUTCOME_H

#include "arvak.h"

/* message: static, or borrowed from what lives as long as the outcome; as below. */
void arvak__set_failure(arvak_outcome *outcome, arvak_kind kind, int code, const char *message);
/* Ended by us, before or after sending. What an attempt before may have done stays true. */
void arvak__set_canceled(arvak_outcome *outcome, arvak_kind kind);

/* There will be no attempt, or no other: */
void arvak__set_timeout(arvak_outcome *outcome, const char *message);       /* the call's own time is over */
void arvak__set_queue_timeout(arvak_outcome *outcome, const char *message); /* the time to wait for an attempt is */
void arvak__set_open(arvak_outcome *outcome, int64_t retry_after_ns);       /* see arvak_breaker_info */
void arvak__set_denied(arvak_outcome *outcome, arvak_kind kind, int code, const char *message); /* no headers */

#endif
