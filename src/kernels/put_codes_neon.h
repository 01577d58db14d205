/* SPDX-License-Identifier: MIT
 * Steps of unpacking to codes that many types share. Only *_neon.c files include this. */
#ifndef GS_KERNELS_PUT_CODES_NEON_H
#define GS_KERNELS_PUT_CODES_NEON_H

#include "kernels/put_neon.h"

/* The same scale and minimum for `groups` groups. */
static GS_ALWAYS_INLINE void put_groups(size_t groups, float scale, float min, float **d,
                                        float **m)
{
    for (; groups > 0; groups--) {
        *(*d)++ = scale;
        *(*m)++ = min;
    }
}

/* 16 bytes as floats times `scale`, to `out`. */
static GS_ALWAYS_INLINE void scale16(int8x16_t bytes, float scale, float *out)
{
    put16(bytes, scale, out);
}

/* out[i] = scale · in[i] for 16 floats. */
static GS_ALWAYS_INLINE void times16(const float *in, float scale, float *out)
{
    for (int i = 0; i < 16; i += 4)
        vst1q_f32(out + i, vmulq_n_f32(vld1q_f32(in + i), scale));
}

static GS_ALWAYS_INLINE void store32(uint8_t *u, int8x16x2_t v)
{
    vst1q_s8((int8_t *)u, v.val[0]);
    vst1q_s8((int8_t *)u + 16, v.val[1]);
}

#endif
