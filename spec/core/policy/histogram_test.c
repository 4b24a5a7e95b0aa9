/* Quantiles against sorted samples. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/histogram.h"

enum { SAMPLES = 20000 };

static int compare(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return x < y ? -1 : x > y;
}

/* Over nine orders of magnitude: never below the true quantile, and at most a sixteenth and a unit above. */
static void quantiles_are_close(void **state) {
  (void)state;
  arvak__histogram *histogram = calloc(1, sizeof *histogram);
  int64_t *samples = calloc(SAMPLES, sizeof *samples);
  srand(9);
  for (int i = 0; i < SAMPLES; i++) {
    samples[i] = ((int64_t)rand() << 11 | rand() % 2048) >> rand() % 40;
    arvak__histogram_add(histogram, samples[i]);
  }
  qsort(samples, SAMPLES, sizeof *samples, compare);
  for (int percent = 1; percent <= 100; percent++) {
    int64_t truth = samples[SAMPLES * percent / 100 - 1];
    int64_t found = arvak__histogram_quantile(histogram, percent / 100.0);
    assert_in_range(found, truth, truth + truth / 16 + 256);
  }
  assert_int_equal(arvak__histogram_quantile(histogram, 1), samples[SAMPLES - 1]);
  free(samples);
  free(histogram);
}

static void odd_durations_fit(void **state) {
  (void)state;
  arvak__histogram *histogram = calloc(1, sizeof *histogram);
  assert_int_equal(arvak__histogram_quantile(histogram, 0.5), 0);
  arvak__histogram_add(histogram, -5);
  arvak__histogram_add(histogram, 0);
  assert_int_equal(arvak__histogram_quantile(histogram, 0.5), 0);
  arvak__histogram_add(histogram, INT64_MAX);
  assert_int_equal(histogram->buckets[ARVAK__HISTOGRAM_SIZE - 1], 1);
  assert_int_equal(histogram->max_ns, INT64_MAX);
  assert_int_equal(histogram->count, 3);
  free(histogram);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(quantiles_are_close), cmocka_unit_test(odd_durations_fit)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
