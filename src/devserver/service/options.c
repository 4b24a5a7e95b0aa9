/* See options.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/number.h"
#include "rpc/sockets.h"

#define AT(field) offsetof(server_options, field)

const option_spec option_specs[] = {
    {"address", OPTION_TEXT, AT(address), 1, 255, "HOST:PORT",
     "listen on HOST:PORT; port 0: the system chooses, and the choice is printed"},
    {"unix", OPTION_TEXT, AT(unix_path), 1, 107, "a path of 1 to 107 bytes",
     "listen on a unix socket, instead of TCP unless an address is given too"},
    {"workers", OPTION_INTEGER, AT(workers), 1, 256, "a whole number from 1 to 256",
     "threads that simulate (default: one for each processor)"},
    {"api_key", OPTION_TEXT, AT(api_key), 1, 4096, "a text that is not empty",
     "refuse calls without this in their x-api-key metadata"},
    {"tls_cert", OPTION_TEXT, AT(tls_cert), 1, 1 << 20, "a path or PEM text", "serve TLS with this certificate chain"},
    {"tls_key", OPTION_TEXT, AT(tls_key), 1, 1 << 20, "a path or PEM text", "the certificate's private key"},
    {"tls_client_ca", OPTION_TEXT, AT(tls_client_ca), 1, 1 << 20, "a path or PEM text",
     "demand client certificates, signed by one of these"},
    {"rate_limit", OPTION_INTEGER, AT(rate_limit), 0, UINT32_MAX, "a whole number from 0 (no limit)",
     "accepted jobs a second and peer (default 100; 0: no limit)"},
    {"max_concurrent_jobs", OPTION_INTEGER, AT(max_concurrent_jobs), 0, UINT32_MAX, "a whole number from 0 (no limit)",
     "running jobs past which submits are refused (default 100; 0: no limit)"},
    {"max_queued_jobs", OPTION_INTEGER, AT(max_queued_jobs), 0, UINT32_MAX, "a whole number from 0 (no limit)",
     "queued jobs past which submits are refused (default 1000; 0: no limit)"},
    {"max_message_size", OPTION_INTEGER, AT(max_message_size), 1, 1 << 30, "a number of bytes from 1 to 1073741824",
     "the longest message in either direction, in bytes (default 16777216)"},
    {"watch_interval", OPTION_SECONDS, AT(watch_interval), 0.001, 3600, "a number of seconds from 0.001 to 3600",
     "seconds between the updates of WatchJob (default 0.5)"},
    {"server_timeout", OPTION_SECONDS, AT(server_timeout), 0.001, 86400, "a number of seconds from 0.001 to 86400",
     "seconds a call may take until its answer begins (default 60)"},
    {"seed", OPTION_INTEGER, AT(seed), -9.3e18, 1.9e19, "a whole number",
     "make samples and faults the same in every run (default: random)"},
    {"job_latency", OPTION_SECONDS, AT(job_latency), 0, 86400, "a number of seconds from 0 to 86400",
     "seconds that each job runs before it is simulated (default 0)"},
    {NULL, OPTION_TEXT, 0, 0, 0, NULL, NULL}};

void options_init(server_options *options) {
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  *options = (server_options){.workers = cores < 1     ? 1
                                         : cores > 256 ? 256
                                                       : (uint64_t)cores,
                              .rate_limit = 100,
                              .max_concurrent_jobs = 100,
                              .max_queued_jobs = 1000,
                              .max_message_size = 16u << 20,
                              .watch_interval = 0.5,
                              .server_timeout = 60};
}

static bool same_name(const char *name, const char *given, size_t length) {
  if (strlen(name) != length) return false;
  for (size_t i = 0; i < length; i++) {
    if (name[i] != (given[i] == '-' ? '_' : given[i])) return false;
  }
  return true;
}

const option_spec *option_find(const char *name, size_t length) {
  for (const option_spec *spec = option_specs; spec->name; spec++) {
    if (same_name(spec->name, name, length)) return spec;
  }
  return NULL;
}

static void *field(server_options *options, const option_spec *spec) { return (char *)options + spec->offset; }

bool option_set_text(server_options *options, const option_spec *spec, const char *value) {
  if (spec->kind != OPTION_TEXT) return false;
  size_t length = strlen(value);
  if ((double)length < spec->min || (double)length > spec->max) return false;
  *(const char **)field(options, spec) = value;
  return true;
}

bool option_set_number(server_options *options, const option_spec *spec, double value) {
  if (spec->kind != OPTION_SECONDS || !(value >= spec->min && value <= spec->max)) return false;
  *(double *)field(options, spec) = value;
  return true;
}

bool option_set_integer(server_options *options, const option_spec *spec, int64_t value) {
  if (spec->kind == OPTION_SECONDS) return option_set_number(options, spec, (double)value);
  if (spec->kind != OPTION_INTEGER || (double)value < spec->min || (double)value > spec->max) return false;
  *(uint64_t *)field(options, spec) = (uint64_t)value;
  if (spec->offset == AT(seed)) options->seeded = true;
  return true;
}

bool option_parse(server_options *options, const option_spec *spec, const char *text) {
  char *end;
  if (spec->kind == OPTION_TEXT) return option_set_text(options, spec, text);
  if (!*text || strspn(text, "+-.0123456789eE") != strlen(text)) return false;
  errno = 0;
  if (spec->kind == OPTION_SECONDS) {
    double value = number_parse(text, &end);
    return !*end && isfinite(value) && option_set_number(options, spec, value);
  }
  long long value = strtoll(text, &end, 10);
  return !*end && errno == 0 && option_set_integer(options, spec, value);
}

bool options_check(const server_options *options, char *problem, size_t size) {
  if (options->address && !sockets_is_address(options->address)) {
    snprintf(problem, size, "bad address '%.200s': expected HOST:PORT, for example 127.0.0.1:50051 or [::1]:0",
             options->address);
    return false;
  }
  if (!options->tls_cert != !options->tls_key) {
    snprintf(problem, size, "tls_cert and tls_key go together: only %s is given",
             options->tls_cert ? "tls_cert" : "tls_key");
    return false;
  }
  if (options->tls_client_ca && !options->tls_cert) {
    snprintf(problem, size, "tls_client_ca needs tls_cert and tls_key");
    return false;
  }
  return true;
}

const char *options_names(char *out, size_t size) {
  size_t at = 0;
  *out = '\0';
  for (const option_spec *spec = option_specs; spec->name && at < size; spec++)
    at += (size_t)snprintf(out + at, size - at, "%s, ", spec->name);
  if (at < size) snprintf(out + at, size - at, "faults");
  return out;
}

bool options_replace_text(const char **text, const char *with) {
  char *copy = with && *with ? strdup(with) : NULL;
  if (!copy && with && *with) return false;
  free((char *)*text);
  *text = copy;
  return true;
}

bool options_copy(server_options *to, const server_options *from) {
  bool ok = true;
  *to = *from;
  to->faults = NULL;
  to->fault_count = 0;
  for (const option_spec *spec = option_specs; spec->name; spec++) {
    if (spec->kind != OPTION_TEXT) continue;
    const char **text = field(to, spec);
    *text = NULL;
    ok = options_replace_text(text, *(const char *const *)((const char *)from + spec->offset)) && ok;
  }
  return ok;
}

void options_free(server_options *options) {
  for (const option_spec *spec = option_specs; spec->name; spec++) {
    if (spec->kind == OPTION_TEXT) options_replace_text(field(options, spec), NULL);
  }
}
