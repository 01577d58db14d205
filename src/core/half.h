/* SPDX-License-Identifier: MIT
 * f16 (IEEE binary16) and bf16 to f32 and back, bit-exact and portable.
 *
 * Rounding is to nearest, ties to even, subnormals included; NaN stays NaN (quiet).
 * These are the definitions; kernels use the instructions where they exist. */
#ifndef GS_CORE_HALF_H
#define GS_CORE_HALF_H

#include <string.h>

#include "core/bytes.h"

static inline uint32_t gs_f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float gs_f32_from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline float gs_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t magnitude = h & 0x7fff;

    if (magnitude >= 0x7c00) /* inf, NaN: made quiet as the hardware does */
        return gs_f32_from_bits(sign | 0x7f800000 | (magnitude & 0x3ff) << 13 |
                                (magnitude > 0x7c00 ? 0x400000u : 0));
    if (magnitude < 0x0400) { /* zero, subnormal: m · 2^-24 is exact in f32 */
        float f = (float)magnitude * 0x1p-24f;
        return gs_f32_from_bits(sign | gs_f32_bits(f));
    }
    return gs_f32_from_bits(sign | ((magnitude << 13) + ((127u - 15u) << 23)));
}

static inline uint16_t gs_f32_to_f16(float f)
{
    uint32_t u = gs_f32_bits(f);
    uint32_t sign = (u >> 16) & 0x8000;
    uint32_t a = u & 0x7fffffff;

    if (a > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | ((a >> 13) & 0x3ff));
    if (a >= 0x477ff000) /* rounds to 65520 or more: infinity */
        return (uint16_t)(sign | 0x7c00);
    if (a < 0x38800000) { /* below 2^-14: adding 0.5 leaves the rounded m·2^-24 low */
        float m = gs_f32_from_bits(a) + 0.5f;
        return (uint16_t)(sign | (gs_f32_bits(m) - 0x3f000000));
    }
    a += 0xfff + ((a >> 13) & 1);
    return (uint16_t)(sign | ((a - ((127u - 15u) << 23)) >> 13));
}

static inline void gs_put_f16(float v, uint8_t dst[2])
{
    gs_put_u16(gs_f32_to_f16(v), dst);
}

static inline float gs_bf16_to_f32(uint16_t h)
{
    return gs_f32_from_bits((uint32_t)h << 16);
}

static inline uint16_t gs_f32_to_bf16(float f)
{
    uint32_t u = gs_f32_bits(f);

    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)((u >> 16) | 0x40);
    return (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

#endif
