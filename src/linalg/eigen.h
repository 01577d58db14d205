/* SPDX-License-Identifier: MIT
 * Eigenvalues and eigenvectors of symmetric matrices: all of a small one, the largest few of a
 * large one that is known only by what it does to vectors. In double; the bits do not depend
 * on the threads.
 *
 *   A = Σ_i λ_i v_i v_iᵀ,  λ_1 ≥ λ_2 ≥ …      vectors are rows here: V (k, n), V A Vᵀ = Λ
 *
 * A truncated singular value decomposition of M (m, n) is the second of these with A = M Mᵀ:
 * σ_i = √λ_i, left vectors v_i, right vectors v_iᵀ M / σ_i. Squaring costs digits of singular
 * values below √ε ≈ 1.5e-8 of the largest one; corrections of rounding errors do not see them. */
#ifndef GS_LINALG_EIGEN_H
#define GS_LINALG_EIGEN_H

#include "core/team.h"

/* a (n, n), symmetric, finite, is destroyed; values (n) descending, vectors (n, n) as rows.
 * Cyclic Jacobi rotations (Golub & Van Loan, section 8.5): about 40 n³ operations. */
void gs_eigen_symmetric(double *a, size_t n, double *values, double *vectors);

/* y (count, n): y_i = A x_i for the rows of x (count, n). */
typedef int (*gs_symmetric_fn)(void *ctx, const double *x, size_t count, double *y,
                               struct gs_err *err);

/* The k ≤ n largest eigenvalues (descending) and their vectors (k, n) of a positive
 * semi-definite A of n rows, by iteration of a subspace of about 1.5 k + 8 vectors with
 * Rayleigh–Ritz (Halko, Martinsson & Tropp, arXiv:0909.4061; Saad, algorithm 5.3), until
 * λ_1 + … + λ_k grows by less than `tolerance` of itself in a step, 100 steps at most. What a
 * close λ_{k+1} leaves undecided hardly matters to that sum. The start is a fixed random one. */
int gs_eigen_top(struct gs_team *team, size_t n, size_t k, gs_symmetric_fn apply, void *ctx,
                 double tolerance, double *values, double *vectors, struct gs_err *err)
    GS_MUST_USE;

#endif
