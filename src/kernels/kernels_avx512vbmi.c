/* SPDX-License-Identifier: MIT
 * The AVX-512 level of Ice Lake, Zen 4 and later: byte permutes (VBMI), byte dot products
 * (VNNI) and bit matrices (GFNI). */
#include "core/cpu.h"
#include "kernels/levels.h"
#include "kernels/viterbi.h"

const struct gs_kernels gs_kernels_avx512vbmi = {
    .name = "avx512vbmi",
    .need = GS_CPU_AVX512 | GS_CPU_VNNI | GS_CPU_VBMI | GS_CPU_GFNI,
    .codes_dot = {
        [GS_TYPE_Q4_0] = gs_codes_dot_q4_0_avx512vbmi,
        [GS_TYPE_Q4_1] = gs_codes_dot_q4_1_avx512vbmi,
        [GS_TYPE_Q5_0] = gs_codes_dot_q5_0_avx512vbmi,
        [GS_TYPE_Q5_1] = gs_codes_dot_q5_1_avx512vbmi,
        [GS_TYPE_Q8_0] = gs_codes_dot_q8_0_avx512vbmi,
        [GS_TYPE_MXFP4] = gs_codes_dot_mxfp4_avx512vbmi,
        [GS_TYPE_Q2_K] = gs_codes_dot_q2_k_avx512vbmi,
        [GS_TYPE_Q3_K] = gs_codes_dot_q3_k_avx512vbmi,
        [GS_TYPE_Q4_K] = gs_codes_dot_q4_k_avx512vbmi,
        [GS_TYPE_Q5_K] = gs_codes_dot_q5_k_avx512vbmi,
        [GS_TYPE_Q6_K] = gs_codes_dot_q6_k_avx512vbmi,
        [GS_TYPE_TQ1_0] = gs_codes_dot_tq1_0_avx512vbmi,
        [GS_TYPE_TQ2_0] = gs_codes_dot_tq2_0_avx512vbmi,
        [GS_TYPE_IQ1_S] = gs_codes_dot_iq1_s_avx512vbmi,
        [GS_TYPE_IQ1_M] = gs_codes_dot_iq1_m_avx512vbmi,
        [GS_TYPE_IQ2_XXS] = gs_codes_dot_iq2_xxs_avx512vbmi,
        [GS_TYPE_IQ2_XS] = gs_codes_dot_iq2_xs_avx512vbmi,
        [GS_TYPE_IQ2_S] = gs_codes_dot_iq2_s_avx512vbmi,
        [GS_TYPE_IQ3_XXS] = gs_codes_dot_iq3_xxs_avx512vbmi,
        [GS_TYPE_IQ3_S] = gs_codes_dot_iq3_s_avx512vbmi,
        [GS_TYPE_IQ4_NL] = gs_codes_dot_iq4_nl_avx512vbmi,
        [GS_TYPE_IQ4_XS] = gs_codes_dot_iq4_xs_avx512vbmi,
    },
    .trellis_decode = gs_trellis_decode_avx512vbmi,
    .trellis_dot = gs_trellis_dot_avx512vbmi,
    .int8_quantize = gs_int8_quantize_avx512vbmi,
    .tile_mul = gs_tile_mul_avx512vbmi,
    .codes_mul = gs_codes_mul_avx512vbmi,
};
