/* The breaker, for those who must not be interrupted by its hook: a change is noted, and the hook is told of it later.
 * Invariant: the hook runs without the breaker's lock. Thread-safe, but for what is noted.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_POLICIES_H
#define ARVAK_POLICIES_H

#include "arvak.h"

/* Changes of one breaker that its hook has not been told. Zero it before first use. */
typedef struct arvak__changes {
  int count;
  struct {
    arvak_breaker_state from, to;
  } list[4]; /* more than one transition makes */
} arvak__changes;

/* As arvak_breaker_enter and arvak_breaker_leave. */
bool arvak__breaker_enter(arvak_breaker *breaker, int64_t now_ns, int64_t until_ns, arvak_pass *pass,
                          int64_t *retry_after_ns, arvak__changes *changes);
void arvak__breaker_leave(arvak_breaker *breaker, int64_t now_ns, arvak_pass pass, arvak_verdict verdict,
                          arvak__changes *changes);
/* Calls the hook, which is the application's and may do anything. */
void arvak__breaker_report(arvak_breaker *breaker, const arvak__changes *changes);

#endif
