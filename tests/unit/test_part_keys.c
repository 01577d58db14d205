/* SPDX-License-Identifier: MIT
 * Keys of matrices of parts beside rounding itself: scales by search, output correction,
 * rounding that weighs bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/part_case.h"

#include "core/alloc.h"
#include "core/rng.h"

#define ROWS 32
#define COLS 128
#define TOKENS 512

static struct gs_err err;
static float weights[ROWS * COLS];
static double moments[COLS * COLS], covariance[COLS * COLS], mean[COLS];

/* Heavy-tailed weights; correlated inputs of different sizes with a mean. */
static int setup(void **state)
{
    static float x[TOKENS][COLS];
    struct gs_rng rng;

    (void)state;
    gs_rng_init(&rng, 11, 0);
    for (size_t i = 0; i < ROWS * COLS; i++) {
        double g = gs_rng_normal(&rng);
        weights[i] = (float)(0.02 * g * (1 + 0.3 * g * g));
    }
    for (size_t t = 0; t < TOKENS; t++) {
        double last = 0;
        for (size_t i = 0; i < COLS; i++) {
            last = 0.7 * last + gs_rng_normal(&rng);
            x[t][i] = (float)((last + 0.8 * (double)(i % 3)) * (i % 17 ? 1 : 4));
            mean[i] += (double)x[t][i] / TOKENS;
        }
    }
    for (size_t i = 0; i < COLS; i++)
        for (size_t j = 0; j < COLS; j++) {
            for (size_t t = 0; t < TOKENS; t++)
                moments[i * COLS + j] += (double)x[t][i] * (double)x[t][j] / TOKENS;
            covariance[i * COLS + j] = moments[i * COLS + j] - mean[i] * mean[j];
        }
    return 0;
}

struct rounded {
    uint8_t *blob;
    struct gs_part_result result;
    float y[ROWS * COLS]; /* decoded */
    float bias[ROWS];
};

/* `h` NULL: only its diagonal is known. */
static void round_with(const struct gs_part_spec *spec, double *h, struct gs_team *team,
                       struct rounded *out)
{
    static float w[ROWS * COLS];
    static double diagonal[COLS];
    struct gs_part_input input;

    err = (struct gs_err){0};
    memcpy(w, weights, sizeof w);
    for (size_t i = 0; i < COLS; i++)
        diagonal[i] = moments[i * COLS + i];
    if (gs_part_check(spec, &err) ||
        gs_part_input_create(spec, team, COLS, h, diagonal, &input, &err))
        fail_msg("%s", err.msg);
    input.mean = gs_part_corrects(spec) ? mean : NULL;
    const struct gs_part_job job = {.spec = spec, .input = &input, .rows = ROWS, .cols = COLS,
                                    .w = w, .team = team, .seed = 5, .bias = out->bias};
    if (gs_part_round(&job, &out->blob, &out->result, &err) ||
        gs_part_decode(out->blob, out->result.bytes, team, out->y, &err))
        fail_msg("%s", err.msg);
    gs_part_input_clear(&input);
    gs_free(&out->blob);
}

/* tr(E H Eᵀ) of the decoded matrix, the plain way. */
static double plain_loss(const struct rounded *r, const double *h)
{
    double sum = 0;

    for (size_t row = 0; row < ROWS; row++)
        for (size_t i = 0; i < COLS; i++)
            for (size_t j = 0; j < COLS; j++)
                sum += ((double)weights[row * COLS + i] - (double)r->y[row * COLS + i]) *
                       h[i * COLS + j] *
                       ((double)weights[row * COLS + j] - (double)r->y[row * COLS + j]);
    return sum;
}

/* A search never loses against the scales that it begins with, and what it tells is true. */
static void test_search_pays(void **state)
{
    static const struct {
        const char *codebook, *scale;
        unsigned group;
    } cases[] = {{"uniform:bits=3,fit=0", "row", 0}, {"uniform:bits=4,zero=2", "group", 32},
                 {"quantile:bits=3", "group", 50}, {"vector:bits=1.5,dim=4", "group", 64}};
    static const char *const searches[] = {"easyquant", "evolution"};
    static struct rounded plain, searched;

    (void)state;
    for (size_t k = 0; k < GS_COUNT(cases); k++)
        for (size_t s = 0; s < GS_COUNT(searches); s++)
            for (int full = 0; full < 2; full++) {
                struct gs_part_spec spec = make_spec(cases[k].codebook, cases[k].scale,
                                                     cases[k].group, "nearest");
                round_with(&spec, full ? moments : NULL, NULL, &plain);
                strcpy(spec.search, searches[s]);
                round_with(&spec, full ? moments : NULL, NULL, &searched);
                if (!(searched.result.loss < 0.99 * plain.result.loss))
                    fail_msg("%s, %s: %g, without %g", cases[k].codebook, searches[s],
                             searched.result.loss, plain.result.loss);
                assert_int_equal(searched.result.bytes, plain.result.bytes);
                double loss = full ? plain_loss(&searched, moments) : searched.result.loss;
                assert_true(fabs(searched.result.loss - loss) <= 1e-4 * loss);
            }
}

static void test_threads_do_not_matter(void **state)
{
    struct gs_part_spec spec = make_spec("uniform:bits=3,fit=0", "group", 32, "nearest");
    static struct rounded one, three;
    struct gs_team *team;

    (void)state;
    strcpy(spec.search, "evolution");
    assert_int_equal(gs_team_create(3, &team, NULL), GS_OK);
    round_with(&spec, moments, NULL, &one);
    round_with(&spec, moments, team, &three);
    assert_memory_equal(one.y, three.y, sizeof one.y);
    spec = make_spec("uniform:bits=8,zero=0", "tensor", 0, "gptq");
    spec.rate = 0.02;
    round_with(&spec, moments, NULL, &one);
    round_with(&spec, moments, team, &three);
    assert_memory_equal(one.y, three.y, sizeof one.y);
    gs_team_destroy(&team);
}

/* b = (W − Ŵ) mean(x); with it, the error is that of inputs less their mean. */
static void test_bias(void **state)
{
    struct gs_part_spec spec = make_spec("uniform:bits=2,fit=0", "row", 0, "nearest");
    static struct rounded r;

    (void)state;
    strcpy(spec.correct, "bias");
    round_with(&spec, covariance, NULL, &r);
    for (size_t row = 0; row < ROWS; row++) {
        double b = 0, size = 0;
        for (size_t i = 0; i < COLS; i++) {
            double e = (double)weights[row * COLS + i] - (double)r.y[row * COLS + i];
            b += e * mean[i];
            size += fabs(e * mean[i]);
        }
        assert_true(fabs(b - (double)r.bias[row]) < 1e-5 * size);
    }
    double loss = plain_loss(&r, covariance);
    assert_true(fabs(r.result.loss - loss) < 1e-4 * loss);
    assert_true(loss < 0.95 * plain_loss(&r, moments));
}

/* Gains are in the scales that the blob has, and lower the error. */
static void test_affine(void **state)
{
    struct gs_part_spec spec = make_spec("uniform:bits=2", "group", 32, "nearest");
    static struct rounded plain, affine;

    (void)state;
    strcpy(spec.correct, "bias");
    round_with(&spec, covariance, NULL, &plain);
    strcpy(spec.correct, "affine");
    round_with(&spec, covariance, NULL, &affine);
    assert_int_equal(affine.result.bytes, plain.result.bytes);
    assert_true(affine.result.loss < plain.result.loss);
    double loss = plain_loss(&affine, covariance);
    assert_true(fabs(affine.result.loss - loss) < 1e-4 * loss);
}

/* Bits a weight of a matrix whose values are integers times one step: their entropy. */
static double entropy(const float *y)
{
    double bits = 0;

    for (size_t i = 0; i < ROWS * COLS; i++) {
        size_t same = 0;
        for (size_t j = 0; j < ROWS * COLS; j++)
            same += y[j] == y[i];
        bits -= log2((double)same / (ROWS * COLS)) / (ROWS * COLS);
    }
    return bits;
}

/* A greater rate takes fewer bits and leaves more error; at about equal bits there is less error
 * than with the nearest points of a coarser grid; feedback leaves less again. */
static void test_rate(void **state)
{
    struct gs_part_spec spec = make_spec("uniform:bits=8,zero=0", "tensor", 0, "nearest");
    static struct rounded coarse, r, fed;
    double last_bits = 9, last_loss = 0;

    (void)state;
    for (unsigned k = 0; k < 4; k++) {
        strcpy(spec.rounder, "nearest");
        spec.rate = 0.005 * (double)(1u << 2 * k);
        round_with(&spec, moments, NULL, &r);
        double bits = entropy(r.y);
        assert_true(bits < last_bits && r.result.loss > last_loss);
        strcpy(spec.rounder, "gptq");
        round_with(&spec, moments, NULL, &fed);
        assert_true(fed.result.loss < 0.9 * r.result.loss && entropy(fed.y) < bits + 0.1);
        last_bits = bits;
        last_loss = r.result.loss;
    }
    /* by H's diagonal, which is what both weigh; a coarse grid of the same kind */
    spec = make_spec("uniform:bits=5,zero=0,fit=0", "tensor", 0, "nearest");
    round_with(&spec, NULL, NULL, &coarse);
    spec = make_spec("uniform:bits=8,zero=0", "tensor", 0, "nearest");
    strcpy(spec.importance, "hessian");
    spec.rate = 0.03;
    round_with(&spec, NULL, NULL, &r);
    if (!(entropy(r.y) < entropy(coarse.y) && r.result.loss < coarse.result.loss))
        fail_msg("%g bits %g, coarse %g bits %g", entropy(r.y), r.result.loss,
                 entropy(coarse.y), coarse.result.loss);
}

/* Memory that is lost anywhere is an error, and nothing leaks. */
static void test_lost_memory(void **state)
{
    struct gs_part_spec spec = make_spec("uniform:bits=3,fit=0", "group", 64, "nearest");
    static float w[ROWS * COLS], bias[ROWS];
    struct gs_part_input input;
    uint64_t at = 1;

    (void)state;
    strcpy(spec.search, "evolution");
    strcpy(spec.correct, "affine");
    assert_int_equal(gs_part_input_create(&spec, NULL, COLS, covariance, NULL, &input, NULL),
                     GS_OK);
    input.mean = mean;
    const struct gs_part_job job = {.spec = &spec, .input = &input, .rows = ROWS, .cols = COLS,
                                    .w = w, .seed = 5, .bias = bias};
    for (int rc = GS_E_NOMEM; rc; at++) {
        struct gs_part_result result;
        uint8_t *blob = NULL;
        memcpy(w, weights, sizeof w);
        gs_alloc_fail_at(at);
        rc = gs_part_round(&job, &blob, &result, NULL);
        gs_alloc_fail_at(0);
        if (rc)
            assert_int_equal(rc, GS_E_NOMEM);
        gs_free(&blob);
    }
    assert_in_range(at, 10, 500);
    gs_part_input_clear(&input);
}

static void test_combinations(void **state)
{
    struct gs_part_spec spec = make_spec("uniform:bits=3", "group", 32, "gptq");

    (void)state;
    strcpy(spec.search, "easyquant");
    assert_int_equal(gs_part_check(&spec, &err), GS_E_ARG); /* groups fitted on the way */
    assert_non_null(strstr(err.msg, "static_groups = yes"));
    spec.static_groups = true;
    assert_int_equal(gs_part_check(&spec, NULL), GS_OK);
    strcpy(spec.scale, "block");
    assert_int_equal(gs_part_check(&spec, NULL), GS_E_ARG);
    spec = make_spec("uniform:bits=8,zero=1", "tensor", 0, "nearest");
    spec.rate = 0.01;
    assert_int_equal(gs_part_check(&spec, &err), GS_E_ARG); /* codes with a zero point */
    spec = make_spec("kmeans:bits=3", "row", 0, "nearest");
    strcpy(spec.correct, "affine");
    assert_int_equal(gs_part_check(&spec, NULL), GS_E_ARG); /* a table is no scale */
    strcpy(spec.correct, "bias");
    assert_int_equal(gs_part_check(&spec, NULL), GS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_search_pays),
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_bias),
        cmocka_unit_test(test_affine),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_lost_memory),
        cmocka_unit_test(test_combinations),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
