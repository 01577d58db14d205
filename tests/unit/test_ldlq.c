/* SPDX-License-Identifier: MIT
 * Rounding with feedback: the block LDL identity, the losses that are reported, and that
 * feedback beats nearest rounding wherever channels are correlated. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/alloc.h"
#include "core/half.h"
#include "core/rng.h"
#include "kernels/kernels.h"
#include "round/round.h"
#include "transform/transform.h"

/* Everything of one problem; freed by problem_clear. */
struct problem {
    struct gs_codec *codec;
    struct gs_ldl ldl;
    struct gs_round job;
    struct gs_round_result result;
    double *h; /* (n, n) */
    float *w;  /* (m, n) as it was */
    size_t codes_bytes;
};

/* Correlated channels: x_t is a first-order random walk over channels. Where `spiky` every
 * 16th channel is 10 times as large, and the basis is then turned by a random Hadamard
 * transform: without it the errors that spikes feed to their neighbours leave the range of a
 * 2-bit grid, and feedback may lose (docs/rounding.md). */
static double *make_h(size_t n, uint64_t seed, bool spiky)
{
    double *h = gs_alloc(n * n, sizeof *h), *x = gs_alloc(n, sizeof *x);
    struct gs_rng rng;

    gs_rng_init(&rng, seed, 1);
    for (size_t t = 0; t < 3 * n; t++) {
        double state = 0;
        for (size_t i = 0; i < n; i++) {
            state = 0.9 * state + gs_rng_normal(&rng);
            x[i] = state * (spiky && i % 16 == seed % 16 ? 10 : 1);
        }
        for (size_t i = 0; i < n * n; i++)
            h[i] += x[i / n] * x[i % n] / (3.0 * (double)n);
    }
    if (spiky) {
        struct gs_transform_fit fit = {.seed = seed};
        struct gs_transform *t;
        assert_int_equal(gs_transform_create(gs_transform_find("hadamard"), n, &fit, &t, NULL),
                         GS_OK);
        assert_int_equal(gs_transform_hessian(t, NULL, h, NULL), GS_OK);
        gs_transform_destroy(&t);
    }
    gs_free(&x);
    return h;
}

static unsigned rate_near(const struct gs_grid *grid, unsigned rate)
{
    rate = GS_MIN(GS_MAX(rate, grid->rate_min), grid->rate_max);
    return rate - (rate - grid->rate_min) % grid->rate_step;
}

/* h == NULL: the identity. */
static void problem_make(struct problem *p, const char *grid_name, size_t m, size_t n, double *h,
                         uint64_t seed)
{
    const struct gs_grid *grid = gs_grid_find(grid_name);
    struct gs_grid_params params = {.rate = rate_near(grid, 16)};
    struct gs_rng rng;

    memset(p, 0, sizeof *p);
    assert_int_equal(gs_codec_create(grid, &params, &p->codec, NULL), GS_OK);
    p->h = h;
    if (h)
        assert_int_equal(gs_ldl_create(NULL, h, n, grid->block_cols, GS_DAMPING, &p->ldl, NULL),
                         GS_OK);
    else
        assert_int_equal(gs_ldl_create_diagonal(NULL, n, grid->block_cols, 0, &p->ldl, NULL),
                         GS_OK);
    p->w = gs_alloc(m * n, sizeof *p->w);
    gs_rng_init(&rng, seed, 2);
    for (size_t i = 0; i < m * n; i++)
        p->w[i] = 0.02f * (float)gs_rng_normal(&rng);
    p->job = (struct gs_round){.codec = p->codec, .ldl = &p->ldl, .rows = m, .cols = n,
                               .w_stride = n};
    p->codes_bytes = gs_round_codes_bytes(p->codec, m, n, &p->job.codes_stride);
    p->job.w = gs_alloc(m * n, sizeof *p->w);
    p->job.codes = gs_alloc(p->codes_bytes, 1);
    p->job.scales = gs_alloc(m, sizeof *p->job.scales);
}

static double problem_run(struct problem *p, const char *rounder, struct gs_team *team)
{
    memcpy(p->job.w, p->w, p->job.rows * p->job.cols * sizeof *p->w);
    assert_int_equal(gs_round_matrix(gs_rounder_find(rounder), &p->job, team, &p->result, NULL),
                     GS_OK);
    return p->result.loss;
}

static void problem_clear(struct problem *p)
{
    gs_codec_destroy(&p->codec);
    gs_ldl_clear(&p->ldl);
    gs_free(&p->h);
    gs_free(&p->w);
    gs_free(&p->job.w);
    gs_free(&p->job.codes);
    gs_free(&p->job.scales);
}

/* x H yᵀ for rows x and y. */
static double form(const double *h, size_t n, const float *x, const float *y)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            sum += (double)x[i] * h[i * n + j] * (double)y[j];
    return sum;
}

/* e H' eᵀ with H' = L D Lᵀ formed element by element from the factor. */
static double form_of_factor(const struct gs_ldl *ldl, const double *e)
{
    size_t n = ldl->n, b = ldl->block;
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double hij = 0;
            for (size_t p = 0; p < n; p++)
                for (size_t q = p / b * b; q < p / b * b + b; q++)
                    hij += (double)gs_ldl_lower(ldl, i, p) * ldl->d[p * GS_LDL_BLOCK + q % b] *
                           (double)gs_ldl_lower(ldl, j, q);
            sum += e[i] * hij * e[j];
        }
    return sum;
}

/* LDLQ in f64 with rounding to quarters: tr(E H' Eᵀ) = Σ_k η_k D_k η_kᵀ, η = x − grid(x). */
static void test_block_identity(void **state)
{
    static const size_t blocks[] = {1, 8, 16};
    const size_t n = 80;
    (void)state;

    for (size_t s = 0; s < GS_COUNT(blocks); s++) {
        size_t b = blocks[s];
        double *h = make_h(n, s, true), e[80] = {0}, eta[80], sum = 0;
        struct gs_rng rng;
        struct gs_ldl ldl;
        assert_int_equal(gs_ldl_create(NULL, h, n, b, GS_DAMPING, &ldl, NULL), GS_OK);
        gs_rng_init(&rng, 1, s);
        for (size_t k = n; k > 0;) {
            k -= b;
            for (size_t j = k; j < k + b; j++) {
                double w = gs_rng_normal(&rng), x = w;
                for (size_t i = k + b; i < n; i++)
                    x += e[i] * (double)gs_ldl_lower(&ldl, i, j);
                eta[j] = x - 0.25 * round(4 * x);
                e[j] = w - 0.25 * round(4 * x);
            }
        }
        for (size_t k = 0; k < n; k++)
            for (size_t j = 0; j < b; j++)
                sum += eta[k] * ldl.d[k * GS_LDL_BLOCK + j] * eta[k / b * b + j];
        assert_true(fabs(sum - form_of_factor(&ldl, e)) <= 1e-10 * sum);
        gs_ldl_clear(&ldl);
        gs_free(&h);
    }
}

/* Loss, energy and residual against the definitions, for every grid, rounder and scale. */
static void check_reports(struct problem *p, const char *rounder)
{
    size_t m = p->job.rows, n = p->job.cols, stride = p->job.codec->grid->block_rows;
    size_t padded = (m + stride - 1) / stride * stride;
    float *q = gs_alloc(padded * n, sizeof *q);
    double loss = 0, energy = 0, squares = 0;

    problem_run(p, rounder, NULL);
    gs_codec_decode(p->codec, p->job.codes, p->job.codes_stride, padded, n, q, n);
    for (size_t r = 0; r < m; r++) {
        for (size_t c = 0; c < n; c++) {
            float want = p->w[r * n + c] - p->job.scales[r] * q[r * n + c];
            assert_true(fabsf(p->job.w[r * n + c] - want) < 1e-7f);
            squares += (double)want * (double)want;
        }
        loss += form(p->h, n, p->job.w + r * n, p->job.w + r * n);
        energy += form(p->h, n, p->w + r * n, p->w + r * n);
        if (p->job.f16_scales) {
            float h = p->job.scales[r] / p->result.scale_unit;
            assert_true(gs_f16_to_f32(gs_f32_to_f16(h)) == h);
        }
    }
    assert_true(fabs(p->result.loss - loss) < 2e-5 * loss);
    assert_true(fabs(p->result.energy - energy) < 2e-5 * energy);
    assert_true(fabs(p->result.squares - squares) < 2e-5 * squares);
    gs_free(&q);
}

static void test_reports_match_definitions(void **state)
{
    const struct gs_grid *grid;
    const struct gs_rounder *rounder;
    (void)state;

    for (size_t g = 0; (grid = gs_grid_at(g)) != NULL; g++) {
        struct problem p;
        if (grid->slow)
            continue;
        problem_make(&p, grid->name, 21, 160, make_h(160, g, true), 5);
        for (size_t r = 0; (rounder = gs_rounder_at(r)) != NULL; r++)
            for (int how = 0; how < 8; how++) {
                p.job.refit = how & 1;
                p.job.per_tensor = how & 2;
                p.job.f16_scales = how & 4;
                check_reports(&p, rounder->name);
            }
        problem_clear(&p);
    }
}

static void test_feedback_beats_nearest(void **state)
{
    const struct gs_grid *grid;
    (void)state;

    for (size_t g = 0; (grid = gs_grid_at(g)) != NULL; g++) {
        double ratio[2] = {0, 0}; /* mean over seeds: plain inputs, spiky inputs */
        if (grid->slow)
            continue;
        for (uint64_t seed = 0; seed < 12; seed++) {
            struct problem p;
            problem_make(&p, grid->name, 16, 144, make_h(144, seed, seed % 2), seed);
            double nearest = problem_run(&p, "nearest", NULL);
            double ldlq = problem_run(&p, "ldlq", NULL);
            assert_true(ldlq < (seed % 2 ? 0.6 : 1.0) * nearest);
            assert_true(ldlq < p.result.energy);
            ratio[seed % 2] += ldlq / nearest / 6;
            problem_clear(&p);
        }
        assert_true(ratio[0] < 0.8);
        assert_true(ratio[1] < 0.5);
    }
}

/* Without correlation there is nothing to feed back: the codes are those of nearest. */
static void test_diagonal_h_is_nearest(void **state)
{
    const size_t m = 16, n = 64;
    double diagonal[64], *full = gs_alloc(n * n, sizeof *full);
    struct problem p, q;
    (void)state;

    for (size_t i = 0; i < n; i++)
        full[i * n + i] = diagonal[i] = 1 + (double)(i % 7);
    problem_make(&p, "uniform", m, n, NULL, 3);
    problem_make(&q, "uniform", m, n, full, 3);
    problem_run(&p, "nearest", NULL);
    problem_run(&q, "ldlq", NULL);
    assert_memory_equal(p.job.codes, q.job.codes, p.codes_bytes);
    assert_true(fabs(p.result.loss - p.result.squares) < 1e-12 * p.result.loss);
    gs_ldl_clear(&p.ldl);
    assert_int_equal(gs_ldl_create_diagonal(diagonal, n, 8, GS_DAMPING, &p.ldl, NULL), GS_OK);
    double weighted = problem_run(&p, "ldlq", NULL);
    assert_memory_equal(p.job.codes, q.job.codes, p.codes_bytes);
    assert_true(fabs(weighted - q.result.loss) < 1e-6 * weighted);
    assert_true(weighted > p.result.squares);
    problem_clear(&p);
    problem_clear(&q);
}

/* s = q H wᵀ / q H qᵀ, row by row, and no worse than before. */
static void test_refit_is_least_squares(void **state)
{
    const size_t m = 12, n = 96;
    struct problem p;
    float q[12 * 96];
    (void)state;

    problem_make(&p, "uniform", m, n, make_h(n, 4, true), 4);
    p.job.gain = 0.8f; /* a poor guess */
    double before = problem_run(&p, "ldlq", NULL);
    p.job.refit = true;
    double rows = problem_run(&p, "ldlq", NULL);
    gs_codec_decode(p.codec, p.job.codes, p.job.codes_stride, m, n, q, n);
    for (size_t r = 0; r < m; r++) {
        double s = form(p.h, n, q + r * n, p.w + r * n) / form(p.h, n, q + r * n, q + r * n);
        assert_true(fabs((double)p.job.scales[r] - s) < 1e-5 * s);
    }
    assert_true(rows < 0.99 * before);
    p.job.per_tensor = true;
    p.job.refit = false;
    before = problem_run(&p, "ldlq", NULL);
    p.job.refit = true;
    assert_true(problem_run(&p, "ldlq", NULL) < before);
    for (size_t r = 1; r < m; r++)
        assert_true(p.job.scales[r] == p.job.scales[0]);
    problem_clear(&p);
}

static void test_same_bits_for_threads_and_levels(void **state)
{
    const struct gs_kernels *level;
    const size_t m = 150, n = 272;
    struct problem p, q;
    (void)state;

    problem_make(&p, "uniform", m, n, make_h(n, 6, true), 6);
    problem_make(&q, "uniform", m, n, make_h(n, 6, true), 6);
    p.job.refit = q.job.refit = true;
    problem_run(&p, "ldlq", NULL);
    for (size_t l = 0; (level = gs_kernels_level(l)) != NULL; l++) {
        if (gs_kernels_select(level->name, NULL) != GS_OK)
            continue;
        for (int threads = 1; threads <= 3; threads++) {
            struct gs_team *team;
            assert_int_equal(gs_team_create(threads, &team, NULL), GS_OK);
            problem_run(&q, "ldlq", team);
            gs_team_destroy(&team);
            assert_memory_equal(p.job.codes, q.job.codes, p.codes_bytes);
            assert_memory_equal(p.job.scales, q.job.scales, m * sizeof(float));
            assert_memory_equal(p.job.w, q.job.w, m * n * sizeof(float));
            assert_memory_equal(&p.result.loss, &q.result.loss, sizeof p.result.loss);
        }
    }
    problem_clear(&p);
    problem_clear(&q);
}

static void test_zero_rows_and_matrices(void **state)
{
    struct problem p;
    (void)state;

    problem_make(&p, "uniform", 9, 32, make_h(32, 1, false), 1);
    memset(p.w + 32, 0, 32 * sizeof *p.w);
    p.job.refit = p.job.f16_scales = true;
    problem_run(&p, "ldlq", NULL);
    assert_true(p.job.scales[1] == 0 && p.job.scales[0] > 0);
    for (size_t c = 0; c < 32; c++)
        assert_true(p.job.w[32 + c] == 0);
    memset(p.w, 0, 9 * 32 * sizeof *p.w);
    assert_true(problem_run(&p, "ldlq", NULL) == 0 && p.result.scale_unit == 1);
    problem_clear(&p);
}

static void test_bad_input(void **state)
{
    const struct gs_rounder *ldlq = gs_rounder_find("ldlq");
    struct gs_round_result result;
    struct gs_err err = {0};
    struct problem p;
    (void)state;

    assert_null(gs_rounder_find("no such rounder"));
    problem_make(&p, "uniform", 5, 40, make_h(40, 2, false), 2);
    p.job.w[2 * 40 + 7] = NAN;
    assert_int_equal(gs_round_matrix(ldlq, &p.job, NULL, &result, &err), GS_E_FORMAT);
    assert_string_equal(err.msg, "weight (2, 7) is NaN");
    p.job.w[2 * 40 + 7] = -INFINITY;
    err = (struct gs_err){0};
    assert_int_equal(gs_round_matrix(ldlq, &p.job, NULL, &result, &err), GS_E_FORMAT);
    assert_string_equal(err.msg, "weight (2, 7) is infinite");

    p.job.cols = p.ldl.n = 39;
    err = (struct gs_err){0};
    assert_int_equal(gs_round_matrix(ldlq, &p.job, NULL, &result, &err), GS_E_ARG);
    assert_string_equal(err.msg, "rows of 39 weights: grid uniform needs a multiple of 8");
    p.job.cols = 32;
    assert_int_equal(gs_round_matrix(ldlq, &p.job, NULL, &result, NULL), GS_E_ARG);
    p.job.cols = p.ldl.n = 40;
    p.ldl.block = 4; /* half a block of the grid */
    assert_int_equal(gs_round_matrix(ldlq, &p.job, NULL, &result, NULL), GS_E_ARG);
    p.ldl.block = 8;
    p.job.rows = 0;
    assert_int_equal(gs_round_matrix(ldlq, &p.job, NULL, &result, NULL), GS_E_ARG);
    problem_clear(&p);
}

static void test_out_of_memory(void **state)
{
    struct gs_round_result result;
    struct problem p;
    int rc = GS_E_NOMEM;
    (void)state;

    problem_make(&p, "uniform", 5, 40, make_h(40, 2, false), 2);
    for (uint64_t at = 1; rc == GS_E_NOMEM; at++) {
        assert_true(at < 10);
        gs_alloc_fail_at(at);
        rc = gs_round_matrix(gs_rounder_find("ldlq"), &p.job, NULL, &result, NULL);
        gs_alloc_fail_at(0);
    }
    assert_int_equal(rc, GS_OK);
    problem_clear(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_block_identity),
        cmocka_unit_test(test_reports_match_definitions),
        cmocka_unit_test(test_feedback_beats_nearest),
        cmocka_unit_test(test_diagonal_h_is_nearest),
        cmocka_unit_test(test_refit_is_least_squares),
        cmocka_unit_test(test_same_bits_for_threads_and_levels),
        cmocka_unit_test(test_zero_rows_and_matrices),
        cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
