/* Answers over gRPC's own limit of 4 MiB arrive (defect 3 of docs/internals/reference-defects.md). The only one that
 * server can be made to give is to a SubmitBatch of far more circuits than the Lua layer lets through.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "arvak.h"

enum { CIRCUITS = 120000, ID_BYTES = 36, FOUR_MIB = 4 << 20 };

static char address[64] = "127.0.0.1:0";
static pid_t server;

static int start_server(void **state) {
  (void)state;
  const char *build = getenv("ARVAK_BUILD");
  char path[512];
  snprintf(path, sizeof path, "%s/bin/arvak-devserver", build ? build : "build");
  char *arguments[] = {path, "--address", address, "--rate-limit", "0", "--max-concurrent-jobs", "0",
                       "--max-queued-jobs", "0", NULL};
  int fds[2];
  extern char **environ;
  posix_spawn_file_actions_t actions;
  if (pipe(fds) != 0) return -1;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
  posix_spawn_file_actions_addclose(&actions, fds[0]);
  int failed = posix_spawn(&server, path, &actions, NULL, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  close(fds[1]);
  FILE *out = fdopen(fds[0], "r");
  bool is_up = !failed && fscanf(out, "listening on %63s", address) == 1;
  fclose(out);
  return is_up ? 0 : -1;
}

static int kill_server(void **state) {
  (void)state;
  kill(server, SIGKILL);
  waitpid(server, NULL, 0);
  return 0;
}

static void count_ids(arvak_call *call, void *ud) {
  assert_string_equal(arvak_kind_name(arvak_call_outcome(call)->kind), arvak_kind_name(ARVAK_KIND_NONE));
  const arvak_response *response = arvak_call_response(call);
  size_t *bytes = ud;
  assert_int_equal(response->as.jobs.size, CIRCUITS);
  for (size_t i = 0; i < CIRCUITS; i++) *bytes += strlen(response->as.jobs.ids[i]);
}

static void answers_over_4_mib_arrive_defect_3(void **state) {
  (void)state;
  arvak_circuit *circuits = calloc(CIRCUITS, sizeof *circuits);
  for (size_t i = 0; i < CIRCUITS; i++) circuits[i].qasm = "OPENQASM 3.0;";
  arvak_client_options options = {.address = address, .timeout_ns = 60 * (int64_t)1000000000};
  arvak_client *client;
  arvak_loop *loop;
  assert_int_equal(arvak_client_new(&options, &client, NULL), ARVAK_OK);
  assert_int_equal(arvak_loop_new(&loop), ARVAK_OK);
  arvak_request request = {.rpc = ARVAK_SUBMIT_BATCH, .id = "simulator", .circuits = circuits,
                           .circuit_count = CIRCUITS};
  size_t bytes = 0;
  arvak_call_options call = {.fn = count_ids, .ud = &bytes};
  assert_int_equal(arvak_call_start(loop, client, &request, &call, NULL), ARVAK_OK);
  while (arvak_loop_call_count(loop) > 0) arvak_loop_step(loop, arvak_now_ns() + 100000000);
  assert_int_equal(bytes, CIRCUITS * ID_BYTES);
  assert_true(bytes > FOUR_MIB);
  arvak_client_unref(client);
  arvak_loop_close(loop);
  free(circuits);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(answers_over_4_mib_arrive_defect_3, start_server, kill_server)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
