/* SPDX-License-Identifier: MIT
 * The definition of the matrix kernels: products of packed panels and the fast
 * Walsh–Hadamard transform (kernels.h). */
#include "kernels/matrix.h"

#include <math.h>

#include "core/half.h"

void gs_panel_f32_scalar(const float *a, const float *b, size_t k, float *c, size_t c_stride)
{
    for (size_t p = 0; p < k; p++)
        for (size_t i = 0; i < GS_PANEL_ROWS; i++)
            for (size_t j = 0; j < GS_PANEL_F32; j++) {
                float *sum = c + i * c_stride + j;
                *sum = fmaf(a[p * GS_PANEL_ROWS + i], b[p * GS_PANEL_F32 + j], *sum);
            }
}

void gs_panel_f64_scalar(const double *a, const double *b, size_t k, double *c,
                         size_t c_stride)
{
    for (size_t p = 0; p < k; p++)
        for (size_t i = 0; i < GS_PANEL_ROWS; i++)
            for (size_t j = 0; j < GS_PANEL_F64; j++) {
                double *sum = c + i * c_stride + j;
                *sum = fma(a[p * GS_PANEL_ROWS + i], b[p * GS_PANEL_F64 + j], *sum);
            }
}

void gs_panel_f16_scalar(const float *a, size_t rows, const uint16_t *b, size_t k, float *c,
                         size_t c_stride)
{
    for (size_t p = 0; p < k; p++)
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < GS_PANEL_F32; j++) {
                float *sum = c + i * c_stride + j, v = gs_f16_to_f32(b[p * GS_PANEL_F32 + j]);
                *sum = fmaf(a[p * GS_PANEL_ROWS + i], v, *sum);
            }
}

void gs_transpose_f32_scalar(const float *src, size_t stride, size_t lines, size_t k,
                             size_t width, float *dst)
{
    for (size_t p = 0; p < k; p++)
        for (size_t i = 0; i < lines; i++)
            dst[p * width + i] = src[i * stride + p];
}

void gs_fwht_f32_scalar(float *x, size_t n, float scale)
{
    for (size_t h = 1; h < n; h *= 2)
        for (size_t i = 0; i < n; i += 2 * h)
            for (size_t j = i; j < i + h; j++) {
                float a = x[j], b = x[j + h];
                x[j] = a + b;
                x[j + h] = a - b;
            }
    for (size_t i = 0; i < n; i++)
        x[i] *= scale;
}
