/* SPDX-License-Identifier: MIT
 * The NEON level of processors with byte dot products: ARMv8.2 with dotprod, ARMv8.4 and later
 * (Cortex-A75, Neoverse N1, Apple A11). */
#include "core/cpu.h"
#include "kernels/levels.h"
#include "kernels/viterbi.h"

const struct gs_kernels gs_kernels_neondot = {
    .name = "neondot",
    .need = GS_CPU_NEON | GS_CPU_DOTPROD,
    .codes_dot = {
#define U(type, name, top) [GS_TYPE_##type] = gs_codes_dot_##name##_neondot,
#include "kernels/codes.def"
#undef U
    },
    .trellis_dot = gs_trellis_dot_neondot,
    .tile_mul = gs_tile_mul_neondot,
    .codes_mul = gs_codes_mul_neondot,
};
