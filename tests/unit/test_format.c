/* SPDX-License-Identifier: MIT
 * Every block type of the list: what is packed is what decoders read, errors are small, and
 * nothing a weight can be breaks it. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "grid/format.h"
#include "kernels/kernels.h"

enum { N = 2048 };

/* Mean squared error over the mean square of Gaussian weights, without importances, that the
 * reference encoder (ggml_quantize_chunk) reaches; measured on 16384 weights. */
static const struct { enum gs_type type; double error; } reference[] = {
    {GS_TYPE_Q8_0, 2.850e-05},    {GS_TYPE_Q6_K, 3.101e-04},  {GS_TYPE_Q5_1, 1.416e-03},
    {GS_TYPE_Q5_0, 1.784e-03},    {GS_TYPE_Q5_K, 1.287e-03},  {GS_TYPE_Q4_1, 6.048e-03},
    {GS_TYPE_Q4_0, 7.249e-03},    {GS_TYPE_Q4_K, 5.102e-03},  {GS_TYPE_IQ4_NL, 5.734e-03},
    {GS_TYPE_NVFP4, 1.075e-02},   {GS_TYPE_IQ4_XS, 5.818e-03}, {GS_TYPE_MXFP4, 1.281e-02},
    {GS_TYPE_Q3_K, 2.248e-02},    {GS_TYPE_IQ3_S, 2.756e-02}, {GS_TYPE_IQ3_XXS, 4.550e-02},
    {GS_TYPE_Q2_K, 8.606e-02},    {GS_TYPE_IQ2_S, 6.942e-02}, {GS_TYPE_IQ2_XS, 9.045e-02},
    {GS_TYPE_Q2_0, 5.085e-01},    {GS_TYPE_IQ2_XXS, 1.180e-01}, {GS_TYPE_TQ2_0, 6.465e-01},
    {GS_TYPE_IQ1_M, 2.021e-01},   {GS_TYPE_TQ1_0, 6.465e-01}, {GS_TYPE_IQ1_S, 2.350e-01},
    {GS_TYPE_Q1_0, 3.600e-01},
};

static void fill_normal(float *x, size_t n, uint64_t seed, float scale)
{
    struct gs_rng rng;

    gs_rng_init(&rng, seed, 0);
    for (size_t i = 0; i < n; i++)
        x[i] = scale * (float)gs_rng_normal(&rng);
}

static void fill(float *x, size_t n, float v)
{
    for (size_t i = 0; i < n; i++)
        x[i] = v;
}

/* Encodes, checks that decoding gives the values that were promised, bit for bit, and returns
 * Σ h (x − y)² / Σ h x². */
static double encode(const struct gs_format *f, const float *x, const float *h, size_t n,
                     float *y)
{
    const struct gs_type_info *info = gs_type_info(f->type);
    uint8_t *bytes = gs_alloc(n / info->block, info->bytes);
    float *decoded = gs_alloc(n, sizeof *decoded);
    double error = 0, energy = 0;

    gs_format_encode(f, x, h, n, bytes, y);
    gs_kernels()->decode[f->type](bytes, decoded, n);
    assert_memory_equal(decoded, y, n * sizeof *y);
    for (size_t i = 0; i < n; i++) {
        assert_true(isfinite(y[i]));
        error += (double)h[i] * ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        energy += (double)h[i] * (double)x[i] * (double)x[i];
    }
    gs_free(&bytes);
    gs_free(&decoded);
    return energy > 0 ? error / energy : error;
}

static void test_list(void **state)
{
    (void)state;
    for (size_t i = 0; gs_format_at(i); i++) {
        const struct gs_format *f = gs_format_at(i);
        const struct gs_type_info *info = gs_type_info(f->type);
        assert_non_null(info);
        assert_int_equal(f->block, info->block);
        assert_int_equal(f->block % f->run, 0);
        assert_int_equal(f->run % 8, 0);
        assert_true(f->block <= GS_FORMAT_BLOCK && f->block / f->run <= GS_FORMAT_RUNS);
        assert_ptr_equal(gs_format_find(f->type), f);
        for (unsigned s = 1; s < f->scales; s++)
            assert_true(gs_format_multiplier(f, s) > gs_format_multiplier(f, s - 1));
        assert_true(i == 0 || f->type != gs_format_at(i - 1)->type);
    }
    assert_null(gs_format_find(GS_TYPE_F16));
    assert_null(gs_format_find(GS_TYPE_Q8_K));
}

static void test_not_worse_than_reference(void **state)
{
    static float x[N], h[N], y[N];

    (void)state;
    fill_normal(x, N, 1, 0.02f);
    fill(h, N, 1);
    for (size_t i = 0; gs_format_at(i); i++) {
        const struct gs_format *f = gs_format_at(i);
        size_t k = 0;
        while (k < GS_COUNT(reference) && reference[k].type != f->type)
            k++;
        assert_true(k < GS_COUNT(reference));
        double error = encode(f, x, h, N, y);
        if (error > 1.03 * reference[k].error) /* other weights: a margin for their spread */
            fail_msg("%s: %g, the reference has %g", gs_type_info(f->type)->name, error,
                     reference[k].error);
    }
}

/* What importances are for: columns that matter are nearer. */
static void test_importance(void **state)
{
    static float x[N], h[N], ones[N], y[N];

    (void)state;
    fill_normal(x, N, 2, 1);
    fill(ones, N, 1);
    for (size_t i = 0; i < N; i++)
        h[i] = i % 7 == 0 ? 50 : 1;
    for (size_t i = 0; gs_format_at(i); i++) {
        const struct gs_format *f = gs_format_at(i);
        double with = encode(f, x, h, N, y), without = 0, energy = 0;
        encode(f, x, ones, N, y);
        for (size_t j = 0; j < N; j++) {
            without += (double)h[j] * ((double)x[j] - (double)y[j]) * ((double)x[j] - (double)y[j]);
            energy += (double)h[j] * (double)x[j] * (double)x[j];
        }
        if (!(with < without / energy))
            fail_msg("%s: %g with importances, %g without", gs_type_info(f->type)->name, with,
                     without / energy);
    }
}

/* What a block holds already is found again, all but exactly. */
static void test_idempotent(void **state)
{
    static float x[N], h[N], y[N], z[N];

    (void)state;
    fill_normal(x, N, 3, 0.1f);
    fill(h, N, 1);
    for (size_t i = 0; gs_format_at(i); i++) {
        const struct gs_format *f = gs_format_at(i);
        double first = encode(f, x, h, N, y), second = encode(f, y, h, N, z);
        if (!(second <= 0.3 * first))
            fail_msg("%s: %g, then %g", gs_type_info(f->type)->name, first, second);
    }
}

static void test_extremes(void **state)
{
    static float x[N], h[N], y[N];

    (void)state;
    for (size_t i = 0; gs_format_at(i); i++) {
        const struct gs_format *f = gs_format_at(i);
        fill(h, N, 1);
        fill(x, N, 0);
        encode(f, x, h, N, y);
        for (size_t j = 0; j < N; j++)
            assert_true(fabsf(y[j]) <= 1e-6f);
        fill(x, N, FLT_MAX);
        encode(f, x, h, N, y);
        fill(x, N, 1e-40f);
        encode(f, x, h, N, y);
        fill_normal(x, N, 4, 1);
        fill(h, N, 0); /* counts as 1 */
        encode(f, x, h, N, y);
        fill(h, N, 1);
        assert_true(encode(f, x, h, N, y) < 0.5);
        x[17] = 1e4f; /* an outlier leaves a finite block */
        encode(f, x, h, N, y);
        fill(x, N, -0.25f);
        double error = encode(f, x, h, N, y);
        if (!(error < 0.15)) /* grids of few points lack the corner of a cube */
            fail_msg("%s: equal weights: %g", gs_type_info(f->type)->name, error);
    }
}

/* Lanes are runs of their own: what each says is what the run alone says, in another order of
 * sums. */
static void test_lanes(void **state)
{
    enum { RUN = 32 };
    float x[RUN], h[RUN], c[RUN], d[RUN], l[RUN * RUN], v[RUN], y[RUN], w[RUN];
    uint32_t codes[RUN];
    size_t tried = 0;

    (void)state;
    fill_normal(x, RUN, 11, 1);
    fill_normal(h, RUN, 12, 1);
    fill_normal(c, RUN, 13, 0.2f);
    fill_normal(l, RUN * RUN, 14, 0.2f);
    for (size_t i = 0; i < RUN; i++)
        d[i] = h[i] = 0.1f + h[i] * h[i];
    for (size_t i = 0; gs_format_at(i); i++) {
        const struct gs_points *p = gs_format_at(i)->points;
        struct gs_point_lanes lanes;
        if (!p->nearest_lanes)
            continue;
        for (int k = 0; k < GS_POINT_LANES; k++) { /* of either sign, and none */
            lanes.a[k] = k == 5 ? 0 : (k % 2 ? -1 : 1) * (2 + 0.3f * (float)k) / (p->high - p->low);
            lanes.b[k] = 0.1f * (float)k;
        }
        p->nearest_lanes(p, RUN, x, h, &lanes);
        for (int k = 0; k < GS_POINT_LANES; k++) {
            float vv = 0, sum = 0, vx = 0;
            float error = p->nearest(p, (struct gs_point_run){lanes.a[k], lanes.b[k], 0}, RUN, x, h,
                                     v, NULL);
            for (size_t j = 0; j < RUN; j++) {
                vv += h[j] * v[j] * v[j];
                sum += h[j] * v[j];
                vx += h[j] * v[j] * x[j];
            }
            assert_float_equal(lanes.error[k], error, 1e-5 * (double)error);
            assert_float_equal(lanes.vv[k], vv, 1e-5 * (double)vv);
            assert_float_equal(lanes.v[k], sum, 1e-5 * (double)(vv + 1));
            assert_float_equal(lanes.vx[k], vx, 1e-5 * (double)(vv + 1));
        }
        struct gs_feedback f = {.w = x, .c = c, .l = l, .l_stride = RUN, .d = d};
        p->feedback_lanes(p, RUN, &f, &lanes);
        for (int k = 0; k < GS_POINT_LANES; k++) {
            float moved[RUN];
            struct gs_feedback own = {.w = w, .c = moved, .l = l, .l_stride = RUN, .d = d};
            memcpy(w, x, sizeof w);
            memcpy(moved, c, sizeof moved);
            double loss = p->feedback(p, (struct gs_point_run){lanes.a[k], lanes.b[k], 0}, 0, RUN,
                                      &own, y, codes);
            assert_float_equal(lanes.error[k], loss, 1e-5 * loss);
        }
        tried++;
    }
    assert_true(tried >= 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),       cmocka_unit_test(test_not_worse_than_reference),
        cmocka_unit_test(test_importance), cmocka_unit_test(test_idempotent),
        cmocka_unit_test(test_extremes),     cmocka_unit_test(test_lanes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
