/* Every loop runs over stretches of neighbouring amplitudes below the lowest selected bit; no index is tested.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernel.h"

#include <string.h>

#define STOP_INTERVAL ((size_t)1 << 19)

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
  amplitude a = amplitude_times(m[0], p), b = amplitude_times(m[1], q);
  amplitude c = amplitude_times(m[2], p), d = amplitude_times(m[3], q);
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

/* On a block of `size` amplitudes, or on a state that is one block. */
static void run_step(const step *s, amplitude *a, size_t size) {
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

/* Copies the block that lies at `base` in the state, out of it or back. */
static void gather(const group *g, const amplitude *state, size_t base, amplitude *block) {
  size_t run = (size_t)1 << g->run_bits;
  for (size_t r = 0; r < (size_t)1 << g->picked_count; r++) {
    memcpy(block + r * run, state + base + run_at(g, r), run * sizeof *block);
  }
}

static void scatter(const group *g, const amplitude *block, size_t base, amplitude *state) {
  size_t run = (size_t)1 << g->run_bits;
  for (size_t r = 0; r < (size_t)1 << g->picked_count; r++) {
    memcpy(state + base + run_at(g, r), block + r * run, run * sizeof *block);
  }
}

static bool run_block(const step *steps, const group *g, amplitude *block, size_t base, progress *p) {
  size_t size = (size_t)1 << g->bits;
  for (size_t i = g->first; i < g->first + g->count; i++) {
    if ((base & steps[i].outer_mask) != steps[i].outer_value) continue;
    run_step(&steps[i], block, size);
    if (progress_stopped(p, size)) return false;
  }
  return true;
}

bool progress_stopped(progress *p, size_t work) {
  p->work += work;
  if (p->work < STOP_INTERVAL) return false;
  p->work = 0;
  return p->stop && atomic_load_explicit(p->stop, memory_order_relaxed);
}

bool kernel_group(const step *steps, const group *g, amplitude *state, size_t size, progress *p) {
  amplitude buffer[(size_t)1 << BLOCK_BITS];
  size_t inside = ((size_t)1 << g->run_bits) - 1;
  for (unsigned i = 0; i < g->picked_count; i++) inside |= (size_t)1 << g->picked[i];
  for (size_t base = 0; base < size; base = ((base | inside) + 1) & ~inside) {
    if (!g->picked_count) {
      if (!run_block(steps, g, state + base, base, p)) return false;
      continue;
    }
    gather(g, state, base, buffer);
    if (!run_block(steps, g, buffer, base, p)) return false;
    scatter(g, buffer, base, state);
  }
  return true;
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
