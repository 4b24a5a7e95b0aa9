/* Any bytes as a program: the parser stays within them and reports errors inside them, and what it accepts runs.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "qasm/qasm.h"
#include "simulator/statevector.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds) {
  if (!holds) abort();
}

static void check_error(const char *text, size_t size, const qasm_error *e) {
  uint32_t line = 1, column = 1;
  require(e->class != QASM_OK && e->offset <= size && *e->message != '\0');
  require(memchr(e->message, '\0', sizeof e->message) != NULL && strchr(e->message, '\n') == NULL);
  for (size_t i = 0; i < e->offset; i++) {
    column = text[i] == '\n' ? 1 : column + 1;
    line += text[i] == '\n';
  }
  require(e->line == line && e->column == column);
}

static void check_run(const circuit *c, uint64_t seed) {
  run_options options = {.shots = 40, .seed = seed};
  counts out;
  char message[256] = "";
  uint64_t sum = 0;
  run_status status = circuit_run(c, &options, &out, message, sizeof message);
  require(status == RUN_OK || (status == RUN_FAILED && *message != '\0'));
  for (size_t i = 0; i < out.size; i++) {
    require(out.outcomes[i].count > 0 && (i == 0 || out.outcomes[i - 1].bits < out.outcomes[i].bits));
    require(out.outcomes[i].bits >> c->qubits == 0);
    sum += out.outcomes[i].count;
  }
  require(status != RUN_OK || sum == options.shots);
  counts_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  qasm_limits limits = {.max_qubits = 30, .max_operations = 200};
  qasm_error error;
  circuit *c = qasm_parse((const char *)data, size, &limits, &error);
  if (c) {
    require(error.class == QASM_OK && c->qubits <= limits.max_qubits && c->operations <= limits.max_operations);
    require(c->count <= c->operations);
    for (size_t i = 0; i < c->count; i++) require(c->gates[i].qubit[0] < c->qubits);
    /* More qubits than these take long under a sanitizer and show nothing new. */
    if (c->qubits <= 14 || c->qubits > 20) check_run(c, size);
  } else {
    check_error((const char *)data, size, &error);
  }
  circuit_free(c);
  return 0;
}
