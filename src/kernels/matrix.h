/* SPDX-License-Identifier: MIT
 * The matrix kernels of each level, for its table. Private to src/kernels. */
#ifndef GS_KERNELS_MATRIX_H
#define GS_KERNELS_MATRIX_H

#include "kernels/kernels.h"

#define GS_MATRIX_KERNELS(isa)                                                                 \
    void gs_panel_f32_##isa(const float *a, const float *b, size_t k, float *c,                \
                            size_t c_stride);                                                  \
    void gs_panel_f64_##isa(const double *a, const double *b, size_t k, double *c,             \
                            size_t c_stride);                                                  \
    void gs_panel_f16_##isa(const float *a, size_t rows, const uint16_t *b, size_t k,          \
                            float *c, size_t c_stride);                                        \
    void gs_transpose_f32_##isa(const float *src, size_t stride, size_t lines, size_t k,       \
                                size_t width, float *dst);                                     \
    void gs_fwht_f32_##isa(float *x, size_t n, float scale)

GS_MATRIX_KERNELS(scalar);
GS_MATRIX_KERNELS(avx2);
GS_MATRIX_KERNELS(avx512);
GS_MATRIX_KERNELS(neon);

/* `product` for n rows; a constant keeps them all in registers. */
#define GS_PANEL_F16_ROWS(product, n)                                                          \
    static void product##_##n(const float *a, const uint16_t *b, size_t k, float *c,           \
                              size_t c_stride)                                                 \
    {                                                                                          \
        product(a, n, b, k, c, c_stride);                                                      \
    }
typedef void (*gs_panel_f16_rows_fn)(const float *a, const uint16_t *b, size_t k, float *c,
                                     size_t c_stride);

#endif
