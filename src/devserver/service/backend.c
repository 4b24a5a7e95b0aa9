/* See backend.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char backend_id[] = "simulator";

static const char *const gates[] = {"id",    "x",   "y",   "z",   "h",  "s",   "sdg", "t",   "tdg", "sx",   "sxdg",
                                    "rx",    "ry",  "rz",  "p",   "u",  "prx", "cx",  "cy",  "cz",  "ch",   "swap",
                                    "iswap", "crx", "cry", "crz", "cp", "rxx", "ryy", "rzz", "ccx", "cswap"};

bool backend_find(const char *id, size_t length) {
  return length == sizeof backend_id - 1 && memcmp(id, backend_id, length) == 0;
}

char *backend_topology(void) {
  char *json = NULL;
  size_t size;
  FILE *out = open_memstream(&json, &size);
  if (!out) return NULL;
  fputs("{\"kind\":\"FullyConnected\",\"edges\":[", out);
  for (int i = 0; i < BACKEND_QUBITS; i++) {
    for (int k = i + 1; k < BACKEND_QUBITS; k++) fprintf(out, i + k == 1 ? "[%d,%d]" : ",[%d,%d]", i, k);
  }
  fputs("]}", out);
  fclose(out);
  return json;
}

void backend_describe(Arvak__V1__BackendInfo *out, char *topology) {
  arvak__v1__backend_info__init(out);
  /* protobuf-c's structs have no const; packing does not write to them. */
  out->backend_id = out->name = (char *)backend_id;
  out->is_available = true;
  out->max_qubits = BACKEND_QUBITS;
  out->max_shots = BACKEND_SHOTS;
  out->description = (char *)"simulator (20 qubits)";
  out->supported_gates = (char **)gates;
  out->n_supported_gates = sizeof gates / sizeof *gates;
  out->topology_json = topology;
}
