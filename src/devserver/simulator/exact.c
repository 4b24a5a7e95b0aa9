/* Follows both outcomes of every reset, each with its weight, and adds up what the final states say.
 * Invariant: the weights of the states that are followed together make 1.
 * SPDX-License-Identifier: Apache-2.0 */
#include "exact.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "plan.h"

#define NEGLIGIBLE 1e-14
/* Two halves of a state count as parallel within this: then a reset leaves one state, whatever its outcome. */
#define PARALLEL 1e-12

typedef struct walk {
  const plan *plan;
  progress progress;
  double *sum; /* owned by run; probability of each index */
  size_t size; /* amplitudes of a state */
} walk;

static bool follow(walk *w, amplitude *state, size_t from, double weight);

/* The rarer outcome of a reset, on a copy. */
static bool follow_copy(walk *w, const amplitude *state, size_t at, bool one, double part, double weight) {
  amplitude *copy = malloc(w->size * sizeof *copy);
  if (!copy) return false;
  memcpy(copy, state, w->size * sizeof *copy);
  kernel_collapse(copy, w->size, w->plan->groups[at].qubit, one, 1 / sqrt(part));
  bool ok = follow(w, copy, at + 1, weight);
  free(copy);
  return ok;
}

static bool reset(walk *w, amplitude *state, size_t at, double *weight) {
  unsigned qubit = w->plan->groups[at].qubit;
  halves h = kernel_halves(state, w->size, qubit);
  double total = h.zero + h.one;
  bool common = h.one > h.zero;
  double rarer = common ? h.zero : h.one;
  if (h.parallel < h.zero * h.one * (1 - PARALLEL) && rarer > NEGLIGIBLE * total) {
    double rare_weight = *weight * rarer / total;
    if (!follow_copy(w, state, at, !common, rarer, rare_weight)) return false;
    *weight -= rare_weight;
  }
  kernel_collapse(state, w->size, qubit, common, 1 / sqrt(common ? h.one : h.zero));
  return true;
}

static bool follow(walk *w, amplitude *state, size_t from, double weight) {
  for (size_t i = from; i < w->plan->group_count; i++) {
    const group *g = &w->plan->groups[i];
    if (!g->reset) kernel_group(w->plan->steps, g, state, w->size, &w->progress);
    else if (!reset(w, state, i, &weight)) return false;
  }
  for (size_t i = 0; i < w->size; i++) {
    w->sum[i] += weight * (state[i].re * state[i].re + state[i].im * state[i].im);
  }
  return true;
}

static bool collect(const walk *w, exact_outcomes *out) {
  size_t n = 0;
  for (size_t i = 0; i < w->size; i++) n += w->sum[i] >= NEGLIGIBLE;
  out->outcomes = malloc((n + 1) * sizeof *out->outcomes);
  if (!out->outcomes) return false;
  for (size_t i = 0; i < w->size; i++) {
    if (w->sum[i] < NEGLIGIBLE) continue;
    out->outcomes[out->size++] = (exact_outcome){.bits = plan_spread(w->plan, i), .probability = w->sum[i]};
  }
  return true;
}

static bool run(const plan *p, exact_outcomes *out) {
  walk w = {.plan = p, .size = (size_t)1 << p->bits};
  amplitude *state = calloc(w.size, sizeof *state);
  w.sum = calloc(w.size, sizeof *w.sum);
  bool ok = state && w.sum;
  if (ok) {
    state[0].re = 1;
    ok = follow(&w, state, 0, 1) && collect(&w, out);
  }
  free(state);
  free(w.sum);
  return ok;
}

run_status circuit_exact(const circuit *c, exact_outcomes *out, char *message, size_t size) {
  plan p;
  *out = (exact_outcomes){.width = c->qubits ? (uint32_t)c->qubits : 1};
  if (!circuit_can_run(c, &(run_options){.shots = 1}, message, size)) return RUN_FAILED;
  bool ok = plan_init(&p, c);
  if (ok) {
    ok = run(&p, out);
    plan_fini(&p);
  }
  if (!ok) snprintf(message, size, "out of memory");
  return ok ? RUN_OK : RUN_FAILED;
}

void exact_fini(exact_outcomes *out) {
  free(out->outcomes);
  out->outcomes = NULL;
  out->size = 0;
}
