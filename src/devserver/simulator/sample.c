/* Xoshiro256++ seeded by splitmix64 (both in the public domain, by D. Blackman and S. Vigna), and sampling by sorted
 * uniform numbers: they are drawn in ascending order, so that no sorting and no table of sums is needed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sample.h"

#include <math.h>

static uint64_t rotate(uint64_t x, int k) { return x << k | x >> (64 - k); }

static uint64_t random_word(random_source *r) {
  uint64_t *s = r->word, result = rotate(s[0] + s[3], 23) + s[0], t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotate(s[3], 45);
  return result;
}

void random_seed(random_source *r, uint64_t seed) {
  for (int i = 0; i < 4; i++) {
    uint64_t z = seed += 0x9e3779b97f4a7c15U;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    r->word[i] = z ^ z >> 31;
  }
}

double random_unit(random_source *r) { return (double)((random_word(r) >> 11) + 1) * 0x1p-53; }

uint32_t random_successes(random_source *r, uint32_t trials, double p) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < trials; i++) n += random_unit(r) <= p;
  return n;
}

static double weight(amplitude a) { return a.re * a.re + a.im * a.im; }

void sample_state(random_source *r, const amplitude *a, size_t size, uint32_t shots, uint32_t *tally) {
  double total = 0;
  for (size_t i = 0; i < size; i++) total += weight(a[i]);
  /* An infinite angle leaves no number in the state; the service then counts every shot as zeros. */
  if (!(total > 0 && total <= HUGE_VAL / 2)) {
    tally[0] += shots;
    return;
  }
  /* The smallest of n uniform numbers leaves u^(1/n) of the interval above it, and so on within that. */
  double above = total, sum = 0;
  size_t i = 0, last = 0;
  for (; shots; shots--) {
    above *= exp(log(random_unit(r)) / shots);
    double threshold = total - above;
    while (sum <= threshold && i < size) {
      double w = weight(a[i]);
      sum += w;
      if (w > 0) last = i;
      i++;
    }
    tally[last]++;
  }
}
