/* SPDX-License-Identifier: MIT
 * The AVX-512 level: F, BW, DQ, VL and CD (Skylake-X and later). */
#include "core/cpu.h"
#include "kernels/lanes_avx512.h"
#include "kernels/loops.h"
#include "kernels/matrix.h"
#include "kernels/viterbi.h"

static void axpy_f16(float a, const void *x, float *y, size_t n)
{
    const uint8_t *v = x;
    __m512 scale = _mm512_set1_ps(a);

    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = mask16(GS_MIN(n - i, 16));
        __m512 b = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, v + 2 * i));
        __m512 c = _mm512_maskz_loadu_ps(mask, y + i);
        _mm512_mask_storeu_ps(y + i, mask, _mm512_fmadd_ps(scale, b, c));
    }
}

static void rms_norm_f32(const float *x, const float *weight, float eps, float *y, size_t n)
{
    gs_loop_rms_norm_f32(x, gs_dot_f32_avx512(x, x, n), weight, eps, y, n);
}

const struct gs_kernels gs_kernels_avx512 = {
    .name = "avx512",
    .need = GS_CPU_AVX512,
    .dot = {
        [GS_TYPE_F32] = gs_dot_f32_avx512,
        [GS_TYPE_F16] = gs_dot_f16_avx512,
        [GS_TYPE_BF16] = gs_dot_bf16_avx512,
        [GS_TYPE_Q8_0] = gs_dot_q8_0_avx512,
    },
    .mul_f32 = gs_mul_f32_avx512,
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
    .panel_f32 = gs_panel_f32_avx512,
    .panel_f64 = gs_panel_f64_avx512,
    .panel_f16 = gs_panel_f16_avx512,
    .fwht_f32 = gs_fwht_f32_avx512,
    .viterbi = gs_viterbi_avx512,
    .table_viterbi = gs_table_viterbi_avx512,
};
