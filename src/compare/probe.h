/* SPDX-License-Identifier: MIT
 * Errors of matrices, measured on equal footing: every rounded matrix Ŵ is held against its
 * source W on the same inputs X (T, cols), whatever the rounding itself looked at,
 *
 *     error = Σ_t |(W − Ŵ) x_t|² / Σ_t |W x_t|²
 *
 * T is large and X would be, too; a count sketch keeps both sums in expectation (Charikar, Chen
 * and Farach-Colton 2002): each x_t is added, with a random sign, to one of K rows,
 *
 *     X̃ = S X,  S (K, T) with one ±1 a column,   E |X̃ Eᵀ|² = |X Eᵀ|²
 *
 * so a matrix costs K tokens of its product, transforms and all, with no decoding of its own. */
#ifndef GS_COMPARE_PROBE_H
#define GS_COMPARE_PROBE_H

#include "model/layers.h"
#include "report/comparison.h"

#define GS_PROBE_ROWS 128u

struct gs_probe;

/* For the matrices of `source`, which is borrowed. */
int gs_probe_create(const struct gs_lm *source, struct gs_probe **out, struct gs_err *err)
    GS_MUST_USE;
void gs_probe_destroy(struct gs_probe **probe);

/* A gs_tap_fn; ctx is the probe. To be shown all passes of the source, in order. */
void gs_probe_tap(void *ctx, const struct gs_matrix *w, const float *x, size_t T);
/* The same for what the output matrix reads: x (n, C). */
void gs_probe_head(struct gs_probe *probe, const float *x, size_t n);

/* Lists the matrices, kinds and blocks in the comparison's arena. */
int gs_probe_list(const struct gs_probe *probe, struct gs_comparison *comparison,
                  struct gs_err *err) GS_MUST_USE;

/* Fills in what 8-bit activations would lose of each matrix's input (kernel_share.h); NaN for
 * inputs that were not shown. */
void gs_probe_shares(const struct gs_probe *probe, struct gs_comparison *comparison);

/* errors (n_matrices) of a model made from the source, NaN where it has no such matrix; *total:
 * the quotient of the sums over the blocks' matrices. */
int gs_probe_measure(const struct gs_probe *probe, const struct gs_lm *model,
                     struct gs_team *team, double *errors, double *total, struct gs_err *err)
    GS_MUST_USE;

#endif
