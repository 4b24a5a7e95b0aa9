/* Any bytes as a program: a circuit or a first error, and no more memory than the limits allow.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "qasm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const qasm_limits limits = {200, 50000};
  qasm_error error = {0};
  circuit *c = qasm_parse((const char *)data, size, &limits, &error);
  if (c != NULL) {
    if (c->qubits > limits.max_qubits || c->count > limits.max_operations) abort();
  } else if (error.class == QASM_OK || memchr(error.message, 0, sizeof error.message) == NULL) {
    abort();
  }
  circuit_free(c);
  return 0;
}
