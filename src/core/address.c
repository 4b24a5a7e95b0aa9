/* Addresses, checked and respelled. Invariant: a target made here never equals what grpc_call_get_peer says once a
 * transport exists, which is how a request that was never sent is known (see attempt.c): gRPC names peers as
 * "ipv4:1.2.3.4:5", "ipv6:[::1]:5" (brackets percent-encoded) and "unix:/path", our targets are "scheme:///rest".
 * SPDX-License-Identifier: Apache-2.0 */
#include "address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>
#include <unistd.h>

#include "arvak.h"

static const char expected_port[] =
    "address: expected a port from 1 to 65535 after the host, as in \"localhost:50051\"";

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
    n = 1;
    while (is_host_char(text[n]) || text[n] == ':' || text[n] == '%') n++;
    return n > 1 && text[n] == ']' ? n + 1 : 0;
  }
  while (is_host_char(text[n])) n++;
  return n;
}

/* Whether the host of size bytes is an address of this family; AF_UNSPEC takes names too. */
static bool is_of_family(const char *host, size_t size, int family) {
  char text[INET6_ADDRSTRLEN];
  struct in6_addr address;
  bool has_brackets = host[0] == '[';
  if (family == AF_UNSPEC && !has_brackets) return true;
  if (has_brackets != (family != AF_INET)) return false;
  if (has_brackets) {
    host++;
    size -= 2;
  }
  size_t zone = strcspn(host, "%"); /* an interface, as in fe80::1%eth0 */
  if (has_brackets && zone < size) size = zone;
  if (size >= sizeof text) return false;
  memcpy(text, host, size);
  text[size] = '\0';
  return inet_pton(has_brackets ? AF_INET6 : AF_INET, text, &address) == 1;
}

/* host:port, and a comma-separated list of them where allowed. */
static const char *check_endpoints(const char *text, bool list, int family) {
  for (;;) {
    size_t host = host_length(text);
    if (host == 0) return "address: expected a host name, an IPv4 address or an IPv6 address in brackets";
    if (!is_of_family(text, host, family))
      return family == AF_INET ? "address: expected an IPv4 address, as in \"ipv4:127.0.0.1:50051\""
                               : "address: expected an IPv6 address in brackets, as in \"ipv6:[::1]:50051\"";
    if (text[host] != ':') return expected_port;
    size_t port = port_length(text + host + 1);
    if (port == 0) return expected_port;
    text += host + 1 + port;
    if (*text == '\0') return NULL;
    if (!list || *text != ',') return "address: expected nothing after the port, as in \"localhost:50051\"";
    text++;
  }
}

/* What gRPC, which parses a target as a URI, would take for something else. */
static const char *escape_of(char c) {
  switch (c) {
    case '[': return "%5B";
    case ']': return "%5D";
    case '%': return "%25";
    case '#': return "%23";
    case '?': return "%3F";
    case ' ': return "%20";
    default: return NULL;
  }
}

/* prefix + text, escaped. */
static int join(const char *prefix, const char *text, char **out) {
  char *target = malloc(strlen(prefix) + 3 * strlen(text) + 1);
  if (!target) return ARVAK_ENOMEM;
  char *at = stpcpy(target, prefix);
  for (; *text; text++) {
    const char *escape = escape_of(*text);
    if (escape) at = stpcpy(at, escape);
    else *at++ = *text;
  }
  *at = '\0';
  *out = target;
  return ARVAK_OK;
}

static int refuse(const char **reason, const char *why) {
  *reason = why;
  return ARVAK_EINVAL;
}

static int spell_endpoints(const char *prefix, const char *text, int family, char **out, const char **reason) {
  const char *why = check_endpoints(text, family != AF_UNSPEC, family);
  return why ? refuse(reason, why) : join(prefix, text, out);
}

/* gRPC splits a target at commas after it has decoded it, so there is no way to spell one that belongs to a path. */
static int spell_absolute(const char *path, char **out, const char **reason) {
  if (strchr(path, ','))
    return refuse(reason, "address: expected a unix path without a comma, which gRPC takes for a list");
  if (strlen(path) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
    return refuse(reason, "address: expected a unix path of at most 107 bytes");
  return join("unix://", path, out);
}

/* A relative path is made absolute, for "unix:name" would be the peer's own spelling. */
static int spell_unix(const char *path, char **out, const char **reason) {
  if (*path == '\0') return refuse(reason, "address: expected a path after \"unix:\"");
  if (*path == '/') return spell_absolute(path, out, reason);
  char *directory = getcwd(NULL, 0);
  if (!directory) return refuse(reason, "address: cannot resolve a relative unix path here");
  char *absolute = malloc(strlen(directory) + strlen(path) + sizeof "/");
  int status = ARVAK_ENOMEM;
  if (absolute) {
    stpcpy(stpcpy(stpcpy(absolute, directory), "/"), path);
    status = spell_absolute(absolute, out, reason);
  }
  free(absolute);
  free(directory);
  return status;
}

/* What follows "scheme:", past an empty authority "///" or "//" + "/". */
static const char *after(const char *address, const char *scheme) {
  size_t n = strlen(scheme);
  if (strncmp(address, scheme, n) != 0) return NULL;
  return strncmp(address + n, "///", 3) == 0 ? address + n + 3 : address + n;
}

/* Whether it is written as gRPC writes its targets. */
static bool is_target(const char *address) {
  static const char *const starts[] = {"dns:///", "ipv4:///", "ipv6:///", "unix:///"};
  for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
    if (strncmp(address, starts[i], strlen(starts[i])) == 0) return true;
  return false;
}

/* What is wrong with an address that begins as a URL does, and what to write; NULL: it does not. */
static const char *check_scheme(const char *address) {
  static const struct {
    const char *scheme, *reason;
  } known[] = {
      {"http", "address: expected a host and a port without \"http://\", as in \"localhost:50051\""},
      {"https", "address: expected a host and a port without \"https://\", as in \"localhost:50051\", and the option "
                "tls"},
      {"grpc", "address: expected a host and a port without \"grpc://\", as in \"localhost:50051\""},
      {"grpcs", "address: expected a host and a port without \"grpcs://\", as in \"localhost:50051\", and the option "
                "tls"},
      {"tcp", "address: expected a host and a port without \"tcp://\", as in \"localhost:50051\""},
      {"dns", "address: expected \"dns:///host:port\": no DNS server can be named"},
      {"ipv4", "address: expected \"ipv4:127.0.0.1:50051\", without slashes or with three"},
      {"ipv6", "address: expected \"ipv6:[::1]:50051\", without slashes or with three"},
      {"unix", "address: expected an absolute path after \"unix://\", as in \"unix:///run/arvak.sock\""},
  };
  const char *slashes = strstr(address, "://");
  if (!slashes || is_target(address) || host_length(address) != (size_t)(slashes - address)) return NULL;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    size_t size = strlen(known[i].scheme);
    if (size == (size_t)(slashes - address) && strncasecmp(address, known[i].scheme, size) == 0)
      return known[i].reason;
  }
  return "address: expected \"host:port\", \"dns:///host:port\", \"ipv4:127.0.0.1:50051\", \"ipv6:[::1]:50051\" or "
         "\"unix:/path\"";
}

/* Whether a host of size bytes, as host_length takes it, is this machine, and no proxy could lead there. */
static bool is_this_machine(const char *host, size_t size) {
  char text[NI_MAXHOST];
  bool has_brackets = host[0] == '[';
  if (has_brackets) {
    host++;
    size -= 2;
  }
  if (size >= sizeof text) return false;
  memcpy(text, host, size);
  text[size] = '\0';
  struct in6_addr six;
  struct in_addr four;
  if (has_brackets) {
    if (inet_pton(AF_INET6, text, &six) != 1) return false;
    if (!IN6_IS_ADDR_V4MAPPED(&six)) return IN6_IS_ADDR_LOOPBACK(&six) || IN6_IS_ADDR_UNSPECIFIED(&six);
    memcpy(&four, six.s6_addr + 12, sizeof four);
  } else if (inet_aton(text, &four) == 0) {
    const char *dot = strrchr(text, '.');
    return strcasecmp(dot ? dot + 1 : text, "localhost") == 0;
  }
  return ntohl(four.s_addr) >> 24 == 127 || four.s_addr == INADDR_ANY;
}

/* ---- made from outside ---- */

bool arvak__address_is_local(const char *address) {
  static const char *const schemes[] = {"dns:", "ipv4:", "ipv6:"};
  if (strncmp(address, "unix:", 5) == 0) return true;
  for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
    const char *rest = after(address, schemes[i]);
    if (rest) address = rest;
  }
  for (;;) {
    size_t size = host_length(address);
    if (size == 0 || !is_this_machine(address, size)) return false;
    const char *comma = strchr(address + size, ',');
    if (!comma) return true;
    address = comma + 1;
  }
}

bool arvak__address_is_host(const char *text) {
  size_t size = host_length(text);
  return size > 0 && text[size] == '\0';
}

int arvak__address_spell(const char *address, char **out, const char **reason) {
  const char *rest, *why = check_scheme(address);
  if (why) return refuse(reason, why);
  if ((rest = after(address, "dns:"))) return spell_endpoints("dns:///", rest, AF_UNSPEC, out, reason);
  if ((rest = after(address, "ipv4:"))) return spell_endpoints("ipv4:///", rest, AF_INET, out, reason);
  if ((rest = after(address, "ipv6:"))) return spell_endpoints("ipv6:///", rest, AF_INET6, out, reason);
  if (strncmp(address, "unix:///", 8) == 0) return spell_unix(address + 7, out, reason);
  if (strncmp(address, "unix:", 5) == 0) return spell_unix(address + 5, out, reason);
  return spell_endpoints("dns:///", address, AF_UNSPEC, out, reason);
}
