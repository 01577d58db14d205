/* SPDX-License-Identifier: MIT
 * The search of IQ points against one that tries every point, and what fitting remembers of it
 * against searching every time. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"
#include "grid/format_memo.h"

enum { DIM = GS_POINT_DIM, TARGETS = 150 };

static const struct kind {
    enum gs_type type;
    unsigned n;      /* points */
    unsigned shift;  /* where signs begin in a code; 0: IQ1 */
    bool even;       /* number of minuses */
    float size;      /* of targets that use all levels */
} kinds[] = {
    {GS_TYPE_IQ2_XXS, 256, 16, true, 20}, {GS_TYPE_IQ2_XS, 512, 16, true, 20},
    {GS_TYPE_IQ2_S, 1024, 16, false, 20}, {GS_TYPE_IQ3_XXS, 256, 18, true, 24},
    {GS_TYPE_IQ3_S, 512, 18, false, 7},   {GS_TYPE_IQ1_S, 2048, 0, false, 0.8f},
    {GS_TYPE_IQ1_M, 2048, 0, false, 0.8f},
};

static const struct gs_points *points_of(const struct kind *kind)
{
    return gs_format_find(kind->type)->points;
}

static double weigh(const float *x, const float *h, const float *v, unsigned from, unsigned to)
{
    double sum = 0;

    for (unsigned c = from; c < to; c++)
        sum += (double)h[c] * ((double)x[c] - (double)v[c]) * ((double)x[c] - (double)v[c]);
    return sum;
}

/* What coordinates [from, to) of a point cost with the target's own signs, and with the least
 * harmful of them wrong. */
static void weigh_signed(const struct kind *kind, uint32_t point, const float *x, const float *h,
                         unsigned from, unsigned to, double *right, double *wrong)
{
    unsigned own = 0;
    float v[DIM];

    for (unsigned c = 0; c < DIM; c++)
        own |= (unsigned)(x[c] < 0) << c;
    points_of(kind)->value(points_of(kind), 0, point | own << kind->shift, v);
    *right = fmin(*right, weigh(x, h, v, from, to));
    for (unsigned c = from; c < to; c++) {
        v[c] = -v[c];
        *wrong = fmin(*wrong, weigh(x, h, v, from, to));
        v[c] = -v[c];
    }
}

/* The least error of any code. */
static double least_error(const struct kind *kind, unsigned variant, const float *x,
                          const float *h)
{
    const struct gs_points *p = points_of(kind);
    unsigned minuses = 0, halves = p->steps && kind->shift == 18 ? 2 : 1;
    double right[2] = {INFINITY, INFINITY}, wrong[2] = {INFINITY, INFINITY};
    float v[DIM];

    for (unsigned c = 0; c < DIM; c++)
        minuses += x[c] < 0;
    for (uint32_t i = 0; i < kind->n && kind->shift; i++)
        for (unsigned half = 0; half < halves; half++)
            weigh_signed(kind, halves == 2 ? i | i << 9 : i, x, h, 4 * half,
                         halves == 2 ? 4 * half + 4 : DIM, &right[half], &wrong[half]);
    for (uint32_t i = 0; i < kind->n && !kind->shift; i++)
        for (uint32_t shift = 0; shift < 2; shift++) {
            if (p->variants == 2 && shift != variant)
                continue;
            p->value(p, variant, i | shift << 11, v);
            right[0] = fmin(right[0], weigh(x, h, v, 0, DIM));
        }
    bool odd = kind->even && minuses % 2;
    if (halves == 1)
        return odd ? wrong[0] : right[0];
    return odd ? fmin(wrong[0] + right[1], right[0] + wrong[1]) : right[0] + right[1];
}

static void check_search(const struct kind *kind, unsigned variant, const float *x,
                         const float *h, struct gs_rng *rng)
{
    const struct gs_points *p = points_of(kind);
    const struct gs_point_run run = {.a = 1, .variant = variant};
    const char *name = gs_type_info(kind->type)->name;
    float v[DIM], again[DIM];
    uint32_t code = p->search(p, run, x, h, GS_NO_CODE, v), half = kind->shift == 18 ? 9 : 0;
    double least = least_error(kind, variant, x, h), error = weigh(x, h, v, 0, DIM), size = 0;

    for (unsigned c = 0; c < DIM; c++)
        size += (double)h[c] * (double)x[c] * (double)x[c];
    if (!(error <= least + 1e-6 * (least + size)))
        fail_msg("%s: %.9g, the best is %.9g", name, error, least);
    p->value(p, variant, code, again);
    assert_memory_equal(v, again, sizeof v);
    assert_true((code & (half ? 511 : 2047)) < kind->n);
    if (kind->even)
        assert_int_equal(__builtin_popcount(code >> kind->shift) % 2, 0);
    for (unsigned k = 0; k < 4; k++) { /* hints are for speed */
        uint32_t hint = (uint32_t)(gs_rng_below(rng, kind->n));
        hint |= half ? (uint32_t)(gs_rng_below(rng, kind->n)) << half : 0;
        if (p->search(p, run, x, h, k ? hint : code, again) != code)
            fail_msg("%s: another code than %u after the hint %u", name, code, k ? hint : code);
    }
}

static void test_random(void **state)
{
    struct gs_rng rng;
    float x[DIM], h[DIM];

    (void)state;
    for (size_t k = 0; k < GS_COUNT(kinds); k++) {
        gs_rng_init(&rng, 7, k);
        for (unsigned t = 0; t < TARGETS; t++) {
            for (unsigned c = 0; c < DIM; c++) {
                float z = (float)gs_rng_normal(&rng);
                x[c] = kinds[k].size * (t % 5 == 4 ? 3 : 1) * (float)gs_rng_normal(&rng);
                h[c] = t % 3 ? z * z : 1;
            }
            check_search(&kinds[k], t % points_of(&kinds[k])->variants, x, h, &rng);
        }
    }
}

/* Targets between levels, zeros, and coordinates that do not count. */
static void test_ties(void **state)
{
    static const float middles[][4] = {
        {16.5f, 34, 0, 8}, {16.5f, 34, 0, 8},       {16.5f, 34, 0, 8},        {8, 16, 57, 0},
        {2, 14, 8, 0},     {0.625f, -0.375f, 0, 1}, {0.5f, -0.5f, 0, 0.375f},
    };
    struct gs_rng rng;
    float x[DIM], h[DIM];

    (void)state;
    for (size_t k = 0; k < GS_COUNT(kinds); k++) {
        gs_rng_init(&rng, 8, k);
        for (unsigned t = 0; t < TARGETS; t++) {
            for (unsigned c = 0; c < DIM; c++) {
                uint64_t r = gs_rng_u64(&rng);
                x[c] = (r & 4 ? -1 : 1) * middles[k][r & 3];
                h[c] = t % 2 && (r & 24) == 0 ? 0 : t % 4 == 2 ? 0 : 1;
            }
            check_search(&kinds[k], t % points_of(&kinds[k])->variants, x, h, &rng);
        }
    }
}

/* Scales of either sign and none, in any order: errors and values are those of `nearest`. */
static void test_memo(void **state)
{
    enum { N = 64 };
    static struct gs_memo memo;
    struct gs_rng rng;
    float x[N], h[N], v[N], direct[N];

    (void)state;
    for (size_t k = 0; k < GS_COUNT(kinds); k++) {
        const struct gs_points *p = points_of(&kinds[k]);
        gs_rng_init(&rng, 9, k);
        for (unsigned i = 0; i < N; i++) {
            x[i] = (float)gs_rng_normal(&rng);
            h[i] = 0.1f + x[i] * x[i];
        }
        gs_memo_init(&memo, p, x, h);
        for (unsigned t = 0; t < 60; t++) {
            float a = (0.7f + 0.6f * (float)(gs_rng_below(&rng, 1000)) / 1000) / kinds[k].size;
            struct gs_point_run run = {.a = t % 20 == 19 ? 0 : t % 10 == 9 ? -a : a,
                                       .variant = t % p->variants};
            size_t at = t % 2 ? 32 : 0;
            float error = gs_memo_nearest(&memo, run, at, 32, v);
            assert_true(error == p->nearest(p, run, 32, x + at, h + at, direct, NULL));
            assert_memory_equal(v, direct, 32 * sizeof *v);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_memo),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
