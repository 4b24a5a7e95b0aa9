/* Addresses as users write them, checked and spelled as targets of gRPC. Pure, but for the working directory, which a
 * relative unix path is resolved against.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_ADDRESS_H
#define ARVAK_ADDRESS_H

/* *out is owned. ARVAK_EINVAL: *reason is static; ARVAK_ENOMEM. Else *out and *reason are untouched. */
int arvak__address_spell(const char *address, char **out, const char **reason);

#endif
