/* SPDX-License-Identifier: MIT
 * Points of the IQ types' grids (grids.h) in NEON. Only *_neon.c files include this.
 *
 * A packed point is repeated over the lanes and shifted by another number of bits in each; a
 * byte lookup gives the levels, sign bits make masks that negate the bytes. */
#ifndef GS_KERNELS_POINTS_NEON_H
#define GS_KERNELS_POINTS_NEON_H

#include <arm_neon.h>

#include "kernels/grids.h"

/* The packed point's eight 2-bit level numbers, one a byte. */
static GS_ALWAYS_INLINE uint8x8_t spread2(unsigned point)
{
    static const int8_t shift[8] = {0, -2, -4, -6, 0, -2, -4, -6};
    uint8x8_t v = vreinterpret_u8_u64(
        vcreate_u64((uint64_t)(point >> 8) * 0x0101010100000000u + (point & 255) * 0x01010101u));

    return vand_u8(vshl_u8(v, vld1_s8(shift)), vdup_n_u8(3));
}

/* Two points of four 3-bit numbers. */
static GS_ALWAYS_INLINE uint8x8_t spread3(unsigned first, unsigned second)
{
    static const int16_t shift[8] = {0, -3, -6, -9, 0, -3, -6, -9};
    uint16x8_t v = vcombine_u16(vdup_n_u16((uint16_t)first), vdup_n_u16((uint16_t)second));

    return vand_u8(vmovn_u16(vshlq_u16(v, vld1q_s16(shift))), vdup_n_u8(7));
}

/* Levels by number, negated where the bit of `signs` is set: (q ^ m) − m with m = 0 or −1. */
static GS_ALWAYS_INLINE int8x8_t signed_levels(uint8x8_t levels, uint8x8_t numbers,
                                               unsigned signs)
{
    static const uint8_t bit[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    int8x8_t q = vreinterpret_s8_u8(vtbl1_u8(levels, numbers));
    int8x8_t m = vreinterpret_s8_u8(vtst_u8(vdup_n_u8((uint8_t)signs), vld1_u8(bit)));

    return vsub_s8(veor_s8(q, m), m);
}

/* The same for four points of an IQ2 grid: 32 level numbers. */
static GS_ALWAYS_INLINE uint8x16x2_t spread2_four(const uint16_t grid[], unsigned a, unsigned b,
                                                  unsigned c, unsigned d)
{
    static const uint8_t repeat[16] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
    static const int8_t shift[16] = {0, -2, -4, -6, 0, -2, -4, -6, 0, -2, -4, -6, 0, -2, -4, -6};
    uint64_t points = grid[a] | (uint64_t)grid[b] << 16 | (uint64_t)grid[c] << 32 |
                      (uint64_t)grid[d] << 48;
    uint8x16_t v = vreinterpretq_u8_u64(vdupq_n_u64(points)), at = vld1q_u8(repeat);
    uint8x16_t low = vshlq_u8(vqtbl1q_u8(v, at), vld1q_s8(shift));
    uint8x16_t high = vshlq_u8(vqtbl1q_u8(v, vaddq_u8(at, vdupq_n_u8(4))), vld1q_s8(shift));

    return (uint8x16x2_t){{vandq_u8(low, vdupq_n_u8(3)), vandq_u8(high, vdupq_n_u8(3))}};
}

/* And for eight points of an IQ3 grid. */
static GS_ALWAYS_INLINE uint8x16x2_t spread3_eight(const uint16_t points[8])
{
    static const uint8_t repeat[16] = {0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 2, 3};
    static const int16_t shift[8] = {0, -3, -6, -9, 0, -3, -6, -9};
    uint8x16_t v = vreinterpretq_u8_u16(vld1q_u16(points)), at = vld1q_u8(repeat), pair[4];

    GS_UNROLL for (int i = 0; i < 4; i++) {
        uint16x8_t two = vreinterpretq_u16_u8(vqtbl1q_u8(v, at));
        pair[i] = vreinterpretq_u8_u16(vshlq_u16(two, vld1q_s16(shift)));
        at = vaddq_u8(at, vdupq_n_u8(4));
    }
    return (uint8x16x2_t){{vandq_u8(vuzp1q_u8(pair[0], pair[1]), vdupq_n_u8(7)),
                           vandq_u8(vuzp1q_u8(pair[2], pair[3]), vdupq_n_u8(7))}};
}

/* Four bytes of seven signs, each with the eighth that makes their number even. */
static GS_ALWAYS_INLINE uint32_t even_signs(uint32_t s)
{
    uint32_t parity = s ^ s >> 4;

    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return s | (parity & 0x01010101u) << 7;
}

/* The same from 28 bits. */
static GS_ALWAYS_INLINE uint32_t even_signs28(uint32_t bits)
{
    return even_signs((bits & 0x7f) | (bits << 1 & 0x7f00) | (bits << 2 & 0x7f0000) |
                      (bits << 3 & 0x7f000000));
}

/* top ± level for 32 level numbers. */
static GS_ALWAYS_INLINE void put_codes32(uint8x16_t levels, uint8x16x2_t numbers, uint32_t signs,
                                         uint8_t top, uint8_t *u)
{
    static const uint8_t bit[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    static const uint8_t spread[16] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1};
    uint8x16_t s = vreinterpretq_u8_u32(vdupq_n_u32(signs)), at = vld1q_u8(spread);

    GS_UNROLL for (int i = 0; i < 2; i++) {
        uint8x16_t minus = vtstq_u8(vqtbl1q_u8(s, at), vld1q_u8(bit));
        uint8x16_t g = veorq_u8(vqtbl1q_u8(levels, numbers.val[i]), minus);
        vst1q_u8(u + 16 * i, vaddq_u8(vsubq_u8(g, minus), vdupq_n_u8(top)));
        at = vaddq_u8(at, vdupq_n_u8(2));
    }
}

/* For signed_levels with points of an IQ2 grid. */
static GS_ALWAYS_INLINE uint8x8_t iq2_levels(void)
{
    return vreinterpret_u8_u64(vcreate_u64(8 | 25 << 8 | 43 << 16));
}

#endif
