/* SPDX-License-Identifier: MIT
 * Matrix products in f32 and f64 over the panel kernels.
 *
 * Every element of a result is one chain of fma over the inner dimension, in its order, so
 * the bits depend neither on the threads nor on the processor level, nor on how the inner
 * dimension is cut. A BLAS library would be a second dependency for one function, picks its
 * own kernels (GOSSET_CPU would not govern it) and fixes no order.
 *
 * Measured on one core of a Xeon (Sapphire Rapids, AVX-512): see docs/rounding.md. */
#ifndef GS_LINALG_MUL_H
#define GS_LINALG_MUL_H

#include "core/team.h"

/* Element (i, j) lies at data[i·row + j·col]: a transpose is an exchange of strides. */
struct gs_operand_f32 {
    const float *data;
    size_t row, col;
};

struct gs_operand_f64 {
    const double *data;
    size_t row, col;
};

/* Largest rows and columns of a block product; panels of 8, 16 and 32 divide it. */
#define GS_MUL_TILE 128

/* Bytes of scratch that a block product needs, aligned to 64. */
#define GS_MUL_WORK_F32 (2 * GS_MUL_TILE * 256 * sizeof(float))
#define GS_MUL_WORK_F64 (2 * GS_MUL_TILE * 256 * sizeof(double))

/* C (m, n; rows `c_stride` apart) += sign · A (m, k) · B (k, n), m and n at most
 * GS_MUL_TILE, sign 1 or -1. C overlaps neither A nor B. For use inside a worker. */
void gs_mul_block_f32(size_t m, size_t n, size_t k, float sign, struct gs_operand_f32 a,
                      struct gs_operand_f32 b, float *c, size_t c_stride, void *work);
void gs_mul_block_f64(size_t m, size_t n, size_t k, double sign, struct gs_operand_f64 a,
                      struct gs_operand_f64 b, double *c, size_t c_stride, void *work);

/* The same for any m and n, over a team. */
int gs_mul_f32(struct gs_team *team, size_t m, size_t n, size_t k, float sign,
               struct gs_operand_f32 a, struct gs_operand_f32 b, float *c, size_t c_stride,
               struct gs_err *err) GS_MUST_USE;
int gs_mul_f64(struct gs_team *team, size_t m, size_t n, size_t k, double sign,
               struct gs_operand_f64 a, struct gs_operand_f64 b, double *c, size_t c_stride,
               struct gs_err *err) GS_MUST_USE;

/* `bytes` of scratch for each worker of a team, each 64-aligned; gs_free when done. */
void *gs_work_create(const struct gs_team *team, size_t bytes) GS_MUST_USE;

#endif
