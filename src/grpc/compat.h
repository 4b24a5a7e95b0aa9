/* What differs between versions of gRPC's C core, from 1.51 (Debian 12 and 13) to 1.85; nobody else looks at a version.
 * Invariant: what is included by this header compiles and means the same with each of them. Where a library may differ
 * from the headers, it is asked at run time: a program may meet a newer shared library than it was built with.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GRPC_COMPAT_H
#define GRPC_COMPAT_H

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Since 1.64 credentials are declared in a header of their own. */
#if __has_include(<grpc/credentials.h>)
#include <grpc/credentials.h>
#endif

/* Since 1.64 the name is gone, and the argument does nothing: see docs/internals/grpc.md for what follows. */
#ifndef GRPC_ARG_ENABLE_DEADLINE_CHECKS
#define GRPC_ARG_ENABLE_DEADLINE_CHECKS "grpc.enable_deadline_checking"
#endif

/* 1.51 has no such argument and ignores it. By 1.83 gRPC never starts the timer of GRPC_ARG_KEEPALIVE_TIMEOUT_MS, and
 * an unanswered ping ends a connection after this time, which is 60 s unless it is given. */
#ifndef GRPC_ARG_PING_TIMEOUT_MS
#define GRPC_ARG_PING_TIMEOUT_MS "grpc.http2.ping_timeout_ms"
#endif

/* Since 1.67 gRPC logs by abseil, which has no C interface, and these are gone. <grpc/support/log.h>, which declared
 * them until then, is not included here. */
typedef struct grpc_compat_log_args { /* gpr_log_func_args */
  const char *file;
  int line;
  int severity; /* 0 debug, 1 info, 2 error */
  const char *message;
} grpc_compat_log_args;

void gpr_set_log_function(void (*fn)(grpc_compat_log_args *args)) __attribute__((weak));

static inline void grpc_compat_set_log_function(void (*fn)(grpc_compat_log_args *args)) {
  if (gpr_set_log_function) gpr_set_log_function(fn);
}

/* Until 1.51 the clock of deadlines was CLOCK_MONOTONIC; by 1.56 it is 5 s ahead of it. So gRPC is always asked. */
static inline int64_t grpc_compat_now_ns(void) {
  gpr_timespec now = gpr_now(GPR_CLOCK_MONOTONIC);
  return now.tv_sec * 1000000000 + now.tv_nsec;
}

/* A time of grpc_compat_now_ns as gRPC takes it. INT64_MAX: never. */
static inline gpr_timespec grpc_compat_timespec(int64_t ns) {
  if (ns == INT64_MAX) return gpr_inf_future(GPR_CLOCK_MONOTONIC);
  if (ns <= 0) return gpr_time_0(GPR_CLOCK_MONOTONIC);
  return (gpr_timespec){ns / 1000000000, (int32_t)(ns % 1000000000), GPR_CLOCK_MONOTONIC};
}

/* Whether all tests have run with this version, so that its texts are those of status.c: 1.51, 1.56 or 1.83, as
 * grpc_version_string numbers them. What an error string says of its origin is no help: up to 1.76 it begins with
 * "Error received from peer" for most of what gRPC makes itself, too. */
static inline bool grpc_compat_is_tested(void) {
  const char *version = grpc_version_string();
  return strcmp(version, "29.0.0") == 0 || strcmp(version, "33.0.0") == 0 || strcmp(version, "56.0.0") == 0;
}

#endif
