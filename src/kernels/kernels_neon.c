/* SPDX-License-Identifier: MIT
 * The NEON level: AdvSIMD as every AArch64 processor has it.
 *
 * The scalar level is compiled for it too, so the loops of loops.h, which compilers turn into
 * vectors, are inherited; so are encoding and the types that are decoded bit by bit. */
#include "core/cpu.h"
#include "kernels/lanes_neon.h"
#include "kernels/loops.h"
#include "kernels/matrix.h"
#include "kernels/viterbi.h"

static void axpy_f16(float a, const void *x, float *y, size_t n)
{
    const uint8_t *v = x;
    size_t i = 0;

    for (; i + 4 <= n; i += 4)
        vst1q_f32(y + i, vfmaq_n_f32(vld1q_f32(y + i), load_f16(v + 2 * i), a));
    for (; i < n; i++)
        y[i] = fmaf(a, half_at(v + 2 * i), y[i]);
}

static void rms_norm_f32(const float *x, const float *weight, float eps, float *y, size_t n)
{
    gs_loop_rms_norm_f32(x, gs_dot_f32_neon(x, x, n), weight, eps, y, n);
}

const struct gs_kernels gs_kernels_neon = {
    .name = "neon",
    .need = GS_CPU_NEON,
    .decode = {
        [GS_TYPE_F16] = gs_decode_f16_neon,
        [GS_TYPE_BF16] = gs_decode_bf16_neon,
        [GS_TYPE_Q4_0] = gs_decode_q4_0_neon,
        [GS_TYPE_Q4_1] = gs_decode_q4_1_neon,
        [GS_TYPE_Q5_0] = gs_decode_q5_0_neon,
        [GS_TYPE_Q5_1] = gs_decode_q5_1_neon,
        [GS_TYPE_Q8_0] = gs_decode_q8_0_neon,
        [GS_TYPE_Q1_0] = gs_decode_q1_0_neon,
        [GS_TYPE_Q2_0] = gs_decode_q2_0_neon,
        [GS_TYPE_MXFP4] = gs_decode_mxfp4_neon,
        [GS_TYPE_Q2_K] = gs_decode_q2_k_neon,
        [GS_TYPE_Q3_K] = gs_decode_q3_k_neon,
        [GS_TYPE_Q4_K] = gs_decode_q4_k_neon,
        [GS_TYPE_Q5_K] = gs_decode_q5_k_neon,
        [GS_TYPE_Q6_K] = gs_decode_q6_k_neon,
        [GS_TYPE_TQ2_0] = gs_decode_tq2_0_neon,
        [GS_TYPE_IQ1_S] = gs_decode_iq1_s_neon,
        [GS_TYPE_IQ1_M] = gs_decode_iq1_m_neon,
        [GS_TYPE_IQ2_XXS] = gs_decode_iq2_xxs_neon,
        [GS_TYPE_IQ2_XS] = gs_decode_iq2_xs_neon,
        [GS_TYPE_IQ2_S] = gs_decode_iq2_s_neon,
        [GS_TYPE_IQ3_XXS] = gs_decode_iq3_xxs_neon,
        [GS_TYPE_IQ3_S] = gs_decode_iq3_s_neon,
        [GS_TYPE_IQ4_NL] = gs_decode_iq4_nl_neon,
        [GS_TYPE_IQ4_XS] = gs_decode_iq4_xs_neon,
    },
    .dot = {
        [GS_TYPE_F32] = gs_dot_f32_neon,
        [GS_TYPE_F16] = gs_dot_f16_neon,
        [GS_TYPE_BF16] = gs_dot_bf16_neon,
        [GS_TYPE_Q8_0] = gs_dot_q8_0_neon,
    },
    .unpack = {
#define U(type, name, top) [GS_TYPE_##type] = gs_unpack_##name##_neon,
#include "kernels/codes.def"
#undef U
    },
    .codes_dot = {
#define U(type, name, top) [GS_TYPE_##type] = gs_codes_dot_##name##_neon,
#include "kernels/codes.def"
#undef U
    },
    .mul_f32 = gs_mul_f32_neon,
    .axpy_f16 = axpy_f16,
    .rms_norm_f32 = rms_norm_f32,
    .panel_f32 = gs_panel_f32_neon,
    .panel_f64 = gs_panel_f64_neon,
    .panel_f16 = gs_panel_f16_neon,
    .transpose_f32 = gs_transpose_f32_neon,
    .fwht_f32 = gs_fwht_f32_neon,
    .trellis_decode = gs_trellis_decode_neon,
    .trellis_dot = gs_trellis_dot_neon,
    .int8_quantize = gs_int8_quantize_neon,
    .tile_mul = gs_tile_mul_neon,
    .codes_mul = gs_codes_mul_neon,
    .viterbi = gs_viterbi_neon,
    .table_viterbi = gs_table_viterbi_neon,
};
