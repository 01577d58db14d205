/* SPDX-License-Identifier: MIT
 * Products of bytes with the dot product instructions of ARMv8.2: as dot4_neon.h. */
#ifndef GS_KERNELS_DOT4_NEONDOT_H
#define GS_KERNELS_DOT4_NEONDOT_H

#include <arm_neon.h>

#include "core/attr.h"

#define DOT4_NAME(name) name##_neondot

/* Adds a[4i] b[4i] + … + a[4i + 3] b[4i + 3] to lane i. */
static GS_ALWAYS_INLINE int32x4_t dot4(int32x4_t sum, int8x16_t a, int8x16_t b)
{
    return vdotq_s32(sum, a, b);
}

/* The same with bytes 4i … 4i + 3 of b in every lane. */
#define dot4_lane(sum, a, b, i) vdotq_laneq_s32(sum, a, b, i)

#endif
