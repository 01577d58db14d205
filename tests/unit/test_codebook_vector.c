/* SPDX-License-Identifier: MIT
 * Codebooks of vectors: the errors on unit Gaussian weights that theory or papers give, what
 * learning is worth, tables in files. What holds for every codebook is in test_codebook.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codebook/codebook.h"
#include "core/alloc.h"
#include "core/rng.h"

enum { ROWS = 32, COLS = 4096 };

static float *gaussian; /* (ROWS, COLS) */

/* The quantile of a unit Gaussian: Newton's steps on its distribution function. */
static double quantile(double p)
{
    double x = 0;

    for (int i = 0; i < 60; i++)
        x -= fmax(-1, fmin(1, (0.5 * erfc(-x / sqrt(2)) - p) /
                              (exp(-x * x / 2) / sqrt(2 * acos(-1)))));
    return x;
}

/* Every row has the quantiles of a Gaussian in an order of its own, so that the numbers as such
 * have no noise, and errors little. */
static int set_up(void **state)
{
    struct gs_rng rng;
    (void)state;

    gaussian = gs_alloc(ROWS * COLS, sizeof *gaussian);
    if (!gaussian)
        return -1;
    gs_rng_init(&rng, 1, 0);
    for (int c = 0; c < COLS; c++)
        gaussian[c] = (float)quantile((c + 0.5) / COLS);
    for (int r = 0; r < ROWS; r++) {
        float *row = gaussian + r * COLS;
        memcpy(row, gaussian, COLS * sizeof *row);
        for (size_t c = COLS; c-- > 1;) {
            size_t other = gs_rng_below(&rng, c + 1);
            float swap = row[c];
            row[c] = row[other];
            row[other] = swap;
        }
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    gs_free(&gaussian);
    return 0;
}

static struct gs_codebook *create(const char *text)
{
    struct gs_codebook *codebook = NULL;
    struct gs_err err = {0};

    if (gs_codebook_create(text, &codebook, &err))
        fail_msg("%s: %s", text, err.msg);
    return codebook;
}

/* Mean squared error of the weights of a matrix that are whole codes, one scale a row. */
static double mean_error(const struct gs_codebook *codebook, const float *w, size_t rows,
                         size_t cols)
{
    size_t used = cols - cols % codebook->dim;
    double sum = 0;
    float y[GS_CODEBOOK_DIM];

    for (size_t r = 0; r < rows; r++) {
        struct gs_group group;
        gs_codebook_fit(codebook, gs_scale_rule_find("f16"), w + r * cols, NULL, used, NULL,
                        &group);
        for (size_t c = 0; c < used; c += codebook->dim) {
            const float *x = w + r * cols + c;
            gs_codebook_nearest(codebook, &group, x, NULL, y);
            for (unsigned i = 0; i < codebook->dim; i++)
                sum += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
        }
    }
    return sum / (double)(rows * used);
}

/* Errors as published or known, within 1 %. */
static void gaussian_errors_are_as_published(void **state)
{
    static const struct { const char *text; double mse; size_t rows; } cases[] = {
        {"e8p:bits=2", 0.0914, ROWS},
        {"e8p:bits=3", 0.02947, ROWS},
        {"e8p:bits=4", 0.00834, ROWS},
        {"pyramid:dim=16,pulses=10,gain=3", 0.112, 16},
        {"pyramid:dim=32,pulses=21,gain=2", 0.101, 16},
        {"fsq:l1=4,l2=4,l3=4,l4=4,l5=4", 0.118846, ROWS}, /* uniform, 2 bits */
        {"fsq:l1=3,l2=3,l3=3,l4=3,l5=3", 0.190174, ROWS},
        {"fsq:l1=8,l2=6,l3=5,l4=0,l5=0", (0.0374397 + 0.0606566 + 0.0821777) / 3, ROWS},
    };

    (void)state;
    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        struct gs_codebook *codebook = create(cases[i].text);
        double mse = mean_error(codebook, gaussian, cases[i].rows, COLS);
        if (getenv("GS_PRINT"))
            print_message("%-40s %.3f bits  %.5f\n", cases[i].text, codebook->pack_bits /
                          (double)(codebook->pack_codes * codebook->dim), mse);
        if (fabs(mse / cases[i].mse - 1) > 0.01)
            fail_msg("%s: error %g, published %g", cases[i].text, mse, cases[i].mse);
        if (codebook->gaussian_mse > 0)
            assert_true(fabs(mse / codebook->gaussian_mse - 1) < 0.01);
        gs_codebook_destroy(&codebook);
    }
}

/* ---- learned ------------------------------------------------------------------------------ */

static struct gs_codebook *learn(const char *text, const struct gs_codebook_data *data)
{
    struct gs_codebook *codebook = create(text);

    assert_int_equal(gs_codebook_learn(codebook, data, NULL), GS_OK);
    return codebook;
}

static struct gs_codebook_data gaussian_data(size_t rows)
{
    return (struct gs_codebook_data){.w = gaussian, .rows = rows, .cols = COLS, .stride = COLS,
                                     .seed = 7};
}

/* With dim = 1, k-means finds Lloyd and Max's points; vectors do better than numbers, and
 * better than the sum of what their parts could do alone. */
static void learned_vectors_reach_what_is_known(void **state)
{
    static const struct { const char *text; double least, most; } cases[] = {
        {"vector:bits=1,dim=1", 0.3597, 0.367},  /* 0.3634 */
        {"vector:bits=2,dim=1", 0.1163, 0.1187}, /* 0.1175 */
        {"vector:bits=3,dim=1,candidates=4", 0.0342, 0.0352}, /* 0.0345 */
        {"vector:bits=2,dim=2", 0.100, 0.1165},  /* 2 bits: between bound and numbers */
        {"vector:bits=2,dim=4", 0.085, 0.105},
        {"product:dim=8,parts=4,bits=2", 0.100, 0.1165},
        {"additive:books=2,bits=2,dim=4", 0.090, 0.115}, /* 2 bits */
        {"additive:books=3,bits=1.875,dim=8", 0.09, 0.115}, /* 1.875 bits, bound 0.0743 */
    };
    struct gs_codebook_data data = gaussian_data(ROWS);

    (void)state;
    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        struct gs_codebook *codebook = learn(cases[i].text, &data);
        double mse = mean_error(codebook, gaussian, ROWS, COLS);
        if (getenv("GS_PRINT"))
            print_message("%-40s %.5f\n", cases[i].text, mse);
        if (mse < cases[i].least || mse > cases[i].most)
            fail_msg("%s: error %g", cases[i].text, mse);
        gs_codebook_destroy(&codebook);
    }
}

/* Searches that may miss the nearest point seldom do; and with every combination of signs and
 * zeros, points keep their numbers. */
static void pyramid_finds_nearly_all_nearest_points(void **state)
{
    struct gs_codebook *codebook = create("pyramid:dim=5,pulses=4,gain=2");
    struct gs_group group = {.scale = 0.8f};
    unsigned missed[2] = {0};
    float y[5], z[5], h[5];
    struct gs_rng rng;
    (void)state;

    gs_rng_init(&rng, 9, 0);
    assert_int_equal(codebook->states, 450 * 4); /* N(5, 4) */
    for (uint64_t code = 0; code < codebook->states; code++) {
        gs_codebook_value(codebook, &group, code, y);
        assert_true(gs_codebook_nearest(codebook, &group, y, NULL, z) == code);
    }
    for (int n = 0; n < 4000; n++) {
        const float *x = gaussian + 5 * n, *weights = n % 2 ? h : NULL;
        double found = 0, least = INFINITY;
        for (int i = 0; i < 5; i++)
            h[i] = (float)exp(gs_rng_normal(&rng));
        gs_codebook_nearest(codebook, &group, x, weights, y);
        for (int i = 0; i < 5; i++)
            found += (weights ? (double)h[i] : 1) * pow((double)x[i] - y[i], 2);
        for (uint64_t code = 0; code < codebook->states; code++) {
            double d = 0;
            gs_codebook_value(codebook, &group, code, z);
            for (int i = 0; i < 5; i++)
                d += (weights ? (double)h[i] : 1) * pow((double)x[i] - z[i], 2);
            least = fmin(least, d);
        }
        missed[n % 2] += found > least * (1 + 1e-5);
    }
    if (getenv("GS_PRINT"))
        print_message("missed %u, with importances %u of 2000\n", missed[0], missed[1]);
    assert_true(missed[0] <= 2 && missed[1] <= 20);
    gs_codebook_destroy(&codebook);

    /* Counts of points beyond 64 bits are noticed. */
    struct gs_err err = {0};
    assert_int_equal(gs_codebook_create("pyramid:dim=16,pulses=64,gain=0", &codebook, &err),
                     GS_E_ARG);
    assert_non_null(strstr(err.msg, "more than 64 bits"));
}

/* Every kind that learns, with keys that make it small. */
static const char *const learners[] = {
    "vector:bits=1.25,dim=4", "vector:bits=1.25,dim=4,candidates=4,scale=0",
    "product:dim=6,parts=3,bits=1.5",
    "additive:books=2,bits=1,dim=8",
    "additive:books=5,bits=3.75,dim=4,beam=2",
};

/* What a file keeps is all that a reader needs; a team learns the same. */
static void learned_tables_survive_files_and_teams(void **state)
{
    struct gs_codebook_data data = gaussian_data(2);
    struct gs_team *team;
    (void)state;

    assert_int_equal(gs_team_create(3, &team, NULL), GS_OK);
    for (size_t i = 0; i < GS_COUNT(learners); i++) {
        struct gs_codebook *one = learn(learners[i], &data), *three, *read = create(learners[i]);
        size_t bytes = (size_t)(one->shared_bits + 7) / 8;
        uint8_t *a = gs_alloc(1, bytes), *b = gs_alloc(1, bytes);
        struct gs_group group = {.scale = 0.5f};
        struct gs_err err = {0};

        data.team = team;
        three = learn(learners[i], &data);
        data.team = NULL;
        assert_true(bytes > 0 && a && b);
        gs_codebook_write(one, a);
        gs_codebook_write(three, b);
        assert_memory_equal(a, b, bytes);
        assert_int_equal(gs_codebook_read(read, a, &err), GS_OK);
        for (size_t c = 0; c < 512; c += one->dim) {
            float y[GS_CODEBOOK_DIM], z[GS_CODEBOOK_DIM];
            assert_true(gs_codebook_nearest(one, &group, gaussian + c, NULL, y) ==
                        gs_codebook_nearest(read, &group, gaussian + c, NULL, z));
            assert_memory_equal(y, z, one->dim * sizeof *y);
        }
        a[1] = 0x7c; /* infinity */
        assert_int_equal(gs_codebook_read(read, a, &err), GS_E_FORMAT);
        assert_non_null(strstr(err.msg, "not finite"));
        gs_free(&a);
        gs_free(&b);
        gs_codebook_destroy(&one);
        gs_codebook_destroy(&three);
        gs_codebook_destroy(&read);
    }
    gs_team_destroy(&team);
}

/* Σ h (w − ŵ)² of the first row's codes, with the scale that fits h. */
static double weighted_error(const struct gs_codebook *codebook, const float *h)
{
    struct gs_group group;
    double sum = 0;
    float y[GS_CODEBOOK_DIM];
    size_t n = COLS - COLS % codebook->dim;

    gs_codebook_fit(codebook, gs_scale_rule_find("f16"), gaussian, h, n, NULL, &group);
    for (size_t c = 0; c < n; c += codebook->dim) {
        gs_codebook_nearest(codebook, &group, gaussian + c, h + c, y);
        for (unsigned i = 0; i < codebook->dim; i++)
            sum += (double)h[c + i] * pow((double)gaussian[c + i] - y[i], 2);
    }
    return sum;
}

/* Tables that were learned with importances serve them better. */
static void importances_guide_learning(void **state)
{
    float *h = gs_alloc(COLS, sizeof *h);
    struct gs_rng rng;
    (void)state;

    assert_non_null(h);
    gs_rng_init(&rng, 5, 0);
    for (int c = 0; c < COLS; c++)
        h[c] = (float)exp(3 * gs_rng_normal(&rng));
    for (size_t i = 0; i < GS_COUNT(learners); i++) {
        struct gs_codebook_data data = gaussian_data(1);
        struct gs_codebook *plain = learn(learners[i], &data);
        data.h = h;
        struct gs_codebook *guided = learn(learners[i], &data);
        assert_true(weighted_error(guided, h) < 0.95 * weighted_error(plain, h));
        gs_codebook_destroy(&plain);
        gs_codebook_destroy(&guided);
    }
    gs_free(&h);
}

/* Nothing to learn from, the same everywhere, not a number: no harm, finite tables. */
static void odd_matrices_are_learned(void **state)
{
    enum { N = 96 };
    static const float fills[] = {0, 1, NAN, INFINITY, 3e38f};
    float w[2 * N], y[GS_CODEBOOK_DIM];
    struct gs_group group = {.scale = 1};
    (void)state;

    for (size_t i = 0; i < GS_COUNT(learners); i++)
        for (size_t f = 0; f < GS_COUNT(fills); f++)
            for (size_t rows = 0; rows < 3; rows++) {
                for (int j = 0; j < 2 * N; j++)
                    w[j] = j % 3 ? 0.5f : fills[f];
                struct gs_codebook_data data = {.w = w, .rows = rows, .cols = N, .stride = N};
                struct gs_codebook *codebook = learn(learners[i], &data);
                for (uint64_t code = 0; code < codebook->states; code++) {
                    gs_codebook_value(codebook, &group, code, y);
                    for (unsigned j = 0; j < codebook->dim; j++)
                        assert_true(isfinite(y[j]));
                }
                gs_codebook_destroy(&codebook);
            }
}

static void lost_memory_while_learning_is_an_error(void **state)
{
    struct gs_codebook_data data = gaussian_data(1);
    (void)state;

    data.cols = 64;
    for (size_t i = 0; i < GS_COUNT(learners); i++) {
        struct gs_codebook *codebook = create(learners[i]);
        int rc = GS_E_NOMEM;
        for (uint64_t n = 1; rc == GS_E_NOMEM; n++) {
            gs_alloc_fail_at(n);
            rc = gs_codebook_learn(codebook, &data, NULL);
            gs_alloc_fail_at(0);
            assert_true(n > 4 || rc == GS_E_NOMEM);
        }
        assert_int_equal(rc, GS_OK);
        gs_codebook_destroy(&codebook);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gaussian_errors_are_as_published),
        cmocka_unit_test(pyramid_finds_nearly_all_nearest_points),
        cmocka_unit_test(learned_vectors_reach_what_is_known),
        cmocka_unit_test(learned_tables_survive_files_and_teams),
        cmocka_unit_test(importances_guide_learning),
        cmocka_unit_test(odd_matrices_are_learned),
        cmocka_unit_test(lost_memory_while_learning_is_an_error),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
