/* Addresses as users write them, checked and spelled as targets of gRPC. Pure, but for the working directory, which a
 * relative unix path is resolved against.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_ADDRESS_H
#define ARVAK_ADDRESS_H

#include <stdbool.h>

/* *out is owned. ARVAK_EINVAL: *reason is static; ARVAK_ENOMEM. Else *out and *reason are untouched. */
int arvak__address_spell(const char *address, char **out, const char **reason);
/* Whether text is a host as in an address: a name, an IPv4 address, or an IPv6 address in brackets. */
bool arvak__address_is_host(const char *text);
/* Whether a valid address leads to this machine alone (a unix socket, 127.0.0.0/8, ::1, localhost), which no proxy can
 * reach. Names are not resolved. */
bool arvak__address_is_local(const char *address);

#endif
