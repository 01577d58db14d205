/* SPDX-License-Identifier: MIT
 * The AVX2 level: AVX2 with FMA, F16C and BMI2. */
#include "core/cpu.h"
#include "kernels/lanes_avx2.h"
#include "kernels/loops.h"
#include "kernels/matrix.h"
#include "kernels/viterbi.h"

static void axpy_f16(float a, const void *x, float *y, size_t n)
{
    const uint8_t *v = x;
    __m256 scale = _mm256_set1_ps(a);
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        __m256 b = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(v + 2 * i)));
        _mm256_storeu_ps(y + i, _mm256_fmadd_ps(scale, b, _mm256_loadu_ps(y + i)));
    }
    for (; i < n; i++) {
        uint16_t bits;
        memcpy(&bits, v + 2 * i, 2);
        y[i] = fmaf(a, _cvtsh_ss(bits), y[i]);
    }
}

static void rms_norm_f32(const float *x, const float *weight, float eps, float *y, size_t n)
{
    gs_loop_rms_norm_f32(x, gs_dot_f32_avx2(x, x, n), weight, eps, y, n);
}

const struct gs_kernels gs_kernels_avx2 = {
    .name = "avx2",
    .need = GS_CPU_AVX2,
    .decode = {
        [GS_TYPE_F16] = gs_decode_f16_avx2,
        [GS_TYPE_BF16] = gs_decode_bf16_avx2,
        [GS_TYPE_Q4_0] = gs_decode_q4_0_avx2,
        [GS_TYPE_Q4_1] = gs_decode_q4_1_avx2,
        [GS_TYPE_Q5_0] = gs_decode_q5_0_avx2,
        [GS_TYPE_Q5_1] = gs_decode_q5_1_avx2,
        [GS_TYPE_Q8_0] = gs_decode_q8_0_avx2,
        [GS_TYPE_Q1_0] = gs_decode_q1_0_avx2,
        [GS_TYPE_Q2_0] = gs_decode_q2_0_avx2,
        [GS_TYPE_MXFP4] = gs_decode_mxfp4_avx2,
        [GS_TYPE_Q2_K] = gs_decode_q2_k_avx2,
        [GS_TYPE_Q3_K] = gs_decode_q3_k_avx2,
        [GS_TYPE_Q4_K] = gs_decode_q4_k_avx2,
        [GS_TYPE_Q5_K] = gs_decode_q5_k_avx2,
        [GS_TYPE_Q6_K] = gs_decode_q6_k_avx2,
        [GS_TYPE_TQ2_0] = gs_decode_tq2_0_avx2,
        [GS_TYPE_IQ1_S] = gs_decode_iq1_s_avx2,
        [GS_TYPE_IQ1_M] = gs_decode_iq1_m_avx2,
        [GS_TYPE_IQ2_XXS] = gs_decode_iq2_xxs_avx2,
        [GS_TYPE_IQ2_XS] = gs_decode_iq2_xs_avx2,
        [GS_TYPE_IQ2_S] = gs_decode_iq2_s_avx2,
        [GS_TYPE_IQ3_XXS] = gs_decode_iq3_xxs_avx2,
        [GS_TYPE_IQ3_S] = gs_decode_iq3_s_avx2,
        [GS_TYPE_IQ4_NL] = gs_decode_iq4_nl_avx2,
        [GS_TYPE_IQ4_XS] = gs_decode_iq4_xs_avx2,
    },
    .dot = {
        [GS_TYPE_F32] = gs_dot_f32_avx2,
        [GS_TYPE_F16] = gs_dot_f16_avx2,
        [GS_TYPE_BF16] = gs_dot_bf16_avx2,
        [GS_TYPE_Q8_0] = gs_dot_q8_0_avx2,
    },
    .unpack = {
#define U(type, name, top) [GS_TYPE_##type] = gs_unpack_##name##_avx2,
#include "kernels/codes.def"
#undef U
    },
    .codes_dot = {
#define U(type, name, top) [GS_TYPE_##type] = gs_codes_dot_##name##_avx2,
#include "kernels/codes.def"
#undef U
    },
    .mul_f32 = gs_mul_f32_avx2,
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
    .panel_f32 = gs_panel_f32_avx2,
    .panel_f64 = gs_panel_f64_avx2,
    .panel_f16 = gs_panel_f16_avx2,
    .transpose_f32 = gs_transpose_f32_avx2,
    .fwht_f32 = gs_fwht_f32_avx2,
    .trellis_decode = gs_trellis_decode_avx2,
    .trellis_dot = gs_trellis_dot_avx2,
    .int8_quantize = gs_int8_quantize_avx2,
    .tile_mul = gs_tile_mul_avx2,
    .codes_mul = gs_codes_mul_avx2,
    .viterbi = gs_viterbi_avx2,
    .table_viterbi = gs_table_viterbi_avx2,
};
