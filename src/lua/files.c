/* Facts about files that io and os do not tell. Invariant: no function here opens a file that exists, as closing it
 * again would drop every POSIX lock that this process has on it (SQLite's are of that kind).
 * SPDX-License-Identifier: Apache-2.0 */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "set.h"

int larvak_files_push_error(lua_State *L, int code) {
  lua_pushnil(L);
  lua_pushstring(L, strerror(code));
  return 2;
}

bool larvak_files_are_same(const struct stat *a, const struct stat *b) {
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static int push_outcome(lua_State *L, bool is_done) {
  if (!is_done) return larvak_files_push_error(L, errno);
  lua_pushboolean(L, 1);
  return 1;
}

/* file_info(path): what a name leads to, symbolic links followed: kind ("file", "directory", "other"), id (equal for
 * the same file, whatever its names), size in bytes, links (how many names it has). Or nil, a message and whether there
 * is nothing of that name. */
static int file_info(lua_State *L) {
  struct stat info;
  if (stat(luaL_checkstring(L, 1), &info) != 0) {
    int code = errno;
    larvak_files_push_error(L, code);
    lua_pushboolean(L, code == ENOENT);
    return 3;
  }
  lua_createtable(L, 0, 4);
  larvak_set_string(L, "kind", S_ISREG(info.st_mode) ? "file" : S_ISDIR(info.st_mode) ? "directory" : "other");
  lua_pushfstring(L, "%I:%I", (LUAI_UACINT)info.st_dev, (LUAI_UACINT)info.st_ino);
  lua_setfield(L, -2, "id");
  larvak_set_integer(L, "size", (lua_Integer)info.st_size);
  larvak_set_integer(L, "links", (lua_Integer)info.st_nlink);
  return 1;
}

/* check_access(path): true when this process may read and write it; nil and a message. */
static int check_access(lua_State *L) {
  return push_outcome(L, faccessat(AT_FDCWD, luaL_checkstring(L, 1), R_OK | W_OK, AT_EACCESS) == 0);
}

/* create_file(path): makes an empty file of a name that leads to none, also through a link; true, or nil and a message.
 * Only for what does not exist. */
static int create_file(lua_State *L) {
  int fd = open(luaL_checkstring(L, 1), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666);
  if (fd >= 0) close(fd);
  return push_outcome(L, fd >= 0);
}

/* full_path(path): the path from the root on, so that a change of directory does not change what it names. */
static int full_path(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  char folder[PATH_MAX];
  lua_settop(L, 1);
  if (*path == '/' || *path == '\0') return 1;
  if (!getcwd(folder, sizeof folder)) return larvak_files_push_error(L, errno);
  lua_pushfstring(L, "%s/%s", folder, path);
  return 1;
}

/* real_path(path): the path without symbolic links, of what exists; nil and a message. */
static int real_path(lua_State *L) {
  char real[PATH_MAX];
  if (!realpath(luaL_checkstring(L, 1), real)) return larvak_files_push_error(L, errno);
  lua_pushstring(L, real);
  return 1;
}

/* terminal_columns(): how wide the terminal is that standard output goes to; nil when it is none. */
static int terminal_columns(lua_State *L) {
  struct winsize size = {0};
  if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 0;
  lua_pushinteger(L, size.ws_col);
  return 1;
}

void larvak_files_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"file_info", file_info}, {"check_access", check_access},
                                       {"create_file", create_file}, {"full_path", full_path},
                                       {"real_path", real_path}, {"terminal_columns", terminal_columns},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
