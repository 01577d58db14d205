/* SPDX-License-Identifier: MIT
 * The IQ types of 1 to 3 bits: eight weights a code, points of a fixed grid, with or without
 * signs of their own. Searched exactly.
 *
 *   IQ2   grid of 8 magnitudes, 2-bit levels     code = index | signs << 16
 *   IQ3   two points of 4 magnitudes, 3-bit      code = index | index' << 9 | signs << 18
 *   IQ1   grid of 8 numbers −1 0 1, all ± 1/8    code = index | shift << 11
 *
 * A point's error is a sum over its coordinates, and a packed point is two bit fields: with the
 * sums of all values of either field in a table (T), a point costs two look-ups.
 *
 *   err(point) = T₀[low field] + T₁[high field]
 *
 * XXS and XS store seven signs of eight: the number of minuses is even. Where the weights' own
 * is odd, one coordinate takes the wrong sign, which costs 4 h |t| level there; the least of
 * that over a field is a table as well (F), so the best point and flip are found together. */
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "grid/formats.h"
#include "kernels/blocks.h"
#include "kernels/grids.h"

#define DIM GS_POINT_DIM

/* Points that share their high field. */
struct iq_group {
    uint16_t begin, end, high;
};

/* What distinguishes the sets. */
struct iq_set {
    const uint16_t *grid;
    unsigned bits;         /* a coordinate (2: eight in a point, 3: four) */
    const uint8_t *levels; /* magnitudes by level number; NULL: IQ1 */
    bool even;             /* the number of minuses is even */
    bool free_shift;       /* IQ1_M: the shift is the code's own */
    unsigned groups;       /* in iq_groups */
};

/* Groups of all grids, found once: the grids ascend, so a group is a range. */
enum { GROUPS_IQ2_XXS, GROUPS_IQ2_XS, GROUPS_IQ2_S, GROUPS_IQ3_XXS, GROUPS_IQ3_S, GROUPS_IQ1,
       GROUPS_COUNT };
static struct iq_groups {
    unsigned n;
    struct iq_group list[256];
} iq_groups[GROUPS_COUNT];
static pthread_once_t iq_groups_once = PTHREAD_ONCE_INIT;

static void find_groups(void)
{
    static const struct { const uint16_t *grid; unsigned n, shift; } grids[GROUPS_COUNT] = {
        [GROUPS_IQ2_XXS] = {gs_iq2_xxs_grid, GS_COUNT(gs_iq2_xxs_grid), 8},
        [GROUPS_IQ2_XS] = {gs_iq2_xs_grid, GS_COUNT(gs_iq2_xs_grid), 8},
        [GROUPS_IQ2_S] = {gs_iq2_s_grid, GS_COUNT(gs_iq2_s_grid), 8},
        [GROUPS_IQ3_XXS] = {gs_iq3_xxs_grid, GS_COUNT(gs_iq3_xxs_grid), 6},
        [GROUPS_IQ3_S] = {gs_iq3_s_grid, GS_COUNT(gs_iq3_s_grid), 6},
        [GROUPS_IQ1] = {gs_iq1_grid, GS_COUNT(gs_iq1_grid), 8},
    };

    for (size_t k = 0; k < GS_COUNT(grids); k++) {
        struct iq_groups *groups = &iq_groups[k];
        for (unsigned i = 0; i < grids[k].n; i++) {
            uint16_t high = grids[k].grid[i] >> grids[k].shift;
            if (!groups->n || groups->list[groups->n - 1].high != high)
                groups->list[groups->n++] = (struct iq_group){(uint16_t)i, 0, high};
            groups->list[groups->n - 1].end = (uint16_t)(i + 1);
        }
    }
}

/* ---- one code ----------------------------------------------------------------------------- */

/* Sums over a field of two or four coordinates: table[i], i with `bits` a coordinate. Of 2-bit
 * levels three are in use, and entries of the fourth are not written. */
static GS_ALWAYS_INLINE void field(float cost[][8], unsigned bits, bool least, float *table)
{
    unsigned spacing = 1u << bits, used = bits == 2 ? 3 : 8, coords = bits == 2 ? 4 : 2;
    unsigned size = spacing;

    for (unsigned l = 0; l < spacing; l++)
        table[l] = cost[0][l];
    for (unsigned c = 1; c < coords; c++) {
        for (unsigned l = used; l-- > 0;) /* the part for l = 0 is overwritten last */
            for (unsigned i = 0; i < size; i++)
                table[l * size + i] = least ? GS_MIN(table[i], cost[c][l])
                                            : table[i] + cost[c][l];
        size *= spacing;
    }
}

/* What the coordinates of a field cost at least. */
static float field_bound(float cost[][8], unsigned bits)
{
    unsigned used = bits == 2 ? 3 : 8, coords = bits == 2 ? 4 : 2;
    float sum = 0;

    for (unsigned c = 0; c < coords; c++) {
        float least = cost[c][0];
        for (unsigned l = 1; l < used; l++)
            least = GS_MIN(least, cost[c][l]);
        sum += least;
    }
    return sum;
}

struct best {
    float error;
    unsigned index;
};

static void scan_group(const struct iq_set *set, const struct iq_group *group, const float *low,
                       float high, struct best *best)
{
    unsigned mask = set->bits == 2 ? 255 : 63;

    for (unsigned i = group->begin; i < group->end; i++) {
        float e = low[set->grid[i] & mask] + high;
        if (e < best->error)
            *best = (struct best){e, i};
    }
}

static void scan_group_flips(const struct iq_set *set, const struct iq_group *group,
                             const float *low, float high, const float *low_flip, float high_flip,
                             struct best *best)
{
    unsigned mask = set->bits == 2 ? 255 : 63;

    for (unsigned i = group->begin; i < group->end; i++) {
        unsigned l = set->grid[i] & mask;
        float e = low[l] + high + GS_MIN(low_flip[l], high_flip);
        if (e < best->error)
            *best = (struct best){e, i};
    }
}

/* The grid's best point for 8 (2-bit levels) or 4 (3-bit) coordinates of cost[c][level];
 * flip, if not NULL, has what each coordinate's wrong sign adds, one of which is taken.
 * Points with the same high field lie together; a group is left out if its high field and
 * the least that any low field costs are too dear already. */
static struct best best_point(const struct iq_set *set, float cost[][8], float flip[][8])
{
    unsigned half = set->bits == 2 ? 4 : 2, first = 0;
    float low[256], high[256], low_flip[256], high_flip[256];
    float bound = field_bound(cost, set->bits);
    const struct iq_groups *groups = &iq_groups[set->groups];
    struct best best = {FLT_MAX, 0};

    field(cost, set->bits, false, low);
    field(cost + half, set->bits, false, high);
    if (flip) {
        field(flip, set->bits, true, low_flip);
        field(flip + half, set->bits, true, high_flip);
    }
    for (unsigned g = 1; g < groups->n; g++)
        if (high[groups->list[g].high] < high[groups->list[first].high])
            first = g;
    for (unsigned g = 0; g <= groups->n; g++) {
        const struct iq_group *group = &groups->list[g ? g - 1 : first];
        float base = high[group->high];
        if (g && (base + bound >= best.error || g - 1 == first))
            continue;
        if (flip)
            scan_group_flips(set, group, low, base, low_flip, high_flip[group->high], &best);
        else
            scan_group(set, group, low, base, &best);
    }
    return best;
}

/* The coordinate of point `index` whose wrong sign costs least. */
static unsigned cheapest_flip(const struct iq_set *set, unsigned index, float flip[][8])
{
    unsigned coords = set->bits == 2 ? 8 : 4, best = 0, levels = (1u << set->bits) - 1;
    float least = FLT_MAX;

    for (unsigned c = 0; c < coords; c++) {
        float e = flip[c][set->grid[index] >> set->bits * c & levels];
        if (e < least) {
            least = e;
            best = c;
        }
    }
    return best;
}

/* Costs of each coordinate's levels for the magnitude of t; returns the signs. */
static unsigned costs(const struct iq_set *set, const float *t, const float *h,
                      float cost[DIM][8])
{
    unsigned signs = 0, levels = 1u << set->bits;

    for (unsigned c = 0; c < DIM; c++) {
        float magnitude = fabsf(t[c]);
        signs |= (unsigned)(t[c] < 0) << c;
        for (unsigned l = 0; l < levels; l++) {
            float e = magnitude - (float)set->levels[l];
            cost[c][l] = h[c] * e * e;
        }
    }
    return signs;
}

/* What each coordinate's wrong sign adds. */
static void flips(const struct iq_set *set, const float *t, const float *h, float flip[DIM][8])
{
    for (unsigned c = 0; c < DIM; c++)
        for (unsigned l = 0; l < 1u << set->bits; l++)
            flip[c][l] = 4 * h[c] * fabsf(t[c]) * (float)set->levels[l];
}

static uint32_t search_iq2(const struct iq_set *set, unsigned variant GS_UNUSED, const float *t,
                           const float *h)
{
    float cost[DIM][8], flip[DIM][8];
    unsigned signs = costs(set, t, h, cost);
    bool odd = set->even && __builtin_parity(signs);

    if (odd)
        flips(set, t, h, flip);
    unsigned index = best_point(set, cost, odd ? flip : NULL).index;

    if (odd)
        signs ^= 1u << cheapest_flip(set, index, flip);
    return index | signs << 16;
}

static uint32_t search_iq3(const struct iq_set *set, unsigned variant GS_UNUSED, const float *t,
                           const float *h)
{
    float cost[DIM][8], flip[DIM][8];
    unsigned signs = costs(set, t, h, cost);
    struct best best[2], other[2];

    for (int p = 0; p < 2; p++)
        best[p] = best_point(set, cost + 4 * p, NULL);
    if (set->even && __builtin_parity(signs)) {
        flips(set, t, h, flip);
        for (int p = 0; p < 2; p++)
            other[p] = best_point(set, cost + 4 * p, flip + 4 * p);
        int p = other[0].error + best[1].error <= best[0].error + other[1].error ? 0 : 1;
        best[p] = other[p];
        signs ^= 1u << (4 * p + (int)cheapest_flip(set, best[p].index, flip + 4 * p));
    }
    return best[0].index | best[1].index << 9 | signs << 18;
}

static uint32_t search_iq1(const struct iq_set *set, unsigned variant, const float *t,
                           const float *h)
{
    unsigned first = set->free_shift ? 0 : variant, last = set->free_shift ? 1 : variant;
    float cost[DIM][8], least = FLT_MAX;
    uint32_t code = 0;

    for (unsigned shift = first; shift <= last; shift++) {
        for (unsigned c = 0; c < DIM; c++)
            for (unsigned l = 0; l < 4; l++) {
                float e = t[c] - ((float)l - 1 + (shift ? -0.125f : 0.125f));
                cost[c][l] = h[c] * e * e;
            }
        struct best best = best_point(set, cost, NULL);
        if (best.error < least) {
            least = best.error;
            code = best.index | shift << 11;
        }
    }
    return code;
}

/* ---- values ------------------------------------------------------------------------------- */

static void value_iq2(const struct gs_points *points, unsigned variant GS_UNUSED, uint32_t code,
                      float *v)
{
    const struct iq_set *set = points->data;
    unsigned point = set->grid[code & 0xffff];

    for (unsigned c = 0; c < DIM; c++) {
        float level = (float)set->levels[point >> 2 * c & 3];
        v[c] = code >> (16 + c) & 1 ? -level : level;
    }
}

static void value_iq3(const struct gs_points *points, unsigned variant GS_UNUSED, uint32_t code,
                      float *v)
{
    const struct iq_set *set = points->data;

    for (unsigned c = 0; c < DIM; c++) {
        unsigned point = set->grid[code >> (c < 4 ? 0 : 9) & 511];
        float level = (float)set->levels[point >> 3 * (c % 4) & 7];
        v[c] = code >> (18 + c) & 1 ? -level : level;
    }
}

static void value_iq1(const struct gs_points *points, unsigned variant GS_UNUSED, uint32_t code,
                      float *v)
{
    const struct iq_set *set = points->data;
    unsigned point = set->grid[code & 2047];

    for (unsigned c = 0; c < DIM; c++)
        v[c] = (float)(point >> 2 * c & 3) - 1 + (code >> 11 ? -0.125f : 0.125f);
}

/* ---- runs --------------------------------------------------------------------------------- */

typedef uint32_t (*search_fn)(const struct iq_set *set, unsigned variant, const float *t,
                              const float *h);

static GS_ALWAYS_INLINE float nearest(search_fn search, const struct gs_points *points,
                                      struct gs_point_run run, size_t n, const float *x,
                                      const float *h, float *v, uint32_t *codes)
{
    float inverse = gs_point_inverse(run), t[DIM], sum = 0;

    pthread_once(&iq_groups_once, find_groups);
    for (size_t i = 0; i < n; i += DIM) {
        for (unsigned c = 0; c < DIM; c++)
            t[c] = x[i + c] * inverse;
        uint32_t code = search(points->data, run.variant, t, h + i);
        points->value(points, run.variant, code, v + i);
        if (codes)
            codes[i / DIM] = code;
        for (unsigned c = 0; c < DIM; c++) {
            float e = x[i + c] - run.a * v[i + c];
            sum += h[i + c] * e * e;
        }
    }
    return sum;
}

/* (x − y) D (x − y), and r = D (x − y). */
static float quadratic(const float *x, const float *y, const float *d, float *r)
{
    float sum = 0;

    for (unsigned i = 0; i < DIM; i++) {
        r[i] = 0;
        for (unsigned j = 0; j < DIM; j++)
            r[i] += d[i * DIM + j] * (x[j] - y[j]);
        sum += (x[i] - y[i]) * r[i];
    }
    return sum;
}

/* The point for targets x under the matrix D: the nearest by D's diagonal, then steps of
 * majorize and minimize, where Σ_j |D_ij| on a diagonal bounds D. */
static GS_ALWAYS_INLINE double choose(search_fn search, const struct gs_points *points,
                                      struct gs_point_run run, const float *x, const float *d,
                                      float *y, uint32_t *code)
{
    float inverse = gs_point_inverse(run), t[DIM], h[DIM], r[DIM], trial[DIM], next[DIM];
    float loss = 0;

    for (unsigned step = 0; step < 3; step++) {
        for (unsigned c = 0; c < DIM; c++) {
            h[c] = d[c * DIM + c];
            for (unsigned j = 0; step && j < DIM; j++)
                h[c] += j == c ? 0 : fabsf(d[c * DIM + j]);
            t[c] = (step ? y[c] + (h[c] > 0 ? r[c] / h[c] : 0) : x[c]) * inverse;
        }
        uint32_t found = search(points->data, run.variant, t, h);
        points->value(points, run.variant, found, trial);
        for (unsigned c = 0; c < DIM; c++)
            trial[c] *= run.a;
        float error = quadratic(x, trial, d, next);
        if (step && !(error < loss))
            break;
        loss = error;
        *code = found;
        memcpy(y, trial, sizeof trial);
        memcpy(r, next, sizeof next);
    }
    return (double)loss;
}

static GS_ALWAYS_INLINE double feedback(search_fn search, const struct gs_points *points,
                                        struct gs_point_run run, size_t first, size_t n,
                                        const struct gs_feedback *f, float *y, uint32_t *codes)
{
    float x[DIM];
    double loss = 0;

    pthread_once(&iq_groups_once, find_groups);
    for (size_t at = first + n; at > first;) {
        at -= DIM;
        float *value = y + (at - first);
        for (unsigned c = 0; c < DIM; c++)
            x[c] = f->w[at + c] + f->c[at + c];
        loss += choose(search, points, run, x, f->d + at * DIM, value,
                       &codes[(at - first) / DIM]);
        if (f->limit > 0 && loss > f->limit)
            break;
        for (unsigned c = 0; c < DIM; c++) {
            const float *l = f->l + (at + c) * f->l_stride;
            float e = f->w[at + c] -= value[c];
            for (size_t i = 0; i < at; i++)
                f->c[i] += e * l[i];
        }
    }
    return loss;
}

#define KIND(name)                                                                             \
    static float nearest_##name(const struct gs_points *points, struct gs_point_run run,       \
                                size_t n, const float *x, const float *h, float *v,            \
                                uint32_t *codes)                                               \
    {                                                                                          \
        return nearest(search_##name, points, run, n, x, h, v, codes);                         \
    }                                                                                          \
    static double feedback_##name(const struct gs_points *points, struct gs_point_run run,     \
                                  size_t first, size_t n, const struct gs_feedback *f,         \
                                  float *y, uint32_t *codes)                                   \
    {                                                                                          \
        return feedback(search_##name, points, run, first, n, f, y, codes);                    \
    }

KIND(iq2)
KIND(iq3)
KIND(iq1)

/* ---- sets --------------------------------------------------------------------------------- */

/* Outlines: the levels on an axis, as if every combination were a point. */
static const float iq2_table[6] = {-43, -25, -8, 8, 25, 43};
static const float iq2_middle[5] = {-34, -16.5f, 0, 16.5f, 34};
static const struct gs_levels iq2_levels = {6, iq2_table, iq2_middle};
static const float iq3_xxs_table[16] = {-62, -52, -44, -36, -28, -20, -12, -4,
                                        4,   12,  20,  28,  36,  44,  52,  62};
static const float iq3_xxs_middle[15] = {-57, -48, -40, -32, -24, -16, -8, 0,
                                         8,   16,  24,  32,  40,  48,  57};
static const struct gs_levels iq3_xxs_levels = {16, iq3_xxs_table, iq3_xxs_middle};
static const float iq3_s_table[16] = {-15, -13, -11, -9, -7, -5, -3, -1,
                                      1,   3,   5,   7,  9,  11, 13, 15};
static const float iq3_s_middle[15] = {-14, -12, -10, -8, -6, -4, -2, 0,
                                       2,   4,   6,   8,  10, 12, 14};
static const struct gs_levels iq3_s_levels = {16, iq3_s_table, iq3_s_middle};

#define iq2_levels_table iq2_table
#define iq3_xxs_levels_table iq3_xxs_table
#define iq3_s_levels_table iq3_s_table
static const struct gs_points outline_iq2 = GS_LEVELS(iq2_levels, -43, 43);
static const struct gs_points outline_iq3_xxs = GS_LEVELS(iq3_xxs_levels, -62, 62);
static const struct gs_points outline_iq3_s = GS_LEVELS(iq3_s_levels, -15, 15);
static const struct gs_points outline_iq1 = GS_STEPS(-1, 3);

#define SET(name, points_of, list_of, coordinate_bits, level_list, is_even, is_free)           \
    static const struct iq_set set_##name = {.grid = (points_of), .groups = GROUPS_##list_of,  \
                                             .bits = (coordinate_bits), .levels = (level_list),\
                                             .even = (is_even), .free_shift = (is_free)}
#define POINTS(name, kind, lines, top, count)                                                  \
    static const struct gs_points points_##name = {                                            \
        .dim = DIM, .variants = (count), .steps = 6, .low = -(top), .high = (top),             \
        .outline = &outline_##lines, .data = &set_##name, .nearest = nearest_##kind,           \
        .feedback = feedback_##kind, .value = value_##kind}

SET(iq2_xxs, gs_iq2_xxs_grid, IQ2_XXS, 2, gs_iq2_levels, true, false);
SET(iq2_xs, gs_iq2_xs_grid, IQ2_XS, 2, gs_iq2_levels, true, false);
SET(iq2_s, gs_iq2_s_grid, IQ2_S, 2, gs_iq2_levels, false, false);
SET(iq3_xxs, gs_iq3_xxs_grid, IQ3_XXS, 3, gs_iq3_xxs_levels, true, false);
SET(iq3_s, gs_iq3_s_grid, IQ3_S, 3, gs_iq3_s_levels, false, false);
SET(iq1_s, gs_iq1_grid, IQ1, 2, NULL, false, false);
SET(iq1_m, gs_iq1_grid, IQ1, 2, NULL, false, true);
POINTS(iq2_xxs, iq2, iq2, 43, 1);
POINTS(iq2_xs, iq2, iq2, 43, 1);
POINTS(iq2_s, iq2, iq2, 43, 1);
POINTS(iq3_xxs, iq3, iq3_xxs, 62, 1);
POINTS(iq3_s, iq3, iq3_s, 15, 1);
POINTS(iq1_s, iq1, iq1, 1, 2);
POINTS(iq1_m, iq1, iq1, 1, 1);

/* ---- bits --------------------------------------------------------------------------------- */

static void pack_iq2_xxs(const struct gs_block_scales *scales, const uint32_t *codes,
                         uint8_t *dst)
{
    struct gs_block_iq2_xxs b;

    gs_put_f16(scales->d, b.d);
    for (int r = 0; r < 8; r++) {
        uint32_t rest = (uint32_t)scales->s[r] << 28;
        for (int l = 0; l < 4; l++) {
            b.qs[8 * r + l] = (uint8_t)codes[4 * r + l];
            rest |= (codes[4 * r + l] >> 16 & 127) << 7 * l;
        }
        gs_put_u32(rest, b.qs + 8 * r + 4);
    }
    memcpy(dst, &b, sizeof b);
}

/* Sixteen scales of 4 bits, low nibble first. */
static void put_nibbles(const uint8_t *s, size_t bytes, uint8_t *dst)
{
    for (size_t i = 0; i < bytes; i++)
        dst[i] = (uint8_t)(s[2 * i] | s[2 * i + 1] << 4);
}

static void pack_iq2_xs(const struct gs_block_scales *scales, const uint32_t *codes,
                        uint8_t *dst)
{
    struct gs_block_iq2_xs b;

    gs_put_f16(scales->d, b.d);
    for (int l = 0; l < 32; l++)
        gs_put_u16((codes[l] & 511) | (codes[l] >> 16 & 127) << 9, b.qs + 2 * l);
    put_nibbles(scales->s, 8, b.scales);
    memcpy(dst, &b, sizeof b);
}

static void pack_iq2_s(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
{
    struct gs_block_iq2_s b;

    memset(&b, 0, sizeof b);
    gs_put_f16(scales->d, b.d);
    for (int l = 0; l < 32; l++) {
        b.qs[l] = (uint8_t)codes[l];
        b.qh[l / 4] |= (uint8_t)((codes[l] >> 8 & 3) << 2 * (l % 4));
        b.signs[l] = (uint8_t)(codes[l] >> 16);
    }
    put_nibbles(scales->s, 8, b.scales);
    memcpy(dst, &b, sizeof b);
}

static void pack_iq3_xxs(const struct gs_block_scales *scales, const uint32_t *codes,
                         uint8_t *dst)
{
    struct gs_block_iq3_xxs b;

    gs_put_f16(scales->d, b.d);
    for (int r = 0; r < 8; r++) {
        uint32_t rest = (uint32_t)scales->s[r] << 28;
        for (int l = 0; l < 4; l++) {
            uint32_t code = codes[4 * r + l];
            b.qs[8 * r + 2 * l] = (uint8_t)code;
            b.qs[8 * r + 2 * l + 1] = (uint8_t)(code >> 9);
            rest |= (code >> 18 & 127) << 7 * l;
        }
        gs_put_u32(rest, b.signs + 4 * r);
    }
    memcpy(dst, &b, sizeof b);
}

static void pack_iq3_s(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
{
    struct gs_block_iq3_s b;

    memset(&b, 0, sizeof b);
    gs_put_f16(scales->d, b.d);
    for (int l = 0; l < 64; l++) {
        unsigned index = codes[l / 2] >> 9 * (l % 2) & 511;
        b.qs[l] = (uint8_t)index;
        b.qh[l / 8] |= (uint8_t)(index >> 8 << l % 8);
    }
    for (int l = 0; l < 32; l++)
        b.signs[l] = (uint8_t)(codes[l] >> 18);
    put_nibbles(scales->s, 4, b.scales);
    memcpy(dst, &b, sizeof b);
}

static void pack_iq1_s(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
{
    struct gs_block_iq1_s b;

    gs_put_f16(scales->d, b.d);
    for (int r = 0; r < 8; r++) {
        unsigned high = (unsigned)scales->s[r] << 12 | (unsigned)scales->variant[r] << 15;
        for (int l = 0; l < 4; l++) {
            b.qs[4 * r + l] = (uint8_t)codes[4 * r + l];
            high |= (codes[4 * r + l] >> 8 & 7) << 3 * l;
        }
        gs_put_u16(high, b.qh + 2 * r);
    }
    memcpy(dst, &b, sizeof b);
}

static void pack_iq1_m(const struct gs_block_scales *scales, const uint32_t *codes, uint8_t *dst)
{
    struct gs_block_iq1_m b;
    uint8_t d[2];

    memset(&b, 0, sizeof b);
    gs_put_f16(scales->d, d);
    for (int l = 0; l < 32; l++) {
        b.qs[l] = (uint8_t)codes[l];
        b.qh[l / 2] |= (uint8_t)((codes[l] >> 8 & 15) << 4 * (l % 2));
    }
    for (int i = 0; i < 4; i++) {
        unsigned word = (unsigned)((d[0] | d[1] << 8) >> 4 * i & 15) << 12;
        for (int r = 0; r < 4; r++)
            word |= (unsigned)scales->s[4 * i + r] << 3 * r;
        gs_put_u16(word, b.scales + 2 * i);
    }
    memcpy(dst, &b, sizeof b);
}

/* d comes first, but for IQ1_M's, whose nibbles are apart. */
#define IQ(name, kind, weights, n, from, by, at)                                               \
    const struct gs_format gs_format_##name = {                                                \
        .type = GS_TYPE_##kind, .block = 256, .run = (weights), .points = &points_##name,      \
        .scales = (n), .first = (from), .step = (by), .pack = pack_##name, .d_at = (at)}

IQ(iq3_s, IQ3_S, 32, 16, 1, 2, 0);
IQ(iq3_xxs, IQ3_XXS, 32, 16, 0.25f, 0.5f, 0);
IQ(iq2_s, IQ2_S, 16, 16, 0.125f, 0.25f, 0);
IQ(iq2_xs, IQ2_XS, 16, 16, 0.125f, 0.25f, 0);
IQ(iq2_xxs, IQ2_XXS, 32, 16, 0.125f, 0.25f, 0);
IQ(iq1_m, IQ1_M, 16, 8, 1, 2, -1);
IQ(iq1_s, IQ1_S, 32, 8, 1, 2, 0);
