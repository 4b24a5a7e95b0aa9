/* A server that was left to a thread, and a process that exits meanwhile. Invariant: nothing here uses gRPC before it
 * forks, so that each test's server has a process of its own.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "service/service.h"

enum { DEADLINE_S = 60, NOT_STARTED = 2, NOT_ENDED = 3 };

static int descriptors_before;

static int open_descriptors(void) {
  int count = 0;
  DIR *all = opendir("/proc/self/fd");
  while (readdir(all)) count++;
  closedir(all);
  return count;
}

/* Exit handlers run in the opposite order: this one after the service's. */
static void check_ended(void) {
  if (open_descriptors() > descriptors_before) _exit(NOT_ENDED);
}

static service *start(void) {
  server_options options;
  options_init(&options);
  options.address = "127.0.0.1:0";
  char problem[512];
  service *s = service_start(&options, problem, sizeof problem);
  if (!s) _exit(NOT_STARTED);
  return s;
}

static void leave_and_exit(void) {
  alarm(DEADLINE_S);
  service_free(start()); /* gRPC keeps some descriptors for good */
  descriptors_before = open_descriptors();
  atexit(check_ended);
  service_leave(start(), 0); /* does not wait */
  exit(0);
}

static void exit_waits_for_servers_that_are_being_ended(void **state) {
  (void)state;
  for (int i = 0; i < 20; i++) {
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) leave_and_exit();
    int status = -1;
    waitpid(pid, &status, 0);
    if (status != 0) fail_msg("run %d: wait status %d", i, status);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(exit_waits_for_servers_that_are_being_ended)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
