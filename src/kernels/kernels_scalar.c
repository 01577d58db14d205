/* SPDX-License-Identifier: MIT
 * The scalar level: the definition of every float kernel (kernels.h, math.h).
 *
 * Written to be read, not to be fast: reductions spell out the 64 lanes. */
#include "kernels/blocks.h"
#include "kernels/math.h"
#include "kernels/matrix.h"
#include "kernels/scalar.h"

/* lane[j] += lane[j + h] for h = 32 … 1. */
static float fold(float lane[64])
{
    for (int h = 32; h > 0; h /= 2)
        for (int j = 0; j < h; j++)
            lane[j] += lane[j + h];
    return lane[0];
}

static float dot_f32(const void *row, const float *x, size_t n)
{
    const float *w = row;
    float lane[64] = {0};

    for (size_t i = 0; i < n; i++)
        lane[i % 64] = fmaf(w[i], x[i], lane[i % 64]);
    return fold(lane);
}

static float dot_f16(const void *row, const float *x, size_t n)
{
    const uint16_t *w = row;
    float lane[64] = {0};

    for (size_t i = 0; i < n; i++)
        lane[i % 64] = fmaf(gs_f16_to_f32(w[i]), x[i], lane[i % 64]);
    return fold(lane);
}

static float dot_bf16(const void *row, const float *x, size_t n)
{
    const uint16_t *w = row;
    float lane[64] = {0};

    for (size_t i = 0; i < n; i++)
        lane[i % 64] = fmaf(gs_bf16_to_f32(w[i]), x[i], lane[i % 64]);
    return fold(lane);
}

static float dot_q8_0(const void *row, const float *x, size_t n)
{
    const struct gs_block_q8_0 *w = row;
    float lane[64] = {0};

    for (size_t i = 0; i < n; i++) {
        float weight = (float)w[i / 32].qs[i % 32] * gs_block_f16(w[i / 32].d);
        lane[i % 64] = fmaf(weight, x[i], lane[i % 64]);
    }
    return fold(lane);
}

static void mul_f32(const float *w, size_t w_stride, size_t rows, const float *x,
                    size_t x_stride, size_t cols, size_t n, float *y, size_t y_stride)
{
    for (size_t c = 0; c < cols; c++)
        for (size_t r = 0; r < rows; r++)
            y[c * y_stride + r] = dot_f32(w + r * w_stride, x + c * x_stride, n);
}

static void axpy_f32(float a, const void *x, float *y, size_t n)
{
    const float *v = x;

    for (size_t i = 0; i < n; i++)
        y[i] = fmaf(a, v[i], y[i]);
}

static void axpy_f16(float a, const void *x, float *y, size_t n)
{
    const uint16_t *v = x;

    for (size_t i = 0; i < n; i++)
        y[i] = fmaf(a, gs_f16_to_f32(v[i]), y[i]);
}

/* As a sum, but with "larger of": a NaN never compares larger, and of +0 and −0 the
 * first in this order stays. */
static float max_f32(const float *x, size_t n)
{
    float lane[64];

    for (int j = 0; j < 64; j++)
        lane[j] = -INFINITY;
    for (size_t i = 0; i < n; i++)
        lane[i % 64] = x[i] > lane[i % 64] ? x[i] : lane[i % 64];
    for (int h = 32; h > 0; h /= 2)
        for (int j = 0; j < h; j++)
            lane[j] = lane[j + h] > lane[j] ? lane[j + h] : lane[j];
    return lane[0];
}

static float exp_sum_f32(float *x, float max, size_t n)
{
    float lane[64] = {0};

    for (size_t i = 0; i < n; i++) {
        x[i] = gs_exp(x[i] - max);
        lane[i % 64] += x[i];
    }
    return fold(lane);
}

static void rms_norm_f32(const float *x, const float *weight, float eps, float *y, size_t n)
{
    float scale = 1.0f / sqrtf(dot_f32(x, x, n) / (float)n + eps);

    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * scale * weight[i];
}

static void layer_norm_f32(const float *x, const float *weight, const float *bias, float eps,
                           float *y, size_t n)
{
    float sum[64] = {0}, square[64] = {0};

    for (size_t i = 0; i < n; i++)
        sum[i % 64] += x[i];
    float mean = fold(sum) / (float)n;
    for (size_t i = 0; i < n; i++) {
        float d = x[i] - mean;
        square[i % 64] = fmaf(d, d, square[i % 64]);
    }
    float scale = 1.0f / sqrtf(fold(square) / (float)n + eps);
    for (size_t i = 0; i < n; i++) {
        float v = (x[i] - mean) * scale;
        y[i] = bias ? fmaf(v, weight[i], bias[i]) : v * weight[i];
    }
}

static void silu_f32(const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = gs_silu(x[i]);
}

static void gelu_tanh_f32(const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = gs_gelu_tanh(x[i]);
}

static void gelu_erf_f32(const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = gs_gelu_erf(x[i]);
}

const struct gs_kernels gs_kernels_scalar = {
    .name = "scalar",
    .need = 0,
    .decode = {
#define D(type, name) [GS_TYPE_##type] = gs_decode_##name##_scalar,
#include "kernels/decode.def"
#undef D
    },
    .encode = {
        [GS_TYPE_F32] = gs_encode_f32_scalar,
        [GS_TYPE_F16] = gs_encode_f16_scalar,
        [GS_TYPE_BF16] = gs_encode_bf16_scalar,
        [GS_TYPE_Q8_0] = gs_encode_q8_0_scalar,
    },
    .dot = {
        [GS_TYPE_F32] = dot_f32,
        [GS_TYPE_F16] = dot_f16,
        [GS_TYPE_BF16] = dot_bf16,
        [GS_TYPE_Q8_0] = dot_q8_0,
    },
    .mul_f32 = mul_f32,
    .axpy_f32 = axpy_f32,
    .axpy_f16 = axpy_f16,
    .max_f32 = max_f32,
    .exp_sum_f32 = exp_sum_f32,
    .rms_norm_f32 = rms_norm_f32,
    .layer_norm_f32 = layer_norm_f32,
    .silu_f32 = silu_f32,
    .gelu_tanh_f32 = gelu_tanh_f32,
    .gelu_erf_f32 = gelu_erf_f32,
    .panel_f32 = gs_panel_f32_scalar,
    .panel_f64 = gs_panel_f64_scalar,
    .fwht_f32 = gs_fwht_f32_scalar,
};
