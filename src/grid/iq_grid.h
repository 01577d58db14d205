/* SPDX-License-Identifier: MIT
 * The points of the IQ grids (kernels/grids.h) and the tables to find them by. Private to src/grid.
 *
 * A point of IQ1 or IQ2 has eight coordinates, one of IQ3 four. The first half of them is its low
 * side, the second its high side:
 *
 *     IQ1, IQ2   0 1 2 3 │ 4 5 6 7   levels 0 1 2     strides 1 4 12 36
 *     IQ3            0 1 │ 2 3       levels 0 … 7     strides 1 8
 *                    low   high
 *
 * A side's pattern is Σ level · stride over its coordinates. Points ordered by their high pattern,
 * then by the low one, ascend as the grids do; so a point's index is the number of those before. */
#ifndef GS_GRID_IQ_GRID_H
#define GS_GRID_IQ_GRID_H

#include <string.h>

#include "grid/iq_search.h"

#define GS_IQ_PATTERNS 128 /* room for either, whole words of bits */
#define GS_IQ_WORDS (GS_IQ_PATTERNS / 64)

struct gs_iq_grid {
    const uint16_t *packed; /* points as level numbers, ascending */
    const uint8_t *levels;  /* magnitudes; NULL: −1 0 1 */
    unsigned n, bits;       /* points; a coordinate's bits: eight of 2 or four of 3 */
    /* The rest is made once. Of each point: */
    uint8_t *low_side, *high_side;  /* (n) patterns */
    float (*numbers)[GS_POINT_DIM]; /* (n, 8) magnitudes, of IQ3 four; or −1 0 1 */
    /* Of each pattern p: */
    uint16_t begin[GS_IQ_PATTERNS + 1]; /* points with high side p: [begin[p], begin[p + 1]) */
    uint64_t has[GS_IQ_PATTERNS][GS_IQ_WORDS]; /* bit l: high side p and low side l are a point */
    uint8_t near[GS_IQ_PATTERNS]; /* the high side of a point that is nearest to p */
};

/* Of eight bytes 0 or 1, a bit each. */
static GS_ALWAYS_INLINE uint64_t gs_iq_bits(uint64_t bytes)
{
    return bytes * 0x0102040810204080 >> 56;
}

static inline unsigned gs_iq_count_bits(uint64_t x)
{
    x -= x >> 1 & 0x5555555555555555;
    x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f;
    return (unsigned)(x * 0x0101010101010101 >> 56);
}

static inline bool gs_iq_is_point(const struct gs_iq_grid *g, unsigned high, unsigned low)
{
    return g->has[high][low / 64] >> low % 64 & 1;
}

/* The index of a point: how many come before it. */
static inline unsigned gs_iq_index(const struct gs_iq_grid *g, unsigned high, unsigned low)
{
    const uint64_t *has = g->has[high];
    uint64_t below = ((uint64_t)1 << low % 64) - 1;

    return g->begin[high] + gs_iq_count_bits(has[low / 64] & below) +
           (low < 64 ? 0 : gs_iq_count_bits(has[0]));
}

/* An error and a point, in this order of importance; errors are not negative. A point is
 * high side << 7 | low side. */
static inline uint64_t gs_iq_rank(float error, unsigned high, unsigned low)
{
    uint32_t bits;

    memcpy(&bits, &error, sizeof bits);
    return (uint64_t)bits << 32 | high << 7 | low;
}

static inline float gs_iq_error(uint64_t ranked)
{
    uint32_t bits = (uint32_t)(ranked >> 32);
    float error;

    memcpy(&error, &bits, sizeof error);
    return error;
}

/* The index of a ranked point. */
static inline unsigned gs_iq_point(const struct gs_iq_grid *g, uint64_t ranked)
{
    return gs_iq_index(g, ranked >> 7 & 127, ranked & 127);
}

#endif
