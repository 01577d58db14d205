/* SPDX-License-Identifier: MIT
 * What a target of an IQ search is by itself, before points are looked at: its nearest levels and
 * its signs. Private to src/grid; iq12_search.c and iq3_search.c share it.
 *
 * XXS and XS store seven signs of eight: the number of minuses is even. Where the weights' own is
 * odd, one coordinate takes the wrong sign. That costs
 *
 *     h (|t| + level)² − h (|t| − level)² = 4 h |t| level
 *
 * there, so the coordinate is chosen together with the point. */
#ifndef GS_GRID_IQ_TARGET_H
#define GS_GRID_IQ_TARGET_H

#include <math.h>
#include <string.h>

#include "grid/iq_grid.h"

struct gs_iq_target {
    float magnitude[GS_POINT_DIM];
    uint32_t level[GS_POINT_DIM]; /* the nearest at each coordinate */
    unsigned signs;               /* bit c: t[c] is below 0 */
};

/* level[c] = how many of the n middles are below. */
static GS_ALWAYS_INLINE void gs_iq_round(const float *t, const float *middles, unsigned n,
                                         uint32_t *level)
{
    uint32_t count[GS_POINT_DIM] = {0};

    for (unsigned l = 0; l < n; l++)
        for (unsigned c = 0; c < GS_POINT_DIM; c++)
            count[c] += t[c] > middles[l];
    memcpy(level, count, sizeof count);
}

/* Magnitudes, the nearest of the set's `levels` levels to each, and signs; returns whether a sign
 * has to be wrong. */
static GS_ALWAYS_INLINE bool gs_iq_split(const struct gs_iq_set *set, const float *t,
                                         unsigned levels, struct gs_iq_target *out)
{
    out->signs = 0;
    for (unsigned c = 0; c < GS_POINT_DIM; c++) {
        out->magnitude[c] = fabsf(t[c]);
        out->signs |= t[c] < 0 ? 1u << c : 0;
    }
    gs_iq_round(out->magnitude, set->middles, levels - 1, out->level);
    return set->even && __builtin_parity(out->signs);
}

/* The error of a coordinate. */
static GS_ALWAYS_INLINE float gs_iq_weigh(float t, float h, float level)
{
    float e = t - level;

    return h * e * e;
}

/* What each coordinate's wrong sign adds, at magnitude `level`. */
static GS_ALWAYS_INLINE float gs_iq_flip_cost(float magnitude, float h, float level)
{
    return 4 * h * magnitude * level;
}

/* The coordinate of a point whose wrong sign costs least. */
static inline unsigned gs_iq_cheapest_flip(const float *point, unsigned coords,
                                           const float *magnitude, const float *h)
{
    float least = INFINITY;
    unsigned best = 0;

    for (unsigned c = 0; c < coords; c++) {
        float error = gs_iq_flip_cost(magnitude[c], h[c], point[c]);
        if (error < least) {
            least = error;
            best = c;
        }
    }
    return best;
}

/* Where a wrong sign would add least if all combinations of levels were points: the lowest level
 * is best there. *penalty takes what it adds. */
static GS_ALWAYS_INLINE unsigned gs_iq_free_flip(const struct gs_iq_set *set,
                                                 const struct gs_iq_target *t, const float *h,
                                                 unsigned first, unsigned coords,
                                                 float *penalty)
{
    uint64_t best = UINT64_MAX;

    for (unsigned c = first; c < first + coords; c++) {
        float right = gs_iq_weigh(t->magnitude[c], h[c], set->levels[t->level[c]]);
        float wrong = gs_iq_weigh(-t->magnitude[c], h[c], set->levels[0]);
        uint64_t r = gs_iq_rank(wrong - right, 0, c);
        best = r < best ? r : best;
    }
    *penalty = gs_iq_error(best);
    return best & 7;
}

#endif
