/* SPDX-License-Identifier: MIT
 * Transform and rounding together, on weights as layers have them: heavy tails, columns of
 * different size, correlated inputs. The Hadamard transform must lower the proxy loss at 2
 * bits, QuIP's rescale in front of it once more, and H must be transformed as W is.
 * GS_PRINT=1 prints the table of docs/rounding.md. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "linalg/gram.h"
#include "round/round.h"
#include "transform/transform.h"

#define M 128
#define N 256
#define TOKENS 1024

/* Student's t with 5 degrees of freedom. */
static double heavy(struct gs_rng *rng)
{
    double z = gs_rng_normal(rng), chi = 0;

    for (int i = 0; i < 5; i++)
        chi += pow(gs_rng_normal(rng), 2);
    return z / sqrt(chi / 5);
}

/* W (M, N): heavy tails, column sizes spread by exp(0.6 z); H (N, N): inputs that are mixed
 * over neighbours, channel sizes spread likewise. */
static void make_layer(uint64_t seed, float *w, double *h)
{
    float *x = gs_alloc(TOKENS * N, sizeof *x);
    double w_size[N], x_size[N];
    struct gs_rng rng;

    gs_rng_init(&rng, seed, 7);
    for (size_t c = 0; c < N; c++) {
        w_size[c] = exp(0.6 * gs_rng_normal(&rng));
        x_size[c] = exp(0.6 * gs_rng_normal(&rng));
    }
    for (size_t i = 0; i < M * N; i++)
        w[i] = (float)(0.02 * heavy(&rng) * w_size[i % N]);
    for (size_t t = 0; t < TOKENS; t++) {
        double mixed = 0;
        for (size_t c = 0; c < N; c++) {
            mixed = 0.8 * mixed + gs_rng_normal(&rng);
            x[t * N + c] = (float)(mixed * x_size[c]);
        }
    }
    memset(h, 0, N * N * sizeof *h);
    assert_int_equal(gs_gram_add(NULL, x, TOKENS, N, N, h, NULL), GS_OK);
    gs_gram_finish(h, N, 1.0 / TOKENS);
    gs_free(&x);
}

enum input { PLAIN, RESCALE, ROTATE, BOTH };

/* The transform of one input side. */
static struct gs_transform *make_input(enum input how, const float *w, const double *h)
{
    static const char *const names[] = {"none", "diagonal", "hadamard", "hadamard"};
    double h_diagonal[N], w_squares[N] = {0};
    struct gs_transform_fit fit = {.seed = 1, .h_diagonal = h_diagonal, .w_squares = w_squares};
    struct gs_transform *t, *scale;

    for (size_t c = 0; c < N; c++)
        h_diagonal[c] = h[c * N + c];
    for (size_t i = 0; i < M * N; i++)
        w_squares[i % N] += (double)w[i] * (double)w[i];
    assert_int_equal(gs_transform_create(gs_transform_find(names[how]), N, &fit, &t, NULL), 0);
    if (how == BOTH) {
        assert_int_equal(gs_transform_create(gs_transform_find("diagonal"), N, &fit, &scale,
                                             NULL), GS_OK);
        assert_int_equal(gs_transform_fold(t, scale, NULL), GS_OK);
        gs_transform_destroy(&scale);
    }
    return t;
}

/* tr(W H Wᵀ). */
static double trace(const float *w, const double *h)
{
    double sum = 0;

    for (size_t r = 0; r < M; r++)
        for (size_t i = 0; i < N; i++)
            for (size_t j = 0; j < N; j++)
                sum += (double)w[r * N + i] * h[i * N + j] * (double)w[r * N + j];
    return sum;
}

/* tr(E H Eᵀ) / tr(W H Wᵀ); the transform of H may be kept from the rounder, to see what that
 * costs. */
static double loss_of(enum input how, bool match_h, const char *rounder, const char *grid,
                      unsigned rate, uint64_t seed)
{
    float *w = gs_alloc(M * N, sizeof *w), *scales = gs_alloc(M, sizeof *scales);
    double *h = gs_alloc(N * N, sizeof *h), *plain = gs_alloc(N * N, sizeof *h), loss, energy;
    struct gs_transform_fit fit = {.seed = 2};
    struct gs_grid_params params = {.rate = rate};
    struct gs_transform *in, *out;
    struct gs_round_result result;
    struct gs_codec *codec;
    struct gs_ldl ldl;

    make_layer(seed, w, h);
    memcpy(plain, h, N * N * sizeof *h);
    energy = trace(w, h);
    assert_int_equal(gs_codec_create(gs_grid_find(grid), &params, &codec, NULL), GS_OK);
    in = make_input(how, w, h);
    assert_int_equal(gs_transform_create(gs_transform_find(how >= ROTATE ? "hadamard" : "none"),
                                         M, &fit, &out, NULL), GS_OK);
    assert_int_equal(gs_transform_rows(in, GS_TRANSFORM_DUAL, NULL, w, M, N, NULL), GS_OK);
    assert_int_equal(gs_transform_columns(out, GS_TRANSFORM_FORWARD, NULL, w, N, N, NULL), 0);
    assert_int_equal(gs_transform_hessian(in, NULL, h, NULL), GS_OK);
    assert_int_equal(gs_ldl_create(NULL, match_h ? h : plain, N, gs_grid_find(grid)->block_cols,
                                   GS_DAMPING, &ldl, NULL), GS_OK);
    struct gs_round job = {.codec = codec, .ldl = &ldl, .rows = M, .cols = N, .w = w,
                           .w_stride = N, .scales = scales, .refit = true};
    size_t bytes = gs_round_codes_bytes(codec, M, N, &job.codes_stride);
    job.codes = gs_alloc(bytes, 1);
    assert_int_equal(gs_round_matrix(gs_rounder_find(rounder), &job, NULL, &result, NULL), 0);
    loss = trace(w, h) / energy; /* of the residual, whatever H the rounding believed in */
    gs_free(&job.codes);
    gs_free(&w);
    gs_free(&scales);
    gs_free(&h);
    gs_free(&plain);
    gs_ldl_clear(&ldl);
    gs_codec_destroy(&codec);
    gs_transform_destroy(&in);
    gs_transform_destroy(&out);
    return loss;
}

static void test_each_part_lowers_the_loss(void **state)
{
    (void)state;

    for (uint64_t seed = 1; seed <= 3; seed++) {
        double plain = loss_of(PLAIN, true, "ldlq", "uniform", 16, seed);
        double rescale = loss_of(RESCALE, true, "ldlq", "uniform", 16, seed);
        double rotate = loss_of(ROTATE, true, "ldlq", "uniform", 16, seed);
        double both = loss_of(BOTH, true, "ldlq", "uniform", 16, seed);
        double nearest = loss_of(BOTH, true, "nearest", "uniform", 16, seed);
        assert_true(rotate < 0.3 * plain);
        assert_true(both < 0.8 * rotate && both < 0.2 * rescale);
        assert_true(both < 0.5 * nearest);
    }
}

/* H left in the old basis: feedback for another layer. */
static void test_h_must_move_with_w(void **state)
{
    (void)state;
    double matched = loss_of(BOTH, true, "ldlq", "uniform", 16, 1);
    double not_matched = loss_of(BOTH, false, "ldlq", "uniform", 16, 1);

    assert_true(not_matched > 1.5 * matched);
}

static void test_print_table(void **state)
{
    static const char *const names[] = {"none", "rescale", "Hadamard", "rescale + Hadamard"};
    const struct gs_grid *grid;
    (void)state;

    if (!getenv("GS_PRINT"))
        skip();
    for (size_t g = 0; (grid = gs_grid_at(g)) != NULL; g++)
        for (unsigned rate = 16; rate <= 24; rate += 8) {
            if (grid->slow || rate < grid->rate_min || rate > grid->rate_max)
                continue;
            for (enum input how = PLAIN; how <= BOTH; how++)
                print_message("%-10s %u bits  %-19s nearest %.4f  ldlq %.4f\n", grid->name,
                       rate / 8, names[how], loss_of(how, true, "nearest", grid->name, rate, 1),
                       loss_of(how, true, "ldlq", grid->name, rate, 1));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_part_lowers_the_loss),
        cmocka_unit_test(test_h_must_move_with_w),
        cmocka_unit_test(test_print_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
