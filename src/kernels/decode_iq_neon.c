/* SPDX-License-Identifier: MIT
 * Decoding for NEON: the IQ types with grids. */
#include "kernels/blocks.h"
#include "kernels/points_neon.h"
#include "kernels/put_neon.h"

static GS_ALWAYS_INLINE void put_iq2(float scale, unsigned point, unsigned signs, float *dst)
{
    put8(signed_levels(iq2_levels(), spread2(point), signs), scale, dst);
}

static GS_ALWAYS_INLINE void put_iq3(const uint8_t *levels, unsigned first, unsigned second,
                                     unsigned signs, float scale, float *dst)
{
    put8(signed_levels(vld1_u8(levels), spread3(first, second), signs), scale, dst);
}

/* dst[j] = scale (level + shift), each rounded. */
static GS_ALWAYS_INLINE void put_iq1(float scale, float shift, unsigned point, float *dst)
{
    int16x8_t q = vmovl_s8(vreinterpret_s8_u8(vsub_u8(spread2(point), vdup_n_u8(1))));
    float32x4_t add = vdupq_n_f32(shift);

    vst1q_f32(dst, vmulq_n_f32(vaddq_f32(floats4(vget_low_s16(q)), add), scale));
    vst1q_f32(dst + 4, vmulq_n_f32(vaddq_f32(floats4(vget_high_s16(q)), add), scale));
}

#define ISA(name) name##_neon
#include "kernels/decode_iq.inc"
