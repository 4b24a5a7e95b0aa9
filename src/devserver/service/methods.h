/* The table of methods: which handlers serve which RPC. Read-only data.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_METHODS_H
#define ARVAK_DEVSERVER_METHODS_H

#include "rpc/call.h"

extern const method service_methods[RPCS];

#endif
