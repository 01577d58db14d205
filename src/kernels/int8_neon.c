/* SPDX-License-Identifier: MIT
 * 8-bit activations in NEON (int8.h), and products without dot product instructions. */
#include <arm_neon.h>

#include "kernels/dot4_neon.h"
#include "kernels/int8_blocks.h"
#include "kernels/viterbi.h"

#include "kernels/tile_neon.inc"

/* The largest magnitude's bits: NaN and infinity compare above all others. */
static uint32_t largest_bits(const float x[GS_INT8_BLOCK])
{
    uint32x4_t top = vdupq_n_u32(0);

    for (size_t i = 0; i < GS_INT8_BLOCK; i += 4)
        top = vmaxq_u32(top, vreinterpretq_u32_f32(vabsq_f32(vld1q_f32(x + i))));
    return vmaxvq_u32(top);
}

/* Four registers of small integers as 16 bytes. */
static inline int8x16_t narrow(const int32x4_t v[4])
{
    int16x8_t low = vcombine_s16(vmovn_s32(v[0]), vmovn_s32(v[1]));
    int16x8_t high = vcombine_s16(vmovn_s32(v[2]), vmovn_s32(v[3]));

    return vcombine_s8(vmovn_s16(low), vmovn_s16(high));
}

/* A block times `inverse`, rounded. */
static void round_block(const float *x, float inverse, const struct gs_int8 *out)
{
    for (size_t i = 0; i < GS_INT8_BLOCK; i += 16) {
        int32x4_t q[4], low[4];
        GS_UNROLL for (size_t j = 0; j < 4; j++) {
            float32x4_t v = vmulq_n_f32(vld1q_f32(x + i + 4 * j), inverse);
            q[j] = vcvtnq_s32_f32(v);
            v = vmulq_n_f32(vsubq_f32(v, vcvtq_f32_s32(q[j])), 256);
            low[j] = vcvtnq_s32_f32(v);
            low[j] = vmaxq_s32(vminq_s32(low[j], vdupq_n_s32(127)), vdupq_n_s32(-127));
        }
        vst1q_s8(out->q + i, narrow(q));
        if (out->low)
            vst1q_s8(out->low + i, narrow(low));
    }
}

/* Sums of four groups' bytes. */
static inline int32x4_t sums_of_groups(const int8_t *q)
{
    int32x4_t s[4];

    GS_UNROLL for (size_t i = 0; i < 4; i++)
        s[i] = vpaddlq_s16(vpaddlq_s8(vld1q_s8(q + GS_INT8_GROUP * i)));
    return vpaddq_s32(vpaddq_s32(s[0], s[1]), vpaddq_s32(s[2], s[3]));
}

/* Fills in sum and, if there are low bytes, group of a block whose largest element is 127
 * `scale`; returns what its scale is then. */
static float put_sums(const struct gs_int8 *out, float scale)
{
    int32x4_t sums = sums_of_groups(out->q);

    *out->sum = vaddvq_s32(sums);
    if (!out->low)
        return scale;
    scale /= 256;
    sums = vaddq_s32(vshlq_n_s32(sums, 8), sums_of_groups(out->low));
    vst1q_f32(out->group, vmulq_n_f32(vcvtq_f32_s32(sums), scale));
    return scale;
}

static float quantize_block(const float *x, const struct gs_int8 *out)
{
    return quantize_with(x, out, (struct gs_int8_steps){largest_bits, round_block, put_sums});
}

/* 64 elements, 4 groups of 4 steps, as lanes: a transposition of 32-bit words. */
static inline void put_lanes(const int8_t *q, int8_t *to)
{
    const int32x4x4_t v = {{vreinterpretq_s32_s8(vld1q_s8(q)),
                            vreinterpretq_s32_s8(vld1q_s8(q + 16)),
                            vreinterpretq_s32_s8(vld1q_s8(q + 32)),
                            vreinterpretq_s32_s8(vld1q_s8(q + 48))}};
    int32x4_t a = vzip1q_s32(v.val[0], v.val[2]), b = vzip2q_s32(v.val[0], v.val[2]);
    int32x4_t c = vzip1q_s32(v.val[1], v.val[3]), d = vzip2q_s32(v.val[1], v.val[3]);

    vst1q_s8(to, vreinterpretq_s8_s32(vzip1q_s32(a, c)));
    vst1q_s8(to + 64, vreinterpretq_s8_s32(vzip2q_s32(a, c)));
    vst1q_s8(to + 128, vreinterpretq_s8_s32(vzip1q_s32(b, d)));
    vst1q_s8(to + 192, vreinterpretq_s8_s32(vzip2q_s32(b, d)));
}

void gs_int8_quantize_neon(const float *x, size_t n, struct gs_int8 *out)
{
    size_t even = n / 256 * 256;

    quantize_blocks(x, n, out, quantize_block);
    for (size_t i = 0; out->low && out->lanes && i < even; i += 64) {
        int8_t *to = out->lanes + i / 256 * 512 + i % 256 / 4;
        put_lanes(out->q + i, to);
        put_lanes(out->low + i, to + 256);
    }
    if (out->low && out->lanes && even < n) {
        struct gs_int8 rest = gs_int8_at(out, 0, even / GS_INT8_BLOCK);
        gs_int8_put_lanes(&rest, n - even);
    }
}
