/* See relay.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "relay.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

relay *relay_new(int outer, int inner) {
  relay *r = calloc(1, sizeof *r);
  if (!r) return NULL;
  r->fd[0] = outer;
  r->fd[1] = inner;
  return r;
}

typedef enum progress { WENT_ON, MUST_WAIT, BROKEN } progress;

/* ENOTCONN: the inner socket is still connecting; its next event will tell. */
static progress failed(void) {
  if (errno == EINTR) return WENT_ON;
  return errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOTCONN ? MUST_WAIT : BROKEN;
}

static progress half_read(relay_half *h, int from, int to) {
  ssize_t n = recv(from, h->buffer, sizeof h->buffer, 0);
  if (n < 0) return failed();
  if (n == 0) {
    h->finished = true;
    shutdown(to, SHUT_WR);
    return MUST_WAIT;
  }
  h->start = 0;
  h->end = (size_t)n;
  return WENT_ON;
}

static progress half_write(relay_half *h, int to) {
  ssize_t n = send(to, h->buffer + h->start, h->end - h->start, MSG_NOSIGNAL);
  if (n < 0) return failed();
  h->start += (size_t)n;
  return WENT_ON;
}

static bool half_run(relay_half *h, int from, int to) {
  progress p = h->finished ? MUST_WAIT : WENT_ON;
  while (p == WENT_ON) p = h->start < h->end ? half_write(h, to) : half_read(h, from, to);
  return p != BROKEN;
}

bool relay_run(relay *r) {
  bool ok = half_run(&r->half[0], r->fd[0], r->fd[1]) && half_run(&r->half[1], r->fd[1], r->fd[0]);
  return ok && !(r->half[0].finished && r->half[1].finished);
}
