/* SPDX-License-Identifier: MIT
 * k-means of numbers: the k centers of least Σ h (x − nearest center)².
 *
 * On a line clusters are intervals, so the optimum over sorted numbers is found by dynamic
 * programming (Wang and Song, Ckmeans.1d.dp, 2011), here by divide and conquer over the
 * monotone ends: O(k n log n). */
#ifndef GS_CODEBOOK_KMEANS_LINE_H
#define GS_CODEBOOK_KMEANS_LINE_H

#include "core/attr.h"

#define GS_KMEANS_LINE_CENTERS 64

/* centers (k, at most GS_KMEANS_LINE_CENTERS), ascending; unused ones repeat the one before. Exact
 * up to gs_kmeans_line_exact(k) numbers; more are put into as many bins first, and Lloyd's
 * iterations over the numbers themselves follow. h ≥ 0, NULL or all 0: ones. Allocates nothing;
 * takes half a megabyte of stack. */
void gs_kmeans_line(const float *x, const float *h, size_t n, float *centers, unsigned k);

size_t gs_kmeans_line_exact(unsigned k);

#endif
