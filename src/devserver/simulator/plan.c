/* From gates to steps: matrices, fusion of neighbouring one-qubit gates, and grouping into passes over memory.
 * Global phases are dropped freely, for only counts leave the simulator.
 * SPDX-License-Identifier: Apache-2.0 */
#include "plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define HALF_PI 1.57079632679489661923
#define QUARTER_PI 0.78539816339744830962
#define ROOT_HALF 0.70710678118654752440

/* A gate as a matrix on one qubit, under controls; or as an exchange of two qubits times a factor. */
typedef struct matrix {
  amplitude m[4];
} matrix;

typedef struct builder {
  plan *plan;
  uint8_t index[32];    /* the plan's number of each qubit of the circuit */
  matrix pending[32];   /* of one-qubit gates not yet made a step */
  bool has_pending[32];
} builder;

static amplitude turn(double angle) { return (amplitude){cos(angle), sin(angle)}; }

static bool is_value(amplitude a, double re, double im) { return a.re == re && a.im == im; }

static matrix product(const matrix *b, const matrix *a) {
  matrix r;
  for (int i = 0; i < 4; i++) {
    amplitude x = amplitude_times(b->m[i & 2], a->m[i & 1]), y = amplitude_times(b->m[(i & 2) + 1], a->m[(i & 1) + 2]);
    r.m[i] = (amplitude){x.re + y.re, x.im + y.im};
  }
  return r;
}

static matrix diagonal(amplitude zero, amplitude one) { return (matrix){{zero, {0, 0}, {0, 0}, one}}; }

/* [[cos(theta/2), -e^(i lambda) sin(theta/2)], [e^(i phi) sin(theta/2), e^(i(phi+lambda)) cos(theta/2)]] */
static matrix rotation(double theta, double phi, double lambda) {
  double c = cos(theta / 2), s = sin(theta / 2);
  amplitude l = turn(lambda), f = turn(phi), b = turn(phi + lambda);
  return (matrix){{{c, 0}, {-s * l.re, -s * l.im}, {s * f.re, s * f.im}, {c * b.re, c * b.im}}};
}

/* About an axis in the x-y plane, phi from x: Rz(phi) Rx(theta) Rz(-phi). */
static matrix tilt(double theta, double phi) {
  double c = cos(theta / 2), s = sin(theta / 2);
  amplitude up = turn(phi);
  return (matrix){{{c, 0}, {-s * up.im, -s * up.re}, {s * up.im, -s * up.re}, {c, 0}}};
}

/* What a gate does to its last qubit when all controls are 1. */
static matrix matrix_of(const gate *g) {
  const double *a = g->parameter;
  switch (g->kind) {
  case GATE_X: case GATE_CX: case GATE_CCX:
    return (matrix){{{0, 0}, {1, 0}, {1, 0}, {0, 0}}};
  case GATE_Y: case GATE_CY:
    return (matrix){{{0, 0}, {0, -1}, {0, 1}, {0, 0}}};
  case GATE_Z: case GATE_CZ:
    return diagonal((amplitude){1, 0}, (amplitude){-1, 0});
  case GATE_H: case GATE_CH:
    return (matrix){{{ROOT_HALF, 0}, {ROOT_HALF, 0}, {ROOT_HALF, 0}, {-ROOT_HALF, 0}}};
  case GATE_S:
    return diagonal((amplitude){1, 0}, (amplitude){0, 1});
  case GATE_SDG:
    return diagonal((amplitude){1, 0}, (amplitude){0, -1});
  case GATE_T:
    return diagonal((amplitude){1, 0}, turn(QUARTER_PI));
  case GATE_TDG:
    return diagonal((amplitude){1, 0}, turn(-QUARTER_PI));
  case GATE_SX:
    return tilt(HALF_PI, 0);
  case GATE_SXDG:
    return tilt(-HALF_PI, 0);
  case GATE_RX:
    return tilt(a[0], 0);
  case GATE_RY:
    return rotation(a[0], 0, 0);
  case GATE_RZ: case GATE_CRZ:
    return diagonal(turn(-a[0] / 2), turn(a[0] / 2));
  case GATE_P: case GATE_CP:
    return diagonal((amplitude){1, 0}, turn(a[0]));
  case GATE_U:
    return rotation(a[0], a[1], a[2]);
  default: /* GATE_PRX */
    return tilt(a[0], a[1]);
  }
}

static void add(builder *b, const step *s) { b->plan->steps[b->plan->step_count++] = *s; }

static void add_scale(builder *b, uint32_t mask, uint32_t value, amplitude factor) {
  if (is_value(factor, 1, 0)) return;
  add(b, &(step){.kind = STEP_SCALE, .mask = mask, .value = value, .m = {factor}});
}

static bool is_real(const matrix *m) {
  return m->m[0].im == 0 && m->m[1].im == 0 && m->m[2].im == 0 && m->m[3].im == 0;
}

static void add_matrix(builder *b, const matrix *m, unsigned target, uint32_t controls) {
  uint32_t bit = 1U << target, mask = controls | bit;
  if (is_value(m->m[1], 0, 0) && is_value(m->m[2], 0, 0)) {
    amplitude zero = m->m[0], one = m->m[3];
    if (!controls) {
      one = amplitude_times(one, (amplitude){zero.re, -zero.im});
      zero = (amplitude){1, 0};
    }
    add_scale(b, mask, controls, zero);
    add_scale(b, mask, mask, one);
    return;
  }
  step s = {.mask = mask, .value = controls, .flip = bit};
  memcpy(s.m, m->m, sizeof s.m);
  bool swap = is_value(s.m[0], 0, 0) && is_value(s.m[3], 0, 0) && is_value(s.m[1], 1, 0) && is_value(s.m[2], 1, 0);
  s.kind = swap ? STEP_SWAP : is_real(m) ? STEP_REAL : STEP_PAIR;
  add(b, &s);
}

/* Makes a step of what has gathered on a qubit, before another qubit gets entangled with it. */
static void settle(builder *b, unsigned qubit) {
  if (b->has_pending[qubit]) add_matrix(b, &b->pending[qubit], qubit, 0);
  b->has_pending[qubit] = false;
}

static void add_exchange(builder *b, const gate *g, unsigned x, unsigned y, uint32_t controls) {
  uint32_t both = 1U << x | 1U << y;
  step s = {.kind = STEP_SWAP, .mask = controls | both, .value = controls | 1U << x, .flip = both};
  if (g->kind == GATE_ISWAP) {
    s.kind = STEP_PAIR;
    s.m[1] = s.m[2] = (amplitude){0, 1};
  }
  add(b, &s);
}

static unsigned qubits_of(const gate *g) {
  if (g->kind == GATE_CCX || g->kind == GATE_CSWAP) return 3;
  return g->kind >= GATE_CX && g->kind < GATE_RESET ? 2 : 1;
}

static void add_gate(builder *b, const gate *g);

/* (1 x X - X x Y) / sqrt 2, the first operand on the right: up to a phase, s on it and sx on the other, cx, and x. */
static void add_ecr(builder *b, const gate *g) {
  uint16_t first = g->qubit[0], second = g->qubit[1];
  add_gate(b, &(gate){.kind = GATE_S, .qubit = {first}});
  add_gate(b, &(gate){.kind = GATE_SX, .qubit = {second}});
  add_gate(b, &(gate){.kind = GATE_CX, .qubit = {first, second}});
  add_gate(b, &(gate){.kind = GATE_X, .qubit = {first}});
}

static void add_gate(builder *b, const gate *g) {
  if (g->kind == GATE_ECR) {
    add_ecr(b, g);
    return;
  }
  unsigned n = qubits_of(g), q[3] = {0};
  for (unsigned i = 0; i < n; i++) q[i] = b->index[g->qubit[i]];
  if (n == 1) {
    matrix m = matrix_of(g);
    b->pending[q[0]] = b->has_pending[q[0]] ? product(&m, &b->pending[q[0]]) : m;
    b->has_pending[q[0]] = true;
    return;
  }
  for (unsigned i = 0; i < n; i++) settle(b, q[i]);
  if (g->kind == GATE_SWAP || g->kind == GATE_ISWAP) {
    add_exchange(b, g, q[0], q[1], 0);
  } else if (g->kind == GATE_CSWAP) {
    add_exchange(b, g, q[1], q[2], 1U << q[0]);
  } else {
    matrix m = matrix_of(g);
    uint32_t controls = 1U << q[0];
    if (n == 3) controls |= 1U << q[1];
    add_matrix(b, &m, q[n - 1], controls);
  }
}

/* Fits a group to the bits it mixes, if a block can hold them all. */
static bool fit(group *g, uint32_t mixed, unsigned bits) {
  g->bits = (uint8_t)(bits < BLOCK_BITS ? bits : BLOCK_BITS);
  for (unsigned picked = 0; picked <= BLOCK_PICKED && picked <= g->bits; picked++) {
    unsigned run = g->bits - picked, n = 0;
    for (unsigned bit = run; bit < bits && n <= picked; bit++) {
      if (!(mixed >> bit & 1)) continue;
      if (n < picked) g->picked[n] = (uint8_t)bit;
      n++;
    }
    if (n > picked) continue;
    g->run_bits = (uint8_t)run;
    g->picked_count = (uint8_t)n;
    return true;
  }
  return false;
}

static uint32_t into_block(const group *g, uint32_t bits) {
  uint32_t local = bits & ((1U << g->run_bits) - 1);
  for (unsigned i = 0; i < g->picked_count; i++) local |= (bits >> g->picked[i] & 1) << (g->run_bits + i);
  return local;
}

static uint32_t block_bits(const group *g) {
  uint32_t bits = (1U << g->run_bits) - 1;
  for (unsigned i = 0; i < g->picked_count; i++) bits |= 1U << g->picked[i];
  return bits;
}

static void localise(const group *g, step *steps) {
  uint32_t inside = block_bits(g);
  for (size_t i = 0; i < g->count; i++) {
    step *s = &steps[g->first + i];
    s->outer_mask = s->mask & ~inside;
    s->outer_value = s->value & ~inside;
    s->mask = into_block(g, s->mask);
    s->value = into_block(g, s->value);
    s->flip = into_block(g, s->flip);
  }
}

/* Cuts the steps from `first` on into as few groups as taking them in order allows. */
static void add_groups(plan *p, size_t first) {
  while (first < p->step_count) {
    group g = {.first = first}, wider = g;
    uint32_t mixed = 0;
    while (first < p->step_count && fit(&wider, mixed | p->steps[first].flip, p->bits)) {
      mixed |= p->steps[first++].flip;
      g = wider;
    }
    g.count = first - g.first;
    localise(&g, p->steps);
    p->groups[p->group_count++] = g;
  }
}

static void add_reset(builder *b, unsigned qubit, size_t *grouped) {
  plan *p = b->plan;
  /* All qubits, not only this one: what comes before a reset is done once, what comes after it many times. */
  for (unsigned i = 0; i < p->bits; i++) settle(b, i);
  add_groups(p, *grouped);
  *grouped = p->step_count;
  p->groups[p->group_count++] = (group){.reset = true, .qubit = (uint8_t)qubit};
}

static void number_qubits(builder *b, const circuit *c) {
  uint32_t used = 0;
  for (size_t i = 0; i < c->count; i++) {
    for (unsigned j = 0; j < qubits_of(&c->gates[i]); j++) used |= 1U << c->gates[i].qubit[j];
  }
  for (unsigned q = 0; q < 32; q++) {
    if (!(used >> q & 1)) continue;
    b->index[q] = (uint8_t)b->plan->bits;
    b->plan->place[b->plan->bits++] = (uint8_t)q;
  }
}

bool plan_init(plan *p, const circuit *c) {
  *p = (plan){0};
  builder b = {.plan = p};
  number_qubits(&b, c);
  /* A gate becomes at most two steps, an ecr four, and steps and resets at most as many groups. */
  p->steps = malloc((4 * c->count + 1) * sizeof *p->steps);
  p->groups = malloc((4 * c->count + 1) * sizeof *p->groups);
  if (!p->steps || !p->groups) {
    plan_fini(p);
    return false;
  }
  size_t grouped = 0;
  for (size_t i = 0; i < c->count; i++) {
    if (c->gates[i].kind == GATE_RESET) add_reset(&b, b.index[c->gates[i].qubit[0]], &grouped);
    else add_gate(&b, &c->gates[i]);
  }
  for (unsigned i = 0; i < p->bits; i++) settle(&b, i);
  add_groups(p, grouped);
  return true;
}

void plan_fini(plan *p) {
  free(p->steps);
  free(p->groups);
}

uint32_t plan_spread(const plan *p, size_t index) {
  uint32_t bits = 0;
  for (uint32_t i = 0; i < p->bits; i++) bits |= (uint32_t)(index >> i & 1) << p->place[i];
  return bits;
}
