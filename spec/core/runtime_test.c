/* What gRPC says on stderr in a process that uses the library: its last words, and nothing else.
 * SPDX-License-Identifier: Apache-2.0 */
#include <grpc/grpc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "arvak.h"

/* gRPC's log until 1.66; since then nobody can tell gRPC what to log, and its last words come with the rest. */
enum { ERROR_LEVEL = 2 };
void gpr_log(const char *file, int line, int level, const char *format, ...) __attribute__((weak));

/* Runs act in a child that has opened the library, and fills heard with what it wrote to stderr. Returns the signal
 * that ended it, or 0. gRPC must not run in the parent. */
static int run(void (*act)(void), char *heard, size_t size) {
  int fds[2];
  assert_int_equal(pipe(fds), 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    arvak_loop *loop;
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    dup2(fds[1], 2);
    if (arvak_loop_new(&loop) == ARVAK_OK) act();
    _exit(0);
  }
  close(fds[1]);
  size_t length = 0;
  ssize_t n;
  while (length + 1 < size && (n = read(fds[0], heard + length, size - 1 - length)) > 0) length += (size_t)n;
  heard[length] = '\0';
  close(fds[0]);
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void break_an_assertion(void) {
  grpc_completion_queue *cq = grpc_completion_queue_create_for_next(NULL);
  grpc_completion_queue_next(cq, gpr_time_0(GPR_CLOCK_MONOTONIC), (void *)1); /* reserved must be NULL */
}

static void an_assertion_of_grpcs_is_heard(void **state) {
  (void)state;
  char heard[4096];
  assert_int_equal(run(break_an_assertion, heard, sizeof heard), SIGABRT);
  if (gpr_log) assert_non_null(strstr(heard, "gRPC: "));
  assert_non_null(strstr(heard, "completion_queue.cc"));
  assert_non_null(strstr(heard, "!reserved"));
}

static void reach_what_cannot_be(void) {
  gpr_log(__FILE__, __LINE__, ERROR_LEVEL, "UNREACHABLE CODE: %s", "nowhere");
  abort();
}

static void what_cannot_be_reached_is_heard(void **state) {
  (void)state;
  char heard[4096];
  if (!gpr_log) skip();
  assert_int_equal(run(reach_what_cannot_be, heard, sizeof heard), SIGABRT);
  assert_non_null(strstr(heard, "UNREACHABLE CODE: nowhere"));
}

static void note(arvak_call *call, void *ud) {
  (void)call;
  *(bool *)ud = true;
}

/* A certificate that cannot be read is an error to gRPC's log, a few of them. */
static void meet_errors(void) {
  arvak_client_options options = {.address = "127.0.0.1:1", .tls = true, .tls_ca = "no PEM", .timeout_ns = 1000000000};
  arvak_client *client = NULL;
  arvak_loop *loop = NULL;
  bool has_ended = false;
  arvak_request request = {.rpc = ARVAK_LIST_BACKENDS};
  arvak_call_options call_options = {.fn = note, .ud = &has_ended};
  if (arvak_client_new(&options, &client, NULL) != ARVAK_OK || arvak_loop_new(&loop) != ARVAK_OK) abort();
  if (arvak_call_start(loop, client, &request, &call_options, NULL) != ARVAK_OK) abort();
  while (!has_ended) arvak_loop_step(loop, arvak_now_ns() + 100000000);
  gpr_log(__FILE__, __LINE__, ERROR_LEVEL, "no assertion failed");
}

static void other_errors_are_not(void **state) {
  (void)state;
  char heard[4096];
  if (!gpr_log) skip();
  assert_int_equal(run(meet_errors, heard, sizeof heard), 0);
  assert_string_equal(heard, "");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_assertion_of_grpcs_is_heard),
      cmocka_unit_test(what_cannot_be_reached_is_heard),
      cmocka_unit_test(other_errors_are_not),
  };
  unsetenv("GRPC_VERBOSITY");
  return cmocka_run_group_tests(tests, NULL, NULL);
}
