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
#define U(type, name, top) [GS_TYPE_##type] = gs_codes_dot_##name##_avx512vbmi,
#include "kernels/codes.def"
#undef U
    },
    .trellis_decode = gs_trellis_decode_avx512vbmi,
    .trellis_dot = gs_trellis_dot_avx512vbmi,
    .int8_quantize = gs_int8_quantize_avx512vbmi,
    .tile_mul = gs_tile_mul_avx512vbmi,
    .codes_mul = gs_codes_mul_avx512vbmi,
};
