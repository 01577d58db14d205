/* SPDX-License-Identifier: MIT
 * The few statistics that reports need. Sums are double and run in the order of the
 * tokens, so a result does not depend on threads. */
#ifndef GS_EVAL_STATS_H
#define GS_EVAL_STATS_H

#include "core/attr.h"

/* Running mean and spread of a series; zero-initialise. */
struct gs_moments {
    uint64_t n;
    double mean, m2; /* m2 = Σ (x − mean)² */
};

void gs_moments_add(struct gs_moments *m, double x);

/* Standard error of the mean, sqrt(Σ(x − mean)² / n / (n − 1)); 0 for fewer than two. */
double gs_moments_sigma(const struct gs_moments *m);

/* Sorts upwards in place without allocating. No element may be NaN. */
void gs_sort_f32(float *x, size_t n);

/* The value below which `fraction` (0 … 1) of n > 0 upwards sorted values lie, linear
 * between the two nearest ranks: rank = fraction · (n − 1). */
double gs_percentile(const float *sorted, size_t n, double fraction);

/* 95 % Wilson score interval of `hits` successes in n trials; 0 … 1 for n = 0. */
void gs_wilson_interval(uint64_t hits, uint64_t n, double *low, double *high);

#endif
