/* SPDX-License-Identifier: MIT
 * Cholesky and block LDL factors of a second-moment matrix, with damping.
 *
 *   H + σI = C Cᵀ,  C lower
 *   H + σI = L D Lᵀ,  L = C · blkdiag(C_kk)⁻¹  (n, n) with identity blocks on its diagonal,
 *                     D_k = C_kk C_kkᵀ          (b, b), one for each block of b columns
 * (QuIP#, arXiv:2402.04396, section 4.1; b = 1 is the LDLᵀ of QuIP, arXiv:2307.13304).
 *
 * Calibration of few tokens, or channels that are always zero, make H singular. So σ starts
 * at `sigma` times the mean of H's diagonal and grows tenfold until the factorization goes
 * through; what was used is reported. NaN and infinity are errors that name the element. */
#ifndef GS_LINALG_FACTOR_H
#define GS_LINALG_FACTOR_H

#include "core/team.h"
#include "kernels/kernels.h"

/* First σ over the mean of the diagonal (QuIP# and QTIP use the same). */
#define GS_DAMPING 0.01

/* In place: the lower triangle of a (n, n) becomes C, the strict upper one stays.
 * Returns GS_OK; 1 if a is not positive definite (the lower triangle is then garbage);
 * a negative code if memory is short. */
int gs_cholesky(struct gs_team *team, double *a, size_t n, struct gs_err *err) GS_MUST_USE;

/* Widest block; the columns of an f64 panel, so that a D_k is one. */
#define GS_LDL_BLOCK GS_PANEL_F64

struct gs_ldl {
    size_t n, block; /* the last block may be narrower */
    double damping;  /* the σ that was added to the diagonal */
    int raised;      /* how often σ had to grow */
    bool diagonal;   /* L = I; lower is NULL */
    float *lower;    /* L (n, n), zeros above and ones on its diagonal, in the panels of a
                        right operand (linalg/mul.h), 32·n apart: element by gs_ldl_lower */
    double *d;       /* (n, GS_LDL_BLOCK): rows k·b … hold D_k, row by row, then zeros */
};

/* h: (n, n) f64, symmetric, both triangles; the same bits on return, but used as scratch
 * meanwhile. 8n² bytes of it plus 4n² of the result is all the memory.
 * A zero H (an expert that no token reached) counts as the identity. */
int gs_ldl_create(struct gs_team *team, double *h, size_t n, size_t block, double sigma,
                  struct gs_ldl *out, struct gs_err *err) GS_MUST_USE;

/* For a diagonal H (an importance matrix), or NULL for the identity: diagonal (n). */
int gs_ldl_create_diagonal(const double *diagonal, size_t n, size_t block, double sigma,
                           struct gs_ldl *out, struct gs_err *err) GS_MUST_USE;

void gs_ldl_clear(struct gs_ldl *ldl);

/* L_ij. */
static inline float gs_ldl_lower(const struct gs_ldl *ldl, size_t i, size_t j)
{
    if (ldl->diagonal)
        return i == j;
    return ldl->lower[j / GS_PANEL_F32 * GS_PANEL_F32 * ldl->n + i * GS_PANEL_F32 +
                      j % GS_PANEL_F32];
}

#endif
