/* What the server can be told, once for the command line (--job-latency) and for Lua (job_latency).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_OPTIONS_H
#define ARVAK_DEVSERVER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Strings are borrowed, unless made by options_copy; NULL: not given. Limits of 0: none. */
typedef struct server_options {
  const char *address, *unix_path, *api_key, *tls_cert, *tls_key, *tls_client_ca; /* the tls ones: PEM text or path */
  uint64_t workers, rate_limit, max_concurrent_jobs, max_queued_jobs, max_message_size, seed;
  bool seeded;
  double watch_interval, job_latency, server_timeout; /* seconds */
  const struct fault *faults;                         /* borrowed like the strings */
  size_t fault_count;
} server_options;

typedef enum option_kind { OPTION_TEXT, OPTION_INTEGER, OPTION_SECONDS } option_kind;

typedef struct option_spec {
  const char *name; /* with underscores, as in Lua */
  option_kind kind;
  size_t offset;        /* in server_options */
  double min, max;      /* of a number; of a text, its length */
  const char *expected; /* "a number of seconds from 0 to 3600" */
  const char *help;
} option_spec;

extern const option_spec option_specs[]; /* ends with a NULL name */

void options_init(server_options *options); /* the defaults */

/* Finds by name with '-' and '_' alike. */
const option_spec *option_find(const char *name, size_t length);

bool option_set_text(server_options *options, const option_spec *spec, const char *value);
bool option_set_number(server_options *options, const option_spec *spec, double value);
bool option_set_integer(server_options *options, const option_spec *spec, int64_t value);
bool option_parse(server_options *options, const option_spec *spec, const char *text); /* any kind, from text */

/* What only shows when all are set, such as a certificate without its key; and addresses that are none. */
bool options_check(const server_options *options, char *problem, size_t size);

/* "address, unix, ..."; returns out. */
const char *options_names(char *out, size_t size);

/* Copies the texts, and not the faults. False: out of memory; free what there is. */
bool options_copy(server_options *to, const server_options *from);
void options_free(server_options *options); /* of options_copy */
bool options_replace_text(const char **text, const char *with); /* owned; "" is NULL; false: out of memory */

#endif
