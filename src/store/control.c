/* Invariant: whoever takes a wake from the descriptor looks at everything that a wake may mean before it waits again.
 * SPDX-License-Identifier: Apache-2.0 */
#include "control.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS INT64_C(1000000000)

int64_t arvak__db_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * SECOND_NS + now.tv_nsec;
}

int64_t arvak__db_after_ns(int64_t ns) {
  int64_t now = arvak__db_now_ns();
  return ns < DB_NEVER - now ? now + ns : DB_NEVER;
}

bool arvak__db_control_init(arvak__db_control *control) {
  atomic_init(&control->interrupt_ns, DB_NEVER);
  control->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return control->wake_fd >= 0;
}

void arvak__db_control_fini(arvak__db_control *control) {
  if (control->wake_fd >= 0) close(control->wake_fd);
  control->wake_fd = -1;
}

void arvak__db_control_wake(arvak__db_control *control) {
  uint64_t one = 1;
  while (write(control->wake_fd, &one, sizeof one) < 0 && errno == EINTR) {}
}

void arvak__db_control_interrupt_at(arvak__db_control *control, int64_t at_ns) {
  atomic_store(&control->interrupt_ns, at_ns);
  arvak__db_control_wake(control);
}

bool arvak__db_control_is_interrupted(const arvak__db_control *control) {
  int64_t at = atomic_load(&control->interrupt_ns);
  return at != DB_NEVER && arvak__db_now_ns() >= at;
}

short arvak__db_control_wait(arvak__db_control *control, int fd, short events, int64_t until_ns) {
  struct pollfd polled[2] = {{.fd = control->wake_fd, .events = POLLIN}, {.fd = fd, .events = events}};
  int64_t interrupt = atomic_load(&control->interrupt_ns), now = arvak__db_now_ns();
  /* An interrupt whose time has come is the caller's to see, and no reason to spin: it ends what it does. */
  int64_t until = interrupt < until_ns ? interrupt : until_ns;
  int64_t left = until > now ? until - now : 0;
  struct timespec timeout = {.tv_sec = (time_t)(left / SECOND_NS), .tv_nsec = (long)(left % SECOND_NS)};
  int count = ppoll(polled, fd >= 0 ? 2 : 1, until == DB_NEVER ? NULL : &timeout, NULL);
  if (count <= 0) return 0;
  uint64_t wakes;
  if (polled[0].revents & POLLIN && read(control->wake_fd, &wakes, sizeof wakes) < 0) return 0;
  return fd >= 0 ? polled[1].revents : 0;
}
