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

/* For signed_levels with points of an IQ2 grid. */
static GS_ALWAYS_INLINE uint8x8_t iq2_levels(void)
{
    return vreinterpret_u8_u64(vcreate_u64(8 | 25 << 8 | 43 << 16));
}

#endif
