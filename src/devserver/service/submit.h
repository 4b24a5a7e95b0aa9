/* What the three submitting RPCs share: each step of contract section 2.4 as one function, so that each RPC can put
 * them in its own order and say refusals in its own words.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_SUBMIT_H
#define ARVAK_DEVSERVER_SUBMIT_H

#include "arvak.pb-c.h"
#include "jobs/jobs.h"
#include "rpc/call.h"

typedef enum refusal_kind {
  REFUSED_NOT,
  REFUSED_LIMIT,
  REFUSED_CIRCUIT,
  REFUSED_QASM,
  REFUSED_COMPLEXITY,
  REFUSED_BACKEND,
  REFUSED_COMPILE,
  REFUSED_STORE
} refusal_kind;

/* Why a job was not accepted; text is in the call's arena, without tags and prefixes. */
typedef struct refusal {
  refusal_kind kind;
  const char *text;
} refusal;

typedef struct submission {
  const Arvak__V1__CircuitPayload *circuit; /* NULL: absent */
  const char *backend;
  uint32_t shots, level;
} submission;

/* Each false with *why filled. A peer of NULL is not limited. */
bool submit_admit(call *c, const char *peer, refusal *why);
bool submit_backend(call *c, const char *backend, refusal *why);

/* Parse, complexity, backend, compile: a job not yet stored. Returns owned, or NULL with *why filled. */
job *submit_prepare(call *c, const submission *what, refusal *why);

/* Stores it, within the limits unless peer is NULL. The job stays the caller's, who starts it. */
bool submit_store(call *c, job *j, const char *peer, refusal *why);

/* Ends a unary call with the status of a refusal. */
void submit_fail(call *c, const refusal *why);

/* At most 120 bytes of a client's text, whole characters, for a message. In the call's arena. */
const char *submit_quote(call *c, const char *text);

#endif
