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
    .dot = {
        [GS_TYPE_F32] = gs_dot_f32_neon,
        [GS_TYPE_F16] = gs_dot_f16_neon,
        [GS_TYPE_BF16] = gs_dot_bf16_neon,
        [GS_TYPE_Q8_0] = gs_dot_q8_0_neon,
    },
    .mul_f32 = gs_mul_f32_neon,
    .axpy_f16 = axpy_f16,
    .rms_norm_f32 = rms_norm_f32,
    .panel_f32 = gs_panel_f32_neon,
    .panel_f64 = gs_panel_f64_neon,
    .transpose_f32 = gs_transpose_f32_neon,
    .fwht_f32 = gs_fwht_f32_neon,
    .trellis_decode = gs_trellis_decode_neon,
    .trellis_dot = gs_trellis_dot_neon,
};
