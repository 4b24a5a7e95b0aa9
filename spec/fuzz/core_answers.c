/* Any bytes as the answer to any RPC: decoded or refused, within bounds. The first byte chooses the RPC.
 * SPDX-License-Identifier: Apache-2.0 */
#include "arvak.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  arvak_response *response = NULL;
  if (arvak_response_decode(data[0] % ARVAK_RPC_COUNT, data + 1, size - 1, &response) == ARVAK_OK) {
    arvak_response_unref(response);
  }
  return 0;
}
