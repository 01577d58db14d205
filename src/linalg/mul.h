/* SPDX-License-Identifier: MIT
 * Matrix products in f32 and f64 over the panel kernels.
 *
 * Every element of a result is one chain of fma over the inner dimension, in its order, so
 * the bits depend neither on the threads nor on the processor level, nor on how the inner
 * dimension is cut. A BLAS library would be a second dependency for one function, picks its
 * own kernels (GOSSET_CPU would not govern it) and fixes no order.
 *
 * Operands are packed in panels, as the kernels want them (kernels/kernels.h):
 *
 *     A (m, k)   panels of 8 rows:      (i, p) at (i / 8) · a_stride + p · 8 + i mod 8
 *     B (k, n)   panels of P columns:   (p, j) at (j / P) · b_stride + p · P + j mod P
 *
 * with P = 32 for f32 and 16 for f64; what a last panel lacks is zero. A matrix that is used
 * many times (the factor of a Hessian) is kept in this form. Speed: docs/rounding.md. */
#ifndef GS_LINALG_MUL_H
#define GS_LINALG_MUL_H

#include "core/team.h"
#include "kernels/kernels.h"

/* Element (i, j) lies at data[i·row + j·col]: a transpose is an exchange of strides. */
struct gs_operand_f32 {
    const float *data;
    size_t row, col;
};

struct gs_operand_f64 {
    const double *data;
    size_t row, col;
};

/* sign · A (m, k) as panels, 8 · k apart: dst holds m rounded up to 8, times k. */
void gs_pack_a_f32(float *dst, struct gs_operand_f32 a, size_t m, size_t k, float sign);
void gs_pack_a_f64(double *dst, struct gs_operand_f64 a, size_t m, size_t k, double sign);

/* B (k, n) as panels, P · k apart: dst holds k times n rounded up to P. */
void gs_pack_b_f32(float *dst, struct gs_operand_f32 b, size_t k, size_t n);
void gs_pack_b_f64(double *dst, struct gs_operand_f64 b, size_t k, size_t n);

/* C (m, n; rows `c_stride` apart) += A (m, k) · B (k, n) in panels. */
void gs_mul_panels_f32(size_t m, size_t n, size_t k, const float *a, size_t a_stride,
                       const float *b, size_t b_stride, float *c, size_t c_stride);
void gs_mul_panels_f64(size_t m, size_t n, size_t k, const double *a, size_t a_stride,
                       const double *b, size_t b_stride, double *c, size_t c_stride);

/* The same; without `add` C is set, not added to. */
void gs_mul_tile_f32(size_t m, size_t n, size_t k, const float *a, size_t a_stride,
                     const float *b, size_t b_stride, bool add, float *c, size_t c_stride);
void gs_mul_tile_f64(size_t m, size_t n, size_t k, const double *a, size_t a_stride,
                     const double *b, size_t b_stride, bool add, double *c, size_t c_stride);

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
