/* Databases that do not answer, in this process: a disk under SQLite that hangs, and a port that says nothing.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_TEST_DISK_H
#define ARVAK_TEST_DISK_H

#include <arpa/inet.h>
#include <dirent.h>
#include <pthread.h>
#include <sqlite3.h>
#include <sys/socket.h>
#include <unistd.h>

#include "arvak_store.h"
#include "hosting.h"

static char folder[] = "/tmp/arvak-disk-XXXXXX"; /* of databases */
static pthread_mutex_t disk_mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t disk_works = PTHREAD_COND_INITIALIZER;
static bool hangs; /* disk_mu */
static int silent_port, silent_fd;

static inline void set_disk(bool is_hanging) {
  pthread_mutex_lock(&disk_mu);
  hangs = is_hanging;
  pthread_cond_broadcast(&disk_works);
  pthread_mutex_unlock(&disk_mu);
}

static ssize_t write_when_it_works(int fd, const void *bytes, size_t size, off_t offset) {
  pthread_mutex_lock(&disk_mu);
  while (hangs) pthread_cond_wait(&disk_works, &disk_mu);
  pthread_mutex_unlock(&disk_mu);
  return pwrite(fd, bytes, size, offset);
}

/* SQLite asks for its system calls by name, and for one of these two. */
static inline void replace_disk(void) {
  static const char *const names[] = {"pwrite", "pwrite64"};
  sqlite3_initialize();
  sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
  for (int i = 0; i < 2; i++)
    if (vfs->xGetSystemCall(vfs, names[i]))
      vfs->xSetSystemCall(vfs, names[i], (sqlite3_syscall_ptr)write_when_it_works);
}

/* A port whose connections nobody accepts: a database that says nothing. */
static inline void open_silent_port(void) {
  struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof name;
  silent_fd = socket(AF_INET, SOCK_STREAM, 0);
  bool is_open = silent_fd >= 0 && bind(silent_fd, (struct sockaddr *)&name, size) == 0 &&
                 listen(silent_fd, 100) == 0 && getsockname(silent_fd, (struct sockaddr *)&name, &size) == 0;
  if (!is_open) abort();
  silent_port = ntohs(name.sin_port);
}

static inline void open_databases(void) {
  if (!mkdtemp(folder)) abort();
  replace_disk();
  open_silent_port();
}

/* The last threads of stores may still write. */
static inline void close_databases(void) {
  close(silent_fd);
  for (int tries = 0; rmdir(folder) != 0 && tries < 100; tries++) {
    DIR *all = opendir(folder);
    for (struct dirent *entry; all && (entry = readdir(all));) {
      char path[400];
      snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
      unlink(path);
    }
    if (all) closedir(all);
    pause_ms(tries);
  }
}

/* All of Lua, arvak, the globals `silent` (a PostgreSQL database) and `nobody` (an address where no connection becomes
 * ready), and file(), the name of a new database of SQLite's. */
static inline lua_State *open_with_databases(void) {
  static int states;
  lua_State *L = open_bare();
  luaL_openlibs(L);
  luaL_requiref(L, "arvak", luaopen_arvak, 1);
  luaL_requiref(L, "arvak.store.sqlite", luaopen_arvak_store_sqlite, 0);
  lua_pushfstring(L, "postgres://127.0.0.1:%d/x", silent_port);
  lua_setglobal(L, "silent");
  lua_pushfstring(L, "ipv4:127.0.0.1:%d", silent_port);
  lua_setglobal(L, "nobody");
  lua_pushfstring(L, "local n = 0 function file() n = n + 1 return ('%s/%d-%%d.db'):format(n) end function warn() end",
                  folder, states++);
  must(L, lua_tostring(L, -1));
  return L;
}

#endif
