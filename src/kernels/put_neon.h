/* SPDX-License-Identifier: MIT
 * Steps of decoding that many types share: take small integers out of bytes, put
 * scale · integer as floats. Only *_neon.c files include this. */
#ifndef GS_KERNELS_PUT_NEON_H
#define GS_KERNELS_PUT_NEON_H

#include "kernels/lanes_neon.h"

/* Before the body of a loop over runs of 16 weights in a block of 256: unrolled wholly, so that
 * shifts and places are constants (GS_UNROLL does 8 at most). */
#define EACH_OF_16(run, step)                                                                  \
    GS_UNROLL for (int run##_half = 0; run##_half < 16; run##_half += 8)                       \
        GS_UNROLL for (int run = run##_half; run < run##_half + 8; run++, step)

/* Halves of 16 bytes: the low nibbles, the high ones. */
static GS_ALWAYS_INLINE int8x16x2_t nibbles(const uint8_t *p)
{
    uint8x16_t q = vld1q_u8(p);

    return (int8x16x2_t){{vreinterpretq_s8_u8(vandq_u8(q, vdupq_n_u8(15))),
                          vreinterpretq_s8_u8(vshrq_n_u8(q, 4))}};
}

/* Byte j is `value` where bit j of the 16 bits at p is set, else 0. */
static GS_ALWAYS_INLINE int8x16_t bit_mask(const uint8_t *p, uint8_t value)
{
    static const uint8_t bit[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t bits = vcombine_u8(vdup_n_u8(p[0]), vdup_n_u8(p[1]));

    return vreinterpretq_s8_u8(vandq_u8(vtstq_u8(bits, vld1q_u8(bit)), vdupq_n_u8(value)));
}

/* Bits shift … shift + 1 of each byte. */
static GS_ALWAYS_INLINE uint8x16_t two_bits(const uint8_t *p, int shift)
{
    return vandq_u8(vshlq_u8(vld1q_u8(p), vdupq_n_s8((int8_t)-shift)), vdupq_n_u8(3));
}

/* The low or the high nibble of each byte. */
static GS_ALWAYS_INLINE uint8x16_t nibble(const uint8_t *p, bool high)
{
    uint8x16_t q = vld1q_u8(p);

    return high ? vshrq_n_u8(q, 4) : vandq_u8(q, vdupq_n_u8(15));
}

/* Byte j is `value` where the bit `bit` of byte j at p is set, else 0. */
static GS_ALWAYS_INLINE uint8x16_t bit_of(const uint8_t *p, int bit, uint8_t value)
{
    return vandq_u8(vtstq_u8(vld1q_u8(p), vdupq_n_u8((uint8_t)(1 << bit))), vdupq_n_u8(value));
}

/* Four signed 16-bit numbers as floats. */
static GS_ALWAYS_INLINE float32x4_t floats4(int16x4_t q)
{
    return vcvtq_f32_s32(vmovl_s16(q));
}

/* dst[j] = scale q[j]. */
static GS_ALWAYS_INLINE void put8(int8x8_t q, float scale, float *dst)
{
    int16x8_t wide = vmovl_s8(q);

    vst1q_f32(dst, vmulq_n_f32(floats4(vget_low_s16(wide)), scale));
    vst1q_f32(dst + 4, vmulq_n_f32(floats4(vget_high_s16(wide)), scale));
}

static GS_ALWAYS_INLINE void put16(int8x16_t q, float scale, float *dst)
{
    put8(vget_low_s8(q), scale, dst);
    put8(vget_high_s8(q), scale, dst + 8);
}

/* dst[j] = scale q[j] + add. The product is exact (17 bits of scale, 5 of q), so fma rounds
 * as product and sum do. */
static GS_ALWAYS_INLINE void put16_add(int8x16_t q, float scale, float add, float *dst)
{
    int16x8_t low = vmovl_s8(vget_low_s8(q)), high = vmovl_high_s8(q);
    float32x4_t sum = vdupq_n_f32(add);

    vst1q_f32(dst, vfmaq_n_f32(sum, floats4(vget_low_s16(low)), scale));
    vst1q_f32(dst + 4, vfmaq_n_f32(sum, floats4(vget_high_s16(low)), scale));
    vst1q_f32(dst + 8, vfmaq_n_f32(sum, floats4(vget_low_s16(high)), scale));
    vst1q_f32(dst + 12, vfmaq_n_f32(sum, floats4(vget_high_s16(high)), scale));
}

#endif
