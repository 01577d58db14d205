/* SPDX-License-Identifier: MIT
 * Exact search of points of IQ1 and IQ2: branch and bound over two sides.
 *
 * If the nearest level at every coordinate makes a point, it is the best; half of all searches end
 * here. Otherwise some point is taken to start from, and only what could be better than it is
 * looked at. A point is two sides of four coordinates with three levels each. With the errors of
 * all 81 patterns of either side in a table (T), a point costs two look-ups,
 *
 *     err(point) = T₀[low side] + T₁[high side]
 *
 * A side is marked if it and the least of the other do not exceed the start's error; bits say
 * which marked sides make points with one another: one to ten pairs.
 *
 * The start is a hint (callers ask for the same weights at other scales, or at a target that has
 * moved a little), else the best point among those whose high side is the nearest.
 *
 * Where one sign has to be wrong (iq_target.h), the least cost of that over a side is a table as
 * well (F), so the best point and flip are found together:
 *
 *     err(point) = T₀[low side] + T₁[high side] + min(F₀[low side], F₁[high side])
 *
 * Tables are made by loops of constant length that compilers turn into vectors; a side's first
 * coordinate takes four numbers for that. Points are compared as integers, error above point, so
 * that no comparison is a branch; of equals the first wins, whatever the search started from. */
#include <string.h>

#include "grid/iq_target.h"

#define DIM GS_POINT_DIM
#define PATTERNS GS_IQ_PATTERNS
#define WORDS GS_IQ_WORDS
#define USED 108 /* of them; the rest are no sides */

/* ---- tables of sides ---------------------------------------------------------------------- */

static GS_ALWAYS_INLINE float join(float a, float b, bool least)
{
    return least ? GS_MIN(a, b) : a + b;
}

/* Sums over a side's coordinates, or the least: cost[level][coordinate], of three levels. */
static GS_ALWAYS_INLINE void side2(float cost[3][DIM], unsigned first, bool least, float *table)
{
    float one[4], two[12], three[36];

    for (size_t i = 0; i < 4; i++)
        one[i] = cost[i % 3][first];
    for (size_t l = 0; l < 3; l++)
        for (size_t i = 0; i < 4; i++)
            two[4 * l + i] = join(one[i], cost[l][first + 1], least);
    for (size_t l = 0; l < 3; l++)
        for (size_t i = 0; i < 12; i++)
            three[12 * l + i] = join(two[i], cost[l][first + 2], least);
    for (size_t l = 0; l < 3; l++)
        for (size_t i = 0; i < 36; i++)
            table[36 * l + i] = join(three[i], cost[l][first + 3], least);
}

/* What is known of a target, sides low and high. */
struct tables {
    float low[PATTERNS], high[PATTERNS];
    float low_flip[PATTERNS], high_flip[PATTERNS];
    float least[2];      /* of `low` and of `high` */
    float least_flip[2];
    unsigned side[2];    /* those of the nearest combination of levels, which need not be a point */
};

/* ---- the best point ----------------------------------------------------------------------- */

static GS_ALWAYS_INLINE uint64_t rank_point(const struct tables *t, bool flip, unsigned high,
                                            unsigned low)
{
    float error = t->low[low] + t->high[high];

    if (flip)
        error += GS_MIN(t->low_flip[low], t->high_flip[high]);
    return gs_iq_rank(error, high, low);
}

/* Bits for the patterns whose own costs, with the least that the other side may add, do not exceed
 * the limit. */
static GS_ALWAYS_INLINE void mark(const float *own, const float *own_flip, float other,
                                  float other_flip, float limit, bool flip,
                                  uint64_t marks[WORDS])
{
    uint8_t keep[PATTERNS] = {0};

    for (unsigned p = 0; p < USED; p++) {
        float error = own[p] + other;
        if (flip)
            error += GS_MIN(own_flip[p], other_flip);
        keep[p] = error <= limit;
    }
    for (unsigned w = 0; w < WORDS; w++) {
        marks[w] = 0;
        for (unsigned k = 0; k < 8; k++) {
            uint64_t bytes;
            memcpy(&bytes, keep + 64 * w + 8 * k, sizeof bytes);
            marks[w] |= gs_iq_bits(bytes) << 8 * k;
        }
    }
}

/* The best of the points whose high side is the nearest. */
static GS_ALWAYS_INLINE uint64_t first_point(const struct gs_iq_grid *g, const struct tables *t,
                                             bool flip)
{
    unsigned high = g->near[t->side[1]];
    uint64_t best = UINT64_MAX;

    for (unsigned i = g->begin[high]; i < g->begin[high + 1]; i++) {
        uint64_t r = rank_point(t, flip, high, g->low_side[i]);
        best = r < best ? r : best;
    }
    return best;
}

/* The best point's rank; `hint` is a point or GS_NO_CODE. */
static GS_ALWAYS_INLINE uint64_t best_point(const struct gs_iq_grid *g, const struct tables *t,
                                            bool flip, uint32_t hint)
{
    uint64_t low[WORDS], high[WORDS];
    uint64_t best = hint == GS_NO_CODE ? first_point(g, t, flip)
                                       : rank_point(t, flip, g->high_side[hint], g->low_side[hint]);

    mark(t->low, t->low_flip, t->least[1], t->least_flip[1], gs_iq_error(best), flip, low);
    mark(t->high, t->high_flip, t->least[0], t->least_flip[0], gs_iq_error(best), flip, high);
    for (unsigned hw = 0; hw < WORDS; hw++)
        for (; high[hw]; high[hw] &= high[hw] - 1) {
            unsigned h = 64 * hw + (unsigned)__builtin_ctzll(high[hw]);
            for (unsigned lw = 0; lw < WORDS; lw++)
                for (uint64_t m = low[lw] & g->has[h][lw]; m; m &= m - 1) {
                    uint64_t r = rank_point(t, flip, h, 64 * lw + (unsigned)__builtin_ctzll(m));
                    best = r < best ? r : best;
                }
        }
    return best;
}

/* ---- IQ1, IQ2 ----------------------------------------------------------------------------- */

static GS_ALWAYS_INLINE unsigned side_of2(const uint32_t *level)
{
    return level[0] + 4 * level[1] + 12 * level[2] + 36 * level[3];
}

/* Tables of three levels. */
static GS_ALWAYS_INLINE void tables2(float cost[3][DIM], struct tables *t)
{
    float least[DIM];

    side2(cost, 0, false, t->low);
    side2(cost, 4, false, t->high);
    for (unsigned c = 0; c < DIM; c++) {
        least[c] = GS_MIN(cost[0][c], cost[1][c]);
        least[c] = GS_MIN(least[c], cost[2][c]);
    }
    for (unsigned s = 0; s < 2; s++)
        t->least[s] = ((least[4 * s] + least[4 * s + 1]) + least[4 * s + 2]) + least[4 * s + 3];
}

/* The same, of what wrong signs add. */
static GS_ALWAYS_INLINE void flips2(const struct gs_iq_set *set, const struct gs_iq_target *target,
                                    const float *h, struct tables *t)
{
    float cost[3][DIM];

    for (size_t l = 0; l < 3; l++)
        for (size_t c = 0; c < DIM; c++)
            cost[l][c] = gs_iq_flip_cost(target->magnitude[c], h[c], set->levels[l]);
    side2(cost, 0, true, t->low_flip);
    side2(cost, 4, true, t->high_flip);
    for (unsigned s = 0; s < 2; s++) /* levels ascend, and so does what they add */
        t->least_flip[s] = GS_MIN(GS_MIN(cost[0][4 * s], cost[0][4 * s + 1]),
                                  GS_MIN(cost[0][4 * s + 2], cost[0][4 * s + 3]));
}

uint32_t gs_iq2_search(const struct gs_iq_set *set, unsigned variant GS_UNUSED, const float *t,
                       const float *h, uint32_t hint)
{
    const struct gs_iq_grid *g = set->grid;
    struct gs_iq_target target;
    struct tables tables;
    float cost[3][DIM], penalty;
    bool odd = gs_iq_split(set, t, 3, &target);
    unsigned flip = odd ? gs_iq_free_flip(set, &target, h, 0, DIM, &penalty) : 0, point;

    if (odd)
        target.level[flip] = 0;
    tables.side[0] = side_of2(target.level);
    tables.side[1] = side_of2(target.level + 4);
    if (gs_iq_is_point(g, tables.side[1], tables.side[0]))
        return gs_iq_index(g, tables.side[1], tables.side[0]) |
               (target.signs ^ (unsigned)odd << flip) << 16;
    for (size_t l = 0; l < 3; l++)
        for (size_t c = 0; c < DIM; c++)
            cost[l][c] = gs_iq_weigh(target.magnitude[c], h[c], set->levels[l]);
    tables2(cost, &tables);
    hint = hint == GS_NO_CODE ? hint : hint & 0xffff;
    if (!odd)
        return gs_iq_point(g, best_point(g, &tables, false, hint)) | target.signs << 16;
    flips2(set, &target, h, &tables);
    point = gs_iq_point(g, best_point(g, &tables, true, hint));
    flip = gs_iq_cheapest_flip(g->numbers[point], DIM, target.magnitude, h);
    return point | (target.signs ^ 1u << flip) << 16;
}

/* A shift of IQ1: its nearest levels, and what they alone cost. */
struct shifted {
    float by, least;
    unsigned side[2];
};

static GS_ALWAYS_INLINE struct shifted shift_target(const struct gs_iq_set *set, unsigned shift,
                                                    const float *t, const float *h)
{
    struct shifted s = {.by = shift ? -0.125f : 0.125f};
    float moved[DIM], cost[DIM];
    uint32_t level[DIM];

    for (unsigned c = 0; c < DIM; c++)
        moved[c] = t[c] - s.by;
    gs_iq_round(moved, set->middles, 2, level);
    for (unsigned c = 0; c < DIM; c++)
        cost[c] = gs_iq_weigh(t[c], h[c], (float)(int)level[c] - 1 + s.by);
    s.least = (((cost[0] + cost[1]) + cost[2]) + cost[3]) +
              (((cost[4] + cost[5]) + cost[6]) + cost[7]);
    s.side[0] = side_of2(level);
    s.side[1] = side_of2(level + 4);
    return s;
}

static uint64_t search_shift(const struct gs_iq_set *set, const struct shifted *s, const float *t,
                             const float *h, uint32_t hint)
{
    struct tables tables;
    float cost[3][DIM];

    if (gs_iq_is_point(set->grid, s->side[1], s->side[0]))
        return gs_iq_rank(s->least, s->side[1], s->side[0]);
    for (size_t l = 0; l < 3; l++)
        for (size_t c = 0; c < DIM; c++)
            cost[l][c] = gs_iq_weigh(t[c], h[c], set->levels[l] + s->by);
    tables2(cost, &tables);
    memcpy(tables.side, s->side, sizeof tables.side);
    return best_point(set->grid, &tables, false, hint);
}

uint32_t gs_iq1_search(const struct gs_iq_set *set, unsigned variant, const float *t,
                       const float *h, uint32_t hint)
{
    struct shifted shifted[2];
    unsigned first = variant;
    uint64_t best;

    hint = hint == GS_NO_CODE ? hint : hint & 2047;
    if (set->free_shift) {
        shifted[0] = shift_target(set, 0, t, h);
        shifted[1] = shift_target(set, 1, t, h);
        first = shifted[1].least < shifted[0].least;
    } else {
        shifted[first] = shift_target(set, first, t, h);
    }
    best = search_shift(set, &shifted[first], t, h, hint) | first << 14;
    if (set->free_shift && shifted[!first].least <= gs_iq_error(best)) {
        uint64_t other = search_shift(set, &shifted[!first], t, h, hint) | (unsigned)!first << 14;
        best = GS_MIN(best, other);
    }
    return gs_iq_point(set->grid, best) | (best >> 14 & 1) << 11;
}
