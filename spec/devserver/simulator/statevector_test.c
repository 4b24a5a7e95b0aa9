/* The simulator against the definitions of the gates: amplitudes and counts are compared with matrices written out in
 * this file and applied index by index, and with probabilities worked out by hand. Seeds are fixed, so a statistical
 * bound either always holds or never.
 * SPDX-License-Identifier: Apache-2.0 */
#include <complex.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "qasm/qasm.h"
#include "simulator/kernel.h"
#include "simulator/statevector.h"

#define HEAD "OPENQASM 3.0;\n"
#define COUNT(array) (sizeof(array) / sizeof *(array))
#define HALF_ROOT 0.70710678118654752440

typedef double complex cplx;

static const qasm_limits service = {.max_qubits = 200, .max_operations = 50000};

static circuit *parse(const char *text) {
  qasm_error error;
  circuit *c = qasm_parse(text, strlen(text), &service, &error);
  if (!c) fail_msg("%s: %u:%u %s", text, error.line, error.column, error.message);
  return c;
}

static counts run_with(const circuit *c, const run_options *options) {
  counts out;
  char message[256] = "";
  run_status status = circuit_run(c, options, &out, message, sizeof message);
  if (status != RUN_OK) fail_msg("status %d: %s", (int)status, message);
  return out;
}

static counts run_text(const char *text, uint32_t shots, uint64_t seed) {
  circuit *c = parse(text);
  counts out = run_with(c, &(run_options){.shots = shots, .seed = seed});
  circuit_free(c);
  return out;
}

static uint32_t count_of(const counts *c, uint32_t bits) {
  for (size_t i = 0; i < c->size; i++) {
    if (c->outcomes[i].bits == bits) return c->outcomes[i].count;
  }
  return 0;
}

/* Pearson's statistic stays within six deviations of its mean; cells that expect little are put together, and what
 * cannot happen must not. */
static void check_distribution(const char *what, const counts *c, const double *p, size_t size, uint32_t shots) {
  double statistic = 0, rest = 0;
  uint64_t seen = 0, sum = 0;
  size_t cells = 0;
  for (size_t i = 0; i < size; i++) {
    double expected = p[i] * shots;
    uint32_t n = count_of(c, (uint32_t)i);
    sum += n;
    if (p[i] < 1e-12 && n) fail_msg("%s: impossible outcome %zu came %u times", what, i, n);
    if (expected < 10) {
      rest += expected;
      seen += n;
      continue;
    }
    statistic += (n - expected) * (n - expected) / expected;
    cells++;
  }
  if (rest >= 1) {
    statistic += ((double)seen - rest) * ((double)seen - rest) / rest;
    cells++;
  }
  assert_int_equal(sum, shots);
  double freedom = cells > 1 ? (double)cells - 1 : 1;
  double bound = freedom + 6 * sqrt(2 * freedom) + 8;
  if (statistic > bound) fail_msg("%s: chi squared %g, %zu cells", what, statistic, cells);
}

static void multiply(const cplx a[4], const cplx b[4], cplx out[4]) {
  cplx r[4] = {a[0] * b[0] + a[1] * b[2], a[0] * b[1] + a[1] * b[3], a[2] * b[0] + a[3] * b[2],
               a[2] * b[1] + a[3] * b[3]};
  memcpy(out, r, sizeof r);
}

static void define_z_turn(double angle, cplx m[4]) {
  cplx r[4] = {cexp(-I * angle / 2), 0, 0, cexp(I * angle / 2)};
  memcpy(m, r, sizeof r);
}

/* cos(angle/2) - i sin(angle/2) times X or Y. */
static void define_turn(double angle, bool about_y, cplx m[4]) {
  cplx c = cos(angle / 2), s = -I * sin(angle / 2);
  cplx r[4] = {c, about_y ? s * -I : s, about_y ? s * I : s, c};
  memcpy(m, r, sizeof r);
}

static void define_one(gate_kind kind, const double *a, cplx m[4]) {
  static const double eighth = 0.78539816339744830962;
  static const cplx x[4] = {0, 1, 1, 0}, y[4] = {0, -I, I, 0}, z[4] = {1, 0, 0, -1};
  static const cplx h[4] = {HALF_ROOT, HALF_ROOT, HALF_ROOT, -HALF_ROOT};
  static const cplx root[4] = {(1 + I) / 2, (1 - I) / 2, (1 - I) / 2, (1 + I) / 2};
  cplx other[4];
  switch (kind) {
    case GATE_X: case GATE_CX: case GATE_CCX: memcpy(m, x, sizeof x); break;
    case GATE_Y: case GATE_CY: memcpy(m, y, sizeof y); break;
    case GATE_Z: case GATE_CZ: memcpy(m, z, sizeof z); break;
    case GATE_H: case GATE_CH: memcpy(m, h, sizeof h); break;
    case GATE_SX: memcpy(m, root, sizeof root); break;
    case GATE_SXDG:
      for (int i = 0; i < 4; i++) m[i] = conj(root[i]);
      break;
    case GATE_S: define_z_turn(2 * eighth, m); break;
    case GATE_SDG: define_z_turn(-2 * eighth, m); break;
    case GATE_T: define_z_turn(eighth, m); break;
    case GATE_TDG: define_z_turn(-eighth, m); break;
    case GATE_RX: define_turn(a[0], false, m); break;
    case GATE_RY: define_turn(a[0], true, m); break;
    case GATE_RZ: case GATE_CRZ: case GATE_P: define_z_turn(a[0], m); break;
    case GATE_CP:
      m[0] = 1;
      m[1] = m[2] = 0;
      m[3] = cexp(I * a[0]);
      break;
    case GATE_U:
      define_z_turn(a[2], m);
      define_turn(a[0], true, other);
      multiply(other, m, m);
      define_z_turn(a[1], other);
      multiply(other, m, m);
      break;
    default:
      define_z_turn(-a[1], m);
      define_turn(a[0], false, other);
      multiply(other, m, m);
      define_z_turn(a[1], other);
      multiply(other, m, m);
  }
}

static unsigned operands_of(gate_kind kind) {
  return kind == GATE_CCX || kind == GATE_CSWAP ? 3 : kind >= GATE_CX && kind < GATE_RESET ? 2 : 1;
}

/* The whole matrix of a gate on k qubits, 2^k rows. */
static void define(const gate *g, cplx m[64]) {
  unsigned k = operands_of((gate_kind)g->kind), n = 1U << k;
  for (unsigned i = 0; i < n * n; i++) m[i] = i / n == i % n;
  if (g->kind == GATE_SWAP || g->kind == GATE_ISWAP || g->kind == GATE_CSWAP) {
    unsigned a = n - 3, b = n - 2; /* ...01 and ...10, controls set */
    m[a * n + a] = m[b * n + b] = 0;
    m[a * n + b] = m[b * n + a] = g->kind == GATE_ISWAP ? I : 1;
    return;
  }
  if (g->kind == GATE_ECR) {
    static const cplx ecr[16] = {0, 0, 1, I, 0, 0, I, 1, 1, -I, 0, 0, -I, 1, 0, 0};
    for (unsigned i = 0; i < 16; i++) m[i] = HALF_ROOT * ecr[i];
    return;
  }
  cplx one[4];
  define_one((gate_kind)g->kind, g->parameter, one);
  for (unsigned i = 0; i < 4; i++) m[(n - 2 + i / 2) * n + n - 2 + i % 2] = one[i];
}

static void apply_definition(const gate *g, cplx *v, size_t size) {
  cplx m[64], *next = malloc(size * sizeof *next);
  unsigned k = operands_of((gate_kind)g->kind), n = 1U << k;
  define(g, m);
  for (size_t i = 0; i < size; i++) {
    size_t row = 0, rest = i;
    for (unsigned q = 0; q < k; q++) {
      row = row << 1 | (i >> g->qubit[q] & 1);
      rest &= ~((size_t)1 << g->qubit[q]);
    }
    next[i] = 0;
    for (size_t column = 0; column < n; column++) {
      size_t from = rest;
      for (unsigned q = 0; q < k; q++) from |= (column >> (k - 1 - q) & 1) << g->qubit[q];
      next[i] += m[row * n + column] * v[from];
    }
  }
  memcpy(v, next, size * sizeof *v);
  free(next);
}

static uint64_t random_state = 1;

static unsigned below(unsigned n) {
  random_state = random_state * 6364136223846793005U + 1442695040888963407U;
  return (unsigned)(random_state >> 33) % n;
}

static const gate_kind kinds[] = {
    GATE_X,  GATE_Y,  GATE_Z,  GATE_H,  GATE_S,    GATE_SDG,   GATE_T,   GATE_TDG, GATE_SX,
    GATE_RX, GATE_RY, GATE_RZ, GATE_P,  GATE_SXDG, GATE_U,     GATE_PRX, GATE_CX,  GATE_CY,
    GATE_CZ, GATE_CH, GATE_CP, GATE_CRZ, GATE_SWAP, GATE_ISWAP, GATE_CCX, GATE_CSWAP, GATE_ECR};

static gate random_gate(gate_kind kind, unsigned qubits) {
  gate g = {.kind = (uint8_t)kind};
  for (unsigned i = 0; i < 3; i++) {
    bool again;
    g.parameter[i] = (below(2000) - 1000.0) / 137;
    do {
      again = false;
      g.qubit[i] = (uint16_t)below(qubits);
      for (unsigned j = 0; j < i && i < operands_of(kind); j++) again = again || g.qubit[j] == g.qubit[i];
    } while (again);
  }
  return g;
}

static void random_circuit(gate *gates, size_t n, unsigned qubits) {
  for (size_t i = 0; i < n; i++) {
    gate_kind kind;
    do kind = kinds[below(COUNT(kinds))];
    while (operands_of(kind) > qubits);
    gates[i] = random_gate(kind, qubits);
  }
}

/* The simulator's state, in the circuit's numbering of qubits. */
static cplx *simulated_state(const circuit *c) {
  plan p;
  progress going = {0};
  assert_true(plan_init(&p, c));
  size_t small = (size_t)1 << p.bits, size = (size_t)1 << c->qubits;
  amplitude *a = calloc(small, sizeof *a);
  cplx *v = calloc(size, sizeof *v);
  a[0].re = 1;
  for (size_t i = 0; i < p.group_count; i++) assert_true(kernel_group(p.steps, &p.groups[i], a, small, &going));
  for (size_t i = 0; i < small; i++) {
    size_t at = 0;
    for (unsigned b = 0; b < p.bits; b++) at |= (i >> b & 1) << p.place[b];
    v[at] = a[i].re + I * a[i].im;
  }
  free(a);
  plan_fini(&p);
  return v;
}

static void compare_with_definition(gate *gates, size_t n, unsigned qubits) {
  circuit c = {.qubits = qubits, .operations = n, .count = n, .gates = gates};
  size_t size = (size_t)1 << qubits;
  cplx *got = simulated_state(&c), *want = calloc(size, sizeof *want), inner = 0;
  double norm = 0;
  want[0] = 1;
  for (size_t i = 0; i < n; i++) apply_definition(&gates[i], want, size);
  for (size_t i = 0; i < size; i++) {
    inner += conj(want[i]) * got[i];
    norm += creal(got[i] * conj(got[i]));
  }
  if (fabs(norm - 1) > 1e-9 || fabs(cabs(inner) - 1) > 1e-9) {
    fail_msg("%u qubits, %zu gates, last of kind %d: norm %.12g, overlap %.12g", qubits, n, gates[n - 1].kind, norm,
             cabs(inner));
  }
  free(got);
  free(want);
}

static void each_gate_is_its_matrix(void **state) {
  (void)state;
  for (size_t k = 0; k < COUNT(kinds); k++) {
    for (unsigned round = 0; round < 40; round++) {
      gate gates[9] = {{0}};
      /* On a state without any symmetry, made from gates of one qubit and a few of two. */
      for (unsigned i = 0; i < 3; i++) {
        gates[i] = random_gate(GATE_U, 3);
        gates[i].qubit[0] = (uint16_t)i;
        gates[i + 5] = random_gate(GATE_U, 3);
        gates[i + 5].qubit[0] = (uint16_t)i;
      }
      gates[3] = random_gate(GATE_CX, 3);
      gates[4] = random_gate(GATE_CP, 3);
      gates[8] = random_gate(kinds[k], 3);
      compare_with_definition(gates, 9, 3);
    }
  }
}

static void random_circuits_are_the_product_of_their_matrices(void **state) {
  gate gates[120];
  (void)state;
  for (unsigned qubits = 1; qubits <= 7; qubits++) {
    for (unsigned round = 0; round < 40; round++) {
      size_t n = 1 + below(60);
      random_circuit(gates, n, qubits);
      compare_with_definition(gates, n, qubits);
    }
  }
  /* Larger than a block, so that gates meet qubits inside, outside and picked. */
  for (unsigned qubits = 11; qubits <= 15; qubits++) {
    for (unsigned round = 0; round < 4; round++) {
      random_circuit(gates, COUNT(gates), qubits);
      compare_with_definition(gates, COUNT(gates), qubits);
    }
  }
}

static void single_gates_reach_every_pair_of_qubits(void **state) {
  gate gates[17];
  enum { QUBITS = 14 };
  (void)state;
  for (unsigned i = 0; i < QUBITS; i++) {
    gates[i] = random_gate(GATE_RY, QUBITS);
    gates[i].qubit[0] = (uint16_t)i;
  }
  for (unsigned a = 0; a < QUBITS; a++) {
    for (unsigned b = 0; b < QUBITS; b += 3) {
      if (a == b) continue;
      static const gate_kind two[] = {GATE_CH, GATE_ISWAP, GATE_CRZ};
      for (unsigned i = 0; i < 3; i++) {
        gates[QUBITS + i] = random_gate(two[i], QUBITS);
        gates[QUBITS + i].qubit[0] = (uint16_t)a;
        gates[QUBITS + i].qubit[1] = (uint16_t)b;
      }
      compare_with_definition(gates, QUBITS + 3, QUBITS);
    }
  }
}

static void counts_follow_probabilities_known_by_hand(void **state) {
  static const struct {
    const char *program;
    double p[8]; /* by outcome, qubit 0 the lowest bit */
  } cases[] = {
      {"qubit q; h q;", {0.5, 0.5}},
      {"qubit q; rx(pi/3) q;", {0.75, 0.25}},
      {"qubit q; ry(2*pi/3) q;", {0.25, 0.75}},
      {"qubit q; h q; rz(pi/3) q; h q;", {0.75, 0.25}},
      {"qubit q; h q; p(pi/3) q; h q;", {0.75, 0.25}},
      {"qubit q; h q; t q; h q;", {0.853553390593274, 0.146446609406726}},
      {"qubit q; h q; tdg q; s q; tdg q; h q;", {1, 0}},
      {"qubit q; h q; s q; s q; h q;", {0, 1}},
      {"qubit q; h q; sdg q; z q; sdg q; h q;", {1, 0}},
      {"qubit q; h q; s q; sx q;", {1, 0}},
      {"qubit q; h q; s q; sxdg q;", {0, 1}},
      {"qubit q; h q; y q; h q;", {0, 1}},
      {"qubit q; u(pi/3, 0.7, -0.2) q;", {0.75, 0.25}},
      {"qubit q; h q; u(0, 0, pi/3) q; h q;", {0.75, 0.25}},
      {"qubit q; u(pi/2, pi/3, 0) q; h q;", {0.75, 0.25}},
      {"qubit q; h q; prx(pi/2, 0) q;", {0.5, 0.5}},
      {"qubit q; h q; prx(pi/2, pi/2) q;", {0, 1}},
      {"qubit q; h q; prx(pi/2, -pi/2) q;", {1, 0}},
      {"qubit q; bit c; h q; measure q; h q;", {1, 0}},
      {"qubit[2] q; h q[0]; cx q[0], q[1];", {0.5, 0, 0, 0.5}},
      {"qubit[2] q; h q; cz q; h q[1];", {0.5, 0, 0, 0.5}},
      {"qubit[2] q; h q[0]; cy q[0], q[1]; cx q[0], q[1]; sdg q[0]; h q[0];", {1, 0, 0, 0}},
      {"qubit[2] q; x q[1]; ch q[1], q[0];", {0, 0, 0.5, 0.5}},
      {"qubit[2] q; x q[0]; ch q[1], q[0];", {0, 1, 0, 0}},
      {"qubit[2] q; rx(pi/3) q[0]; swap q;", {0.75, 0, 0.25, 0}},
      {"qubit[2] q; h q[0]; iswap q; sdg q[1]; h q[1];", {1, 0, 0, 0}},
      {"qubit[2] q; x q[0]; h q[1]; crz(pi/3) q[0], q[1]; h q[1];", {0, 0.75, 0, 0.25}},
      {"qubit[2] q; h q[0]; x q[1]; crz(2*pi/3) q; h q[0];", {0, 0, 0.75, 0.25}},
      {"qubit[2] q; x q[0]; h q[1]; cp(pi/3) q[0], q[1]; h q[1];", {0, 0.75, 0, 0.25}},
      {"qubit[2] q; h q[1]; cp(pi/3) q[0], q[1]; h q[1];", {1, 0, 0, 0}},
      {"qubit[3] q; h q[0]; h q[1]; ccx q;", {0.25, 0.25, 0.25, 0, 0, 0, 0, 0.25}},
      {"qubit[3] q; h q[0]; rx(pi/3) q[1]; cswap q;", {0.375, 0.375, 0.125, 0, 0, 0.125}},
      {"qubit[3] q; h q[0]; cx q[0], q[1]; cx q[1], q[2];", {0.5, 0, 0, 0, 0, 0, 0, 0.5}},
      {"qubit[2] a; qubit b; rx(pi/3) b; cx b, a[0];", {0.75, 0, 0, 0, 0, 0.25}},
      {"qubit[2] q; h q[0]; cx q[0], q[1]; reset q[0];", {0.5, 0, 0.5, 0}},
      {"qubit[2] q; rx(pi/3) q[0]; cx q[0], q[1]; reset q[0]; h q[0];", {0.375, 0.375, 0.125, 0.125}},
      {"qubit q; h q; reset q; h q;", {0.5, 0.5}},
  };
  (void)state;
  for (size_t i = 0; i < COUNT(cases); i++) {
    char text[256];
    snprintf(text, sizeof text, HEAD "%s", cases[i].program);
    counts c = run_text(text, 50000, 7 + i);
    check_distribution(cases[i].program, &c, cases[i].p, (size_t)1 << c.width, 50000);
    counts_fini(&c);
  }
}

static void counts_of_random_circuits_follow_their_amplitudes(void **state) {
  gate gates[60];
  double p[256];
  (void)state;
  for (unsigned round = 0; round < 40; round++) {
    unsigned qubits = 1 + below(8);
    circuit c = {.qubits = qubits, .operations = 60, .count = 60, .gates = gates};
    cplx v[256] = {1};
    random_circuit(gates, 60, qubits);
    for (size_t i = 0; i < 60; i++) apply_definition(&gates[i], v, (size_t)1 << qubits);
    for (size_t i = 0; i < (size_t)1 << qubits; i++) p[i] = creal(v[i] * conj(v[i]));
    counts out = run_with(&c, &(run_options){.shots = 100000, .width = 20, .seed = round});
    check_distribution("random circuit", &out, p, (size_t)1 << qubits, 100000);
    counts_fini(&out);
  }
}

/* Adds the probabilities of all ways that the resets can go; v is not scaled, so its norm is a way's probability. */
static void add_ways(const circuit *c, size_t from, cplx *v, double *p) {
  size_t size = (size_t)1 << c->qubits;
  for (size_t i = from; i < c->count; i++) {
    if (c->gates[i].kind != GATE_RESET) {
      apply_definition(&c->gates[i], v, size);
      continue;
    }
    size_t bit = (size_t)1 << c->gates[i].qubit[0];
    for (unsigned one = 0; one < 2; one++) {
      cplx *half = calloc(size, sizeof *half);
      for (size_t k = 0; k < size; k++) {
        if (!(k & bit)) half[k] = v[one ? k | bit : k];
      }
      add_ways(c, i + 1, half, p);
      free(half);
    }
    return;
  }
  for (size_t k = 0; k < size; k++) p[k] += creal(v[k] * conj(v[k]));
}

static void resets_collapse_at_random(void **state) {
  gate gates[40];
  (void)state;
  for (unsigned round = 0; round < 60; round++) {
    unsigned qubits = 2 + below(3);
    circuit c = {.qubits = qubits, .operations = 40, .count = 40, .gates = gates};
    cplx v[16] = {1};
    double p[16] = {0};
    random_circuit(gates, 40, qubits);
    for (unsigned i = 0; i < 5; i++) gates[5 + i * 7 + below(5)].kind = GATE_RESET;
    add_ways(&c, 0, v, p);
    counts out = run_with(&c, &(run_options){.shots = 100000, .width = 20, .seed = 1000 + round});
    check_distribution("circuit with resets", &out, p, (size_t)1 << qubits, 100000);
    counts_fini(&out);
  }
}

/* Each reset parts the shots anew, and every part has to arrive with its right share. */
static void resets_of_entangled_qubits_part_the_shots_each_time(void **state) {
  static const char program[] = HEAD "qubit[4] q;"
                                     "h q[3]; cx q[3], q[0]; reset q[3]; h q[3]; cx q[3], q[1]; reset q[3];"
                                     "ry(2*pi/3) q[3]; cx q[3], q[2]; reset q[3];";
  double p[16];
  (void)state;
  for (unsigned i = 0; i < 16; i++) p[i] = i & 8 ? 0 : i & 4 ? 0.1875 : 0.0625;
  counts c = run_text(program, 100000, 3);
  check_distribution(program, &c, p, 16, 100000);
  counts_fini(&c);
}

static void many_resets_of_many_shots_are_followed_together(void **state) {
  char text[20000];
  size_t used = (size_t)snprintf(text, sizeof text, HEAD "qubit[16] q;");
  (void)state;
  for (unsigned i = 0; i < 200; i++) {
    unsigned q = i % 16, next = (i + 1) % 16;
    used += (size_t)snprintf(text + used, sizeof text - used, "h q[%u]; cp(1) q[%u], q[%u]; reset q[%u];", q, q,
                             next, q);
  }
  counts c = run_text(text, 100000, 1);
  assert_int_equal(c.size, 1);
  assert_int_equal(count_of(&c, 0), 100000);
  counts_fini(&c);
}

/* Sorted draws depend on their number: each of few must be as fair as one of many. */
static void few_shots_are_as_fair_as_many(void **state) {
  static const double p[4] = {0.1875, 0.5625, 0.0625, 0.1875};
  circuit *c = parse(HEAD "qubit[2] q; ry(2*pi/3) q[0]; rx(pi/3) q[1];");
  (void)state;
  for (uint32_t shots = 1; shots <= 3; shots++) {
    outcome sum[4] = {{0, 0}, {1, 0}, {2, 0}, {3, 0}};
    for (uint64_t seed = 0; seed < 20000; seed++) {
      counts out = run_with(c, &(run_options){.shots = shots, .seed = seed});
      for (size_t i = 0; i < out.size; i++) sum[out.outcomes[i].bits].count += out.outcomes[i].count;
      counts_fini(&out);
    }
    check_distribution("few shots", &(counts){.size = 4, .outcomes = sum}, p, 4, 20000 * shots);
  }
  circuit_free(c);
}

static void large_superpositions_are_sampled_evenly(void **state) {
  counts c = run_text(HEAD "qubit[20] q; h q;", 100000, 11);
  uint32_t by_part[256] = {0}, most = 0;
  double p[256];
  (void)state;
  for (size_t i = 0; i < c.size; i++) {
    assert_true(c.outcomes[i].count > 0 && c.outcomes[i].bits < 1U << 20);
    assert_true(i == 0 || c.outcomes[i - 1].bits < c.outcomes[i].bits);
    by_part[c.outcomes[i].bits >> 12] += c.outcomes[i].count;
    if (c.outcomes[i].count > most) most = c.outcomes[i].count;
  }
  /* 2^20 (1 - exp(-100000/2^20)) keys on the average, within 67 or so; and hardly any outcome five times. */
  assert_in_range(c.size, 95000, 95800);
  assert_in_range(most, 2, 6);
  outcome parts[256];
  for (uint32_t i = 0; i < 256; i++) {
    parts[i] = (outcome){i, by_part[i]};
    p[i] = 1.0 / 256;
  }
  check_distribution("parts", &(counts){.size = 256, .outcomes = parts}, p, 256, 100000);
  counts_fini(&c);
}

static void a_seed_determines_the_counts(void **state) {
  static const char *const programs[] = {
      HEAD "qubit[8] q; h q; cp(1) q[0], q[7]; ry(0.4) q;",
      HEAD "qubit[3] q; h q; cx q[0], q[1]; reset q[0]; h q; cx q[1], q[2]; reset q[1]; h q;",
  };
  (void)state;
  for (size_t i = 0; i < COUNT(programs); i++) {
    counts a = run_text(programs[i], 1000, 42), b = run_text(programs[i], 1000, 42);
    counts c = run_text(programs[i], 1000, 43);
    assert_int_equal(a.size, b.size);
    assert_memory_equal(a.outcomes, b.outcomes, a.size * sizeof *a.outcomes);
    assert_true(a.size != c.size || memcmp(a.outcomes, c.outcomes, a.size * sizeof *a.outcomes) != 0);
    counts_fini(&a);
    counts_fini(&b);
    counts_fini(&c);
  }
}

static void check_key(const char *text, uint32_t width, const char *key) {
  circuit *c = parse(text);
  counts out = run_with(c, &(run_options){.shots = 16, .width = width});
  char got[64];
  assert_int_equal(out.size, 1);
  assert_int_equal(out.outcomes[0].count, 16);
  assert_int_equal(out.width, strlen(key));
  counts_key(&out, out.outcomes[0].bits, got);
  assert_string_equal(got, key);
  counts_fini(&out);
  circuit_free(c);
}

static void keys_have_qubit_0_rightmost_and_all_declared_qubits(void **state) {
  (void)state;
  check_key(HEAD, 0, "0");
  check_key(HEAD "bit[3] c;", 20, "00000000000000000000");
  check_key(HEAD "qubit q;", 0, "0");
  check_key(HEAD "qubit[3] q; x q[0];", 0, "001");
  check_key(HEAD "qubit[3] q; bit c; x q[2]; c = measure q[2];", 0, "100");
  check_key(HEAD "qubit[2] a; qubit[3] b; x a[1]; x b[0]; x b[2];", 0, "10110");
  check_key(HEAD "qubit[3] q; x q[0];", 20, "00000000000000000001");
  check_key(HEAD "qubit[20] q; x q[19]; x q[4];", 0, "10000000000000010000");
  check_key(HEAD "qubit[20] q; x q; swap q[3], q[2]; reset q[7];", 20, "11111111111101111111");
}

static void ecr_runs_only_after_optimization(void **state) {
  static const double p[4] = {0, 0.5, 0, 0.5};
  circuit *c = parse(HEAD "qubit[2] q; ecr q;");
  counts out = run_with(c, &(run_options){.shots = 10000, .width = 20});
  (void)state;
  check_distribution("ecr", &out, p, 4, 10000);
  assert_int_equal(out.width, 20);
  counts_fini(&out);
  circuit_free(c);
}

static void no_shots_give_no_counts(void **state) {
  counts c = run_text(HEAD "qubit[2] q; h q; reset q;", 0, 1);
  (void)state;
  assert_int_equal(c.size, 0);
  assert_int_equal(c.width, 2);
  counts_fini(&c);
  counts_fini(&c);
}

static void check_failure(const char *program, uint32_t shots, const char *message) {
  char text[256], got[256];
  counts out;
  snprintf(text, sizeof text, HEAD "%s", program);
  circuit *c = parse(text);
  run_status status = circuit_run(c, &(run_options){.shots = shots}, &out, got, sizeof got);
  assert_int_equal(status, RUN_FAILED);
  assert_string_equal(got, message);
  counts_fini(&out);
  circuit_free(c);
}

#define FAILED "Backend submit failed: Backend error: simulation failed: "
#define INVALID "Backend submit failed: Invalid circuit: "

static void what_cannot_run_fails_with_the_services_words(void **state) {
  (void)state;
  check_failure("qubit[21] q;", 1, INVALID "Circuit has 21 qubits but simulator only supports 20");
  check_failure("qubit[200] q; rx(a) q;", 1, INVALID "Circuit has 200 qubits but simulator only supports 20");
  check_failure("qubit q;", 100001, INVALID "Requested 100001 shots but simulator supports max 100000");
  check_failure("qubit[21] q;", 4294967295U,
                INVALID "Circuit has 21 qubits but simulator only supports 20; "
                        "Requested 4294967295 shots but simulator supports max 100000");
  check_failure("qubit q; rx(a) q;", 1, FAILED "Rx gate has unresolved symbolic parameter");
  check_failure("qubit q; p(1/0) q;", 0, FAILED "P gate has unresolved symbolic parameter");
  check_failure("qubit q; p(1e400) q;", 0, FAILED "P gate has unresolved symbolic parameter");
  check_failure("qubit q; p(-1e308*10) q;", 0, FAILED "P gate has unresolved symbolic parameter");
  check_failure("qubit q; p(1e200*1e200 - 1e200*1e200) q;", 0, FAILED "P gate has unresolved symbolic parameter");
  check_failure("qubit[2] q; crz(a) q;", 1, FAILED "CRz gate has unresolved symbolic parameter");
  check_failure("qubit q; u(a, b, c) q;", 1, FAILED "U gate has unresolved symbolic parameter (theta)");
  check_failure("qubit q; u(1, 2, c) q;", 1, FAILED "U gate has unresolved symbolic parameter (lambda)");
  check_failure("qubit q; prx(1, b) q;", 1, FAILED "PRX gate has unresolved symbolic parameter (phi)");
  check_failure("qubit[2] q; rzz(0.5) q;", 1, FAILED "Unhandled gate type in simulation: RZZ(0.5)");
  check_failure("qubit[2] q; ecr q;", 1, FAILED "Unhandled gate type in simulation: ECR");
  check_failure("qubit[2] q; rx(a) q; ecr q;", 1, FAILED "Rx gate has unresolved symbolic parameter");
  check_failure("qubit[2] q; crx(a) q; rx(a) q;", 1, FAILED "Unhandled gate type in simulation: CRx(symbolic)");
}

static void a_run_that_is_told_to_stop_before_it_starts_does_not(void **state) {
  atomic_bool stop = true;
  circuit *c = parse(HEAD "qubit[20] q; h q;");
  counts out;
  char message[256];
  (void)state;
  run_options options = {.shots = 1, .stop = &stop};
  assert_int_equal(circuit_run(c, &options, &out, message, sizeof message), RUN_STOPPED);
  counts_fini(&out);
  circuit_free(c);
}

typedef struct long_run {
  circuit *circuit;
  atomic_bool stop, started;
  run_status status;
} long_run;

static void *run_for_ever(void *ud) {
  long_run *r = ud;
  counts out;
  char message[256];
  run_options options = {.shots = 100000, .stop = &r->stop};
  atomic_store(&r->started, true);
  r->status = circuit_run(r->circuit, &options, &out, message, sizeof message);
  counts_fini(&out);
  return NULL;
}

/* Runs of hours, in few large states or in very many small ones. */
static void a_running_simulation_stops_soon(void **state) {
  static const char *const programs[] = {"qubit[20] q; u(1,2,3) q; %s", "qubit[9] q; %s"};
  static const char *const units[] = {"cx q[0], q[19]; u(1,2,3) q[19]; u(1,2,3) q[0];",
                                      "u(1,2,3) q[0]; cx q[0], q[4]; reset q[0]; rx(1) q[4]; ry(1) q[4];"};
  (void)state;
  for (size_t i = 0; i < COUNT(programs); i++) {
    enum { UNITS = 9000 };
    char *body = malloc(UNITS * strlen(units[i]) + 1), *text = malloc(UNITS * strlen(units[i]) + 100);
    long_run r = {0};
    pthread_t thread;
    for (size_t j = 0; j < UNITS; j++) memcpy(body + j * strlen(units[i]), units[i], strlen(units[i]) + 1);
    size_t used = (size_t)sprintf(text, HEAD);
    sprintf(text + used, programs[i], body);
    r.circuit = parse(text);
    assert_int_equal(pthread_create(&thread, NULL, run_for_ever, &r), 0);
    while (!atomic_load(&r.started)) sched_yield();
    atomic_store(&r.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(r.status, RUN_STOPPED);
    circuit_free(r.circuit);
    free(body);
    free(text);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_gate_is_its_matrix),
      cmocka_unit_test(random_circuits_are_the_product_of_their_matrices),
      cmocka_unit_test(single_gates_reach_every_pair_of_qubits),
      cmocka_unit_test(counts_follow_probabilities_known_by_hand),
      cmocka_unit_test(counts_of_random_circuits_follow_their_amplitudes),
      cmocka_unit_test(resets_collapse_at_random),
      cmocka_unit_test(resets_of_entangled_qubits_part_the_shots_each_time),
      cmocka_unit_test(many_resets_of_many_shots_are_followed_together),
      cmocka_unit_test(few_shots_are_as_fair_as_many),
      cmocka_unit_test(large_superpositions_are_sampled_evenly),
      cmocka_unit_test(a_seed_determines_the_counts),
      cmocka_unit_test(keys_have_qubit_0_rightmost_and_all_declared_qubits),
      cmocka_unit_test(ecr_runs_only_after_optimization),
      cmocka_unit_test(no_shots_give_no_counts),
      cmocka_unit_test(what_cannot_run_fails_with_the_services_words),
      cmocka_unit_test(a_run_that_is_told_to_stop_before_it_starts_does_not),
      cmocka_unit_test(a_running_simulation_stops_soon),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
