/* SPDX-License-Identifier: MIT
 * What scalar codebooks lose on unit Gaussian weights: as published, as their closed form says,
 * as quadrature says for groups; and single properties of members. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "codebook/codebook.h"
#include "codebook/kmeans_line.h"
#include "codebook_walk.h"
#include "core/alloc.h"

enum { N = 1 << 18 };

static float samples[N];

static struct gs_codebook *create(const char *text)
{
    struct gs_codebook *codebook = NULL;
    struct gs_err err = {0};

    if (gs_codebook_create(text, &codebook, &err))
        fail_msg("%s", err.msg);
    return codebook;
}

/* Mean squared error of the samples in groups. */
static double measure(const struct gs_codebook *codebook, size_t group, const char *rule)
{
    float *table = gs_alloc(codebook->table_floats, sizeof *table), y;
    double sum = 0;

    for (size_t at = 0; at + group <= N; at += group) {
        struct gs_group g;
        gs_codebook_fit(codebook, gs_scale_rule_find(rule), samples + at, NULL, group, table, &g);
        for (size_t i = at; i < at + group; i++) {
            gs_codebook_nearest(codebook, &g, &samples[i], NULL, &y);
            sum += ((double)samples[i] - y) * ((double)samples[i] - y);
        }
    }
    gs_free(&table);
    return sum / (double)(N / group * group);
}

static void expect(const char *text, double got, double wanted, double tolerance)
{
    if (!(fabs(got - wanted) <= tolerance * wanted))
        fail_msg("%s: %.6f is not within %g %% of %.6f", text, got, 100 * tolerance, wanted);
}

/* Figures of the literature: Max's tables (1960) for Lloyd–Max and uniform points; the others
 * by direct integration over their points. */
static void a_single_scale_loses_what_is_published(void **state)
{
    static const struct { const char *text; double mse; } cases[] = {
        {"lloyd:points=2", 0.36338}, {"lloyd:points=3", 0.19017}, {"lloyd:points=4", 0.117482},
        {"lloyd:points=8", 0.034548}, {"lloyd:points=16", 0.009501},
        {"lloyd:points=32", 0.002505}, {"binary", 0.36338}, {"ternary", 0.19017},
        {"ternary:fit=0", 0.26338}, {"uniform:bits=2,zero=3", 0.118846},
        {"uniform:bits=3,zero=3", 0.0374397}, {"uniform:bits=4,zero=3", 0.0115429},
        {"uniform:bits=6,zero=3", 0.00104005}, {"uniform:bits=8,zero=3", 0.00008769},
        {"uniform:bits=4,zero=2", 0.0115429}, {"kmeans:bits=4", 0.009501},
    };

    (void)state;
    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        struct gs_codebook *codebook = create(cases[i].text);
        expect(cases[i].text, codebook->gaussian_mse, cases[i].mse, 0.001);
        expect(cases[i].text, measure(codebook, N, "f32"), cases[i].mse, 0.01);
        gs_codebook_destroy(&codebook);
    }
}

/* The closed form, and with it the search of scales: no claimed error but is reached. */
static void the_closed_form_is_what_samples_lose(void **state)
{
    static const char *const texts[] = {
        "uniform:zero=0", "uniform:zero=1", "uniform:bits=2,zero=0", "float", "float:bits=3",
        "float:bits=6,exponent=3", "float:bits=8,exponent=4,top=1",
        "float:bits=8,exponent=5,top=2", "float:bits=8,exponent=7", "quantile",
        "quantile:bits=3", "quantile:bits=5", "quantile:type=1", "dynamic", "dynamic:bits=4",
        "posit", "posit:es=0", "posit:es=3", "posit:bits=4,es=0", "power:power=0.5",
        "power:power=0.75,bits=3", "choice:tables=1,bits=3", "residual", "dual", "kmeans:bits=3",
    };

    (void)state;
    for (size_t i = 0; i < GS_COUNT(texts); i++) {
        struct gs_codebook *codebook = create(texts[i]);
        assert_true(codebook->gaussian_mse > 0);
        expect(texts[i], measure(codebook, N, "f32"), codebook->gaussian_mse, 0.01);
        gs_codebook_destroy(&codebook);
    }
}

/* ---- MX: the standard's rule by quadrature ------------------------------------------------ */

static double phi(double x)
{
    return exp(-0.5 * x * x) / sqrt(2 * 3.14159265358979323846);
}

static double element_error(const struct gs_codebook *codebook, uint32_t choice, double x)
{
    struct gs_group group = {.scale = 1, .choice = choice};
    float w = (float)x, y;

    gs_codebook_nearest(codebook, &group, &w, NULL, &y);
    return (x - y) * (x - y);
}

/* Mean error of a group of n: over its largest magnitude m, whose density is that of n draws,
 * times the error of m itself and of n − 1 weights below. */
static double mx_error(const struct gs_codebook *codebook, int largest, int n)
{
    enum { STEPS = 4096 };
    const double width = 6.0 / STEPS;
    double total = 0;

    for (int power = -3; power <= 2; power++) { /* m in [2^power, 2^(power + 1)) */
        uint32_t choice = (uint32_t)(power - largest + 127);
        double below = 0, mass = 0; /* ∫ error φ and ∫ φ over |x| < m */
        for (int i = 0; i < STEPS; i++) {
            double m = (i + 0.5) * width, error = element_error(codebook, choice, m);
            double density = 2 * phi(m);
            if (m >= ldexp(1, power) && m < ldexp(2, power)) {
                double rest = mass + density * width / 2;
                double of_rest = (below + error * density * width / 2) / rest;
                total += n * density * pow(rest, n - 1) * width *
                         (error + (n - 1) * of_rest) / n;
            }
            below += error * density * width;
            mass += density * width;
        }
    }
    return total;
}

static void microscaling_follows_the_standard(void **state)
{
    static const struct { const char *text; int largest; } cases[] = {
        {"mx", 2}, {"mx:bits=6,exponent=2", 2}, {"mx:bits=6,exponent=3", 4},
        {"mx:bits=8,exponent=4", 8}, {"mx:bits=8,exponent=5", 15}, {"mx:bits=8,exponent=0", 0},
    };

    (void)state;
    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        struct gs_codebook *codebook = create(cases[i].text);
        assert_int_equal(gs_codebook_group_bits(codebook, gs_scale_rule_find("f32")), 8);
        expect(cases[i].text, measure(codebook, 32, "f16"),
               mx_error(codebook, cases[i].largest, 32), 0.01);
        gs_codebook_destroy(&codebook);
    }
}

/* Scales and elements by hand. */
static void microscaling_is_exact(void **state)
{
    static const struct {
        const char *text;
        float most;
        uint32_t choice; /* 127 + floor(log2 most) − largest power of the element */
        float x, y;
    } cases[] = {
        {"mx", 6, 127, 7.9f, 6}, {"mx", 7.99f, 127, -5.1f, -6}, {"mx", 8, 128, 8, 8},
        {"mx", 6, 127, 2.5f, 2}, {"mx", 0.75f, 124, 0.07f, 0.0625f},
        {"mx:bits=6,exponent=2", 7.5f, 127, 7.9f, 7.5f},
        {"mx:bits=6,exponent=3", 28, 127, 31, 28},
        {"mx:bits=8,exponent=4", 500, 127, 500, 448},
        {"mx:bits=8,exponent=5", 57344, 127, 65535, 57344},
        {"mx:bits=8,exponent=0", 1.5f, 127, -1.999f, -127.0f / 64},
        {"mx:bits=8,exponent=0", 1.5f, 127, 0.026f, 2.0f / 64},
        {"bfp", 1, 127, 1, 0.875f}, {"bfp", 1.01f, 128, 1.01f, 1},
        {"blocklog", 1, 127, 0.4f, 0.5f}, {"blocklog", 1.01f, 128, 0.001f, 0x1p-6f},
        {"minifloat", 7.9f, 129, 7.9f, 6}, {"minifloat:bits=4", 7.9f, 129, 0.3f, 0.5f},
    };

    (void)state;
    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        char text[64];
        bool block = strncmp(cases[i].text, "mx", 2) != 0;
        float group[4] = {0.1f, -cases[i].most, 0, 0}, y;
        struct gs_group g;
        snprintf(text, sizeof text, "%s%s", cases[i].text,
                 !block ? "" : strchr(cases[i].text, ':') ? ",fit=0" : ":fit=0");
        struct gs_codebook *codebook = create(text);
        gs_codebook_fit(codebook, gs_scale_rule_find("f32"), group, NULL, 4, NULL, &g);
        gs_codebook_nearest(codebook, &g, &cases[i].x, NULL, &y);
        /* 2.5 lies between 2 and 3: either is nearest. */
        bool tie = fabsf(cases[i].x - y) == fabsf(cases[i].x - cases[i].y);
        if (g.choice != cases[i].choice)
            fail_msg("%s: max %g has choice %u", text, (double)cases[i].most, g.choice);
        if (y != cases[i].y && !tie)
            fail_msg("%s: max %g: %g became %g", text, (double)cases[i].most,
                     (double)cases[i].x, (double)y);
        gs_codebook_destroy(&codebook);
    }
}

/* ---- tables ------------------------------------------------------------------------------- */

static void check_points(const char *text, const float *wanted, unsigned n, float tolerance)
{
    struct gs_codebook *codebook = create(text);
    struct gs_group group = {.scale = 1};

    assert_int_equal(codebook->states, n);
    for (unsigned i = 0; i < n; i++) {
        float y;
        gs_codebook_value(codebook, &group, i, &y);
        if (!(fabsf(y - wanted[i]) <= tolerance))
            fail_msg("%s: code %u is %.7f, not %.7f", text, i, (double)y, (double)wanted[i]);
    }
    gs_codebook_destroy(&codebook);
}

static void tables_are_the_published_ones(void **state)
{
    static const float nf4[] = {-1, -.6961928f, -.5250731f, -.3949175f, -.2844414f, -.1847734f,
                                -.0910500f, 0, .0795803f, .1609302f, .2461123f, .3379152f,
                                .4407098f, .5626170f, .7229568f, 1};
    static const float nf3[] = {-1, -.5350227f, -.2469314f, 0, .1833375f, .3819940f, .6229857f,
                                1};
    static const float nf2[] = {-1, 0, .4358182f, 1};
    static const float e2m1[] = {0, .5f, 1, 1.5f, 2, 3, 4, 6, 0, -.5f, -1, -1.5f, -2, -3, -4,
                                 -6};
    static const float posit4[] = {0, .25f, .5f, .75f, 1, 1.5f, 2, 4, 0, -4, -2, -1.5f, -1,
                                   -.75f, -.5f, -.25f};
    static const float lloyd4[] = {-1.51042f, -.45278f, .45278f, 1.51042f};
    static const float dynamic3[] = {0, .055f, .325f, .775f, 1, -.055f, -.325f, -.775f};

    (void)state;
    check_points("quantile", nf4, 16, 2e-6f);
    check_points("quantile:bits=3", nf3, 8, 2e-6f);
    check_points("quantile:bits=2", nf2, 4, 2e-6f);
    check_points("float", e2m1, 16, 0);
    check_points("posit:bits=4,es=0", posit4, 16, 0);
    check_points("lloyd:points=4", lloyd4, 4, 1e-5f);
    check_points("dynamic:bits=3", dynamic3, 8, 1e-6f);
}

/* FP8 E4M3: 448 is the largest, 2^−9 the smallest; E5M2 is the upper byte of an f16 but for a
 * power of two; posits of 8 bits as Gustafson's examples. */
static void eight_bit_formats_have_their_landmarks(void **state)
{
    static const struct { const char *text; unsigned code; float value; } cases[] = {
        {"float:bits=8,exponent=4,top=1", 0x01, 0x1p-9f},
        {"float:bits=8,exponent=4,top=1", 0x08, 0x1p-6f},
        {"float:bits=8,exponent=4,top=1", 0x7e, 448},
        {"float:bits=8,exponent=4,top=1", 0x7f, 448},
        {"float:bits=8,exponent=4,top=1", 0xfe, -448},
        {"float:bits=8,exponent=5,top=2", 0x7b, 57344 * 0x1p-7f},
        {"float:bits=8,exponent=5,top=2", 0x7c, 57344 * 0x1p-7f},
        {"float:bits=8,exponent=5,top=2", 0x01, 0x1p-23f},
        {"posit:es=0", 0x20, 0.5f}, {"posit:es=0", 0x41, 1.03125f}, {"posit:es=0", 0x7f, 64},
        {"posit:es=0", 0x01, 1.0f / 64}, {"posit:es=0", 0xff, -1.0f / 64},
        {"posit:es=1", 0x7f, 4096}, {"posit:es=2", 0x7f, 0x1p24f}, {"posit:es=2", 0x80, 0},
    };

    (void)state;
    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        struct gs_codebook *codebook = create(cases[i].text);
        struct gs_group group = {.scale = 1};
        float y;
        gs_codebook_value(codebook, &group, cases[i].code, &y);
        if (y != cases[i].value)
            fail_msg("%s: code %02x is %g", cases[i].text, cases[i].code, (double)y);
        gs_codebook_destroy(&codebook);
    }
}

/* ---- fits --------------------------------------------------------------------------------- */

/* Weights count by their importance: a group's outlier that matters is met, one that does not
 * is clipped. */
static void importances_guide_fits(void **state)
{
    static const char *const texts[] = {"uniform:bits=2", "uniform:bits=3,zero=2", "float:bits=3",
                                        "lloyd:points=4", "ternary", "choice:bits=2", "dual",
                                        "kmeans:bits=2", "quantile:bits=3"};
    enum { GROUP = 64 };

    (void)state;
    for (size_t i = 0; i < GS_COUNT(texts); i++) {
        struct gs_codebook *codebook = create(texts[i]);
        float *table = gs_alloc(codebook->table_floats, sizeof *table);
        float x[GROUP], h[GROUP];
        double error[2]; /* of the outlier, when it matters and when not */
        for (int k = 0; k < GROUP; k++)
            x[k] = samples[k];
        x[7] = 9;
        for (int heavy = 0; heavy < 2; heavy++) {
            struct gs_group group;
            float y;
            for (int k = 0; k < GROUP; k++)
                h[k] = 1;
            h[7] = heavy ? 1000 : 0;
            gs_codebook_fit(codebook, gs_scale_rule_find("f16"), x, h, GROUP, table, &group);
            gs_codebook_nearest(codebook, &group, &x[7], NULL, &y);
            error[heavy] = fabs(9.0 - y);
        }
        if (!(error[1] < 0.1 && error[0] > 3))
            fail_msg("%s: %g, %g", texts[i], error[0], error[1]);
        gs_free(&table);
        gs_codebook_destroy(&codebook);
    }
}

/* No other scale on a fine ladder is better than the fitted one by more than a little: a few
 * percent where many exponents make many minima. */
static void fits_are_near_the_best_scale(void **state)
{
    static const struct { const char *text; double tolerance; } cases[] = {
        {"uniform:bits=4,zero=0", 1.02}, {"uniform:bits=2,zero=3", 1.02}, {"float", 1.02},
        {"quantile", 1.02}, {"ternary", 1.02}, {"lloyd:points=8", 1.02},
        {"float:bits=6,exponent=2", 1.02}, {"posit:bits=6", 1.05},
    };
    enum { GROUP = 128, GROUPS = 64 };

    (void)state;
    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        struct gs_codebook *codebook = create(cases[i].text);
        double fitted = 0, best = 0;
        for (int g = 0; g < GROUPS; g++) {
            const float *x = samples + g * GROUP;
            struct gs_group group, trial;
            double least = INFINITY;
            gs_codebook_fit(codebook, gs_scale_rule_find("f32"), x, NULL, GROUP, NULL, &group);
            for (int step = -150; step <= 150; step++) {
                double sum = 0;
                float y;
                trial = group;
                trial.scale *= (float)exp(step / 150.0);
                for (int k = 0; k < GROUP; k++) {
                    gs_codebook_nearest(codebook, &trial, &x[k], NULL, &y);
                    sum += ((double)x[k] - y) * ((double)x[k] - y);
                }
                least = fmin(least, sum);
                fitted += step == 0 ? sum : 0;
            }
            best += least;
        }
        if (fitted > best * cases[i].tolerance)
            fail_msg("%s: fitted %g, possible %g", cases[i].text, fitted, best);
        gs_codebook_destroy(&codebook);
    }
}

/* More choice is never worse, and worth what docs/grids.md says of it. */
static void a_choice_of_tables_pays(void **state)
{
    (void)state;
    for (int bits = 2; bits <= 4; bits++) {
        double last = INFINITY;
        for (int tables = 1; tables <= 4; tables *= 2) {
            char text[64];
            snprintf(text, sizeof text, "choice:bits=%d,tables=%d", bits, tables);
            struct gs_codebook *codebook = create(text);
            double mse = measure(codebook, 64, "f16");
            if (!(mse < 0.99 * last))
                fail_msg("%s: %g after %g", text, mse, last);
            last = mse;
            gs_codebook_destroy(&codebook);
        }
    }
}

/* The exponent that is searched is as good as any fixed one. */
static void the_searched_exponent_is_the_best(void **state)
{
    struct gs_codebook *searched = create("power:bits=3,group=128");
    struct gs_codebook_data data = {.w = samples, .rows = 256, .cols = 256, .stride = 256};

    (void)state;
    assert_int_equal(searched->shared_bits, 8);
    assert_int_equal(gs_codebook_learn(searched, &data, NULL), GS_OK);
    double mse = measure(searched, 128, "f16");
    for (int a = 5; a <= 10; a++) {
        char text[64];
        snprintf(text, sizeof text, "power:bits=3,power=%g", a / 10.0);
        struct gs_codebook *fixed = create(text);
        assert_true(mse < 1.005 * measure(fixed, 128, "f16"));
        gs_codebook_destroy(&fixed);
    }
    gs_codebook_destroy(&searched);
}

/* Terms that are left out cost what they would have gained: 4^bits each, but for clipping. */
static void residual_terms_can_be_left_out(void **state)
{
    struct gs_codebook *whole = create("residual:bits=3,terms=4");
    struct gs_group group;
    double error[4] = {0};
    float y, z;

    (void)state;
    gs_codebook_fit(whole, gs_scale_rule_find("f32"), samples, NULL, 64, NULL, &group);
    for (int i = 0; i < 64; i++) {
        uint64_t code = gs_codebook_nearest(whole, &group, &samples[i], NULL, &y);
        assert_true(fabsf(samples[i] - y) <= fabsf(group.scale) * 0x1p-9f);
        for (int terms = 1; terms <= 4; terms++) {
            gs_codebook_value(whole, &group, code & ((UINT64_C(1) << 3 * terms) - 1), &z);
            error[terms - 1] += ((double)samples[i] - z) * ((double)samples[i] - z);
        }
        assert_true(y == z);
    }
    for (int terms = 1; terms < 4; terms++)
        assert_true(error[terms] < error[terms - 1] / 24);
    gs_codebook_destroy(&whole);
}

/* ---- k-means on a line -------------------------------------------------------------------- */

static double cost_of(const float *x, const float *h, size_t n, const float *centers, unsigned k)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++) {
        double least = INFINITY;
        for (unsigned c = 0; c < k; c++)
            least = fmin(least, ((double)x[i] - centers[c]) * ((double)x[i] - centers[c]));
        sum += (h ? h[i] : 1) * least;
    }
    return sum;
}

/* All ways to cut 9 sorted numbers into 3. */
static void clusters_are_optimal(void **state)
{
    struct gs_rng rng;

    (void)state;
    gs_rng_init(&rng, 2, 0);
    for (int trial = 0; trial < 200; trial++) {
        float x[9], h[9], centers[3];
        double least = INFINITY;
        for (int i = 0; i < 9; i++) {
            x[i] = (float)gs_rng_normal(&rng);
            h[i] = gs_rng_f32(&rng) < 0.2f ? 0 : gs_rng_f32(&rng);
        }
        gs_kmeans_line(x, h, 9, centers, 3);
        double got = cost_of(x, h, 9, centers, 3);
        for (int i = 0; i < 8; i++) /* ascending, as the cuts below want it */
            for (int k = 0; k < 8 - i; k++)
                if (x[k] > x[k + 1]) {
                    float t = x[k], u = h[k];
                    x[k] = x[k + 1], x[k + 1] = t;
                    h[k] = h[k + 1], h[k + 1] = u;
                }
        for (int a = 1; a < 8; a++)
            for (int b = a + 1; b < 9; b++) {
                int ends[] = {0, a, b, 9};
                float means[3] = {0};
                for (int c = 0; c < 3; c++) {
                    double weight = 0, sum = 0;
                    for (int i = ends[c]; i < ends[c + 1]; i++) {
                        weight += h[i];
                        sum += (double)h[i] * x[i];
                    }
                    means[c] = weight > 0 ? (float)(sum / weight) : 1e9f;
                }
                least = fmin(least, cost_of(x, h, 9, means, 3));
            }
        assert_true(got <= least + 1e-6);
    }
}

static void clusters_of_many_numbers_are_nearly_optimal(void **state)
{
    float centers[16];

    (void)state;
    assert_true(gs_kmeans_line_exact(16) >= 4095);
    gs_kmeans_line(samples, NULL, 1 << 16, centers, 16);
    expect("k-means", cost_of(samples, NULL, 1 << 16, centers, 16) / (1 << 16), 0.009501, 0.01);
    for (int i = 1; i < 16; i++)
        assert_true(centers[i] > centers[i - 1]);
    gs_kmeans_line((float[]){3}, NULL, 1, centers, 4);
    for (int i = 0; i < 4; i++)
        assert_true(centers[i] == 3);
}

static int fill(void **state)
{
    (void)state;
    walk_normal(samples, N, 1);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_single_scale_loses_what_is_published),
        cmocka_unit_test(the_closed_form_is_what_samples_lose),
        cmocka_unit_test(microscaling_follows_the_standard),
        cmocka_unit_test(microscaling_is_exact),
        cmocka_unit_test(tables_are_the_published_ones),
        cmocka_unit_test(eight_bit_formats_have_their_landmarks),
        cmocka_unit_test(importances_guide_fits),
        cmocka_unit_test(fits_are_near_the_best_scale),
        cmocka_unit_test(a_choice_of_tables_pays),
        cmocka_unit_test(the_searched_exponent_is_the_best),
        cmocka_unit_test(residual_terms_can_be_left_out),
        cmocka_unit_test(clusters_are_optimal),
        cmocka_unit_test(clusters_of_many_numbers_are_nearly_optimal),
    };

    return cmocka_run_group_tests(tests, fill, NULL);
}
