/* SPDX-License-Identifier: MIT
 * Values of trellis tiles in NEON (trellis.h has the layout). Only *_neon.c and *_neondot.c
 * files include this.
 *
 * A tile is 4 chunks c of 8 groups g of 8 weights j; a group is rate bits long. Windows are
 * looked up without being shifted out one by one: moved so that every group begins on a byte,
 * weight j's window begins at bit start[j] of it, whatever the group. A register holds one
 * nibble of 16 groups, byte 4i + c that of group 4h + i of chunk c (h: half), and the index of
 * weight j of these groups is the xor of one 16-entry lookup for each nibble that the window
 * touches, in tables made for j (quads.part; bits outside of the window count nothing there).
 *
 *     tile ─ TBL of 4 × 16 bytes, one of each chunk ─▶ bytes n of 16 groups ─ shift (where
 *       groups do not begin on bytes) ─▶ nibbles ─ TBL, xor ─▶ indexes of weights j
 *       ─ TBL of 64 bytes ─▶ values, 16 at once
 *
 * Since the four chunks are the four quarters of a tile's columns, four bytes side by side are
 * a row's weights at columns j, 4 + j, 8 + j, 12 + j (j < 4; the others are the next row):
 * they meet activations in that order in a dot product without any interleaving.
 *
 * quads.from[h] has the positions of the groups' first bytes among the 4 × 16 bytes that start
 * at the half's first. Beyond GS_TRELLIS_HALVES_MAX 16 bytes do not hold 4 groups: then
 * from[p] is for groups 2p and 2p + 1 of all chunks, with bytes n in its lower half and n + 1 in
 * its upper. quads.shift[h]: bits before the first, of each group. */
#ifndef GS_KERNELS_TRELLIS_NEON_H
#define GS_KERNELS_TRELLIS_NEON_H

#include <arm_neon.h>
#include <string.h>

#include "kernels/viterbi.h"

enum {
    TRELLIS_BYTES = 8, /* of a group with what its last window needs, rounded up */
    TRELLIS_PADDED = 4 * GS_TRELLIS_RATE_MAX + 32
};

/* What the compiler may know of a code. */
struct trellis_shape {
    unsigned rate;   /* 0: any up to GS_TRELLIS_HALVES_MAX; 1: any above */
    unsigned window; /* rounded up to nibbles */
    bool wide;       /* 7-bit indexes: the sign is in bit 7, bits 0 … 5 are a magnitude's */
};

static GS_ALWAYS_INLINE unsigned trellis_rate(const struct gs_trellis *t, struct trellis_shape s)
{
    return s.rate > 1 ? s.rate : t->rate;
}

/* Do groups 4h … 4h + 3 go on after 16 bytes? */
static GS_ALWAYS_INLINE bool trellis_pairs(struct trellis_shape s)
{
    return s.rate == 1 || s.rate > GS_TRELLIS_HALVES_MAX;
}

/* Bytes of a group that windows touch, at most, once it begins on one. */
static GS_ALWAYS_INLINE unsigned trellis_bytes(struct trellis_shape s)
{
    unsigned rate = s.rate > 1 ? s.rate : s.rate ? GS_TRELLIS_RATE_MAX - 1 : GS_TRELLIS_HALVES_MAX;

    return (rate * 7 / 8 + s.window + 7) / 8;
}

/* 16 bytes of every chunk from its byte `first` on; the ring closes behind the last. */
static GS_ALWAYS_INLINE uint8x16x4_t trellis_load(const uint8_t *tile, unsigned rate,
                                                  unsigned first)
{
    static const uint8_t number[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const uint8_t *from = tile + first;
    uint8x16x4_t v = {{vld1q_u8(from), vld1q_u8(from + rate), vld1q_u8(from + 2 * rate)}};

    if (rate - first >= 16) {
        v.val[3] = vld1q_u8(from + 3 * rate);
    } else {
        uint8x16x2_t ends = {{vld1q_u8(tile + 4 * rate - 16), vld1q_u8(tile)}};
        v.val[3] = vqtbl2q_u8(ends, vaddq_u8(vld1q_u8(number),
                                             vdupq_n_u8((uint8_t)(16 - rate + first))));
    }
    return v;
}

/* Bytes 0 … count − 1 of the groups of half h as they lie; one more may be written. */
static GS_ALWAYS_INLINE void trellis_gather(const struct gs_trellis *t, struct trellis_shape s,
                                            const uint8_t *tile, unsigned h, unsigned count,
                                            uint8x16_t raw[TRELLIS_BYTES])
{
    const struct gs_trellis_quads *k = &t->quads;
    unsigned rate = trellis_rate(t, s);

    if (trellis_pairs(s)) {
        uint8x16x4_t a = trellis_load(tile, rate, 2 * (2 * h) * rate / 8);
        uint8x16x4_t b = trellis_load(tile, rate, 2 * (2 * h + 1) * rate / 8);
        uint8x16_t at = vld1q_u8(k->from[2 * h]), bt = vld1q_u8(k->from[2 * h + 1]);
        GS_UNROLL for (unsigned n = 0; n < count; n += 2) {
            uint8x16_t more = vdupq_n_u8((uint8_t)n);
            uint64x2_t x = vreinterpretq_u64_u8(vqtbl4q_u8(a, vaddq_u8(at, more)));
            uint64x2_t y = vreinterpretq_u64_u8(vqtbl4q_u8(b, vaddq_u8(bt, more)));
            raw[n] = vreinterpretq_u8_u64(vzip1q_u64(x, y));
            raw[n + 1] = vreinterpretq_u8_u64(vzip2q_u64(x, y));
        }
    } else {
        uint8x16x4_t a = trellis_load(tile, rate, 4 * h * rate / 8);
        uint8x16_t at = vld1q_u8(k->from[h]);
        GS_UNROLL for (unsigned n = 0; n < count; n++)
            raw[n] = vqtbl4q_u8(a, vaddq_u8(at, vdupq_n_u8((uint8_t)n)));
    }
}

/* Nibbles of the groups of half h. */
static GS_ALWAYS_INLINE void trellis_planes(const struct gs_trellis *t, struct trellis_shape s,
                                            const uint8_t *tile, unsigned h,
                                            uint8x16_t plane[2 * TRELLIS_BYTES])
{
    unsigned bytes = trellis_bytes(s);
    uint8x16_t raw[TRELLIS_BYTES];

    trellis_gather(t, s, tile, h, bytes + (s.rate <= 1), raw);
    if (s.rate <= 1) {
        int8x16_t left = vreinterpretq_s8_u8(vld1q_u8(t->quads.shift[h]));
        int8x16_t right = vsubq_s8(vdupq_n_s8(8), left);
        left = vnegq_s8(left);
        GS_UNROLL for (unsigned n = 0; n < bytes; n++)
            raw[n] = vorrq_u8(vshlq_u8(raw[n], left), vshlq_u8(raw[n + 1], right));
    }
    GS_UNROLL for (unsigned n = 0; n < bytes; n++) {
        plane[2 * n] = vandq_u8(raw[n], vdupq_n_u8(15));
        plane[2 * n + 1] = vshrq_n_u8(raw[n], 4);
    }
}

/* The tables of values or magnitudes. */
static GS_ALWAYS_INLINE uint8x16x4_t trellis_values(const struct gs_trellis *t)
{
    uint8x16x4_t v = vld1q_u8_x4(t->offset);

    for (int i = 0; i < 4; i++)
        v.val[i] = veorq_u8(v.val[i], vdupq_n_u8(GS_TRELLIS_BIAS));
    return v;
}

/* Values of weight j of 16 groups. */
static GS_ALWAYS_INLINE int8x16_t trellis_lookup(const struct gs_trellis *t,
                                                 struct trellis_shape s,
                                                 const uint8x16_t planes[2 * TRELLIS_BYTES],
                                                 uint8x16x4_t values, unsigned j)
{
    const uint8_t (*part)[16] = t->quads.part[j];
    unsigned start = s.rate > 1 ? j * s.rate / 8 : t->start[j], least = s.window / 4;
    const uint8x16_t *plane = planes + start / 4;
    uint8x16_t index = vqtbl1q_u8(vld1q_u8(part[0]), plane[0]);

    GS_UNROLL for (unsigned n = 1; n < least; n++)
        index = veorq_u8(index, vqtbl1q_u8(vld1q_u8(part[n]), plane[n]));
    if (start % 4)
        index = veorq_u8(index, vqtbl1q_u8(vld1q_u8(part[least]), plane[least]));
    if (!s.wide)
        return vreinterpretq_s8_u8(vqtbl4q_u8(values, index));
    int8x16_t sign = vshrq_n_s8(vreinterpretq_s8_u8(index), 7);
    uint8x16_t m = vqtbl4q_u8(values, vandq_u8(index, vdupq_n_u8(127)));
    return vsubq_s8(veorq_s8(vreinterpretq_s8_u8(m), sign), sign);
}

/* FUNCTION(rate, window, wide) for every shape that has code of its own, and arrays of their
 * names by whole bits a weight (0: others) and window. */
#define TRELLIS_WINDOWS(FUNCTION, rate, wide)                                                  \
    FUNCTION(rate, 8, wide) FUNCTION(rate, 12, wide) FUNCTION(rate, 16, wide)
#define TRELLIS_SHAPES(FUNCTION)                                                               \
    TRELLIS_WINDOWS(FUNCTION, 0, 0)                                                            \
    TRELLIS_WINDOWS(FUNCTION, 0, 1)                                                            \
    TRELLIS_WINDOWS(FUNCTION, 1, 0)                                                            \
    TRELLIS_WINDOWS(FUNCTION, 1, 1)                                                            \
    TRELLIS_WINDOWS(FUNCTION, 8, 0)                                                            \
    TRELLIS_WINDOWS(FUNCTION, 16, 0)                                                           \
    TRELLIS_WINDOWS(FUNCTION, 24, 0)                                                           \
    TRELLIS_WINDOWS(FUNCTION, 32, 1)                                                           \
    TRELLIS_WINDOWS(FUNCTION, 40, 1)
#define TRELLIS_NAMES(name, rate, wide)                                                        \
    {name##_##rate##_8_##wide, name##_##rate##_12_##wide, name##_##rate##_16_##wide}
#define TRELLIS_LIST(name)                                                                     \
    {                                                                                          \
        TRELLIS_NAMES(name, 0, 0), TRELLIS_NAMES(name, 0, 1), TRELLIS_NAMES(name, 1, 0),       \
        TRELLIS_NAMES(name, 1, 1), TRELLIS_NAMES(name, 8, 0), TRELLIS_NAMES(name, 16, 0),      \
        TRELLIS_NAMES(name, 24, 0), TRELLIS_NAMES(name, 32, 1), TRELLIS_NAMES(name, 40, 1),    \
    }

/* The row of TRELLIS_LIST for a code. */
static inline unsigned trellis_shape_of(const struct gs_trellis *t)
{
    bool wide = t->index_bits == 7;

    if (t->rate % 8 == 0 && wide == (t->rate > 24))
        return 3 + t->rate / 8;
    return 2 * (t->rate > GS_TRELLIS_HALVES_MAX) + wide;
}

static inline unsigned trellis_window_of(const struct gs_trellis *t)
{
    return (t->window + 3u) / 4 - 2;
}

#endif
