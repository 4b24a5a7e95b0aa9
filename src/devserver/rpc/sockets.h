/* Listening sockets from the addresses that people write.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_SOCKETS_H
#define ARVAK_DEVSERVER_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

bool sockets_is_address(const char *address); /* of the form "host:port" or "[v6]:port" */

/* Such an address; port 0: the system chooses. Returns a descriptor (owned), or -1 with problem filled. */
int sockets_listen_tcp(const char *address, char *problem, size_t size);

/* A path; a socket left there by a dead server is replaced, anything else is not. */
int sockets_listen_unix(const char *path, char *problem, size_t size);

void sockets_name(const struct sockaddr *address, char *out, size_t size);      /* "127.0.0.1:50051", "[::1]:50051" */
unsigned sockets_port(const struct sockaddr *address); /* 0: it has none */
void sockets_peer_name(const struct sockaddr *address, char *out, size_t size); /* the IP address, or "unix" */

#endif
