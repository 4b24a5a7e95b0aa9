/* gRPC's part of a server: its completion queue, the threads that serve it, and their end.
 * Invariant: rpc_server_stop returns when gRPC holds no call any more, and leaves none of this one's threads behind.
 * Started and stopped by one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_SERVER_H
#define ARVAK_DEVSERVER_SERVER_H

#include "call.h"
#include "credentials.h"

typedef struct rpc_server {
  calls calls;  /* whoever starts the server fills in what is borrowed */
  tag down_tag; /* of the server's shutdown */
  struct poller *poller; /* owned; NULL: not started */
  pthread_mutex_t down_mu;
  pthread_cond_t down_cond;
  bool down; /* guarded by down_mu */
} rpc_server;

void rpc_server_init(rpc_server *s); /* once, before grpc_init */
void rpc_server_fini(rpc_server *s); /* when it has stopped, and nobody holds a call */

/* Serves methods[0..RPCS) to what the listener accepts, which starts to accept; without a certificate in the clear.
 * Between grpc_init and grpc_shutdown. False with problem filled: stop it all the same. */
bool rpc_server_start(rpc_server *s, const method *methods, const tls_texts *tls, char *problem, size_t size);
void rpc_server_stop(rpc_server *s); /* The clock still runs. Fine if it has not started. */

#endif
