/* gRPC's own life in this process, and forks of it. Invariant: gRPC is initialised while any client or loop of ours
 * exists. Thread-safe.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_RUNTIME_H
#define ARVAK_RUNTIME_H

#include <stdbool.h>

/* grpc_init, and from the first one on a watch for forks. False in a fork of a process whose gRPC is running. */
bool arvak__grpc_ref(void);
void arvak__grpc_unref(void);
unsigned arvak__fork_generation(void); /* changes in a child process */

#endif
