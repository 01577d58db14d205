/* SPDX-License-Identifier: MIT
 * The normal distribution, for tables that are made from it. */
#ifndef GS_CODEBOOK_GAUSSIAN_H
#define GS_CODEBOOK_GAUSSIAN_H

#include "core/attr.h"

double gs_gaussian_density(double x);

/* Mass above x. */
double gs_gaussian_above(double x);

/* x with mass p below it, 0 < p < 1. */
double gs_gaussian_quantile(double p);

/* A point of a table that was computed: rounded to 22 binary places, so that the last bits of
 * a C library's functions are not seen. |v| < 2^30. */
float gs_computed_point(double v);

/* The n (even or odd, 1 … 256) points of least squared error for a unit Gaussian, ascending
 * (Lloyd, Max). */
void gs_gaussian_lloyd(float *points, unsigned n);

#endif
