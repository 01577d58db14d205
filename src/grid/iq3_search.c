/* SPDX-License-Identifier: MIT
 * Exact search of the points of IQ3: branch and bound over levels.
 *
 * A code is two points, its halves, of four coordinates with eight levels each. They have nothing
 * in common but the number of minuses, so each is searched by itself. If the nearest level at
 * every coordinate makes a point, it is the best. Otherwise some point is taken to start from, and
 * of each coordinate those levels are marked that do not exceed the start's error with the other
 * three at their best; two to four remain. Points made of marked levels alone are looked at.
 *
 * The start is a hint (callers ask for the same weights at other scales, or at a target that has
 * moved a little), else the best point among those whose high side is the nearest.
 *
 * Where one sign has to be wrong (iq_target.h), either half can take it; the one that seems
 * cheaper is searched first, the other only if it could be better.
 *
 * Points are compared as integers, error above point, so that no comparison is a branch; of
 * equals the first wins, whatever the search started from. */
#include <math.h>
#include <string.h>

#include "grid/iq_target.h"

#define DIM GS_POINT_DIM

/* ---- a half ------------------------------------------------------------------------------- */

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

    if (!gs_iq_is_point(g, high, low))
        return false;
    half->point = gs_iq_index(g, high, low);
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
    return gs_iq_rank(error, high, low);
}

/* A point to start from: the hint, or the best of those whose high side is the nearest. */
static GS_ALWAYS_INLINE uint64_t start_half(const struct gs_iq_grid *g, const struct half *half,
                                            float (*wrong)[8])
{
    unsigned high = g->near[half->level[2] + 8 * half->level[3]];
    uint64_t best = UINT64_MAX;

    if (half->hint != GS_NO_CODE)
        return rank_half(half->cost, wrong, g->high_side[half->hint], g->low_side[half->hint]);
    for (unsigned i = g->begin[high]; i < g->begin[high + 1]; i++) {
        uint64_t r = rank_half(half->cost, wrong, high, g->low_side[i]);
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
    float limit = gs_iq_error(best) * 1.000002f; /* what sums in another order may be off */
    float least[4];
    uint8_t keep[4][8];

    for (unsigned c = 0; c < 4; c++)
        least[c] = half->cost[c][half->level[c]];
    for (unsigned c = 0; c < 4; c++) {
        float rest = (least[c ^ 1] + least[c ^ 2]) + least[c ^ 3];
        for (unsigned l = 0; l < 8; l++)
            keep[c][l] = half->cost[c][l] + rest <= limit;
    }
    memcpy(bytes, keep, sizeof bytes);
    low = gs_iq_bits(bytes[0]) * bytes[1];
    high = gs_iq_bits(bytes[2]) * bytes[3];
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
                wrong[c][l] = gs_iq_flip_cost(half->magnitude[c], half->h[c], set->levels[l]);
        best = best_half(set->grid, half, wrong);
    } else {
        best = best_half(set->grid, half, NULL);
    }
    half->point = gs_iq_point(set->grid, best);
    half->error = gs_iq_error(best);
    if (flip)
        half->flip = gs_iq_cheapest_flip(set->grid->numbers[half->point], 4,
                                         half->magnitude, half->h);
}

/* ---- both halves -------------------------------------------------------------------------- */

/* One sign of eight has to be wrong: replaces the half in which that costs less; returns it. */
static unsigned flip_half(const struct gs_iq_set *set, const struct gs_iq_target *target,
                          const float *h, struct half half[2])
{
    float penalty, bound[2], total = INFINITY;
    struct half chosen = half[0], trial;
    unsigned flip[2], first, which = 0;

    for (unsigned p = 0; p < 2; p++) {
        flip[p] = gs_iq_free_flip(set, target, h, 4 * p, 4, &penalty) - 4 * p;
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
    struct gs_iq_target target;
    struct half half[2];
    bool odd = gs_iq_split(set, t, 8, &target), hit[2];

    for (unsigned p = 0; p < 2; p++) {
        half[p].level = target.level + 4 * p;
        hit[p] = take_levels(set->grid, &half[p], half[p].level);
    }
    if (!odd && hit[0] && hit[1])
        return half[0].point | half[1].point << 9 | target.signs << 18;
    for (size_t c = 0; c < DIM; c++)
        for (size_t l = 0; l < 8; l++)
            cost[c][l] = gs_iq_weigh(target.magnitude[c], h[c], set->levels[l]);
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
