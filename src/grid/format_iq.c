/* SPDX-License-Identifier: MIT
 * The IQ types of 1 to 3 bits: eight weights a code, points of a fixed grid, with or without signs
 * of their own. iq12_search.c and iq3_search.c find points, iq_pack.c lays blocks out. */
#include <math.h>
#include <string.h>

#include "grid/formats.h"
#include "grid/iq_search.h"

#define DIM GS_POINT_DIM

/* ---- runs --------------------------------------------------------------------------------- */

static void value(const struct gs_points *points, unsigned variant GS_UNUSED, uint32_t code,
                  float *v)
{
    gs_iq_prepare();
    gs_iq_value(points->data, code, v);
}

static uint32_t search(const struct gs_points *points, struct gs_point_run run, const float *x,
                       const float *h, uint32_t hint, float *v)
{
    float inverse = gs_point_inverse(run), t[DIM];
    uint32_t code;

    gs_iq_prepare();
    for (unsigned c = 0; c < DIM; c++)
        t[c] = x[c] * inverse;
    code = gs_iq_search(points->data, run.variant, t, h, hint);
    gs_iq_value(points->data, code, v);
    return code;
}

static float nearest(const struct gs_points *points, struct gs_point_run run, size_t n,
                     const float *x, const float *h, float *v, uint32_t *codes)
{
    float sum = 0;

    for (size_t i = 0; i < n; i += DIM) {
        uint32_t code = search(points, run, x + i, h + i, GS_NO_CODE, v + i);
        if (codes)
            codes[i / DIM] = code;
        for (unsigned c = 0; c < DIM; c++) {
            float e = x[i + c] - run.a * v[i + c];
            sum += h[i + c] * e * e;
        }
    }
    return sum;
}

/* (x − y) D (x − y), and r = D (x − y); D is symmetric. */
static float quadratic(const float *x, const float *y, const float *d, float *r)
{
    float sums[DIM] = {0}, e[DIM], sum = 0;

    for (unsigned j = 0; j < DIM; j++)
        e[j] = x[j] - y[j];
    for (unsigned j = 0; j < DIM; j++)
        for (unsigned i = 0; i < DIM; i++)
            sums[i] += d[j * DIM + i] * e[j];
    for (unsigned i = 0; i < DIM; i++)
        sum += e[i] * sums[i];
    memcpy(r, sums, sizeof sums);
    return sum;
}

/* A diagonal that bounds D: Σ_j |D_ij|. */
static void majorize(const float *d, float *h)
{
    float sums[DIM];

    for (unsigned i = 0; i < DIM; i++)
        sums[i] = d[i * DIM + i];
    for (unsigned j = 0; j < DIM; j++)
        for (unsigned i = 0; i < DIM; i++)
            sums[i] += i == j ? 0 : fabsf(d[j * DIM + i]);
    memcpy(h, sums, sizeof sums);
}

/* The point for targets x under the matrix D: the nearest by D's diagonal, then two steps of
 * majorize and minimize, as long as they help. */
static double choose(const struct gs_points *points, struct gs_point_run run, const float *x,
                     const float *d, uint32_t hint, float *y, uint32_t *code)
{
    float t[DIM], h[DIM], r[DIM], trial[DIM];

    for (unsigned c = 0; c < DIM; c++)
        h[c] = d[c * DIM + c];
    *code = search(points, run, x, h, hint, y);
    for (unsigned c = 0; c < DIM; c++)
        y[c] *= run.a;
    float loss = quadratic(x, y, d, r);
    majorize(d, h);
    for (unsigned step = 0; step < 2; step++) {
        for (unsigned c = 0; c < DIM; c++)
            t[c] = y[c] + (h[c] > 0 ? r[c] / h[c] : 0);
        uint32_t found = search(points, run, t, h, *code, trial);
        if (found == *code)
            break;
        for (unsigned c = 0; c < DIM; c++)
            trial[c] *= run.a;
        float error = quadratic(x, trial, d, r);
        if (!(error < loss))
            break;
        loss = error;
        *code = found;
        memcpy(y, trial, sizeof trial);
    }
    return (double)loss;
}

static double feedback(const struct gs_points *points, struct gs_point_run run, size_t first,
                       size_t n, const struct gs_feedback *f, float *y, uint32_t *codes)
{
    float x[DIM], e[DIM];
    double loss = 0;

    for (size_t at = first + n; at > first;) {
        at -= DIM;
        float *value = y + (at - first);
        for (unsigned c = 0; c < DIM; c++)
            x[c] = f->w[at + c] + f->c[at + c];
        size_t number = (at - first) / DIM;
        loss += choose(points, run, x, f->d + at * DIM, f->hint ? f->hint[number] : GS_NO_CODE,
                       value, &codes[number]);
        if (f->limit > 0 && loss > f->limit)
            break;
        for (unsigned c = 0; c < DIM; c++)
            e[c] = f->w[at + c] -= value[c];
        for (size_t i = 0; i < at; i += DIM) { /* `at` is a multiple of 8 */
            float sums[DIM];
            memcpy(sums, f->c + i, sizeof sums);
            for (unsigned c = 0; c < DIM; c++) {
                const float *l = f->l + (at + c) * f->l_stride + i;
                for (unsigned k = 0; k < DIM; k++)
                    sums[k] += e[c] * l[k];
            }
            memcpy(f->c + i, sums, sizeof sums);
        }
    }
    return loss;
}

/* ---- sets --------------------------------------------------------------------------------- */

/* Outlines: the levels on an axis, as if every combination were a point. */
static const float iq2_table[6] = {-43, -25, -8, 8, 25, 43};
static const float iq2_middle[5] = {-34, -16.5f, 0, 16.5f, 34};
static const struct gs_levels iq2_levels = {6, iq2_table, iq2_middle, true};
static const float iq3_xxs_table[16] = {-62, -52, -44, -36, -28, -20, -12, -4,
                                        4,   12,  20,  28,  36,  44,  52,  62};
static const float iq3_xxs_middle[15] = {-57, -48, -40, -32, -24, -16, -8, 0,
                                         8,   16,  24,  32,  40,  48,  57};
static const struct gs_levels iq3_xxs_levels = {16, iq3_xxs_table, iq3_xxs_middle, true};
static const float iq3_s_table[16] = {-15, -13, -11, -9, -7, -5, -3, -1,
                                      1,   3,   5,   7,  9,  11, 13, 15};
static const float iq3_s_middle[15] = {-14, -12, -10, -8, -6, -4, -2, 0,
                                       2,   4,   6,   8,  10, 12, 14};
static const struct gs_levels iq3_s_levels = {16, iq3_s_table, iq3_s_middle, true};

#define iq2_levels_table iq2_table
#define iq3_xxs_levels_table iq3_xxs_table
#define iq3_s_levels_table iq3_s_table
static const struct gs_points outline_iq2 = GS_LEVELS(iq2_levels, -43, 43);
static const struct gs_points outline_iq3_xxs = GS_LEVELS(iq3_xxs_levels, -62, 62);
static const struct gs_points outline_iq3_s = GS_LEVELS(iq3_s_levels, -15, 15);
static const struct gs_points outline_iq1 = GS_STEPS(-1, 3);

/* Sets: magnitudes are the upper halves of the tables. */
static const float iq1_levels[3] = {-1, 0, 1}, iq1_middles[2] = {-0.5f, 0.5f};

#define SET(name, kind, points, level_list, middle_list, is_even, is_free)                     \
    static const struct gs_iq_set set_##name = {                                               \
        .grid = &gs_##points##_points, .levels = (level_list), .middles = (middle_list),       \
        .even = (is_even), .free_shift = (is_free), .search = gs_##kind##_search,              \
        .value = gs_##kind##_value}
SET(iq2_xxs, iq2, iq2_xxs, iq2_table + 3, iq2_middle + 3, true, false);
SET(iq2_xs, iq2, iq2_xs, iq2_table + 3, iq2_middle + 3, true, false);
SET(iq2_s, iq2, iq2_s, iq2_table + 3, iq2_middle + 3, false, false);
SET(iq3_xxs, iq3, iq3_xxs, iq3_xxs_table + 8, iq3_xxs_middle + 8, true, false);
SET(iq3_s, iq3, iq3_s, iq3_s_table + 8, iq3_s_middle + 8, false, false);
SET(iq1_s, iq1, iq1, iq1_levels, iq1_middles, false, false);
SET(iq1_m, iq1, iq1, iq1_levels, iq1_middles, false, true);

#define POINTS(name, lines, top, count)                                                        \
    static const struct gs_points points_##name = {                                            \
        .dim = DIM, .variants = (count), .steps = 6, .low = -(top), .high = (top),             \
        .outline = &outline_##lines, .data = &set_##name, .nearest = nearest,             \
        .search = search, .feedback = feedback, .value = value}

POINTS(iq2_xxs, iq2, 43, 1);
POINTS(iq2_xs, iq2, 43, 1);
POINTS(iq2_s, iq2, 43, 1);
POINTS(iq3_xxs, iq3_xxs, 62, 1);
POINTS(iq3_s, iq3_s, 15, 1);
POINTS(iq1_s, iq1, 1, 2);
POINTS(iq1_m, iq1, 1, 1);

/* d comes first, but for IQ1_M's, whose nibbles are apart. */
#define IQ(name, kind, weights, n, from, by, at)                                               \
    const struct gs_format gs_format_##name = {                                                \
        .type = GS_TYPE_##kind, .block = 256, .run = (weights), .points = &points_##name,      \
        .scales = (n), .first = (from), .step = (by), .pack = gs_pack_##name, .d_at = (at)}

IQ(iq3_s, IQ3_S, 32, 16, 1, 2, 0);
IQ(iq3_xxs, IQ3_XXS, 32, 16, 0.25f, 0.5f, 0);
IQ(iq2_s, IQ2_S, 16, 16, 0.125f, 0.25f, 0);
IQ(iq2_xs, IQ2_XS, 16, 16, 0.125f, 0.25f, 0);
IQ(iq2_xxs, IQ2_XXS, 32, 16, 0.125f, 0.25f, 0);
IQ(iq1_m, IQ1_M, 16, 8, 1, 2, -1);
IQ(iq1_s, IQ1_S, 32, 8, 1, 2, 0);
