/* A dev server in a process of its own, for tests of the core. SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_TEST_SERVER_H
#define ARVAK_TEST_SERVER_H

#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SERVER_ADDRESS_SIZE = 64, SERVER_MOST_FAULTS = 12 };

/* Starts one without limits at address, which is filled with what it listens on: to start another there, give it again.
 * faults ends with NULL. -1: it did not start. */
static inline pid_t server_start(char *address, const char *const *faults) {
  const char *build = getenv("ARVAK_BUILD");
  char path[512];
  snprintf(path, sizeof path, "%s/bin/arvak-devserver", build ? build : "build");
  char *arguments[12 + 2 * SERVER_MOST_FAULTS] = {path, "--address", address, "--rate-limit", "0",
                                                  "--max-concurrent-jobs", "0", "--max-queued-jobs", "0",
                                                  "--watch-interval", "0.005"};
  for (int n = 11; *faults; faults++) {
    arguments[n++] = "--fault";
    arguments[n++] = (char *)*faults;
  }
  int fds[2];
  pid_t server = -1;
  extern char **environ;
  posix_spawn_file_actions_t actions;
  if (pipe(fds) != 0 || posix_spawn_file_actions_init(&actions) != 0) return -1;
  posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
  posix_spawn_file_actions_addclose(&actions, fds[0]);
  if (posix_spawn(&server, path, &actions, NULL, arguments, environ) != 0) server = -1;
  posix_spawn_file_actions_destroy(&actions);
  close(fds[1]);
  FILE *out = fdopen(fds[0], "r");
  if (server >= 0 && fscanf(out, "listening on %63s", address) != 1) server = -1;
  fclose(out);
  return server;
}

static inline void server_kill(pid_t server) {
  kill(server, SIGKILL);
  waitpid(server, NULL, 0);
}

#endif
