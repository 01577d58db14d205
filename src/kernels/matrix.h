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

/* The kernel of a level whose `product` takes up to 4 rows × 16 columns. */
#define GS_PANEL_F16_4X16(isa, product)                                                        \
    GS_PANEL_F16_ROWS(product, 1)                                                              \
    GS_PANEL_F16_ROWS(product, 2)                                                              \
    GS_PANEL_F16_ROWS(product, 3)                                                              \
    GS_PANEL_F16_ROWS(product, 4)                                                              \
    void gs_panel_f16_##isa(const float *a, size_t rows, const uint16_t *b, size_t k,          \
                            float *c, size_t c_stride)                                         \
    {                                                                                          \
        static const gs_panel_f16_rows_fn by_rows[] = {product##_1, product##_2, product##_3,  \
                                                       product##_4};                           \
        for (size_t i = 0; i < rows; i += GS_COUNT(by_rows))                                   \
            for (size_t j = 0; j < GS_PANEL_F32; j += 16)                                      \
                by_rows[GS_MIN(rows - i, GS_COUNT(by_rows)) - 1](                              \
                    a + i, b + j, k, c + i * c_stride + j, c_stride);                          \
    }

#endif
