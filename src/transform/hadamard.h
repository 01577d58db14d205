/* SPDX-License-Identifier: MIT
 * Hadamard matrices of many orders, without tables, orthonormal: H Hᵀ = I.
 *
 * Order q·2^t is the Kronecker product of a dense matrix of order q and the Walsh–Hadamard
 * matrix of order 2^t in natural (Sylvester) order:
 *
 *     x (q · 2^t) as (q, 2^t):   fast transform of each row,   then   Hq times the columns
 *
 * q is 1 or a Paley order up to 200 (R. Paley, "On orthogonal matrices", J. Math. Phys. 12,
 * 1933), with χ the Legendre symbol modulo the prime p:
 *   I   p ≡ 3 mod 4, q = p + 1:     H = I + S,  S = [[0, 1ᵀ], [−1, χ(i − j)]]
 *   II  p ≡ 1 mod 4, q = 2(p + 1):  H = C ⊗ [[1, 1], [1, −1]] + I ⊗ [[1, −1], [−1, −1]],
 *                                   C = [[0, 1ᵀ], [1, χ(i − j)]]
 * n channels are cut in equal blocks of the largest order that divides n (of these the one
 * with the smallest q, as a product costs q + t additions an element):
 *   576 = 36·16, 640 = 20·32, 1536 = 12·128, 4864 = 76·64, 14336 = 28·512, 18944 = 148·128,
 *   11008 = 43 blocks of 256, odd n = n blocks of 1. */
#ifndef GS_TRANSFORM_HADAMARD_H
#define GS_TRANSFORM_HADAMARD_H

#include "core/err.h"

#define GS_HADAMARD_Q_MAX 200

struct gs_hadamard_base;

struct gs_hadamard {
    size_t n, order, q; /* n = blocks · order, order = q · 2^t */
    const struct gs_hadamard_base *base; /* the dense matrix of order q; NULL for 1 */
};

/* The largest order that divides n, at most `order_max` (0 = no bound); its q in *q. */
size_t gs_hadamard_order(size_t n, size_t order_max, size_t *q);

/* Blocks of `order`, which must be one that gs_hadamard_order gives for itself and divide n.
 * Dense matrices are made once per process and shared; nothing to destroy. */
int gs_hadamard_init(size_t n, size_t order, struct gs_hadamard *out, struct gs_err *err)
    GS_MUST_USE;

/* x (n) ← H x, or Hᵀ x; work: gs_hadamard_work_bytes. */
void gs_hadamard_apply_f32(const struct gs_hadamard *h, bool transposed, float *x,
                           float *work);
void gs_hadamard_apply_f64(const struct gs_hadamard *h, bool transposed, double *x,
                           double *work);

/* Enough for either type. */
size_t gs_hadamard_work_bytes(const struct gs_hadamard *h);

#endif
