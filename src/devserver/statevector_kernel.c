/* Every loop runs over stretches of neighbouring amplitudes below the lowest selected bit; no index is tested.
 * SPDX-License-Identifier: Apache-2.0 */
#include "statevector_kernel.h"

#include <string.h>

static inline void scale_one(amplitude *x, amplitude *y, const amplitude *m) {
  (void)y;
  *x = amplitude_times(m[0], *x);
}

static inline void swap_one(amplitude *x, amplitude *y, const amplitude *m) {
  (void)m;
  amplitude t = *x;
  *x = *y;
  *y = t;
}

static inline void real_one(amplitude *x, amplitude *y, const amplitude *m) {
  amplitude p = *x, q = *y;
  *x = (amplitude){m[0].re * p.re + m[1].re * q.re, m[0].re * p.im + m[1].re * q.im};
  *y = (amplitude){m[2].re * p.re + m[3].re * q.re, m[2].re * p.im + m[3].re * q.im};
}

static inline void pair_one(amplitude *x, amplitude *y, const amplitude *m) {
  amplitude p = *x, q = *y;
  amplitude a = amplitude_times(m[0], p), b = amplitude_times(m[1], q), c = amplitude_times(m[2], p), d = amplitude_times(m[3], q);
  *x = (amplitude){a.re + b.re, a.im + b.im};
  *y = (amplitude){c.re + d.re, c.im + d.im};
}

typedef void (*change_fn)(amplitude *, amplitude *, const amplitude *);

/* Counts through the indices that agree with the step: the selected bits are set, so that a carry passes over them.
 * Inlined with a constant `change` and `run`, it becomes one tight loop for each kind. */
static inline __attribute__((always_inline)) void visit(const step *s, amplitude *a, size_t size, size_t run,
                                                       change_fn change) {
  const size_t fixed = s->mask, value = s->value, flip = s->flip;
  const amplitude m[4] = {s->m[0], s->m[1], s->m[2], s->m[3]};
  for (size_t i = 0; i < size; i = ((i | fixed) + run) & ~fixed) {
    amplitude *x = a + (i | value), *y = a + ((i | value) ^ flip);
    for (size_t k = 0; k < run; k++) change(x + k, y + k, m);
  }
}

static inline __attribute__((always_inline)) void visit_any(const step *s, amplitude *a, size_t size,
                                                           change_fn change) {
  size_t run = s->mask ? s->mask & (~s->mask + 1) : size;
  switch (run) {
  case 1:
    visit(s, a, size, 1, change);
    break;
  case 2:
    visit(s, a, size, 2, change);
    break;
  default:
    visit(s, a, size, run, change);
  }
}

void kernel_step(const step *s, amplitude *a, size_t size) {
  switch (s->kind) {
  case STEP_SCALE:
    visit_any(s, a, size, scale_one);
    break;
  case STEP_SWAP:
    visit_any(s, a, size, swap_one);
    break;
  case STEP_REAL:
    visit_any(s, a, size, real_one);
    break;
  case STEP_PAIR:
    visit_any(s, a, size, pair_one);
    break;
  }
}

/* Where a block's r-th run starts, relative to the block. */
static size_t run_at(const group *g, size_t r) {
  size_t at = 0;
  for (unsigned i = 0; i < g->picked_count; i++) at |= (r >> i & 1) << g->picked[i];
  return at;
}

void kernel_gather(const group *g, const amplitude *state, size_t base, amplitude *block) {
  size_t run = (size_t)1 << g->run_bits;
  for (size_t r = 0; r < (size_t)1 << g->picked_count; r++) {
    memcpy(block + r * run, state + base + run_at(g, r), run * sizeof *block);
  }
}

void kernel_scatter(const group *g, const amplitude *block, size_t base, amplitude *state) {
  size_t run = (size_t)1 << g->run_bits;
  for (size_t r = 0; r < (size_t)1 << g->picked_count; r++) {
    memcpy(state + base + run_at(g, r), block + r * run, run * sizeof *block);
  }
}

halves kernel_halves(const amplitude *a, size_t size, unsigned qubit) {
  size_t bit = (size_t)1 << qubit;
  halves h = {0};
  amplitude inner = {0};
  for (size_t i = 0; i < size; i += 2 * bit) {
    for (size_t k = i; k < i + bit; k++) {
      amplitude p = a[k], q = a[k + bit];
      h.zero += p.re * p.re + p.im * p.im;
      h.one += q.re * q.re + q.im * q.im;
      inner.re += p.re * q.re + p.im * q.im;
      inner.im += p.re * q.im - p.im * q.re;
    }
  }
  h.parallel = inner.re * inner.re + inner.im * inner.im;
  return h;
}

void kernel_collapse(amplitude *a, size_t size, unsigned qubit, bool one, double scale) {
  size_t bit = (size_t)1 << qubit, from = one ? bit : 0;
  for (size_t i = 0; i < size; i += 2 * bit) {
    for (size_t k = i; k < i + bit; k++) {
      a[k] = (amplitude){a[k + from].re * scale, a[k + from].im * scale};
      a[k + bit] = (amplitude){0, 0};
    }
  }
}
