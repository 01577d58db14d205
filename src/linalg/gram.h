/* SPDX-License-Identifier: MIT
 * Second moments H = Σ_t x_t x_tᵀ of the inputs of a linear layer: the Hessian (up to a
 * factor) of its squared output error (QuIP, arXiv:2307.13304, eq. 1).
 *
 *   X (T, n) f32          H (n, n) f64, lower triangle
 *
 * Products of DEPTH = 128 tokens are summed in f32, one chain of fma an element; these
 * partial sums are added to H in f64, in the order of the tokens. So an element is off by
 * at most 128 · 2^-24 · Σ_t |x_ti x_tj|, however long the text; measured, 2e-8 of
 * √(H_ii H_jj). Work is split over tiles of H, never over tokens. Scratch: 8 KiB · n. */
#ifndef GS_LINALG_GRAM_H
#define GS_LINALG_GRAM_H

#include "core/team.h"

/* Tokens of one f32 partial sum. A caller that adds a text in several calls gets the bits of
 * one call if all but the last have a multiple of this. */
#define GS_GRAM_DEPTH 128

/* Adds Σ_t x_t x_tᵀ to the lower triangle of h (n, n); x (tokens, n) with rows `stride`
 * floats apart. */
int gs_gram_add(struct gs_team *team, const float *x, size_t tokens, size_t n, size_t stride,
                double *h, struct gs_err *err) GS_MUST_USE;

/* Adds Σ_t x_ti² to diagonal[i], i < n: the same for those who need only the diagonal. */
void gs_gram_add_diagonal(const float *x, size_t tokens, size_t n, size_t stride,
                          double *diagonal);

/* Multiplies the lower triangle by `factor` (one over the tokens) and mirrors it. */
void gs_gram_finish(double *h, size_t n, double factor);

#endif
