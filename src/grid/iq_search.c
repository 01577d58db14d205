/* SPDX-License-Identifier: MIT
 * Exact search of IQ points.
 *
 * A point's error is a sum over its coordinates. If the nearest level at every coordinate makes a
 * point, it is the best; half of all searches end here. Otherwise some point is taken to start
 * from, and only what could be better than it is looked at:
 *
 *   IQ1, IQ2   A point is two sides of four coordinates with three levels each. With the errors of
 *              all 81 patterns of either side in a table (T), a point costs two look-ups,
 *                  err(point) = T₀[low side] + T₁[high side]
 *              A side is marked if it and the least of the other do not exceed the start's error;
 *              bits say which marked sides make points with one another: one to ten pairs.
 *   IQ3        Each of the two points has four coordinates with eight levels. Of a coordinate those
 *              levels are marked that do not exceed the limit with the other three at their best;
 *              two to four remain.
 *
 * The start is a hint (callers ask for the same weights at other scales, or at a target that has
 * moved a little), else the best point among those whose high side is the nearest.
 *
 * XXS and XS store seven signs of eight: the number of minuses is even. Where the weights' own
 * is odd, one coordinate takes the wrong sign, which costs 4 h |t| level there; the least of
 * that over a side is a table as well (F), so the best point and flip are found together:
 *
 *     err(point) = T₀[low side] + T₁[high side] + min(F₀[low side], F₁[high side])
 *
 * Tables are made by loops of constant length that compilers turn into vectors; a side's first
 * coordinate takes four numbers for that. Points are compared as integers, error above point, so
 * that no comparison is a branch; of equals the first wins, whatever the search started from. */
#include "grid/iq_search.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/grids.h"

#define DIM GS_POINT_DIM

/* Patterns of a side: Σ level · stride, with strides 1 4 12 36 (IQ1, IQ2) or 1 8 (IQ3). */
#define PATTERNS2 108
#define PATTERNS 128 /* room for either, whole words of bits */
#define WORDS (PATTERNS / 64)

/* ---- grids -------------------------------------------------------------------------------- */

struct gs_iq_grid {
    const uint16_t *packed; /* points as level numbers, ascending */
    const uint8_t *levels;  /* magnitudes; NULL: −1 0 1 */
    unsigned n, bits;       /* points; a coordinate's bits: eight of 2 or four of 3 */
    uint16_t first;         /* of this grid's points in the tables of all */
    /* The rest is made once. */
    uint16_t begin[PATTERNS + 1];   /* points with high side p: [begin[p], begin[p + 1]) */
    uint64_t has[PATTERNS][WORDS];  /* bit l: high side p and low side l are a point */
    uint8_t near[PATTERNS];         /* the high side of a point that is nearest to p */
};

/* Of all grids, one after another. */
#define POINTS (256 + 512 + 1024 + 2048 + 256 + 512)
static uint8_t low_side[POINTS], high_side[POINTS];
static float numbers[POINTS][DIM]; /* magnitudes, of IQ3 four; or −1 0 1 */

#define GRID(name, points, level_list, coordinate_bits, at)                                    \
    struct gs_iq_grid gs_##name##_points = {.packed = (points), .levels = (level_list),        \
                                            .n = GS_COUNT(points), .bits = (coordinate_bits),  \
                                            .first = (at)}
GRID(iq2_xxs, gs_iq2_xxs_grid, gs_iq2_levels, 2, 0);
GRID(iq2_xs, gs_iq2_xs_grid, gs_iq2_levels, 2, 256);
GRID(iq2_s, gs_iq2_s_grid, gs_iq2_levels, 2, 768);
GRID(iq1, gs_iq1_grid, NULL, 2, 1792);
GRID(iq3_xxs, gs_iq3_xxs_grid, gs_iq3_xxs_levels, 3, 3840);
GRID(iq3_s, gs_iq3_s_grid, gs_iq3_s_levels, 3, 4096);
static struct gs_iq_grid *const grids[] = {&gs_iq2_xxs_points, &gs_iq2_xs_points,
                                           &gs_iq2_s_points,   &gs_iq1_points,
                                           &gs_iq3_xxs_points, &gs_iq3_s_points};

static GS_ALWAYS_INLINE unsigned stride(unsigned bits, unsigned c)
{
    static const uint8_t strides[2][4] = {{1, 4, 12, 36}, {1, 8}};

    return strides[bits - 2][c];
}

static unsigned level_of(unsigned bits, unsigned packed, unsigned c)
{
    return packed >> bits * c & ((1u << bits) - 1);
}

static unsigned pattern(unsigned bits, unsigned side)
{
    unsigned p = 0;

    for (unsigned c = 0; c < 8 / bits; c++)
        p += level_of(bits, side, c) * stride(bits, c);
    return p;
}

/* Of all sides, the high side of a point that is nearest by levels. */
static unsigned nearest_side(const struct gs_iq_grid *g, unsigned side)
{
    unsigned coords = 8 / g->bits, least = ~0u, best = 0;

    for (unsigned i = 0; i < g->n; i++) {
        unsigned high = g->packed[i] >> coords * g->bits, sum = 0;
        for (unsigned c = 0; c < coords; c++)
            sum += (unsigned)abs((int)level_of(g->bits, side, c) -
                                 (int)level_of(g->bits, high, c));
        if (sum < least) {
            least = sum;
            best = high;
        }
    }
    return best;
}

static void prepare_grid(struct gs_iq_grid *g)
{
    unsigned coords = 8 / g->bits, sides = 1u << coords * g->bits;
    unsigned next = 0;

    for (unsigned i = 0; i < g->n; i++) {
        unsigned high = pattern(g->bits, g->packed[i] >> coords * g->bits);
        high_side[g->first + i] = (uint8_t)high;
        low_side[g->first + i] = (uint8_t)pattern(g->bits, g->packed[i] & (sides - 1));
        for (unsigned c = 0; c < 2 * coords; c++)
            numbers[g->first + i][c] =
                (float)(g->levels ? g->levels[level_of(g->bits, g->packed[i], c)]
                                  : (int)level_of(g->bits, g->packed[i], c) - 1);
        for (; next <= high; next++)
            g->begin[next] = (uint16_t)i;
        unsigned low = low_side[g->first + i];
        g->has[high][low / 64] |= (uint64_t)1 << low % 64;
    }
    for (; next <= PATTERNS; next++)
        g->begin[next] = (uint16_t)g->n;
    for (unsigned side = 0; side < sides; side++) {
        bool used = true; /* three levels of the four that two bits can say */
        for (unsigned c = 0; c < coords; c++)
            used = used && (g->bits == 3 || level_of(2, side, c) < 3);
        if (used)
            g->near[pattern(g->bits, side)] =
                (uint8_t)pattern(g->bits, nearest_side(g, side));
    }
}

static void prepare(void)
{
    for (size_t i = 0; i < GS_COUNT(grids); i++)
        prepare_grid(grids[i]);
}

void gs_iq_prepare(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, prepare);
}

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

/* An error and a point, in this order of importance; errors are not negative. A point is
 * high side << 7 | low side, which ascends as the grids do. */
static inline uint64_t rank(float error, unsigned high, unsigned low)
{
    uint32_t bits;

    memcpy(&bits, &error, sizeof bits);
    return (uint64_t)bits << 32 | high << 7 | low;
}

static inline float error_of(uint64_t ranked)
{
    uint32_t bits = (uint32_t)(ranked >> 32);
    float error;

    memcpy(&error, &bits, sizeof error);
    return error;
}

static GS_ALWAYS_INLINE uint64_t rank_point(const struct tables *t, bool flip, unsigned high,
                                            unsigned low)
{
    float error = t->low[low] + t->high[high];

    if (flip)
        error += GS_MIN(t->low_flip[low], t->high_flip[high]);
    return rank(error, high, low);
}

static inline unsigned count_bits(uint64_t x)
{
    x -= x >> 1 & 0x5555555555555555;
    x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f;
    return (unsigned)(x * 0x0101010101010101 >> 56);
}

static inline bool is_point(const struct gs_iq_grid *g, unsigned high, unsigned low)
{
    return g->has[high][low / 64] >> low % 64 & 1;
}

/* The index of a point: how many come before it. */
static unsigned index_of(const struct gs_iq_grid *g, unsigned high, unsigned low)
{
    const uint64_t *has = g->has[high];
    uint64_t below = ((uint64_t)1 << low % 64) - 1;

    return g->begin[high] + count_bits(has[low / 64] & below) + (low < 64 ? 0 : count_bits(has[0]));
}

static inline unsigned point_of(const struct gs_iq_grid *g, uint64_t ranked)
{
    return index_of(g, ranked >> 7 & 127, ranked & 127);
}

/* Times eight bytes 0 or 1: bits of the highest byte. */
#define BYTES_TO_BITS 0x0102040810204080

/* Bits for the patterns whose own costs, with the least that the other side may add, do not exceed
 * the limit. */
static GS_ALWAYS_INLINE void mark(const float *own, const float *own_flip, float other,
                                  float other_flip, float limit, bool flip,
                                  uint64_t marks[WORDS])
{
    uint8_t keep[PATTERNS] = {0};

    for (unsigned p = 0; p < PATTERNS2; p++) {
        float error = own[p] + other;
        if (flip)
            error += GS_MIN(own_flip[p], other_flip);
        keep[p] = error <= limit;
    }
    for (unsigned w = 0; w < WORDS; w++) {
        marks[w] = 0;
        for (unsigned k = 0; k < 8; k++) { /* a byte 0 or 1 each to a bit */
            uint64_t bytes;
            memcpy(&bytes, keep + 64 * w + 8 * k, sizeof bytes);
            marks[w] |= bytes * BYTES_TO_BITS >> 56 << 8 * k;
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
        uint64_t r = rank_point(t, flip, high, low_side[g->first + i]);
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
                                       : rank_point(t, flip, high_side[g->first + hint],
                                                    low_side[g->first + hint]);

    mark(t->low, t->low_flip, t->least[1], t->least_flip[1], error_of(best), flip, low);
    mark(t->high, t->high_flip, t->least[0], t->least_flip[0], error_of(best), flip, high);
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

/* ---- a target ----------------------------------------------------------------------------- */

struct target {
    float magnitude[DIM];
    uint32_t level[DIM]; /* the nearest at each coordinate */
    unsigned signs;
};

/* level[c] = how many of the n middles are below. */
static GS_ALWAYS_INLINE void round_levels(const float *t, const float *middles, unsigned n,
                                          uint32_t *level)
{
    uint32_t count[DIM] = {0};

    for (unsigned l = 0; l < n; l++)
        for (unsigned c = 0; c < DIM; c++)
            count[c] += t[c] > middles[l];
    memcpy(level, count, sizeof count);
}

/* Magnitudes and signs; returns whether a sign has to be wrong. */
static GS_ALWAYS_INLINE bool split(const struct gs_iq_set *set, const float *t, unsigned levels,
                                   struct target *out)
{
    out->signs = 0;
    for (unsigned c = 0; c < DIM; c++) {
        out->magnitude[c] = fabsf(t[c]);
        out->signs |= t[c] < 0 ? 1u << c : 0;
    }
    round_levels(out->magnitude, set->middles, levels - 1, out->level);
    return set->even && __builtin_parity(out->signs);
}

static GS_ALWAYS_INLINE float weigh(float t, float h, float level)
{
    float e = t - level;

    return h * e * e;
}

/* What each coordinate's wrong sign adds, at magnitude `level`. */
static GS_ALWAYS_INLINE float flip_cost(float magnitude, float h, float level)
{
    return 4 * h * magnitude * level;
}

/* The coordinate of a point whose wrong sign costs least. */
static unsigned cheapest_flip(const float *point, unsigned coords, const float *magnitude,
                              const float *h)
{
    float least = INFINITY;
    unsigned best = 0;

    for (unsigned c = 0; c < coords; c++) {
        float error = flip_cost(magnitude[c], h[c], point[c]);
        if (error < least) {
            least = error;
            best = c;
        }
    }
    return best;
}

/* Where a wrong sign would add least if all combinations of levels were points: the lowest level
 * is best there. *penalty takes what it adds. */
static GS_ALWAYS_INLINE unsigned free_flip(const struct gs_iq_set *set, const struct target *t,
                                           const float *h, unsigned first, unsigned coords,
                                           float *penalty)
{
    uint64_t best = UINT64_MAX;

    for (unsigned c = first; c < first + coords; c++) {
        float wrong = weigh(-t->magnitude[c], h[c], set->levels[0]);
        uint64_t r = rank(wrong - weigh(t->magnitude[c], h[c], set->levels[t->level[c]]), 0, c);
        best = r < best ? r : best;
    }
    *penalty = error_of(best);
    return best & 7;
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
static GS_ALWAYS_INLINE void flips2(const struct gs_iq_set *set, const struct target *target,
                                    const float *h, struct tables *t)
{
    float cost[3][DIM];

    for (size_t l = 0; l < 3; l++)
        for (size_t c = 0; c < DIM; c++)
            cost[l][c] = flip_cost(target->magnitude[c], h[c], set->levels[l]);
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
    struct target target;
    struct tables tables;
    float cost[3][DIM], penalty;
    bool odd = split(set, t, 3, &target);
    unsigned flip = odd ? free_flip(set, &target, h, 0, DIM, &penalty) : 0, point;

    if (odd)
        target.level[flip] = 0;
    tables.side[0] = side_of2(target.level);
    tables.side[1] = side_of2(target.level + 4);
    if (is_point(g, tables.side[1], tables.side[0]))
        return index_of(g, tables.side[1], tables.side[0]) |
               (target.signs ^ (unsigned)odd << flip) << 16;
    for (size_t l = 0; l < 3; l++)
        for (size_t c = 0; c < DIM; c++)
            cost[l][c] = weigh(target.magnitude[c], h[c], set->levels[l]);
    tables2(cost, &tables);
    hint = hint == GS_NO_CODE ? hint : hint & 0xffff;
    if (!odd)
        return point_of(g, best_point(g, &tables, false, hint)) | target.signs << 16;
    flips2(set, &target, h, &tables);
    point = point_of(g, best_point(g, &tables, true, hint));
    flip = cheapest_flip(numbers[g->first + point], DIM, target.magnitude, h);
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
    round_levels(moved, set->middles, 2, level);
    for (unsigned c = 0; c < DIM; c++)
        cost[c] = weigh(t[c], h[c], (float)(int)level[c] - 1 + s.by);
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

    if (is_point(set->grid, s->side[1], s->side[0]))
        return rank(s->least, s->side[1], s->side[0]);
    for (size_t l = 0; l < 3; l++)
        for (size_t c = 0; c < DIM; c++)
            cost[l][c] = weigh(t[c], h[c], set->levels[l] + s->by);
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
    if (set->free_shift && shifted[!first].least <= error_of(best)) {
        uint64_t other = search_shift(set, &shifted[!first], t, h, hint) | (unsigned)!first << 14;
        best = GS_MIN(best, other);
    }
    return point_of(set->grid, best) | (best >> 14 & 1) << 11;
}

/* ---- IQ3 ---------------------------------------------------------------------------------- */

/* One of the two points of a code. */
struct half {
    const float *magnitude, *h;
    const uint32_t *level;
    float (*cost)[8];
    uint32_t hint;
    float least;          /* what the nearest levels cost */
    float error;          /* of the point, by way of which */
    unsigned point, flip; /* flip: the coordinate with the wrong sign, if one has it */
};

static GS_ALWAYS_INLINE bool take_levels(const struct gs_iq_grid *g, struct half *half,
                                         const uint32_t *level)
{
    unsigned low = level[0] + 8 * level[1], high = level[2] + 8 * level[3];

    if (!is_point(g, high, low))
        return false;
    half->point = index_of(g, high, low);
    return true;
}

/* What the point of sides high and low costs; `wrong`, if not NULL: with one sign wrong. */
static GS_ALWAYS_INLINE uint64_t rank_half(float (*cost)[8], float (*wrong)[8], unsigned high,
                                           unsigned low)
{
    unsigned a = low & 7, b = low >> 3, c = high & 7, d = high >> 3;
    float error = (cost[0][a] + cost[1][b]) + (cost[2][c] + cost[3][d]);

    if (wrong) {
        float first = GS_MIN(wrong[0][a], wrong[1][b]), last = GS_MIN(wrong[2][c], wrong[3][d]);
        error += GS_MIN(first, last);
    }
    return rank(error, high, low);
}

/* A point to start from: the hint, or the best of those whose high side is the nearest. */
static GS_ALWAYS_INLINE uint64_t start_half(const struct gs_iq_grid *g, const struct half *half,
                                            float (*wrong)[8])
{
    unsigned high = g->near[half->level[2] + 8 * half->level[3]];
    uint64_t best = UINT64_MAX;

    if (half->hint != GS_NO_CODE)
        return rank_half(half->cost, wrong, high_side[g->first + half->hint],
                         low_side[g->first + half->hint]);
    for (unsigned i = g->begin[high]; i < g->begin[high + 1]; i++) {
        uint64_t r = rank_half(half->cost, wrong, high, low_side[g->first + i]);
        best = r < best ? r : best;
    }
    return best;
}

/* The best point: only levels that are dear by themselves are left out, so that sides need no
 * tables. A side's bits are the product of those of its two coordinates. */
static GS_ALWAYS_INLINE uint64_t best_half(const struct gs_iq_grid *g, const struct half *half,
                                           float (*wrong)[8])
{
    uint64_t best = start_half(g, half, wrong), low, high, bytes[4];
    float least[4], limit = error_of(best) * 1.000002f; /* what sums in another order may be off */
    uint8_t keep[4][8];

    for (unsigned c = 0; c < 4; c++)
        least[c] = half->cost[c][half->level[c]];
    for (unsigned c = 0; c < 4; c++) {
        float rest = (least[c ^ 1] + least[c ^ 2]) + least[c ^ 3];
        for (unsigned l = 0; l < 8; l++)
            keep[c][l] = half->cost[c][l] + rest <= limit;
    }
    memcpy(bytes, keep, sizeof bytes);
    low = (bytes[0] * BYTES_TO_BITS >> 56) * bytes[1];
    high = (bytes[2] * BYTES_TO_BITS >> 56) * bytes[3];
    for (; high; high &= high - 1) {
        unsigned h = (unsigned)__builtin_ctzll(high);
        for (uint64_t m = low & g->has[h][0]; m; m &= m - 1) {
            uint64_t r = rank_half(half->cost, wrong, h, (unsigned)__builtin_ctzll(m));
            best = r < best ? r : best;
        }
    }
    return best;
}

/* The best point of a half, or the best with one sign wrong. */
static void search_half(const struct gs_iq_set *set, bool flip, struct half *half)
{
    float wrong[4][8];
    uint64_t best;

    if (flip) {
        for (size_t c = 0; c < 4; c++)
            for (size_t l = 0; l < 8; l++)
                wrong[c][l] = flip_cost(half->magnitude[c], half->h[c], set->levels[l]);
        best = best_half(set->grid, half, wrong);
    } else {
        best = best_half(set->grid, half, NULL);
    }
    half->point = point_of(set->grid, best);
    half->error = error_of(best);
    if (flip)
        half->flip = cheapest_flip(numbers[set->grid->first + half->point], 4, half->magnitude,
                                   half->h);
}

/* One sign of eight has to be wrong: replaces the half in which that costs less; returns it. */
static unsigned flip_half(const struct gs_iq_set *set, const struct target *target,
                          const float *h, struct half half[2])
{
    float penalty, bound[2], total = INFINITY;
    struct half chosen = half[0], trial;
    unsigned flip[2], first, which = 0;

    for (unsigned p = 0; p < 2; p++) {
        flip[p] = free_flip(set, target, h, 4 * p, 4, &penalty) - 4 * p;
        bound[p] = half[p].least + penalty;
    }
    first = bound[1] + half[0].error < bound[0] + half[1].error;
    for (unsigned k = 0; k < 2; k++) {
        unsigned p = first ^ k;
        uint32_t level[4];
        if (k && bound[p] + half[!p].error > total)
            break;
        trial = half[p];
        memcpy(level, trial.level, sizeof level);
        level[flip[p]] = 0;
        trial.flip = flip[p];
        trial.error = bound[p];
        if (!take_levels(set->grid, &trial, level))
            search_half(set, true, &trial);
        if (!k || trial.error + half[!p].error < total) {
            total = trial.error + half[!p].error;
            chosen = trial;
            which = p;
        }
    }
    half[which] = chosen;
    return which;
}

uint32_t gs_iq3_search(const struct gs_iq_set *set, unsigned variant GS_UNUSED, const float *t,
                       const float *h, uint32_t hint)
{
    float cost[DIM][8];
    struct target target;
    struct half half[2];
    bool odd = split(set, t, 8, &target), hit[2];

    for (unsigned p = 0; p < 2; p++) {
        half[p].level = target.level + 4 * p;
        hit[p] = take_levels(set->grid, &half[p], half[p].level);
    }
    if (!odd && hit[0] && hit[1])
        return half[0].point | half[1].point << 9 | target.signs << 18;
    for (size_t c = 0; c < DIM; c++)
        for (size_t l = 0; l < 8; l++)
            cost[c][l] = weigh(target.magnitude[c], h[c], set->levels[l]);
    for (unsigned p = 0; p < 2; p++) {
        const uint32_t *level = half[p].level;
        half[p].magnitude = target.magnitude + 4 * p;
        half[p].h = h + 4 * p;
        half[p].cost = cost + 4 * p;
        half[p].hint = hint == GS_NO_CODE ? hint : hint >> 9 * p & 511;
        half[p].least = half[p].error = (half[p].cost[0][level[0]] + half[p].cost[1][level[1]]) +
                                        (half[p].cost[2][level[2]] + half[p].cost[3][level[3]]);
        if (!hit[p])
            search_half(set, false, &half[p]);
    }
    if (odd) {
        unsigned p = flip_half(set, &target, h, half);
        target.signs ^= 1u << (4 * p + half[p].flip);
    }
    return half[0].point | half[1].point << 9 | target.signs << 18;
}

/* ---- values ------------------------------------------------------------------------------- */

/* Four magnitudes with signs: bit c of `signs` is a minus. */
static GS_ALWAYS_INLINE void put_signed(const float *magnitude, unsigned signs, float *v)
{
#define SIGNS(a, b) {1, 1, a, b}, {-1, 1, a, b}, {1, -1, a, b}, {-1, -1, a, b}
    static const float factors[16][4] = {SIGNS(1, 1), SIGNS(-1, 1), SIGNS(1, -1), SIGNS(-1, -1)};
#undef SIGNS
    float out[4];

    for (unsigned c = 0; c < 4; c++)
        out[c] = factors[signs & 15][c] * magnitude[c];
    memcpy(v, out, sizeof out);
}

void gs_iq2_value(const struct gs_iq_set *set, uint32_t code, float *v)
{
    const float *magnitude = numbers[set->grid->first + (code & 0xffff)];

    put_signed(magnitude, code >> 16, v);
    put_signed(magnitude + 4, code >> 20, v + 4);
}

void gs_iq3_value(const struct gs_iq_set *set, uint32_t code, float *v)
{
    put_signed(numbers[set->grid->first + (code & 511)], code >> 18, v);
    put_signed(numbers[set->grid->first + (code >> 9 & 511)], code >> 22, v + 4);
}

void gs_iq1_value(const struct gs_iq_set *set, uint32_t code, float *v)
{
    const float *number = numbers[set->grid->first + (code & 2047)];
    float out[DIM];

    for (unsigned c = 0; c < DIM; c++)
        out[c] = number[c] + (code >> 11 ? -0.125f : 0.125f);
    memcpy(v, out, sizeof out);
}
