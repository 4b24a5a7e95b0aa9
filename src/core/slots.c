/* The slots of a client: permits to have a call with gRPC, max_concurrent_rpcs of them, or fewer by an adaptive limit;
 * and the turns of its rate. Invariant: while a call waits in the queue every slot is taken, and a slot that comes free
 * goes to the first in line, never past it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "slots.h"

#include <pthread.h>

#include "call.h"
#include "client.h"
#include "loop.h"
#include "policy/limiter.h"

bool arvak__slots_acquire(arvak_client *client, arvak_call *call) {
  pthread_mutex_lock(&client->mu);
  bool taken = client->active < client->slots;
  if (taken) {
    client->active++;
  } else {
    call->queue_prev = client->queue_tail;
    call->queue_next = NULL;
    if (client->queue_tail) client->queue_tail->queue_next = call;
    else client->queue_head = call;
    client->queue_tail = call;
    client->queued++;
  }
  call->granted = taken;
  pthread_mutex_unlock(&client->mu);
  return taken;
}

static void unlink_queued(arvak_client *client, arvak_call *call) {
  if (call->queue_prev) call->queue_prev->queue_next = call->queue_next;
  else client->queue_head = call->queue_next;
  if (call->queue_next) call->queue_next->queue_prev = call->queue_prev;
  else client->queue_tail = call->queue_prev;
  client->queued--;
}

/* Under mu, so that a call cannot end before it is posted: unqueue has to wait for us. */
static void grant(arvak_client *client) {
  while (client->queue_head && client->active < client->slots) {
    arvak_call *first = client->queue_head;
    unlink_queued(client, first);
    client->active++;
    first->granted = true;
    arvak__loop_post(first->loop, first);
  }
}

void arvak__slots_release(arvak_client *client) {
  pthread_mutex_lock(&client->mu);
  client->active--;
  grant(client);
  pthread_mutex_unlock(&client->mu);
}

bool arvak__slots_unqueue(arvak_client *client, arvak_call *call) {
  pthread_mutex_lock(&client->mu);
  bool queued = !call->granted;
  if (queued) unlink_queued(client, call);
  pthread_mutex_unlock(&client->mu);
  return queued;
}

int64_t arvak__tokens_reserve(arvak_client *client, int jobs, int64_t now_ns, int64_t latest_ns) {
  pthread_mutex_lock(&client->mu);
  int64_t at = arvak__limiter_reserve(&client->limiter, jobs, now_ns, latest_ns);
  pthread_mutex_unlock(&client->mu);
  return at;
}

void arvak__tokens_give_back(arvak_client *client, int jobs, int64_t at_ns) {
  pthread_mutex_lock(&client->mu);
  arvak__limiter_give_back(&client->limiter, jobs, at_ns);
  pthread_mutex_unlock(&client->mu);
}

void arvak__slots_adapt(arvak_client *client, bool is_overload, int64_t started_ns) {
  int64_t now = arvak_now_ns();
  pthread_mutex_lock(&client->mu);
  if (is_overload) arvak__limiter_lower(&client->limiter, started_ns, now);
  else arvak__limiter_raise(&client->limiter, client->active);
  client->slots = arvak__limiter_in_flight(&client->limiter);
  grant(client);
  pthread_mutex_unlock(&client->mu);
}
