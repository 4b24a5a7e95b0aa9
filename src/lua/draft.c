/* A file that is written as a whole: beside its place and then renamed, so that whoever opens the name sees the old
 * file or all of the new one. What is no regular file (a device, a FIFO, one of the process's own descriptors such as
 * /dev/stdout) cannot be replaced and is written directly.
 * Invariant: symbolic links stay what they are; a file that is replaced keeps its mode, and its owner where this
 * process may give files away.
 * SPDX-License-Identifier: Apache-2.0 */
#include "draft.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lauxlib.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "files.h"

#define DRAFT "arvak.draft"

enum { MOST_LINKS = 40, MOST_NAMES = 100, LONGEST_STEM = 200 };

typedef struct draft {
  FILE *file;  /* owned; NULL: committed or given up */
  char *place; /* owned: the name to take at the end; NULL: written directly */
  char *name;  /* owned: the name until then */
  int code;    /* errno of what failed first */
  pid_t owner; /* a fork leaves the file to it */
} draft;

/* ---- where a path leads ---- */

/* The number of this process's descriptor that a path names, or -1. */
static int descriptor_named(const char *path) {
  static const char *const folders[] = {"/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/"};
  for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
    size_t size = strlen(folders[i]);
    if (strncmp(path, folders[i], size) != 0) continue;
    char *end;
    long number = strtol(path + size, &end, 10);
    if (end != path + size && *end == '\0' && number >= 0 && number <= INT_MAX) return (int)number;
  }
  return -1;
}

/* Replaces the last part of a path by what a symbolic link there says. False and errno: too long. */
static bool follow_link(char path[PATH_MAX], const char *target) {
  char *slash = strrchr(path, '/');
  size_t folder = *target == '/' || !slash ? 0 : (size_t)(slash - path) + 1;
  errno = ENAMETOOLONG;
  if (folder + strlen(target) >= PATH_MAX) return false;
  strcpy(path + folder, target);
  return true;
}

/* Follows the symbolic links at the end of a path, also where the last one leads to nothing, up to one of our own
 * descriptors: its number, -1 for any other file, -2 and errno. */
static int resolve(char path[PATH_MAX]) {
  for (int i = 0; i < MOST_LINKS; i++) {
    int number = descriptor_named(path);
    if (number >= 0) return number;
    char target[PATH_MAX];
    ssize_t size = readlink(path, target, sizeof target - 1);
    if (size < 0) return -1;
    target[size] = '\0';
    if (!follow_link(path, target)) return -2;
  }
  errno = ELOOP;
  return -2;
}

/* ---- opening ---- */

/* A new file beside the place, with a name that nobody can know before; errno in failure. name: PATH_MAX bytes. */
static int create_beside(const char *place, char *name, mode_t mode) {
  const char *slash = strrchr(place, '/');
  int folder = slash ? (int)(slash - place) + 1 : 0;
  for (int i = 0; i < MOST_NAMES; i++) {
    uint64_t number;
    if (getrandom(&number, sizeof number, 0) != sizeof number) return -1;
    int size = snprintf(name, PATH_MAX, "%.*s%.*s.%016" PRIx64 ".part", folder, place, LONGEST_STEM, place + folder,
                        number);
    errno = ENAMETOOLONG;
    if (size >= PATH_MAX) return -1;
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd >= 0 || errno != EEXIST) return fd;
  }
  return -1;
}

/* Before anything is written: where the group cannot be kept, its rights are those of the others. */
static bool keep_owner_and_mode(int fd, const struct stat *old) {
  mode_t mode = old->st_mode & 07777;
  struct stat own;
  if (fstat(fd, &own) != 0) return false;
  bool has_owner = own.st_uid == old->st_uid || fchown(fd, old->st_uid, (gid_t)-1) == 0;
  bool has_group = own.st_gid == old->st_gid || fchown(fd, (uid_t)-1, old->st_gid) == 0;
  if (!has_group) mode = (mode & ~(mode_t)070) | (mode & 07) << 3;
  if (!has_owner || !has_group) mode &= 0777;
  return fchmod(fd, mode) == 0;
}

/* A draft for a regular file, or for a name that is free (old NULL). Its descriptor, or -1 and errno. */
static int open_beside(draft *d, const char *place, const struct stat *old) {
  char name[PATH_MAX];
  if (old && faccessat(AT_FDCWD, place, W_OK, AT_EACCESS) != 0) return -1;
  int fd = create_beside(place, name, old ? 0600 : 0666);
  if (fd < 0) return -1;
  d->name = strdup(name);
  d->place = strdup(place);
  if (!d->name || !d->place) errno = ENOMEM;
  else if (!old || keep_owner_and_mode(fd, old)) return fd;
  int code = errno;
  unlink(name);
  close(fd);
  errno = code;
  return -1;
}

static int open_place(draft *d, char path[PATH_MAX]) {
  int number = resolve(path);
  if (number == -2) return -1;
  if (number == STDOUT_FILENO) fflush(stdout); /* what the program has printed before comes first */
  if (number >= 0) return fcntl(number, F_DUPFD_CLOEXEC, 3);
  struct stat old;
  if (stat(path, &old) != 0) return errno == ENOENT ? open_beside(d, path, NULL) : -1;
  if (S_ISREG(old.st_mode)) return open_beside(d, path, &old);
  return open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
}

/* ---- writing ---- */

/* Runs a function that may write with SIGPIPE held back, as a reader that has gone is an outcome like others. */
static int without_sigpipe(int (*fn)(draft *, const char *, size_t), draft *d, const char *text, size_t size) {
  sigset_t pipe_signal, before, pending;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  sigpending(&pending);
  pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
  int code = fn(d, text, size);
  if (code == EPIPE && !sigismember(&pending, SIGPIPE)) sigtimedwait(&pipe_signal, NULL, &(struct timespec){0, 0});
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return code;
}

static int append(draft *d, const char *text, size_t size) {
  errno = 0;
  return fwrite(text, 1, size, d->file) == size ? 0 : errno ? errno : EIO;
}

static int finish(draft *d, const char *text, size_t size) {
  (void)text, (void)size;
  int code = fclose(d->file) == 0 ? 0 : errno;
  d->file = NULL;
  return code;
}

static void give_up(draft *d) {
  if (d->owner != getpid()) return;
  if (d->file) without_sigpipe(finish, d, NULL, 0);
  if (d->name) unlink(d->name);
  free(d->name);
  free(d->place);
  d->name = d->place = NULL;
}

/* ---- for the Lua layer ---- */

/* draft(path): a draft of the file of that name; nil and a message. Waits for the reader of a FIFO. */
static int draft_new(lua_State *L) {
  char path[PATH_MAX];
  size_t size;
  const char *given = luaL_checklstring(L, 1, &size);
  if (size >= sizeof path) return larvak_files_push_error(L, ENAMETOOLONG);
  memcpy(path, given, size + 1);
  draft *d = lua_newuserdatauv(L, sizeof *d, 0);
  *d = (draft){.owner = getpid()};
  luaL_setmetatable(L, DRAFT);
  int fd = open_place(d, path);
  if (fd >= 0) d->file = fdopen(fd, "w");
  if (d->file) return 1;
  int code = errno;
  if (fd >= 0) close(fd);
  give_up(d);
  return larvak_files_push_error(L, code);
}

/* draft:write(text): after a failure nothing is written any more; commit tells it. */
static int draft_write(lua_State *L) {
  draft *d = luaL_checkudata(L, 1, DRAFT);
  size_t size;
  const char *text = luaL_checklstring(L, 2, &size);
  if (!d->file || d->code) return 0;
  d->code = without_sigpipe(append, d, text, size);
  return 0;
}

/* draft:commit(): gives the file its name; true, or nil and a message. */
static int draft_commit(lua_State *L) {
  draft *d = luaL_checkudata(L, 1, DRAFT);
  if (!d->file) return larvak_files_push_error(L, EBADF);
  int code = without_sigpipe(finish, d, NULL, 0);
  if (d->code) code = d->code;
  if (code == 0 && d->place && rename(d->name, d->place) != 0) code = errno;
  if (code == 0) {
    free(d->name); /* there is no such file any more */
    d->name = NULL;
  }
  give_up(d);
  if (code) return larvak_files_push_error(L, code);
  lua_pushboolean(L, 1);
  return 1;
}

/* What was not committed leaves nothing behind. */
static int draft_close(lua_State *L) {
  give_up(luaL_checkudata(L, 1, DRAFT));
  return 0;
}

void larvak_draft_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"draft", draft_new}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"write", draft_write}, {"commit", draft_commit}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", draft_close}, {"__close", draft_close}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  luaL_newmetatable(L, DRAFT);
  luaL_setfuncs(L, meta, 0);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}
