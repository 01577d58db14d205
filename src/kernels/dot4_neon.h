/* SPDX-License-Identifier: MIT
 * Products of bytes for NEON without dot product instructions; dot4_neondot.h is its twin.
 * The files that are compiled for both levels are written in these terms. */
#ifndef GS_KERNELS_DOT4_NEON_H
#define GS_KERNELS_DOT4_NEON_H

#include <arm_neon.h>

#include "core/attr.h"

#define DOT4_NAME(name) name##_neon

/* Adds a[4i] b[4i] + … + a[4i + 3] b[4i + 3] to lane i. No b is ever −128, so that a sum of two
 * products stays within 16 bits. */
static GS_ALWAYS_INLINE int32x4_t dot4(int32x4_t sum, int8x16_t a, int8x16_t b)
{
    int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b)), high = vmull_high_s8(a, b);

    return vpadalq_s16(sum, vpaddq_s16(low, high));
}

/* The same with bytes 4i … 4i + 3 of b in every lane. */
#define dot4_lane(sum, a, b, i)                                                                \
    dot4(sum, a, vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(b), i)))

#endif
