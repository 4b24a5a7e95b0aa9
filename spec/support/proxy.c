/* A proxy for tests: forwards bytes between clients and a unix socket, and breaks connections where a spec asks for it,
 * after a count of bytes that may begin at a word. Invariant: a client or server that is cut off has been given exactly
 * the bytes before the cut.
 * One thread forwards for all connections and never touches the Lua state; mu guards all that changes.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PROXY "arvak.test.proxy"

enum { CHUNK = 65536, MAX_SESSIONS = 64, MAX_WORD = 64 };

/* REQUEST: from a client to the server. */
typedef enum direction { REQUEST, ANSWER } direction;
static const char *const direction_names[] = {"request", "answer", NULL};

/* CUT: both sides are closed. RESET: both, with a reset where the socket knows it. STALL: the proxy forwards nothing
 * from now on, on any connection. PART: the client's side is closed, the server's stays open and is not told. */
typedef enum action { CUT, RESET, STALL, PART } action;
static const char *const action_names[] = {"cut", "reset", "stall", "part", NULL};

/* What has been read from one side and not been given to the other. */
typedef struct pipe_buffer {
  size_t from, to;
  bool ended; /* nothing more will be read */
  size_t matched;
  char bytes[CHUNK];
} pipe_buffer;

typedef struct session {
  int fds[2]; /* from which REQUESTs come, from which ANSWERs come; -1: closed */
  bool parted;
  pipe_buffer buffers[2];
  struct session *next;
} session;

typedef struct trap {
  bool is_set, has_begun; /* begun: its word has come */
  direction direction;
  action action;
  uint64_t left;
  size_t word_size;
  char word[MAX_WORD];
} trap;

typedef struct proxy {
  pthread_t thread;
  pthread_mutex_t mu;
  int listener, wake;
  bool started, stopping, stalled, refusing;
  trap trap;
  session *sessions; /* owned */
  uint64_t connections, passed[2];
  struct sockaddr_un target;
  char path[108]; /* "": TCP */
  int port;
} proxy;

/* ---- connections ---- */

static void close_fd(int *fd, bool reset) {
  if (*fd < 0) return;
  if (reset) setsockopt(*fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
  close(*fd);
  *fd = -1;
}

static void session_close(session *l, bool reset) {
  close_fd(&l->fds[REQUEST], reset);
  close_fd(&l->fds[ANSWER], reset);
}

/* A client that is accepted while nobody listens behind is closed at once. */
static void session_open(proxy *p) {
  int fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  session *l = calloc(1, sizeof *l);
  if (!l || server < 0 || connect(server, (struct sockaddr *)&p->target, sizeof p->target) != 0) {
    close_fd(&fd, true);
    close_fd(&server, false);
    free(l);
    return;
  }
  fcntl(server, F_SETFL, O_NONBLOCK);
  if (!p->path[0]) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
  l->fds[REQUEST] = fd;
  l->fds[ANSWER] = server;
  l->next = p->sessions;
  p->sessions = l;
  p->connections++;
}

static void sessions_sweep(proxy *p) {
  for (session **at = &p->sessions; *at;) {
    session *l = *at;
    if (l->fds[0] >= 0 || l->fds[1] >= 0) {
      at = &l->next;
      continue;
    }
    *at = l->next;
    free(l);
  }
}

/* ---- the trap ---- */

/* How many of the bytes from here may pass: all, unless the trap springs among them. */
static size_t trap_allows(trap *t, direction d, pipe_buffer *b, const char *bytes, size_t size) {
  if (!t->is_set || t->direction != d) return size;
  size_t start = 0;
  if (!t->has_begun) {
    for (; start < size && b->matched < t->word_size; start++) {
      if (bytes[start] == t->word[b->matched]) b->matched++;
      else b->matched = bytes[start] == t->word[0];
    }
    if (b->matched < t->word_size) return size;
    t->has_begun = true;
  }
  if (size - start > t->left) return start + (size_t)t->left;
  t->left -= size - start;
  return size;
}

static void trap_spring(proxy *p, session *l) {
  p->trap.is_set = false;
  switch (p->trap.action) {
    case CUT: session_close(l, false); break;
    case RESET: session_close(l, true); break;
    case STALL: p->stalled = true; break;
    case PART:
      close_fd(&l->fds[REQUEST], false);
      l->parted = true;
      break;
  }
}

/* ---- forwarding ---- */

/* Gives what may pass to the other side. The rest of what was read when the trap sprang stays, for what comes later. */
static void flush(proxy *p, session *l, direction d) {
  pipe_buffer *b = &l->buffers[d];
  int *to = &l->fds[!d];
  while (b->from < b->to && *to >= 0 && !p->stalled && !l->parted) {
    size_t size = b->to - b->from, allowed = trap_allows(&p->trap, d, b, b->bytes + b->from, size);
    size_t given = 0;
    while (given < allowed) { /* what the trap has counted is given whole */
      ssize_t n = send(*to, b->bytes + b->from + given, allowed - given, MSG_NOSIGNAL);
      if (n > 0) given += (size_t)n;
      else if (n < 0 && errno == EAGAIN) poll(&(struct pollfd){*to, POLLOUT, 0}, 1, 100);
      else if (n < 0 && errno != EINTR) return session_close(l, false);
    }
    b->from += given;
    p->passed[d] += given;
    if (allowed < size) trap_spring(p, l);
  }
  if (b->from == b->to) {
    b->from = b->to = 0;
    if (b->ended && *to >= 0) session_close(l, false);
  }
}

static void fill(proxy *p, session *l, direction d) {
  pipe_buffer *b = &l->buffers[d];
  if (l->fds[d] < 0 || b->to == CHUNK) return;
  ssize_t n = read(l->fds[d], b->bytes + b->to, CHUNK - b->to);
  if (n > 0) b->to += (size_t)n;
  else if (n == 0 || (errno != EAGAIN && errno != EINTR)) b->ended = true;
  if (l->parted && b->ended) session_close(l, false);
  flush(p, l, d);
}

static bool reads(const proxy *p, const session *l, direction d) {
  return l->fds[d] >= 0 && !l->buffers[d].ended && l->buffers[d].to < CHUNK && !p->stalled;
}

static void step(proxy *p) {
  struct pollfd fds[2 + 2 * MAX_SESSIONS];
  size_t n = 0;
  fds[n++] = (struct pollfd){p->wake, POLLIN, 0};
  fds[n++] = (struct pollfd){p->listener, POLLIN, 0};
  for (session *l = p->sessions; l && n < 2 * MAX_SESSIONS; l = l->next) {
    for (int d = 0; d < 2; d++) fds[n++] = (struct pollfd){reads(p, l, d) ? l->fds[d] : -1, POLLIN, 0};
  }
  pthread_mutex_unlock(&p->mu);
  poll(fds, n, -1);
  pthread_mutex_lock(&p->mu);
  uint64_t rung;
  if (fds[0].revents && read(p->wake, &rung, sizeof rung) < 0) return;
  size_t at = 2;
  for (session *l = p->sessions; l && at < n; l = l->next) {
    for (int d = 0; d < 2; d++, at++) {
      if (fds[at].revents && fds[at].fd == l->fds[d]) fill(p, l, d);
    }
  }
  if (fds[1].revents && fds[1].fd == p->listener) session_open(p);
  sessions_sweep(p);
}

static void *forward(void *ud) {
  proxy *p = ud;
  pthread_mutex_lock(&p->mu);
  while (!p->stopping) step(p);
  for (session *l = p->sessions; l; l = l->next) session_close(l, false);
  sessions_sweep(p);
  pthread_mutex_unlock(&p->mu);
  return NULL;
}

/* ---- what Lua calls ---- */

static proxy *to_proxy(lua_State *L) { return luaL_checkudata(L, 1, PROXY); }

static void wake(proxy *p) {
  uint64_t one = 1;
  if (write(p->wake, &one, sizeof one) < 0) return;
}

static bool start_listening(proxy *p) {
  struct sockaddr_un un = {.sun_family = AF_UNIX};
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)p->port)};
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  memcpy(un.sun_path, p->path, sizeof p->path);
  p->listener = socket(p->path[0] ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (p->path[0]) unlink(p->path);
  else setsockopt(p->listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
  const struct sockaddr *address = p->path[0] ? (struct sockaddr *)&un : (struct sockaddr *)&in;
  if (bind(p->listener, address, p->path[0] ? sizeof un : sizeof in) != 0) return false;
  socklen_t size = sizeof in;
  if (!p->path[0] && getsockname(p->listener, (struct sockaddr *)&in, &size) == 0) p->port = ntohs(in.sin_port);
  return listen(p->listener, 64) == 0;
}

/* proxy(target, path or nil) -> proxy: listens on the path, or on a port of 127.0.0.1. */
static int proxy_new(lua_State *L) {
  size_t target_size, path_size;
  const char *target = luaL_checklstring(L, 1, &target_size), *path = luaL_optlstring(L, 2, "", &path_size);
  proxy *p = lua_newuserdatauv(L, sizeof *p, 0);
  memset(p, 0, sizeof *p);
  p->listener = p->wake = -1;
  p->target.sun_family = AF_UNIX;
  luaL_setmetatable(L, PROXY);
  luaL_argcheck(L, target_size < sizeof p->target.sun_path, 1, "too long");
  luaL_argcheck(L, path_size < sizeof p->path, 2, "too long");
  memcpy(p->target.sun_path, target, target_size);
  memcpy(p->path, path, path_size);
  p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  pthread_mutex_init(&p->mu, NULL);
  if (!start_listening(p)) return luaL_error(L, "bind: %s", strerror(errno));
  if (pthread_create(&p->thread, NULL, forward, p) != 0) return luaL_error(L, "no thread");
  p->started = true;
  return 1;
}

static int proxy_stop(lua_State *L) {
  proxy *p = to_proxy(L);
  if (p->started) {
    pthread_mutex_lock(&p->mu);
    p->stopping = true;
    pthread_mutex_unlock(&p->mu);
    wake(p);
    pthread_join(p->thread, NULL);
    p->started = false;
    if (p->path[0]) unlink(p->path);
  }
  close_fd(&p->listener, false);
  close_fd(&p->wake, false);
  return 0;
}

/* proxy:where() -> host, port, or the path. */
static int proxy_where(lua_State *L) {
  proxy *p = to_proxy(L);
  lua_pushstring(L, p->path[0] ? p->path : "127.0.0.1");
  lua_pushinteger(L, p->port);
  return p->path[0] ? 1 : 2;
}

/* proxy:arm(direction, bytes, action, word or nil): once so many bytes have passed, counted from now or from the end of
 * the next such word, and one more is to pass, the action happens to the connection that carries it. */
static int proxy_arm(lua_State *L) {
  proxy *p = to_proxy(L);
  size_t size;
  trap t = {.is_set = true, .direction = luaL_checkoption(L, 2, NULL, direction_names)};
  t.left = (uint64_t)luaL_checkinteger(L, 3);
  t.action = luaL_checkoption(L, 4, NULL, action_names);
  const char *word = luaL_optlstring(L, 5, "", &size);
  luaL_argcheck(L, size < MAX_WORD, 5, "too long");
  memcpy(t.word, word, size);
  t.word_size = size;
  t.has_begun = size == 0;
  pthread_mutex_lock(&p->mu);
  for (session *l = p->sessions; l; l = l->next) l->buffers[0].matched = l->buffers[1].matched = 0;
  p->trap = t;
  pthread_mutex_unlock(&p->mu);
  return 0;
}

static int proxy_is_armed(lua_State *L) {
  proxy *p = to_proxy(L);
  pthread_mutex_lock(&p->mu);
  lua_pushboolean(L, p->trap.is_set);
  pthread_mutex_unlock(&p->mu);
  return 1;
}

/* From now on nothing is forwarded, or again. */
static int proxy_stall(lua_State *L) {
  proxy *p = to_proxy(L);
  pthread_mutex_lock(&p->mu);
  p->stalled = true;
  pthread_mutex_unlock(&p->mu);
  wake(p);
  return 0;
}

static int proxy_resume(lua_State *L) {
  proxy *p = to_proxy(L);
  pthread_mutex_lock(&p->mu);
  p->stalled = false;
  for (session *l = p->sessions; l; l = l->next) {
    for (int d = 0; d < 2; d++) flush(p, l, d);
  }
  pthread_mutex_unlock(&p->mu);
  wake(p);
  return 0;
}

/* proxy:cut(): closes every connection that is open. */
static int proxy_cut(lua_State *L) {
  proxy *p = to_proxy(L);
  pthread_mutex_lock(&p->mu);
  for (session *l = p->sessions; l; l = l->next) session_close(l, false);
  pthread_mutex_unlock(&p->mu);
  wake(p);
  return 0;
}

/* proxy:deliver(): gives the server what its parted clients had sent. It goes on holding the server's side open. */
static int proxy_deliver(lua_State *L) {
  proxy *p = to_proxy(L);
  pthread_mutex_lock(&p->mu);
  for (session *l = p->sessions; l; l = l->next) {
    pipe_buffer *b = &l->buffers[REQUEST];
    if (!l->parted || l->fds[ANSWER] < 0) continue;
    if (send(l->fds[ANSWER], b->bytes + b->from, b->to - b->from, MSG_NOSIGNAL) >= 0) b->from = b->to;
  }
  pthread_mutex_unlock(&p->mu);
  return 0;
}

/* proxy:refuse(): nobody listens any more, until proxy:listen(). */
static int proxy_refuse(lua_State *L) {
  proxy *p = to_proxy(L);
  pthread_mutex_lock(&p->mu);
  close_fd(&p->listener, false);
  pthread_mutex_unlock(&p->mu);
  wake(p);
  return 0;
}

static int proxy_listen(lua_State *L) {
  proxy *p = to_proxy(L);
  pthread_mutex_lock(&p->mu);
  bool ok = p->listener >= 0 || start_listening(p);
  pthread_mutex_unlock(&p->mu);
  wake(p);
  return ok ? 0 : luaL_error(L, "bind: %s", strerror(errno));
}

static void set_field(lua_State *L, const char *name, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, name);
}

/* proxy:stats() -> connections (all), open, request and answer (bytes that have passed). */
static int proxy_stats(lua_State *L) {
  proxy *p = to_proxy(L);
  uint64_t open = 0;
  pthread_mutex_lock(&p->mu);
  for (session *l = p->sessions; l; l = l->next) open += l->fds[REQUEST] >= 0;
  uint64_t connections = p->connections, request = p->passed[REQUEST], answer = p->passed[ANSWER];
  pthread_mutex_unlock(&p->mu);
  lua_newtable(L);
  set_field(L, "connections", connections);
  set_field(L, "open", open);
  set_field(L, "request", request);
  set_field(L, "answer", answer);
  return 1;
}

static const luaL_Reg methods[] = {
  {"where", proxy_where}, {"arm", proxy_arm}, {"is_armed", proxy_is_armed}, {"stall", proxy_stall},
  {"resume", proxy_resume}, {"cut", proxy_cut}, {"deliver", proxy_deliver}, {"refuse", proxy_refuse},
  {"listen", proxy_listen}, {"stats", proxy_stats}, {"stop", proxy_stop}, {NULL, NULL},
};

__attribute__((visibility("default"))) int luaopen_proxy(lua_State *L);

int luaopen_proxy(lua_State *L) {
  luaL_newmetatable(L, PROXY);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, proxy_stop);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, proxy_new);
  return 1;
}
