/* SPDX-License-Identifier: MIT
 * The scalar level: with loops.h and math.h the definition of every float kernel.
 *
 * Written to be read, not to be fast: dot products spell out the 64 lanes. */
#include "core/cursor.h"
#include "kernels/blocks.h"
#include "kernels/loops.h"
#include "kernels/matrix.h"
#include "kernels/scalar.h"
#include "kernels/viterbi.h"

static float dot_f32(const void *row, const float *x, size_t n)
{
    const uint8_t *w = row;
    float lane[64] = {0};

    for (size_t i = 0; i < n; i++)
        lane[i % 64] = fmaf(gs_load_f32(w + 4 * i), x[i], lane[i % 64]);
    return gs_fold(lane);
}

static float dot_f16(const void *row, const float *x, size_t n)
{
    const uint8_t *w = row;
    float lane[64] = {0};

    for (size_t i = 0; i < n; i++)
        lane[i % 64] = fmaf(gs_f16_to_f32(gs_load_u16(w + 2 * i)), x[i], lane[i % 64]);
    return gs_fold(lane);
}

static float dot_bf16(const void *row, const float *x, size_t n)
{
    const uint8_t *w = row;
    float lane[64] = {0};

    for (size_t i = 0; i < n; i++)
        lane[i % 64] = fmaf(gs_bf16_to_f32(gs_load_u16(w + 2 * i)), x[i], lane[i % 64]);
    return gs_fold(lane);
}

static float dot_q8_0(const void *row, const float *x, size_t n)
{
    const struct gs_block_q8_0 *w = row;
    float lane[64] = {0};

    for (size_t i = 0; i < n; i++) {
        float weight = (float)w[i / 32].qs[i % 32] * gs_block_f16(w[i / 32].d);
        lane[i % 64] = fmaf(weight, x[i], lane[i % 64]);
    }
    return gs_fold(lane);
}

static void mul_f32(const float *w, size_t w_stride, size_t rows, const float *x,
                    size_t x_stride, size_t cols, size_t n, float *y, size_t y_stride)
{
    for (size_t c = 0; c < cols; c++)
        for (size_t r = 0; r < rows; r++)
            y[c * y_stride + r] = dot_f32(w + r * w_stride, x + c * x_stride, n);
}

static void axpy_f16(float a, const void *x, float *y, size_t n)
{
    const uint8_t *v = x;

    for (size_t i = 0; i < n; i++)
        y[i] = fmaf(a, gs_f16_to_f32(gs_load_u16(v + 2 * i)), y[i]);
}

static void rms_norm_f32(const float *x, const float *weight, float eps, float *y, size_t n)
{
    gs_loop_rms_norm_f32(x, dot_f32(x, x, n), weight, eps, y, n);
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
    .unpack = {
#define U(type, name, top) [GS_TYPE_##type] = gs_unpack_##name##_scalar,
#include "kernels/codes.def"
#undef U
    },
    .codes_dot = {
#define U(type, name, top) [GS_TYPE_##type] = gs_codes_dot_##name##_scalar,
#include "kernels/codes.def"
#undef U
    },
    .mul_f32 = mul_f32,
    .axpy_f32 = gs_loop_axpy_f32,
    .axpy_f16 = axpy_f16,
    .max_f32 = gs_loop_max_f32,
    .exp_sum_f32 = gs_loop_exp_sum_f32,
    .rms_norm_f32 = rms_norm_f32,
    .layer_norm_f32 = gs_loop_layer_norm_f32,
    .silu_f32 = gs_loop_silu_f32,
    .gelu_tanh_f32 = gs_loop_gelu_tanh_f32,
    .gelu_erf_f32 = gs_loop_gelu_erf_f32,
    .silu_slope_f32 = gs_loop_silu_slope_f32,
    .gelu_tanh_slope_f32 = gs_loop_gelu_tanh_slope_f32,
    .gelu_erf_slope_f32 = gs_loop_gelu_erf_slope_f32,
    .panel_f32 = gs_panel_f32_scalar,
    .panel_f64 = gs_panel_f64_scalar,
    .panel_f16 = gs_panel_f16_scalar,
    .transpose_f32 = gs_transpose_f32_scalar,
    .fwht_f32 = gs_fwht_f32_scalar,
    .trellis_decode = gs_trellis_decode_scalar,
    .trellis_dot = gs_trellis_dot_scalar,
    .int8_quantize = gs_int8_quantize_scalar,
    .tile_mul = gs_tile_mul_scalar,
    .codes_mul = gs_codes_mul_scalar,
    .viterbi = gs_viterbi_scalar,
    .table_viterbi = gs_table_viterbi_scalar,
};
