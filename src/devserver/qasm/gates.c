/* The table of gates. One row a name, sorted for binary search; simulator/plan.c gives the kinds their meaning.
 * SPDX-License-Identifier: Apache-2.0 */
#include "gates.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONGEST_NAME 7
#define MANY GATE_ANY

static const gate_spec specs[] = {
    {"ccx", GATE_CCX, MANY, 3},     {"ch", GATE_CH, MANY, 2},         {"cnot", GATE_CX, MANY, 2},
    {"cp", GATE_CP, 1, 2},          {"cphase", GATE_CP, 1, 2},        {"crx", GATE_CRX, 1, 2},
    {"cry", GATE_CRY, 1, 2},        {"crz", GATE_CRZ, 1, 2},          {"cswap", GATE_CSWAP, MANY, 3},
    {"cx", GATE_CX, MANY, 2},       {"cy", GATE_CY, MANY, 2},         {"cz", GATE_CZ, MANY, 2},
    {"ecr", GATE_ECR, MANY, 2},     {"fredkin", GATE_CSWAP, MANY, 3}, {"h", GATE_H, MANY, MANY},
    {"i", GATE_IDENTITY, MANY, MANY}, {"id", GATE_IDENTITY, MANY, MANY}, {"iswap", GATE_ISWAP, MANY, 2},
    {"p", GATE_P, 1, MANY},         {"phase", GATE_P, 1, MANY},       {"prx", GATE_PRX, 2, MANY},
    {"r", GATE_PRX, 2, MANY},       {"rx", GATE_RX, 1, MANY},         {"rxx", GATE_RXX, 1, 2},
    {"ry", GATE_RY, 1, MANY},       {"ryy", GATE_RYY, 1, 2},          {"rz", GATE_RZ, 1, MANY},
    {"rzz", GATE_RZZ, 1, 2},        {"s", GATE_S, MANY, MANY},        {"sdg", GATE_SDG, MANY, MANY},
    {"swap", GATE_SWAP, MANY, 2},   {"sx", GATE_SX, MANY, MANY},      {"sxdg", GATE_SXDG, MANY, MANY},
    {"t", GATE_T, MANY, MANY},      {"tdg", GATE_TDG, MANY, MANY},    {"toffoli", GATE_CCX, MANY, 3},
    {"u", GATE_U, 3, MANY},         {"u3", GATE_U, 3, MANY},          {"x", GATE_X, MANY, MANY},
    {"y", GATE_Y, MANY, MANY},      {"z", GATE_Z, MANY, MANY}};
#define SPECS (sizeof specs / sizeof *specs)

/* Gates of other dialects, with what to write instead. */
static const struct {
  const char *name, *advice;
} foreign[] = {{"u1", "write p(lambda)"},
               {"u2", "write u(pi/2, phi, lambda)"},
               {"cu1", "write cp(theta)"},
               {"cu", "build it from cx, p and u"},
               {"cu3", "build it from cx, p and u"},
               {"csx", "build it from h, cp(pi/2) and h on the target"},
               {"cs", "write cp(pi/2)"},
               {"csdg", "write cp(-pi/2)"},
               {"ccz", "write ccx between two h on the last qubit"},
               {"dcx", "write cx a, b; cx b, a"},
               {"c3x", "build it from ccx and a spare qubit"},
               {"mcx", "build it from ccx and spare qubits"}};

static size_t lower(const char *name, size_t length, char out[LONGEST_NAME + 1]) {
  if (length > LONGEST_NAME) return 0;
  for (size_t i = 0; i < length; i++) out[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]);
  out[length] = '\0';
  return length;
}

static int compare(const void *key, const void *spec) { return strcmp(key, ((const gate_spec *)spec)->name); }

/* Edit distance; both names are at most LONGEST_NAME long. */
static size_t distance(const char *a, const char *b) {
  size_t row[LONGEST_NAME + 1], n = strlen(b);
  for (size_t j = 0; j <= n; j++) row[j] = j;
  for (size_t i = 1; a[i - 1]; i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= n; j++) {
      size_t best = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      if (row[j] + 1 < best) best = row[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      row[j] = best;
    }
  }
  return row[n];
}

const gate_spec *gate_find(const char *name, size_t length) {
  char key[LONGEST_NAME + 1];
  if (!lower(name, length, key)) return NULL;
  return bsearch(key, specs, SPECS, sizeof *specs, compare);
}

void gate_suggest(const char *name, size_t length, char *out, size_t size) {
  char key[LONGEST_NAME + 1];
  *out = '\0';
  if (!lower(name, length, key)) return;
  for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
    if (strcmp(foreign[i].name, key) == 0) {
      snprintf(out, size, "%s", foreign[i].advice);
      return;
    }
  }
  /* A name of n letters that differs in n of them is another name, not a slip. */
  const char *nearest = NULL;
  size_t best = length < 3 ? 2 : 3;
  for (size_t i = 0; i < SPECS; i++) {
    size_t d = distance(key, specs[i].name);
    if (d < best && d < length) {
      best = d;
      nearest = specs[i].name;
    }
  }
  if (nearest) snprintf(out, size, "did you mean '%s'?", nearest);
}
