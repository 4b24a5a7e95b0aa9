/* The server's sockets: accepts, hands each connection to gRPC by its descriptor, and remembers it, so that a call
 * can be traced to its connection by gRPC's name for the peer ("fd:7"), and a connection can be cut.
 * With TLS gRPC listens on a private loopback port instead and this relays to it, the port of the relay's own end
 * naming the connection: gRPC takes descriptors without encryption only.
 * Invariant: a connection is in the table from before its first call until its socket is seen closed.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_LISTENER_H
#define ARVAK_DEVSERVER_LISTENER_H

#include <grpc/grpc.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct listener listener;
typedef struct connection connection;

/* Binds; either may be NULL. Returns owned, or NULL with problem filled. */
listener *listener_new(const char *address, const char *unix_path, char *problem, size_t size);

/* Starts accepting. tls_port 0: plain. False: no thread. The server is borrowed until listener_stop. */
bool listener_start(listener *l, grpc_server *server, int tls_port);
/* Refuses new connections and cuts those that are there, waiting for nothing; listener_stop is still to be called. */
void listener_shut(listener *l);
void listener_stop(listener *l);  /* No more connections; those there are stay until listener_drop_all. */
void listener_close(listener *l); /* After the server is gone: closes all that is left but the memory. */
void listener_free(listener *l);  /* Closes first. NULL is fine. */

const char *listener_address(const listener *l);      /* "127.0.0.1:50051", "" without; borrowed */
const char *listener_unix_address(const listener *l); /* "unix:/path", "" without; borrowed */

/* By what grpc_call_get_peer says; where that fits several (by 1.83 it does on a Unix socket), the one opened last.
 * Returns shared, or NULL. */
connection *listener_find(listener *l, const char *grpc_peer);
void connection_unref(connection *c);
const char *connection_peer(const connection *c); /* IP address, or "unix"; borrowed */
void connection_drop(connection *c);

void listener_drop_all(listener *l);
void listener_count(listener *l, uint64_t *open, uint64_t *total);

#endif
