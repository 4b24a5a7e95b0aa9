/* See circuit.h: memory, and the names of gates as failure messages spell them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "circuit.h"

#include <stdlib.h>

void circuit_free(circuit *c) {
  if (!c) return;
  free(c->gates);
  free(c);
}

const char *gate_kind_name(gate_kind kind) {
  static const char *const names[] = {
      [GATE_X] = "X",       [GATE_Y] = "Y",     [GATE_Z] = "Z",       [GATE_H] = "H",         [GATE_S] = "S",
      [GATE_SDG] = "Sdg",   [GATE_T] = "T",     [GATE_TDG] = "Tdg",   [GATE_SX] = "SX",       [GATE_SXDG] = "SXdg",
      [GATE_RX] = "Rx",     [GATE_RY] = "Ry",   [GATE_RZ] = "Rz",     [GATE_P] = "P",         [GATE_U] = "U",
      [GATE_PRX] = "PRX",   [GATE_CX] = "CX",   [GATE_CY] = "CY",     [GATE_CZ] = "CZ",       [GATE_CH] = "CH",
      [GATE_SWAP] = "Swap", [GATE_ISWAP] = "ISwap", [GATE_CRZ] = "CRz", [GATE_CP] = "CP",     [GATE_CRX] = "CRx",
      [GATE_CRY] = "CRy",   [GATE_RXX] = "RXX", [GATE_RYY] = "RYY",   [GATE_RZZ] = "RZZ",     [GATE_ECR] = "ECR",
      [GATE_CCX] = "CCX",   [GATE_CSWAP] = "CSwap", [GATE_RESET] = "Reset"};
  return names[kind];
}

const char *gate_parameter_name(gate_kind kind, unsigned parameter) {
  static const char *const names[] = {"theta", "phi", "lambda"};
  return (kind == GATE_U || kind == GATE_PRX) && parameter < 3 ? names[parameter] : NULL;
}
