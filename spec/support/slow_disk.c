/* Preloaded: every fsync and fdatasync takes as many milliseconds longer as SLOW_DISK_MS says, as on a slow disk; and
 * SLOW_DISK_LOG names a file that gets a byte for each.
 * SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

__attribute__((visibility("default"))) int fsync(int fd);
__attribute__((visibility("default"))) int fdatasync(int fd);

static void note(void) {
  const char *path = getenv("SLOW_DISK_LOG");
  int log = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666) : -1;
  if (log < 0) return;
  (void)!write(log, "s", 1);
  close(log);
}

static int sync_slowly(const char *name, int fd) {
  const char *text = getenv("SLOW_DISK_MS");
  long ms = text ? atol(text) : 0;
  struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
  int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  note();
  nanosleep(&pause, NULL);
  return next(fd);
}

int fsync(int fd) { return sync_slowly("fsync", fd); }

int fdatasync(int fd) { return sync_slowly("fdatasync", fd); }
