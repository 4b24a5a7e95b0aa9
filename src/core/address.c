/* Addresses, checked and respelled. Invariant: a target made here never equals what grpc_call_get_peer says once a
 * transport exists, which is how a request that was never sent is known (see call.c): gRPC names peers as
 * "ipv4:1.2.3.4:5", "ipv6:[::1]:5" (brackets percent-encoded) and "unix:/path", our targets are "scheme:///rest".
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

static const char expected_port[] = "address: expected a port from 1 to 65535 after the host, as in \"localhost:50051\"";
static const char no_memory[] = "out of memory";

/* Length of a decimal port at text that ends at end, or at a comma where lists are allowed; 0 if it is none. */
static size_t port_length(const char *text) {
  long port = 0;
  size_t n = 0;
  while (text[n] >= '0' && text[n] <= '9' && n < 6) port = port * 10 + (text[n++] - '0');
  return n > 0 && n < 6 && port >= 1 && port <= 65535 ? n : 0;
}

static bool is_host_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

/* "[...]" or a name; 0 if neither. */
static size_t host_length(const char *text) {
  size_t n = 0;
  if (text[0] == '[') {
    n = 1 + strspn(text + 1, "0123456789abcdefABCDEF:.%");
    return n > 1 && text[n] == ']' ? n + 1 : 0;
  }
  while (is_host_char(text[n])) n++;
  return n;
}

/* host:port, and a comma-separated list of them where allowed. */
static const char *check_endpoints(const char *text, bool list) {
  for (;;) {
    size_t host = host_length(text);
    if (host == 0) return "address: expected a host name, an IPv4 address or an IPv6 address in brackets";
    if (text[host] != ':') return expected_port;
    size_t port = port_length(text + host + 1);
    if (port == 0) return expected_port;
    text += host + 1 + port;
    if (*text == '\0') return NULL;
    if (!list || *text != ',') return expected_port;
    text++;
  }
}

/* prefix + text, with the brackets of IPv6 escaped where gRPC parses the whole as a URI. */
static const char *join(const char *prefix, const char *text, bool escape, char **out) {
  char *target = malloc(strlen(prefix) + 3 * strlen(text) + 1);
  if (!target) return no_memory;
  char *at = stpcpy(target, prefix);
  for (; *text; text++) {
    if (escape && (*text == '[' || *text == ']')) at = stpcpy(at, *text == '[' ? "%5B" : "%5D");
    else *at++ = *text;
  }
  *at = '\0';
  *out = target;
  return NULL;
}

static const char *spell_endpoints(const char *prefix, const char *text, bool list, char **out) {
  const char *reason = check_endpoints(text, list);
  return reason ? reason : join(prefix, text, true, out);
}

/* A relative path is made absolute, for "unix:name" would be the peer's own spelling. */
static const char *spell_unix(const char *path, char **out) {
  if (*path == '\0') return "address: expected a path after \"unix:\"";
  if (*path == '/') return join("unix://", path, false, out);
  char *directory = getcwd(NULL, 0);
  if (!directory) return "address: cannot resolve a relative unix path here";
  char *prefix = malloc(strlen(directory) + sizeof "unix:///");
  const char *reason = no_memory;
  if (prefix) {
    stpcpy(stpcpy(stpcpy(prefix, "unix://"), directory), "/");
    reason = join(prefix, path, false, out);
  }
  free(prefix);
  free(directory);
  return reason;
}

/* What follows "scheme:", past an empty authority "///" or "//" + "/". */
static const char *after(const char *address, const char *scheme) {
  size_t n = strlen(scheme);
  if (strncmp(address, scheme, n) != 0) return NULL;
  return strncmp(address + n, "///", 3) == 0 ? address + n + 3 : address + n;
}

const char *arvak__address_spell(const char *address, char **out) {
  const char *rest;
  if ((rest = after(address, "dns:"))) return spell_endpoints("dns:///", rest, false, out);
  if ((rest = after(address, "ipv4:"))) return spell_endpoints("ipv4:///", rest, true, out);
  if ((rest = after(address, "ipv6:"))) return spell_endpoints("ipv6:///", rest, true, out);
  if (strncmp(address, "unix:///", 8) == 0) return spell_unix(address + 7, out);
  if (strncmp(address, "unix:", 5) == 0) return spell_unix(address + 5, out);
  return spell_endpoints("dns:///", address, false, out);
}
