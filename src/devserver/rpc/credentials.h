/* TLS credentials from paths or PEM texts.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_CREDENTIALS_H
#define ARVAK_DEVSERVER_CREDENTIALS_H

#include <grpc/grpc_security.h>

#include "options.h"

/* Returns owned, or NULL with problem filled. */
grpc_server_credentials *credentials_new(const server_options *options, char *problem, size_t size);

#endif
