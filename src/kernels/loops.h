/* SPDX-License-Identifier: MIT
 * Loops that every level compiles for itself: norms, softmax and activations.
 *
 * The text is the definition; the file that includes it brings the instruction set, and
 * the compiler makes vectors of the inner loops. A reduction is written as blocks of 64
 * lanes, so nothing is reordered. Included by each kernels_<level>.c. Only what compilers
 * do badly (products, decoding) is written by hand per level. */
#ifndef GS_KERNELS_LOOPS_H
#define GS_KERNELS_LOOPS_H

#include "kernels/math.h"

#define GS_LANES 64

/* lane[j] += lane[j + h] for h = 32 … 1. */
static inline float gs_fold(float lane[GS_LANES])
{
    for (int h = GS_LANES / 2; h > 0; h /= 2)
        for (int j = 0; j < h; j++)
            lane[j] += lane[j + h];
    return lane[0];
}

static inline void gs_loop_axpy_f32(float a, const void *x, float *y, size_t n)
{
    const uint8_t *v = x;

    for (size_t i = 0; i < n; i++) {
        float b;
        memcpy(&b, v + 4 * i, sizeof b);
        y[i] = fmaf(a, b, y[i]);
    }
}

/* As a sum, but with "larger of": a NaN never compares larger, and of +0 and −0 the
 * first in this order stays. */
static inline float gs_loop_max_f32(const float *x, size_t n)
{
    float lane[GS_LANES];

    for (int j = 0; j < GS_LANES; j++)
        lane[j] = -INFINITY;
    for (; n >= GS_LANES; n -= GS_LANES, x += GS_LANES)
        for (int j = 0; j < GS_LANES; j++)
            lane[j] = x[j] > lane[j] ? x[j] : lane[j];
    for (size_t j = 0; j < n; j++)
        lane[j] = x[j] > lane[j] ? x[j] : lane[j];
    for (int h = GS_LANES / 2; h > 0; h /= 2)
        for (int j = 0; j < h; j++)
            lane[j] = lane[j + h] > lane[j] ? lane[j + h] : lane[j];
    return lane[0];
}

static inline float gs_loop_exp_sum_f32(float *x, float max, size_t n)
{
    float lane[GS_LANES] = {0};

    for (; n >= GS_LANES; n -= GS_LANES, x += GS_LANES)
        for (int j = 0; j < GS_LANES; j++) {
            x[j] = gs_exp(x[j] - max);
            lane[j] += x[j];
        }
    for (size_t j = 0; j < n; j++) {
        x[j] = gs_exp(x[j] - max);
        lane[j] += x[j];
    }
    return gs_fold(lane);
}

/* `square_sum` is dot_f32(x, x, n). */
static inline void gs_loop_rms_norm_f32(const float *x, float square_sum, const float *weight,
                                        float eps, float *y, size_t n)
{
    float scale = 1.0f / sqrtf(square_sum / (float)n + eps);

    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * scale * weight[i];
}

static inline float gs_loop_sum(const float *x, size_t n)
{
    float lane[GS_LANES] = {0};

    for (; n >= GS_LANES; n -= GS_LANES, x += GS_LANES)
        for (int j = 0; j < GS_LANES; j++)
            lane[j] += x[j];
    for (size_t j = 0; j < n; j++)
        lane[j] += x[j];
    return gs_fold(lane);
}

/* Σ (x[i] − mean)² */
static inline float gs_loop_spread(const float *x, float mean, size_t n)
{
    float lane[GS_LANES] = {0};

    for (; n >= GS_LANES; n -= GS_LANES, x += GS_LANES)
        for (int j = 0; j < GS_LANES; j++)
            lane[j] = fmaf(x[j] - mean, x[j] - mean, lane[j]);
    for (size_t j = 0; j < n; j++)
        lane[j] = fmaf(x[j] - mean, x[j] - mean, lane[j]);
    return gs_fold(lane);
}

static inline void gs_loop_layer_norm_f32(const float *x, const float *weight,
                                          const float *bias, float eps, float *y, size_t n)
{
    float mean = gs_loop_sum(x, n) / (float)n;
    float scale = 1.0f / sqrtf(gs_loop_spread(x, mean, n) / (float)n + eps);

    if (bias)
        for (size_t i = 0; i < n; i++)
            y[i] = fmaf((x[i] - mean) * scale, weight[i], bias[i]);
    else
        for (size_t i = 0; i < n; i++)
            y[i] = (x[i] - mean) * scale * weight[i];
}

static inline void gs_loop_silu_f32(const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = gs_silu(x[i]);
}

static inline void gs_loop_gelu_tanh_f32(const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = gs_gelu_tanh(x[i]);
}

static inline void gs_loop_gelu_erf_f32(const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = gs_gelu_erf(x[i]);
}

static inline void gs_loop_silu_slope_f32(const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = gs_silu_slope(x[i]);
}

static inline void gs_loop_gelu_tanh_slope_f32(const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = gs_gelu_tanh_slope(x[i]);
}

static inline void gs_loop_gelu_erf_slope_f32(const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = gs_gelu_erf_slope(x[i]);
}

#endif
