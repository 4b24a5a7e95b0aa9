/* See credentials.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "credentials.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PEM_BYTES = 1 << 20 };

static char *read_file(const char *option, const char *path, char *problem, size_t size) {
  FILE *in = fopen(path, "rbe");
  char *text = in ? malloc(MAX_PEM_BYTES + 1) : NULL;
  size_t length = text ? fread(text, 1, MAX_PEM_BYTES, in) : 0;
  bool ok = text && !ferror(in);
  if (!ok) snprintf(problem, size, "cannot read %s '%.200s': %s", option, path, strerror(errno));
  if (in) fclose(in);
  if (ok) {
    text[length] = '\0';
    return text;
  }
  free(text);
  return NULL;
}

/* Returns owned. */
static char *pem(const char *option, const char *value, char *problem, size_t size) {
  char *text = strstr(value, "-----BEGIN") ? strdup(value) : read_file(option, value, problem, size);
  if (text && !strstr(text, "-----BEGIN")) {
    snprintf(problem, size, "%s '%.200s' holds no PEM text", option, value);
    free(text);
    return NULL;
  }
  return text;
}

grpc_server_credentials *credentials_new(const tls_texts *tls, char *problem, size_t size) {
  grpc_server_credentials *made = NULL;
  char *ca = NULL;
  char *cert = pem("tls_cert", tls->cert, problem, size);
  char *key = cert ? pem("tls_key", tls->key, problem, size) : NULL;
  if (key && tls->client_ca) ca = pem("tls_client_ca", tls->client_ca, problem, size);
  if (key && (ca || !tls->client_ca)) {
    grpc_ssl_pem_key_cert_pair pair = {.private_key = key, .cert_chain = cert};
    made = grpc_ssl_server_credentials_create_ex(ca, &pair, 1,
                                                 ca ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                                    : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
                                                 NULL);
    if (!made) snprintf(problem, size, "gRPC refused tls_cert, tls_key or tls_client_ca");
  }
  free(ca);
  free(key);
  free(cert);
  return made;
}
