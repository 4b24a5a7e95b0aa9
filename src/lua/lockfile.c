/* A lock file: who holds the lock on it may use what stands beside it. POSIX locks would not do: any close of the file
 * in the process drops them. The kernel drops this lock with the process, so a file that a crash has left is free.
 * Invariant: of all processes and Lua states one holds the lock on the file that has the name; a fork holds none.
 * SPDX-License-Identifier: Apache-2.0 */
#include "lockfile.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <pthread.h>
#include <stdint.h>
#include <unistd.h>

#include "files.h"

#define LOCKFILE "arvak.lockfile"

enum { MOST_TRIES = 100 };

/* A userdata, whose user value is its path. */
typedef struct lockfile {
  int fd;           /* -1: not held */
  int64_t found;    /* the size that it had, -1: it is new */
  struct lockfile *next;
} lockfile;

/* Every lock that this process holds, guarded by held_mutex: a child of fork shares the open files, and would keep them
 * locked when its parent has gone. Only a list of the process can tell it which to close. */
static pthread_mutex_t held_mutex = PTHREAD_MUTEX_INITIALIZER;
static lockfile *held;

static void before_fork(void) { pthread_mutex_lock(&held_mutex); }
static void after_fork(void) { pthread_mutex_unlock(&held_mutex); }

static void after_fork_in_child(void) {
  for (; held; held = held->next) {
    close(held->fd);
    held->fd = -1;
  }
  pthread_mutex_unlock(&held_mutex);
}

static void watch_forks(void) { pthread_atfork(before_fork, after_fork, after_fork_in_child); }

/* ---- one lock ---- */

static bool is_in_place(int fd, const char *path) {
  struct stat own, named;
  return fstat(fd, &own) == 0 && stat(path, &named) == 0 && larvak_files_are_same(&own, &named);
}

/* Opens and locks it: 0, or an errno. EAGAIN: somebody holds it. EINVAL: that is no file. ENOENT and EEXIST: somebody
 * has removed or made it in this moment. */
static int try_to_lock(lockfile *lock, const char *path) {
  enum { FLAGS = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY };
  struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  struct stat info;
  int fd = open(path, FLAGS), code = 0;
  bool is_new = fd < 0 && errno == ENOENT;
  if (is_new) fd = open(path, FLAGS | O_CREAT | O_EXCL, 0666);
  if (fd < 0) return errno;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) code = EINVAL;
  else if (fcntl(fd, F_OFD_SETLK, &whole) != 0) code = errno == EACCES ? EAGAIN : errno;
  else if (!is_in_place(fd, path) || fstat(fd, &info) != 0) code = ENOENT;
  if (code != 0) {
    close(fd);
    return code;
  }
  lock->fd = fd;
  lock->found = is_new ? -1 : (int64_t)info.st_size;
  lock->next = held;
  held = lock;
  return 0;
}

static void release(lockfile *lock, const char *path, bool keeps_file) {
  struct flock whole = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
  pthread_mutex_lock(&held_mutex);
  if (lock->fd >= 0) {
    lockfile **place = &held;
    while (*place != lock) place = &(*place)->next;
    *place = lock->next;
    if (!keeps_file && is_in_place(lock->fd, path)) unlink(path); /* while it is locked: who opens it now can see it */
    fcntl(lock->fd, F_OFD_SETLK, &whole); /* also for a child between fork and exec, which shares it */
    close(lock->fd);
    lock->fd = -1;
  }
  pthread_mutex_unlock(&held_mutex);
}

/* ---- for the Lua layer ---- */

static const char *path_of(lua_State *L) {
  lua_getiuservalue(L, 1, 1);
  return lua_tostring(L, -1);
}

/* lock_file(path): the lock; or nil, a message and whether somebody holds it. */
static int lock_file(lua_State *L) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  const char *path = luaL_checkstring(L, 1);
  pthread_once(&once, watch_forks);
  lockfile *lock = lua_newuserdatauv(L, sizeof *lock, 1);
  *lock = (lockfile){.fd = -1};
  luaL_setmetatable(L, LOCKFILE);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  pthread_mutex_lock(&held_mutex);
  int code = ENOENT;
  for (int i = 0; i < MOST_TRIES && (code == ENOENT || code == EEXIST); i++) code = try_to_lock(lock, path);
  pthread_mutex_unlock(&held_mutex);
  if (code == 0) return 1;
  larvak_files_push_error(L, code);
  lua_pushboolean(L, code == EAGAIN);
  return 3;
}

/* is_locked(path): whether somebody holds the lock on this file. Nothing is changed. */
static int is_locked(lua_State *L) {
  struct flock whole = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
  int fd = open(luaL_checkstring(L, 1), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  lua_pushboolean(L, fd >= 0 && fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK);
  if (fd >= 0) close(fd);
  return 1;
}

/* lock:is_held(): whether the file that is locked still has the name. */
static int lock_is_held(lua_State *L) {
  lockfile *lock = luaL_checkudata(L, 1, LOCKFILE);
  lua_pushboolean(L, lock->fd >= 0 && is_in_place(lock->fd, path_of(L)));
  return 1;
}

/* lock:found_size(): the size that the file had when it was locked, nil when there was none. */
static int lock_found_size(lua_State *L) {
  lockfile *lock = luaL_checkudata(L, 1, LOCKFILE);
  if (lock->found < 0) return 0;
  lua_pushinteger(L, lock->found);
  return 1;
}

/* lock:set_size(size): what the next one to lock it may find, if this process dies. */
static int lock_set_size(lua_State *L) {
  lockfile *lock = luaL_checkudata(L, 1, LOCKFILE);
  off_t size = (off_t)luaL_checkinteger(L, 2);
  lua_pushboolean(L, lock->fd >= 0 && ftruncate(lock->fd, size) == 0);
  return 1;
}

/* lock:close(keeps_file): removes the file, unless it is to be kept. Idempotent. */
static int lock_close(lua_State *L) {
  lockfile *lock = luaL_checkudata(L, 1, LOCKFILE);
  bool keeps_file = lua_toboolean(L, 2);
  const char *path = path_of(L);
  if (path) release(lock, path, keeps_file);
  return 0;
}

/* What nobody has closed leaves its file, as a crash would. */
static int lock_gc(lua_State *L) {
  lua_settop(L, 1);
  lua_pushboolean(L, 1);
  return lock_close(L);
}

void larvak_lockfile_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"lock_file", lock_file}, {"is_locked", is_locked}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"is_held", lock_is_held}, {"found_size", lock_found_size},
                                     {"set_size", lock_set_size}, {"close", lock_close}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  luaL_newmetatable(L, LOCKFILE);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, lock_gc);
  lua_setfield(L, -2, "__gc");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}
