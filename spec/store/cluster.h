/* A real PostgreSQL for tests in C: spec/support/cluster.lua, kept by a process that ends with this one.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SPEC_STORE_CLUSTER_H
#define SPEC_STORE_CLUSTER_H

#include <sys/wait.h>

#include "postgres.h"
#include "ringing.h"

static pid_t cluster_pid;
static int cluster_end = -1; /* the process removes the cluster when this is closed */
static char cluster_name[256];

static inline void cluster_keep(int in, int out) {
  const char *lua = getenv("LUA");
  dup2(in, 0);
  dup2(out, 1);
  for (int fd = 3; fd < 64; fd++) close(fd);
  execlp(lua ? lua : "lua5.4", "lua", "-e",
         "local c = require('spec.support.cluster').start() print(c:name()) io.stdout:flush() io.read() c:remove()",
         (char *)NULL);
  _exit(127);
}

static inline int cluster_start(void **state) {
  (void)state;
  int in[2], out[2];
  if (pipe(in) != 0 || pipe(out) != 0) return -1;
  cluster_pid = fork();
  if (cluster_pid == 0) cluster_keep(in[0], out[1]);
  close(in[0]);
  close(out[1]);
  cluster_end = in[1];
  FILE *said = fdopen(out[0], "r");
  bool is_there = said && fgets(cluster_name, sizeof cluster_name, said);
  if (said) fclose(said);
  cluster_name[strcspn(cluster_name, "\n")] = '\0';
  return is_there ? 0 : -1;
}

static inline int cluster_stop(void **state) {
  (void)state;
  close(cluster_end);
  waitpid(cluster_pid, NULL, 0);
  return 0;
}

static inline arvak__db_store *open_cluster(int statement_timeout_s) {
  static arvak__db_settings settings;
  settings = (arvak__db_settings){.where = cluster_name,
                                  .connect_timeout_ns = INT64_C(60000000000),
                                  .statement_timeout_ns = statement_timeout_s * INT64_C(1000000000),
                                  .idle_timeout_ns = INT64_C(60000000000)};
  arvak__db_store *store = arvak__db_store_new(&arvak__db_postgres, &the_seam, &settings);
  assert_non_null(store);
  return store;
}

#endif
