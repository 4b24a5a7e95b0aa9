/* Running a circuit: what it may not hold, the state's way through the plan, and the counts.
 * A reset is random, so shots part there. They are followed together as long as their states are equal: at a reset
 * their number is divided by lot between the outcomes, and the smaller part goes on with a copy.
 * SPDX-License-Identifier: Apache-2.0 */
#include "statevector.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "plan.h"
#include "sample.h"

#define MAX_QUBITS 20
#define MAX_SHOTS 100000
/* Two halves of a state count as parallel, and an outcome as impossible, within this. */
#define NEGLIGIBLE 1e-12

typedef struct simulation {
  const plan *plan;
  progress progress;
  random_source random;
  uint32_t *tally; /* owned by run_plan; shots of each index */
  size_t size;     /* amplitudes of a state */
} simulation;

static run_status no_memory(char *message, size_t size) {
  snprintf(message, size, "Backend submit failed: Backend error: simulation failed: out of memory");
  return RUN_FAILED;
}

static bool fits(const circuit *c, uint32_t shots, char *message, size_t size) {
  char qubits[96] = "", many[96] = "";
  if (c->qubits > MAX_QUBITS) {
    snprintf(qubits, sizeof qubits, "Circuit has %llu qubits but simulator only supports %d",
             (unsigned long long)c->qubits, MAX_QUBITS);
  }
  if (shots > MAX_SHOTS) {
    snprintf(many, sizeof many, "Requested %lu shots but simulator supports max %d", (unsigned long)shots, MAX_SHOTS);
  }
  if (!*qubits && !*many) return true;
  snprintf(message, size, "Backend submit failed: Invalid circuit: %s%s%s", qubits, *qubits && *many ? "; " : "", many);
  return false;
}

/* The service's simulator knows no ecr, but its optimizer turns ecr into gates that it knows. */
static bool is_known(gate_kind kind, bool optimized) {
  if (kind == GATE_ECR) return optimized;
  return kind != GATE_CRX && kind != GATE_CRY && kind != GATE_RXX && kind != GATE_RYY && kind != GATE_RZZ;
}

/* With a point, whatever the locale of the process says. */
static void format_parameter(double value, char *text, size_t size) {
  snprintf(text, size, "(%g)", value);
  char *comma = strchr(text, ',');
  if (comma) *comma = '.';
}

static void explain_unknown(const gate *g, char *message, size_t size) {
  char parameter[40] = "";
  if (g->symbolic & 1) snprintf(parameter, sizeof parameter, "(symbolic)");
  else if (g->kind != GATE_ECR) format_parameter(g->parameter[0], parameter, sizeof parameter);
  snprintf(message, size, "Backend submit failed: Backend error: simulation failed: "
           "Unhandled gate type in simulation: %s%s", gate_kind_name((gate_kind)g->kind), parameter);
}

static void explain_symbolic(const gate *g, char *message, size_t size) {
  unsigned i = g->symbolic & 1 ? 0 : g->symbolic & 2 ? 1 : 2;
  const char *which = gate_parameter_name((gate_kind)g->kind, i);
  snprintf(message, size, "Backend submit failed: Backend error: simulation failed: "
           "%s gate has unresolved symbolic parameter%s%s%s", gate_kind_name((gate_kind)g->kind), which ? " (" : "",
           which ? which : "", which ? ")" : "");
}

static bool can_simulate(const circuit *c, bool optimized, char *message, size_t size) {
  for (size_t i = 0; i < c->count; i++) {
    const gate *g = &c->gates[i];
    if (!is_known((gate_kind)g->kind, optimized)) explain_unknown(g, message, size);
    else if (g->symbolic) explain_symbolic(g, message, size);
    else continue;
    return false;
  }
  return true;
}

static run_status follow(simulation *s, amplitude *state, size_t from, uint32_t shots);

/* The shots of the rarer outcome, on a copy of the state. Each such copy halves the shots at least, which bounds both
 * the recursion and the memory by the logarithm of their number. */
static run_status follow_copy(simulation *s, const amplitude *state, size_t from, uint32_t shots, bool one,
                              double scale) {
  amplitude *copy = malloc(s->size * sizeof *copy);
  if (!copy) return RUN_FAILED;
  memcpy(copy, state, s->size * sizeof *copy);
  kernel_collapse(copy, s->size, s->plan->groups[from].qubit, one, scale);
  run_status status = follow(s, copy, from + 1, shots);
  free(copy);
  return status;
}

static run_status reset(simulation *s, amplitude *state, size_t at, uint32_t *shots) {
  unsigned qubit = s->plan->groups[at].qubit;
  halves h = kernel_halves(state, s->size, qubit);
  double total = h.zero + h.one;
  bool common = h.one > h.zero;
  /* With parallel halves both outcomes leave the same state, up to a phase. */
  if (h.parallel < h.zero * h.one * (1 - NEGLIGIBLE) && fmin(h.zero, h.one) > NEGLIGIBLE * total) {
    uint32_t ones = random_successes(&s->random, *shots, h.one / total);
    uint32_t rarer = ones <= *shots - ones ? ones : *shots - ones;
    bool rare_one = rarer == ones;
    common = !rare_one;
    if (rarer) {
      run_status status = follow_copy(s, state, at, rarer, rare_one, 1 / sqrt(rare_one ? h.one : h.zero));
      if (status != RUN_OK) return status;
      *shots -= rarer;
    }
  }
  kernel_collapse(state, s->size, qubit, common, 1 / sqrt(common ? h.one : h.zero));
  return RUN_OK;
}

static run_status follow(simulation *s, amplitude *state, size_t from, uint32_t shots) {
  for (size_t i = from; i < s->plan->group_count; i++) {
    const group *g = &s->plan->groups[i];
    if (progress_stopped(&s->progress, s->size)) return RUN_STOPPED;
    if (!g->reset) {
      if (!kernel_group(s->plan->steps, g, state, s->size, &s->progress)) return RUN_STOPPED;
      continue;
    }
    run_status status = reset(s, state, i, &shots);
    if (status != RUN_OK) return status;
  }
  sample_state(&s->random, state, s->size, shots, s->tally);
  return progress_stopped(&s->progress, s->size) ? RUN_STOPPED : RUN_OK;
}

static run_status simulate(simulation *s, uint32_t shots) {
  amplitude *state = calloc(s->size, sizeof *state);
  s->tally = calloc(s->size, sizeof *s->tally);
  run_status status = RUN_FAILED;
  if (state && s->tally) {
    state[0].re = 1;
    status = follow(s, state, 0, shots);
  }
  free(state);
  return status;
}

/* Qubits in use keep their order, so outcomes ascend like indices. */
static bool collect(const simulation *s, counts *out) {
  size_t n = 0;
  for (size_t i = 0; i < s->size; i++) n += s->tally[i] != 0;
  out->outcomes = malloc(n * sizeof *out->outcomes);
  if (!out->outcomes) return false;
  for (size_t i = 0; i < s->size; i++) {
    if (!s->tally[i]) continue;
    out->outcomes[out->size++] = (outcome){.bits = plan_spread(s->plan, i), .count = s->tally[i]};
  }
  return true;
}

static run_status run_plan(const plan *p, const run_options *options, counts *out) {
  simulation s = {.plan = p, .progress = {.stop = options->stop}, .size = (size_t)1 << p->bits};
  random_seed(&s.random, options->seed);
  run_status status = simulate(&s, options->shots);
  if (status == RUN_OK && !collect(&s, out)) status = RUN_FAILED;
  free(s.tally);
  return status;
}

bool circuit_can_run(const circuit *c, const run_options *options, char *message, size_t size) {
  return fits(c, options->shots, message, size) && can_simulate(c, options->width != 0, message, size);
}

run_status circuit_run(const circuit *c, const run_options *options, counts *out, char *message, size_t size) {
  plan p;
  uint32_t width = options->width > c->qubits ? options->width : (uint32_t)c->qubits;
  *out = (counts){.width = width ? width : 1};
  if (!circuit_can_run(c, options, message, size)) return RUN_FAILED;
  if (options->shots == 0) return RUN_OK;
  if (options->stop && atomic_load(options->stop)) return RUN_STOPPED;
  if (!plan_init(&p, c)) return no_memory(message, size);
  run_status status = run_plan(&p, options, out);
  plan_fini(&p);
  return status == RUN_FAILED ? no_memory(message, size) : status;
}

void counts_fini(counts *c) {
  free(c->outcomes);
  c->outcomes = NULL;
  c->size = 0;
}

void counts_key(const counts *c, uint32_t bits, char *key) {
  for (uint32_t i = 0; i < c->width; i++) {
    uint32_t bit = c->width - 1 - i;
    key[i] = bit < 32 && (bits >> bit & 1) ? '1' : '0';
  }
  key[c->width] = '\0';
}
