/* arvak-devserver: the server as a program, until a signal ends it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <grpc/grpc.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "faults/fault.h"
#include "service/options.h"
#include "service/service.h"

enum { BAD_USAGE = 2, KEY_MAX_BYTES = 4096 };

static void print_flag(const char *name, const char *what, const char *help) {
  char flag[64];
  int n = snprintf(flag, sizeof flag, "  --%s %s", name, what);
  for (char *p = flag + 4; *p && *p != ' '; p++) {
    if (*p == '_') *p = '-';
  }
  printf("%-32s%s%s\n", flag, n > 30 ? " " : "", help);
}

static int print_help(void) {
  static const char *const kinds[] = {[OPTION_TEXT] = "TEXT", [OPTION_INTEGER] = "N", [OPTION_SECONDS] = "SECONDS"};
  printf("Usage: arvak-devserver [flags]\n\n"
         "A local server of the Arvak quantum job service, with a simulator behind it. Listens on 127.0.0.1:50051\n"
         "unless told otherwise, until SIGINT or SIGTERM.\n\n");
  for (const option_spec *spec = option_specs; spec->name; spec++)
    print_flag(spec->name, kinds[spec->kind], spec->help);
  print_flag("api_key_file", "PATH", "the same, read from a file, whose last end of line is left out");
  print_flag("fault", "KEY=VALUE,...", "something that goes wrong; may be given again (docs/devserver.md)");
  print_flag("help", "", "show this");
  print_flag("version", "", "show the version");
  printf("\nWithout --api-key and --api-key-file the key is that of $ARVAK_API_KEY, if it is set. ps shows\n"
         "every user of the machine what stands in a flag.\n");
  return 0;
}

/* Returns false after saying what is wrong. */
static bool set_flag(server_options *options, const option_spec *spec, const char *flag, const char *value) {
  if (!value) {
    fprintf(stderr, "arvak-devserver: %s needs a value: expected %s\n", flag, spec->expected);
  } else if (!option_parse(options, spec, value)) {
    fprintf(stderr, "arvak-devserver: bad value '%s' for %s: expected %s\n", value, flag, spec->expected);
  } else {
    return true;
  }
  return false;
}

/* The array is the program's, for its whole life. */
static bool add_fault(server_options *options, const char *text) {
  static fault *list;
  char problem[512];
  fault *longer = realloc(list, (options->fault_count + 1) * sizeof *longer);
  if (!longer) return false;
  options->faults = list = longer;
  if (text && fault_parse(&list[options->fault_count], text, problem, sizeof problem)) {
    options->fault_count++;
    return true;
  }
  fprintf(stderr, "arvak-devserver: --fault: %s\n", text ? problem : "needs a value: expected KEY=VALUE,...");
  return false;
}

/* ---- the key, which ps shows to everybody where a flag holds it ---- */

static bool complain_key(const char *path, const char *problem) {
  fprintf(stderr, "arvak-devserver: --api-key-file: %s: %s\n", path, problem);
  return false;
}

/* The first bytes of a file into text, KEY_MAX_BYTES + 3 long: their number, which a longer file exceeds. */
static bool read_text(const char *path, char *text, size_t *size) {
  FILE *file = fopen(path, "rb");
  if (!file) return complain_key(path, strerror(errno));
  *size = fread(text, 1, KEY_MAX_BYTES + 3, file);
  bool is_read = !ferror(file);
  int error = errno;
  fclose(file);
  return is_read || complain_key(path, strerror(error));
}

/* The key is the program's, for its whole life. */
static bool read_key(server_options *options, const char *path) {
  static char key[KEY_MAX_BYTES + 4];
  size_t size;
  if (!path) {
    fputs("arvak-devserver: --api-key-file needs a value: expected the path of a file\n", stderr);
    return false;
  }
  if (!read_text(path, key, &size)) return false;
  if (size > 0 && key[size - 1] == '\n') size--;
  if (size > 0 && key[size - 1] == '\r') size--;
  if (size == 0 || size > KEY_MAX_BYTES || memchr(key, '\0', size) || memchr(key, '\n', size))
    return complain_key(path, "expected one line of 1 to 4096 bytes");
  key[size] = '\0';
  options->api_key = key;
  return true;
}

static bool take_key_of_environment(server_options *options) {
  const char *key = getenv("ARVAK_API_KEY");
  if (options->api_key || !key || !*key) return true;
  if (option_set_text(options, option_find("api_key", 7), key)) return true;
  fputs("arvak-devserver: $ARVAK_API_KEY: expected at most 4096 bytes\n", stderr);
  return false;
}

/* ---- flags ---- */

static bool complain_unknown(const char *word) {
  fprintf(stderr, "arvak-devserver: unknown flag '%s': expected", word);
  for (const option_spec *spec = option_specs; spec->name; spec++) {
    fputs(" --", stderr);
    for (const char *p = spec->name; *p; p++) fputc(*p == '_' ? '-' : *p, stderr);
  }
  fputs(" --fault --api-key-file --help --version\n", stderr);
  return false;
}

/* "--name value" or "--name=value". Moves *i past what it has used. */
static bool read_flag(server_options *options, char **argv, int *i) {
  char flag[64];
  const char *word = argv[*i], *equals = strchr(word, '=');
  size_t length = equals ? (size_t)(equals - word) : strlen(word);
  const option_spec *spec = NULL;
  if (strncmp(word, "--", 2) == 0 && length < sizeof flag) spec = option_find(word + 2, length - 2);
  bool is_fault = length == 7 && strncmp(word, "--fault", length) == 0;
  bool is_key_file = length == 14 && strncmp(word, "--api-key-file", length) == 0;
  if (!spec && !is_fault && !is_key_file) return complain_unknown(word);
  snprintf(flag, sizeof flag, "%.*s", (int)length, word);
  const char *value = equals ? equals + 1 : argv[*i + 1];
  if (!equals && value) ++*i;
  if (is_fault) return add_fault(options, value);
  return is_key_file ? read_key(options, value) : set_flag(options, spec, flag, value);
}

static bool read_flags(server_options *options, char **argv) {
  for (int i = 1; argv[i]; i++) {
    if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) exit(print_help());
    if (strcmp(argv[i], "--version") == 0) {
      printf("arvak-devserver %s (gRPC %s)\n", ARVAK_VERSION, grpc_version_string());
      exit(0);
    }
    if (!read_flag(options, argv, &i)) return false;
  }
  if (!take_key_of_environment(options)) return false;
  if (!options->address && !options->unix_path) options->address = "127.0.0.1:50051";
  return true;
}

static void print_addresses(const service *s) {
  const char *tcp = service_tcp_address(s), *local = service_unix_address(s);
  if (*tcp) printf("listening on %s\n", tcp);
  if (*local) printf("listening on %s\n", local);
  fflush(stdout);
}

int main(int argc, char **argv) {
  (void)argc;
  server_options options;
  char problem[512];
  options_init(&options);
  if (!read_flags(&options, argv)) return BAD_USAGE;
  if (!options_check(&options, problem, sizeof problem)) {
    fprintf(stderr, "arvak-devserver: %s\n", problem);
    return BAD_USAGE;
  }
  /* Blocked before any thread starts, so that none but sigwait takes them. */
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, NULL);
  signal(SIGPIPE, SIG_IGN);
  service *s = service_start(&options, problem, sizeof problem);
  if (!s) {
    fprintf(stderr, "arvak-devserver: %s\n", problem);
    return 1;
  }
  print_addresses(s);
  int signal_number;
  sigwait(&signals, &signal_number);
  service_free(s);
  return 0;
}
