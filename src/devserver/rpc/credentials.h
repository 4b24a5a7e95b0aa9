/* TLS credentials from paths or PEM texts.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_CREDENTIALS_H
#define ARVAK_DEVSERVER_CREDENTIALS_H

#include <stddef.h>

#include "compat.h"

/* Each a path or PEM text, borrowed; NULL: not given. */
typedef struct tls_texts {
  const char *cert, *key; /* both or neither */
  const char *client_ca;  /* demand client certificates signed by one of these */
} tls_texts;

/* Returns owned, or NULL with problem filled. With a certificate. */
grpc_server_credentials *credentials_new(const tls_texts *tls, char *problem, size_t size);

#endif
