/* See sockets.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Splits in place. NULL: not of the form. */
static const char *split_port(char *address, char **host) {
  char *colon = strrchr(address, ':');
  if (!colon || colon == address) return NULL;
  *colon = '\0';
  *host = address;
  if (address[0] == '[' && colon[-1] == ']') {
    colon[-1] = '\0';
    *host = address + 1;
  } else if (strchr(address, ':')) {
    return NULL; /* an IPv6 address without brackets: which colon is the port's? */
  }
  char *end;
  long port = strtol(colon + 1, &end, 10);
  return colon[1] >= '0' && colon[1] <= '9' && !*end && port <= 65535 ? colon + 1 : NULL;
}

static int listen_on(const struct addrinfo *at) {
  int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0) return fd;
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

/* As split_port, in a copy. */
static const char *copy_and_split(const char *address, char copy[256], char **host) {
  return snprintf(copy, 256, "%s", address) < 256 ? split_port(copy, host) : NULL;
}

bool sockets_is_address(const char *address) {
  char copy[256], *host;
  return copy_and_split(address, copy, &host) != NULL;
}

int sockets_listen_tcp(const char *address, char *problem, size_t size) {
  char copy[256], *host;
  const char *port = copy_and_split(address, copy, &host);
  if (!port) {
    snprintf(problem, size, "bad address '%.200s'", address);
    return -1;
  }
  struct addrinfo *found, hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
  int code = getaddrinfo(host, port, &hints, &found);
  if (code != 0) {
    snprintf(problem, size, "cannot listen on %s: %s", address, gai_strerror(code));
    return -1;
  }
  int fd = -1;
  for (struct addrinfo *at = found; at && fd < 0; at = at->ai_next) fd = listen_on(at);
  if (fd < 0) snprintf(problem, size, "cannot listen on %s: %s", address, strerror(errno));
  freeaddrinfo(found);
  return fd;
}

/* A socket nobody listens on is what a killed server leaves behind. */
static void remove_stale(const struct sockaddr_un *at) {
  struct stat about;
  if (lstat(at->sun_path, &about) != 0 || !S_ISSOCK(about.st_mode)) return;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  bool stale = connect(fd, (const struct sockaddr *)at, sizeof *at) != 0 && errno == ECONNREFUSED;
  close(fd);
  if (stale) unlink(at->sun_path);
}

int sockets_listen_unix(const char *path, char *problem, size_t size) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  if (!*path || strlen(path) >= sizeof at.sun_path) {
    snprintf(problem, size, "bad path '%.200s' of a unix socket: expected 1 to %zu bytes", path,
             sizeof at.sun_path - 1);
    return -1;
  }
  memcpy(at.sun_path, path, strlen(path) + 1);
  remove_stale(&at);
  struct addrinfo info = {.ai_family = AF_UNIX, .ai_addr = (struct sockaddr *)&at, .ai_addrlen = sizeof at};
  int fd = listen_on(&info);
  if (fd < 0) snprintf(problem, size, "cannot listen on unix:%s: %s", path, strerror(errno));
  return fd;
}

void sockets_peer_name(const struct sockaddr *address, char *out, size_t size) {
  const void *ip = NULL;
  if (address->sa_family == AF_INET) ip = &((const struct sockaddr_in *)(const void *)address)->sin_addr;
  if (address->sa_family == AF_INET6) ip = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
  if (!ip || !inet_ntop(address->sa_family, ip, out, (socklen_t)size)) snprintf(out, size, "unix");
}

unsigned sockets_port(const struct sockaddr *address) {
  if (address->sa_family == AF_INET) return ntohs(((const struct sockaddr_in *)(const void *)address)->sin_port);
  if (address->sa_family == AF_INET6) return ntohs(((const struct sockaddr_in6 *)(const void *)address)->sin6_port);
  return 0;
}

void sockets_name(const struct sockaddr *address, char *out, size_t size) {
  char ip[INET6_ADDRSTRLEN];
  bool v6 = address->sa_family == AF_INET6;
  sockets_peer_name(address, ip, sizeof ip);
  snprintf(out, size, v6 ? "[%s]:%u" : "%s:%u", ip, sockets_port(address));
}
