/* SPDX-License-Identifier: MIT
 * Vector helpers of the NEON levels. Only *_neon.c and *_neondot.c files include this.
 *
 * 64 lanes of the fixed order (kernels.h) are sixteen registers, half of what there are. */
#ifndef GS_KERNELS_LANES_NEON_H
#define GS_KERNELS_LANES_NEON_H

#include <arm_neon.h>
#include <string.h>

#include "kernels/levels.h"

#define D(type, name) void gs_decode_##name##_neon(const void *src, float *dst, size_t n);
#include "kernels/decode.def"
#undef D

float gs_dot_f32_neon(const void *row, const float *x, size_t n);
float gs_dot_f16_neon(const void *row, const float *x, size_t n);
float gs_dot_bf16_neon(const void *row, const float *x, size_t n);
float gs_dot_q8_0_neon(const void *row, const float *x, size_t n);
void gs_mul_f32_neon(const float *w, size_t w_stride, size_t rows, const float *x,
                     size_t x_stride, size_t cols, size_t n, float *y, size_t y_stride);

/* Four stored floats at any address. */
static GS_ALWAYS_INLINE float32x4_t load_f32(const uint8_t *p)
{
    return vreinterpretq_f32_u8(vld1q_u8(p));
}

static GS_ALWAYS_INLINE float32x4_t load_f16(const uint8_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}

static GS_ALWAYS_INLINE float32x4_t load_bf16(const uint8_t *p)
{
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16));
}

/* The f16 at p. */
static GS_ALWAYS_INLINE float half_at(const uint8_t *p)
{
    uint16_t bits;

    memcpy(&bits, p, sizeof bits);
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))), 0);
}

/* All ones in the first n < 4 lanes. */
static GS_ALWAYS_INLINE uint32x4_t mask4(size_t n)
{
    static const uint32_t number[4] = {0, 1, 2, 3};

    return vcltq_u32(vld1q_u32(number), vdupq_n_u32((uint32_t)n));
}

/* The first n < 4 floats at x, then zeros. */
static GS_ALWAYS_INLINE float32x4_t load_part(const float *x, size_t n)
{
    float part[4] = {0};

    memcpy(part, x, n * sizeof *x);
    return vld1q_f32(part);
}

/* Lanes 0 … 63 folded by halves down to four. */
static GS_ALWAYS_INLINE float32x4_t fold16(const float32x4_t v[16])
{
    float32x4_t s[8];

    GS_UNROLL for (int j = 0; j < 8; j++)
        s[j] = vaddq_f32(v[j], v[j + 8]);
    GS_UNROLL for (int j = 0; j < 4; j++)
        s[j] = vaddq_f32(s[j], s[j + 4]);
    return vaddq_f32(vaddq_f32(s[0], s[2]), vaddq_f32(s[1], s[3]));
}

/* The last two folds. */
static GS_ALWAYS_INLINE float fold_last(float32x4_t v)
{
    float32x2_t s = vadd_f32(vget_low_f32(v), vget_high_f32(v));

    return vget_lane_f32(s, 0) + vget_lane_f32(s, 1);
}

#endif
