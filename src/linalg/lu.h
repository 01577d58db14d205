/* SPDX-License-Identifier: MIT
 * LU with partial pivoting, in place: P A = L U, for the small dense matrices of learned
 * transforms (Golub & Van Loan, algorithm 3.4.1). In double, one thread, sums in order. */
#ifndef GS_LINALG_LU_H
#define GS_LINALG_LU_H

#include "core/attr.h"

/* a (n, n) becomes L below its diagonal (ones not stored) and U; pivot (n): the row that was
 * exchanged with row i. False if a is singular (or holds a NaN). */
bool gs_lu_factor(double *a, size_t n, size_t *pivot) GS_MUST_USE;

/* b (n, m) becomes A⁻¹ b. */
void gs_lu_solve(const double *a, size_t n, const size_t *pivot, double *b, size_t m);

/* b (n, m) becomes A⁻ᵀ b. */
void gs_lu_solve_transposed(const double *a, size_t n, const size_t *pivot, double *b,
                            size_t m);

#endif
