/* The one backend there is, as ListBackends and GetBackendInfo describe it. Read-only data.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_BACKEND_H
#define ARVAK_DEVSERVER_BACKEND_H

#include <stdbool.h>
#include <stddef.h>

#include "arvak.pb-c.h"

enum { BACKEND_QUBITS = 20, BACKEND_SHOTS = 100000 };

extern const char backend_id[]; /* "simulator" */

bool backend_find(const char *id, size_t length);
char *backend_topology(void); /* Returns owned (free): topology_json; NULL: out of memory. */

/* Fills *out with borrowed static data and the topology, borrowed too. */
void backend_describe(Arvak__V1__BackendInfo *out, char *topology);

#endif
