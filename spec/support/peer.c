/* A raw HTTP/2 peer for tests: does on request what gRPC's own server cannot, at a chosen stage of a connection or a
 * request, and counts what it has seen. It understands frames only as far as it must; what it says back is given as
 * bytes (peer.lua makes them). Invariant: a request counts as whole once its last frame was read, and before anything
 * is said about it, so what a client is told cannot precede what stats() tells.
 * A thread accepts and each connection has a thread of its own; none of them touches the Lua state.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PEER "arvak.test.peer"

enum { DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, WINDOW_UPDATE = 8 };
enum { FLAG_ACK = 1, FLAG_END_STREAM = 1, FRAME_HEAD = 9, MAX_FRAME = 16384, PREFACE = 24 };

/* Stream ids in what a step sends: of the stream that it is about, and of the one before that. */
static const uint32_t this_stream = 0xffffffff, stream_before = 0xfffffffe;

typedef enum stage { AT_ACCEPT, AT_SETTINGS, AT_HEADERS, AT_END } stage;
typedef enum ending { KEEP, CLOSE, RESET } ending;
static const char *const stage_names[] = {"accept", "settings", "headers", "end", NULL};
static const char *const ending_names[] = {"keep", "close", "reset", NULL};

/* What to do at a stage: say these bytes, at once or one every pace_us, then end the connection or not. */
typedef struct step {
  stage at;
  ending ending;
  bool refuses; /* what is said means that the request was not executed; any other that was read whole counts as such */
  useconds_t pace_us;
  size_t size;
  char *bytes; /* owned */
} step;

/* One step for each connection or request, in order; the last one serves all that follow. */
typedef struct plan {
  step *steps; /* owned */
  size_t count, next;
} plan;

typedef struct counters {
  uint64_t connections, open, prefaces, begun, whole, canceled;
  uint64_t executed, twice; /* twice: of which the like had been executed before */
} counters;

typedef struct session session;

typedef struct peer {
  int fd; /* -1: stopped */
  char address[128];
  char path[108];
  bool listening;
  pthread_t acceptor;
  pthread_mutex_t mu;
  pthread_cond_t session_gone;
  plan connections, requests; /* mu, as are the next three */
  counters seen;
  session *sessions;
  bool stopping;
  uint64_t *executed; /* mu: hashes of what was executed; owned */
  char heard[1024];   /* mu, with the next: the beginning of the first request's headers, as they came */
  size_t heard_size;
} peer;

/* A request whose end has not been seen, with what is planned for it. */
typedef struct request {
  uint32_t stream;
  uint64_t hash; /* of its body */
  step step;
  struct request *next;
} request;

/* One connection; its thread's alone but for fd and next, which are written under the peer's mu. */
struct session {
  peer *peer;
  int fd;
  session *next;
  request *requests;
  unsigned char payload[MAX_FRAME];
};

/* ---- plans ---- */

static void step_fini(step *s) { free(s->bytes); }

static void plan_fini(plan *p) {
  for (size_t i = 0; i < p->count; i++) step_fini(&p->steps[i]);
  free(p->steps);
  *p = (plan){NULL, 0, 0};
}

/* A copy, as the plan may be replaced meanwhile. Without a plan: nothing is said, and the connection is kept. */
static step plan_take(peer *p, plan *from) {
  step taken = {.at = AT_END};
  pthread_mutex_lock(&p->mu);
  if (from->count > 0) {
    taken = from->steps[from->next];
    taken.bytes = malloc(taken.size + 1);
    if (taken.bytes) memcpy(taken.bytes, from->steps[from->next].bytes, taken.size);
    else taken.size = 0;
    if (from->next + 1 < from->count) from->next++;
  }
  pthread_mutex_unlock(&p->mu);
  return taken;
}

static void count(peer *p, uint64_t *counter) {
  pthread_mutex_lock(&p->mu);
  ++*counter;
  pthread_mutex_unlock(&p->mu);
}

/* ---- bytes ---- */

static uint32_t get32(const unsigned char *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void put32(unsigned char *at, uint32_t value) {
  for (int i = 0; i < 4; i++) at[i] = (unsigned char)(value >> (24 - 8 * i));
}

static bool send_all(session *l, const void *bytes, size_t size) {
  for (const char *at = bytes; size > 0;) {
    ssize_t n = send(l->fd, at, size, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    at += n;
    size -= (size_t)n;
  }
  return true;
}

static bool read_all(session *l, void *bytes, size_t size) {
  for (char *at = bytes; size > 0;) {
    ssize_t n = recv(l->fd, at, size, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    size -= (size_t)n;
  }
  return true;
}

static bool send_frame(session *l, int type, int flags, uint32_t stream, const void *payload, size_t size) {
  unsigned char frame[FRAME_HEAD + 8] = {0, 0, (unsigned char)size, (unsigned char)type, (unsigned char)flags};
  put32(frame + 5, stream);
  if (size) memcpy(frame + FRAME_HEAD, payload, size);
  return send_all(l, frame, FRAME_HEAD + size);
}

/* ---- steps ---- */

static void patch(unsigned char *at, uint32_t stream) {
  uint32_t given = get32(at);
  if (given == this_stream) put32(at, stream);
  if (given == stream_before) put32(at, stream > 2 ? stream - 2 : 0);
}

/* Puts the real stream ids where the marks are: in the heads of frames, and in what GOAWAY says. */
static void patch_all(const step *s, uint32_t stream) {
  unsigned char *bytes = (unsigned char *)s->bytes;
  for (size_t at = 0; at + FRAME_HEAD <= s->size; at += FRAME_HEAD + (get32(bytes + at) >> 8)) {
    patch(bytes + at + 5, stream);
    if (bytes[at + 3] == GOAWAY && at + FRAME_HEAD + 4 <= s->size) patch(bytes + at + FRAME_HEAD, stream);
  }
}

static bool say(session *l, const step *s) {
  if (!s->pace_us) return send_all(l, s->bytes, s->size);
  for (size_t i = 0; i < s->size; i++) {
    if (!send_all(l, s->bytes + i, 1)) return false;
    usleep(s->pace_us);
  }
  return true;
}

/* False: the connection is over. A half-closed one reads on until the client has closed it, too. */
static bool act(session *l, step *s, uint32_t stream) {
  patch_all(s, stream);
  bool said = say(l, s);
  if (said && s->ending == CLOSE) shutdown(l->fd, SHUT_WR);
  if (said && s->ending == RESET)
    setsockopt(l->fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
  step_fini(s);
  return said && s->ending != RESET;
}

/* ---- frames ---- */

static request **find_request(session *l, uint32_t stream) {
  request **at = &l->requests;
  while (*at && (*at)->stream != stream) at = &(*at)->next;
  return at;
}

static void note_body(session *l, uint32_t stream, size_t size) {
  request *r = *find_request(l, stream);
  for (size_t i = 0; r && i < size; i++) r->hash = (r->hash ^ l->payload[i]) * UINT64_C(1099511628211);
}

static void note_executed(peer *p, uint64_t hash) {
  pthread_mutex_lock(&p->mu);
  uint64_t *longer = realloc(p->executed, (p->seen.executed + 1) * sizeof *longer);
  if (longer) {
    p->executed = longer;
    size_t i = 0;
    while (i < p->seen.executed && longer[i] != hash) i++;
    if (i < p->seen.executed) p->seen.twice++;
    longer[p->seen.executed++] = hash;
  }
  pthread_mutex_unlock(&p->mu);
}

static void note_headers(peer *p, const unsigned char *block, size_t size) {
  pthread_mutex_lock(&p->mu);
  if (p->heard_size == 0) {
    p->heard_size = size < sizeof p->heard ? size : sizeof p->heard;
    memcpy(p->heard, block, p->heard_size);
  }
  pthread_mutex_unlock(&p->mu);
}

static bool on_headers(session *l, uint32_t stream, size_t size) {
  peer *p = l->peer;
  note_headers(p, l->payload, size);
  count(p, &p->seen.begun);
  step s = plan_take(p, &p->requests);
  if (s.at == AT_HEADERS) return act(l, &s, stream);
  request *r = malloc(sizeof *r);
  if (!r) return false;
  *r = (request){stream, UINT64_C(14695981039346656037), s, l->requests};
  l->requests = r;
  return true;
}

static bool on_end(session *l, uint32_t stream) {
  count(l->peer, &l->peer->seen.whole);
  request **at = find_request(l, stream), *r = *at;
  if (!r) return true;
  *at = r->next;
  step s = r->step;
  if (!s.refuses) note_executed(l->peer, r->hash);
  free(r);
  return act(l, &s, stream);
}

static bool give_window(session *l, uint32_t stream, uint32_t size) {
  unsigned char increment[4];
  put32(increment, size);
  return size == 0 || (send_frame(l, WINDOW_UPDATE, 0, 0, increment, 4) &&
                       send_frame(l, WINDOW_UPDATE, 0, stream, increment, 4));
}

/* The connection's own step waits for the client's first SETTINGS. */
static bool on_settings(session *l, int flags, step *first) {
  if (flags & FLAG_ACK) return true;
  if (!send_frame(l, SETTINGS, FLAG_ACK, 0, NULL, 0)) return false;
  if (first->at != AT_SETTINGS) return true;
  first->at = AT_END;
  bool goes_on = act(l, first, 0);
  first->bytes = NULL;
  return goes_on;
}

static bool on_frame(session *l, const unsigned char *head, uint32_t size, step *first) {
  uint32_t stream = get32(head + 5) & INT32_MAX;
  bool goes_on = true;
  switch (head[3]) {
    case SETTINGS: return on_settings(l, head[4], first);
    case PING: return head[4] & FLAG_ACK || size != 8 || send_frame(l, PING, FLAG_ACK, 0, l->payload, 8);
    case RST_STREAM: count(l->peer, &l->peer->seen.canceled); return true;
    case HEADERS: goes_on = on_headers(l, stream, size); break;
    case DATA:
      note_body(l, stream, size);
      goes_on = give_window(l, stream, size);
      break;
    default: return true;
  }
  return goes_on && (!(head[4] & FLAG_END_STREAM) || on_end(l, stream));
}

static void read_frames(session *l, step *first) {
  unsigned char head[FRAME_HEAD];
  for (;;) {
    if (!read_all(l, head, sizeof head)) return;
    uint32_t size = get32(head) >> 8;
    if (size > MAX_FRAME || !read_all(l, l->payload, size) || !on_frame(l, head, size, first)) return;
  }
}

static void converse(session *l) {
  peer *p = l->peer;
  step first = plan_take(p, &p->connections);
  if (first.at == AT_ACCEPT) {
    if (!act(l, &first, 0)) return;
    while (recv(l->fd, l->payload, sizeof l->payload, 0) > 0) continue;
    return;
  }
  if (send_frame(l, SETTINGS, 0, 0, NULL, 0) && read_all(l, l->payload, PREFACE)) {
    count(p, &p->seen.prefaces);
    read_frames(l, &first);
  }
  step_fini(&first);
}

/* ---- threads ---- */

static void close_session(session *l) {
  peer *p = l->peer;
  while (l->requests) {
    request *next = l->requests->next;
    step_fini(&l->requests->step);
    free(l->requests);
    l->requests = next;
  }
  pthread_mutex_lock(&p->mu);
  session **at = &p->sessions;
  while (*at != l) at = &(*at)->next;
  *at = l->next;
  close(l->fd);
  p->seen.open--;
  pthread_cond_signal(&p->session_gone);
  pthread_mutex_unlock(&p->mu);
  free(l);
}

static void *session_run(void *ud) {
  session *l = ud;
  converse(l);
  close_session(l);
  return NULL;
}

/* Sessions are counted by the list, so their threads need not be joined. */
static void open_session(peer *p, int fd) {
  session *l = calloc(1, sizeof *l);
  if (!l) {
    close(fd);
    return;
  }
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
  l->peer = p;
  l->fd = fd;
  pthread_mutex_lock(&p->mu);
  l->next = p->sessions;
  p->sessions = l;
  p->seen.connections++;
  p->seen.open++;
  if (p->stopping) shutdown(fd, SHUT_RDWR);
  pthread_mutex_unlock(&p->mu);
  pthread_t thread;
  if (pthread_create(&thread, NULL, session_run, l) == 0) pthread_detach(thread);
  else close_session(l);
}

static void *acceptor_run(void *ud) {
  peer *p = ud;
  for (;;) {
    int fd = accept(p->fd, NULL, NULL);
    if (fd >= 0) open_session(p, fd);
    else if (errno == EMFILE || errno == ENFILE) usleep(1000);
    else if (errno != EINTR && errno != ECONNABORTED) return NULL;
  }
}

static void drop_sessions(peer *p) {
  for (session *l = p->sessions; l; l = l->next) shutdown(l->fd, SHUT_RDWR);
}

static void stop(peer *p) {
  if (p->fd < 0) return;
  pthread_mutex_lock(&p->mu);
  p->stopping = true;
  pthread_mutex_unlock(&p->mu);
  shutdown(p->fd, SHUT_RDWR);
  if (p->listening) pthread_join(p->acceptor, NULL);
  close(p->fd);
  p->fd = -1;
  if (*p->path) unlink(p->path);
  pthread_mutex_lock(&p->mu);
  drop_sessions(p);
  while (p->sessions) pthread_cond_wait(&p->session_gone, &p->mu);
  pthread_mutex_unlock(&p->mu);
}

/* ---- Lua ---- */

static peer *check_peer(lua_State *L) { return luaL_checkudata(L, 1, PEER); }

static bool bind_unix(peer *p, const char *path) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof at.sun_path) return false;
  strcpy(at.sun_path, path);
  p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind(p->fd, (struct sockaddr *)&at, sizeof at) != 0) return false;
  strcpy(p->path, path);
  strcat(strcpy(p->address, "unix:"), path);
  return true;
}

static bool bind_tcp(peer *p) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof at;
  p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind(p->fd, (struct sockaddr *)&at, sizeof at) != 0) return false;
  getsockname(p->fd, (struct sockaddr *)&at, &length);
  snprintf(p->address, sizeof p->address, "127.0.0.1:%d", ntohs(at.sin_port));
  return true;
}

/* bind(path or nil): a socket that refuses connections until peer:listen(). */
static int peer_bind(lua_State *L) {
  const char *path = luaL_optstring(L, 1, NULL);
  peer *p = lua_newuserdatauv(L, sizeof *p, 0);
  memset(p, 0, sizeof *p);
  p->fd = -1;
  pthread_mutex_init(&p->mu, NULL);
  pthread_cond_init(&p->session_gone, NULL);
  luaL_setmetatable(L, PEER);
  if (!(path ? bind_unix(p, path) : bind_tcp(p))) return luaL_error(L, "cannot bind: %s", strerror(errno));
  return 1;
}

static int peer_listen(lua_State *L) {
  peer *p = check_peer(L);
  if (p->fd < 0 || p->listening) return luaL_error(L, "the peer listens already, or has been stopped");
  if (listen(p->fd, 128) != 0) return luaL_error(L, "cannot listen: %s", strerror(errno));
  if (pthread_create(&p->acceptor, NULL, acceptor_run, p) != 0) return luaL_error(L, "no thread");
  p->listening = true;
  return 0;
}

static const char *text_field(lua_State *L, const char *name, const char *otherwise, size_t *size) {
  lua_getfield(L, -1, name);
  const char *text = luaL_optlstring(L, -1, otherwise, size);
  lua_pop(L, 1); /* the table holds it */
  return text;
}

static int choice(lua_State *L, const char *text, const char *const *names) {
  for (int i = 0; names[i]; i++)
    if (strcmp(text, names[i]) == 0) return i;
  return luaL_error(L, "a step has no '%s'", text);
}

/* The step on top of the stack; raises before it owns anything. */
static step read_step(lua_State *L) {
  luaL_checktype(L, -1, LUA_TTABLE);
  step s = {.at = (stage)choice(L, text_field(L, "at", "end", NULL), stage_names)};
  s.ending = (ending)choice(L, text_field(L, "ending", "keep", NULL), ending_names);
  lua_getfield(L, -1, "refuses");
  s.refuses = lua_toboolean(L, -1);
  lua_pop(L, 1);
  lua_getfield(L, -1, "pace");
  s.pace_us = (useconds_t)(luaL_optnumber(L, -1, 0) * 1e6);
  lua_pop(L, 1);
  const char *bytes = text_field(L, "say", "", &s.size);
  s.bytes = malloc(s.size + 1);
  if (!s.bytes) luaL_error(L, "out of memory");
  memcpy(s.bytes, bytes, s.size);
  return s;
}

/* peer:plan("connections" or "requests", list of steps) */
static int peer_plan(lua_State *L) {
  static const char *const names[] = {"connections", "requests", NULL};
  peer *p = check_peer(L);
  plan *to = luaL_checkoption(L, 2, NULL, names) == 0 ? &p->connections : &p->requests;
  luaL_checktype(L, 3, LUA_TTABLE);
  size_t wanted = lua_rawlen(L, 3);
  plan made = {calloc(wanted + 1, sizeof(step)), 0, 0};
  if (!made.steps) return luaL_error(L, "out of memory");
  while (made.count < wanted) {
    lua_geti(L, 3, (lua_Integer)made.count + 1);
    made.steps[made.count++] = read_step(L); /* a mistake in a test leaks: the test is to be mended */
    lua_pop(L, 1);
  }
  pthread_mutex_lock(&p->mu);
  plan old = *to;
  *to = made;
  pthread_mutex_unlock(&p->mu);
  plan_fini(&old);
  return 0;
}

static int peer_stats(lua_State *L) {
  peer *p = check_peer(L);
  pthread_mutex_lock(&p->mu);
  counters seen = p->seen;
  pthread_mutex_unlock(&p->mu);
  const struct {
    const char *name;
    uint64_t value;
  } list[] = {{"connections", seen.connections}, {"open", seen.open},   {"prefaces", seen.prefaces},
              {"begun", seen.begun},             {"whole", seen.whole}, {"canceled", seen.canceled},
              {"executed", seen.executed},       {"twice", seen.twice}};
  lua_createtable(L, 0, 8);
  for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
    lua_pushinteger(L, (lua_Integer)list[i].value);
    lua_setfield(L, -2, list[i].name);
  }
  return 1;
}

/* peer:heard(): the headers of the first request, in HPACK; gRPC writes names and values as they are. */
static int peer_heard(lua_State *L) {
  peer *p = check_peer(L);
  char block[sizeof p->heard];
  pthread_mutex_lock(&p->mu);
  size_t size = p->heard_size;
  memcpy(block, p->heard, size);
  pthread_mutex_unlock(&p->mu);
  lua_pushlstring(L, block, size);
  return 1;
}

/* Ends every connection. */
static int peer_drop(lua_State *L) {
  peer *p = check_peer(L);
  pthread_mutex_lock(&p->mu);
  drop_sessions(p);
  pthread_mutex_unlock(&p->mu);
  return 0;
}

static int peer_address(lua_State *L) {
  lua_pushstring(L, check_peer(L)->address);
  return 1;
}

static int peer_stop(lua_State *L) {
  stop(check_peer(L));
  return 0;
}

static int peer_gc(lua_State *L) {
  peer *p = check_peer(L);
  stop(p);
  plan_fini(&p->connections);
  plan_fini(&p->requests);
  free(p->executed);
  p->executed = NULL;
  return 0;
}

static const luaL_Reg methods[] = {{"listen", peer_listen}, {"plan", peer_plan},       {"stats", peer_stats},
                                   {"drop", peer_drop},     {"address", peer_address}, {"stop", peer_stop},
                                   {"heard", peer_heard},
                                   {"__gc", peer_gc},       {"__close", peer_stop},    {NULL, NULL}};

__attribute__((visibility("default"))) int luaopen_peer(lua_State *L);

int luaopen_peer(lua_State *L) {
  luaL_newmetatable(L, PEER);
  luaL_setfuncs(L, methods, 0);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, peer_bind);
  return 1;
}
