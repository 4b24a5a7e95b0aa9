/* See listener.h. One thread waits on everything; the descriptors it watches are its own duplicates, which it closes
 * itself, so a number in its hands never turns into another socket.
 * SPDX-License-Identifier: Apache-2.0 */
#include "listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grpc/grpc_posix.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "compat.h"
#include "relay.h"
#include "sockets.h"

struct connection {
  atomic_uint refs;
  int fd;       /* owned: our duplicate of gRPC's, or with TLS the peer's socket itself */
  int inner_fd; /* owned: with TLS our end of the loopback connection to gRPC; else -1 */
  relay *relay; /* owned, the thread's alone; NULL without TLS */
  /* How gRPC names its end, constant: by the number of its descriptor, or (by 1.83) by the port of the other
   * end, 0 if it has none. */
  unsigned descriptor, port;
  char peer[INET6_ADDRSTRLEN]; /* an IP address, or "unix" */
  connection *previous, *next; /* guarded by the listener's mu */
  bool listed;                 /* so is this */
};

struct listener {
  /* Constant once accepting. */
  int tcp_fd, unix_fd, epoll_fd, wake_fd; /* owned, -1: none */
  char address[128], unix_path[128], unix_address[136];
  grpc_server *server;
  grpc_server_credentials *plain; /* owned */
  int tls_port;
  pthread_t thread;
  bool running;
  atomic_bool is_shut; /* any thread */
  /* Guarded by mu. */
  pthread_mutex_t mu;
  connection *first;   /* each holds a reference */
  connection **by_number; /* owned array of borrowed: the last one with that descriptor or port */
  size_t numbers;
  uint64_t open, total;
};

static void close_fd(int fd) {
  if (fd >= 0) close(fd);
}

void connection_unref(connection *c) {
  if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1) return;
  close_fd(c->fd);
  close_fd(c->inner_fd);
  free(c->relay);
  free(c);
}

const char *connection_peer(const connection *c) { return c->peer; }

void connection_drop(connection *c) { shutdown(c->fd, SHUT_RDWR); }

/* From calloc, since the system makes its pages only where a connection is: a port may be the last of 65,536. */
static bool reserve(listener *l, unsigned number) {
  if (number < l->numbers) return true;
  size_t numbers = l->numbers ? l->numbers : 64;
  while (numbers <= number) numbers *= 2;
  connection **table = calloc(numbers, sizeof *table);
  if (!table) return false;
  if (l->numbers) memcpy(table, l->by_number, l->numbers * sizeof *table);
  free(l->by_number);
  l->by_number = table;
  l->numbers = numbers;
  return true;
}

/* Takes the reference on success. */
static bool list_add(listener *l, connection *c) {
  pthread_mutex_lock(&l->mu);
  bool ok = reserve(l, c->descriptor) && reserve(l, c->port);
  if (ok) {
    l->by_number[c->descriptor] = l->by_number[c->port] = c;
    c->next = l->first;
    if (c->next) c->next->previous = c;
    l->first = c;
    c->listed = true;
    l->open++;
    l->total++;
  }
  pthread_mutex_unlock(&l->mu);
  return ok;
}

static void list_remove(listener *l, connection *c) {
  pthread_mutex_lock(&l->mu);
  bool listed = c->listed;
  if (listed) {
    if (l->by_number[c->descriptor] == c) l->by_number[c->descriptor] = NULL;
    if (l->by_number[c->port] == c) l->by_number[c->port] = NULL;
    *(c->previous ? &c->previous->next : &l->first) = c->next;
    if (c->next) c->next->previous = c->previous;
    c->listed = false;
    l->open--;
  }
  pthread_mutex_unlock(&l->mu);
  if (listed) connection_unref(c);
}

/* Registrations outlive close() while gRPC holds the same socket, hence the explicit removal. */
static void finish(listener *l, connection *c) {
  epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
  if (c->inner_fd >= 0) {
    epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, c->inner_fd, NULL);
    shutdown(c->inner_fd, SHUT_RDWR);
    shutdown(c->fd, SHUT_RDWR);
  }
  list_remove(l, c);
}

static bool watch(listener *l, int fd, uint32_t events, void *what) {
  struct epoll_event event = {.events = events, .data.ptr = what};
  return epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* Plain: gRPC owns the socket from here on. */
static bool hand_over(listener *l, connection *c, int fd) {
  c->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  c->descriptor = (unsigned)fd;
  if (c->fd < 0 || !list_add(l, c)) {
    close(fd);
    return false;
  }
  watch(l, c->fd, EPOLLRDHUP | EPOLLET, c);
  grpc_server_add_channel_from_fd(l->server, fd, l->plain);
  return true;
}

/* TLS: a second socket to gRPC's private port, which gRPC knows by its local port. */
static bool hand_to_relay(listener *l, connection *c, int fd) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)l->tls_port)};
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof at;
  c->fd = fd;
  c->inner_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (c->inner_fd < 0) return false;
  int one = 1;
  setsockopt(c->inner_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect(c->inner_fd, (struct sockaddr *)&at, sizeof at) != 0 && errno != EINPROGRESS) return false;
  if (getsockname(c->inner_fd, (struct sockaddr *)&at, &length) != 0) return false;
  c->port = ntohs(at.sin_port);
  c->relay = relay_new(c->fd, c->inner_fd);
  if (!c->relay || !list_add(l, c)) return false;
  uint32_t events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  if (watch(l, c->inner_fd, events, c) && watch(l, c->fd, events, c)) return true;
  atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed); /* finish() drops the list's, our caller its own */
  finish(l, c);
  return false;
}

static void welcome(listener *l, int fd, const struct sockaddr *from) {
  connection *c = calloc(1, sizeof *c);
  if (!c) {
    close(fd);
    return;
  }
  atomic_init(&c->refs, 1);
  c->fd = c->inner_fd = -1;
  sockets_peer_name(from, c->peer, sizeof c->peer);
  c->port = sockets_port(from);
  int one = 1;
  if (from->sa_family != AF_UNIX) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  bool ok = l->tls_port ? hand_to_relay(l, c, fd) : hand_over(l, c, fd);
  if (!ok) connection_unref(c);
}

static void accept_all(listener *l, int listening) {
  for (;;) {
    struct sockaddr_storage from = {.ss_family = AF_UNIX};
    socklen_t length = sizeof from;
    int fd = accept4(listening, (struct sockaddr *)&from, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      welcome(l, fd, (struct sockaddr *)&from);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      usleep(10000); /* the waiting connection keeps the event up: do not spin until a descriptor is free */
      return;
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return;
    }
  }
}

/* Those that came meanwhile, too. With TLS gRPC would not learn of it otherwise: nobody carries bytes any more. */
static void end_all(listener *l) {
  listener_drop_all(l);
  while (l->first) finish(l, l->first);
}

/* One event at a time: ending a connection may take back its other event. */
static void *listener_run(void *ud) {
  listener *l = ud;
  struct epoll_event event;
  for (;;) {
    if (epoll_wait(l->epoll_fd, &event, 1, -1) != 1) continue;
    void *what = event.data.ptr;
    if (what == &l->wake_fd) break;
    if (what == &l->tcp_fd || what == &l->unix_fd) {
      accept_all(l, *(int *)what);
      continue;
    }
    connection *c = what;
    if (!c->relay || !relay_run(c->relay)) finish(l, c);
  }
  if (atomic_load(&l->is_shut)) end_all(l);
  return NULL;
}

static bool bind_all(listener *l, const char *address, const char *unix_path, char *problem, size_t size) {
  if (unix_path) {
    l->unix_fd = sockets_listen_unix(unix_path, problem, size);
    if (l->unix_fd < 0) return false;
    snprintf(l->unix_path, sizeof l->unix_path, "%s", unix_path);
    snprintf(l->unix_address, sizeof l->unix_address, "unix:%s", unix_path);
  }
  if (!address) return true;
  l->tcp_fd = sockets_listen_tcp(address, problem, size);
  if (l->tcp_fd < 0) return false;
  struct sockaddr_storage bound;
  socklen_t length = sizeof bound;
  getsockname(l->tcp_fd, (struct sockaddr *)&bound, &length);
  sockets_name((struct sockaddr *)&bound, l->address, sizeof l->address);
  return true;
}

static bool open_events(listener *l) {
  l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return l->epoll_fd >= 0 && l->wake_fd >= 0 && watch(l, l->wake_fd, EPOLLIN, &l->wake_fd);
}

listener *listener_new(const char *address, const char *unix_path, char *problem, size_t size) {
  listener *l = calloc(1, sizeof *l);
  if (!l) {
    snprintf(problem, size, "out of memory");
    return NULL;
  }
  l->tcp_fd = l->unix_fd = l->epoll_fd = l->wake_fd = -1;
  pthread_mutex_init(&l->mu, NULL);
  if (!open_events(l)) {
    snprintf(problem, size, "cannot wait for events: %s", strerror(errno));
  } else if (bind_all(l, address, unix_path, problem, size)) {
    return l;
  }
  listener_free(l);
  return NULL;
}

bool listener_start(listener *l, grpc_server *server, int tls_port) {
  l->server = server;
  l->tls_port = tls_port;
  l->plain = grpc_insecure_server_credentials_create();
  bool ok = (l->tcp_fd < 0 || watch(l, l->tcp_fd, EPOLLIN, &l->tcp_fd)) &&
            (l->unix_fd < 0 || watch(l, l->unix_fd, EPOLLIN, &l->unix_fd));
  l->running = ok && pthread_create(&l->thread, NULL, listener_run, l) == 0;
  return l->running;
}

void listener_shut(listener *l) {
  if (!l->running) return;
  atomic_store(&l->is_shut, true);
  if (l->tcp_fd >= 0) shutdown(l->tcp_fd, SHUT_RDWR);
  if (l->unix_fd >= 0) shutdown(l->unix_fd, SHUT_RDWR);
  listener_drop_all(l);
  eventfd_write(l->wake_fd, 1);
}

void listener_stop(listener *l) {
  if (l->running) {
    eventfd_write(l->wake_fd, 1);
    pthread_join(l->thread, NULL);
    l->running = false;
  }
  close_fd(l->tcp_fd);
  close_fd(l->unix_fd);
  if (l->unix_fd >= 0) unlink(l->unix_path);
  l->tcp_fd = l->unix_fd = -1;
}

void listener_close(listener *l) {
  listener_stop(l);
  end_all(l);
  if (l->plain) grpc_server_credentials_release(l->plain);
  l->plain = NULL;
  close_fd(l->epoll_fd);
  close_fd(l->wake_fd);
  l->epoll_fd = l->wake_fd = -1;
}

void listener_free(listener *l) {
  if (!l) return;
  listener_close(l);
  pthread_mutex_destroy(&l->mu);
  free(l->by_number);
  free(l);
}

const char *listener_address(const listener *l) { return l->address; }

const char *listener_unix_address(const listener *l) { return l->unix_address; }

/* "fd:7", "ipv4:127.0.0.1:40312", "ipv6:%5B::1%5D:40312" or "unix:". All ends of a Unix socket have the one name. Of
 * those that share a port the address decides, but for an IPv4 address that is written as one of IPv6. */
static bool has_name(const connection *c, const char *grpc_peer, unsigned long number) {
  if (strncmp(grpc_peer, "fd:", 3) == 0) return !c->relay && c->descriptor == number;
  if (strncmp(grpc_peer, "unix:", 5) == 0) return strcmp(c->peer, "unix") == 0;
  return c->port == number && (c->relay || strstr(grpc_peer, c->peer) || strncmp(c->peer, "::ffff:", 7) == 0);
}

connection *listener_find(listener *l, const char *grpc_peer) {
  const char *colon = strrchr(grpc_peer, ':');
  unsigned long number = colon ? strtoul(colon + 1, NULL, 10) : 0;
  pthread_mutex_lock(&l->mu);
  connection *c = number > 0 && number < l->numbers ? l->by_number[number] : NULL;
  if (!c || !has_name(c, grpc_peer, number))
    for (c = l->first; c && !has_name(c, grpc_peer, number);) c = c->next;
  if (c) atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
  pthread_mutex_unlock(&l->mu);
  return c;
}

void listener_drop_all(listener *l) {
  pthread_mutex_lock(&l->mu);
  for (connection *c = l->first; c; c = c->next) connection_drop(c);
  pthread_mutex_unlock(&l->mu);
}

void listener_count(listener *l, uint64_t *open, uint64_t *total) {
  pthread_mutex_lock(&l->mu);
  *open = l->open;
  *total = l->total;
  pthread_mutex_unlock(&l->mu);
}
