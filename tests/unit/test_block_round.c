/* SPDX-License-Identifier: MIT
 * Rounding to block types: the losses that are reported, that feedback beats nearest codes and
 * polish never raises the loss, and independence of threads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "kernels/kernels.h"
#include "round/block.h"

/* More rows than a chunk has, more columns than a span, neither a multiple. */
enum { ROWS = 40, COLS = 512 };

struct problem {
    double *h;
    float *w, *e;
    uint8_t *dst;
    struct gs_ldl ldl;
    struct gs_block_result result;
};

/* Second moments of channels that share a few factors; some never fire. */
static double *make_h(size_t n, uint64_t seed)
{
    double *h = gs_alloc(n * n, sizeof *h), *x = gs_alloc(n, sizeof *x);
    struct gs_rng rng;

    gs_rng_init(&rng, seed, 1);
    for (size_t t = 0; t < n; t++) {
        double state = 0;
        for (size_t i = 0; i < n; i++) {
            state = 0.9 * state + gs_rng_normal(&rng);
            x[i] = i % 97 == 5 ? 0 : state * (i % 31 == 0 ? 3 : 1);
        }
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++)
                h[i * n + j] += x[i] * x[j] / (double)n;
    }
    gs_free(&x);
    return h;
}

static void problem_make(struct problem *p, const struct gs_format *f, size_t rows, size_t cols)
{
    const struct gs_type_info *info = gs_type_info(f->type);
    struct gs_rng rng;

    gs_rng_init(&rng, 5, 0);
    p->w = gs_alloc(rows * cols, sizeof *p->w);
    p->e = gs_alloc(rows * cols, sizeof *p->e);
    p->dst = gs_alloc(rows * cols / info->block, info->bytes);
    for (size_t i = 0; i < rows * cols; i++)
        p->w[i] = 0.03f * (float)gs_rng_normal(&rng);
}

static void problem_clear(struct problem *p)
{
    gs_free(&p->w);
    gs_free(&p->e);
    gs_free(&p->dst);
}

static void run(struct problem *p, const struct gs_format *f, size_t rows, size_t cols,
                unsigned sweeps, bool feedback, struct gs_team *team)
{
    struct gs_block_round job = {.format = f, .ldl = &p->ldl, .h = p->h, .rows = rows,
                                 .cols = cols, .w = p->e, .w_stride = cols, .dst = p->dst,
                                 .sweeps = sweeps};
    double *diagonal = gs_alloc(cols, sizeof *diagonal);
    double *damping = gs_alloc(cols, sizeof *damping);

    for (size_t i = 0; i < cols; i++) {
        diagonal[i] = p->h[i * cols + i];
        damping[i] = 0.02 * diagonal[i];
        p->h[i * cols + i] += damping[i];
    }
    job.damping = damping;
    assert_int_equal(feedback ? gs_ldl_create(NULL, p->h, cols, f->points->dim, GS_DAMPING,
                                              &p->ldl, NULL)
                              : gs_ldl_create_diagonal(diagonal, cols, f->points->dim, GS_DAMPING,
                                                       &p->ldl, NULL), GS_OK);
    for (size_t i = 0; i < cols; i++)
        p->h[i * cols + i] = diagonal[i];
    memcpy(p->e, p->w, rows * cols * sizeof *p->e);
    assert_int_equal(gs_block_round(&job, team, &p->result, NULL), GS_OK);
    gs_ldl_clear(&p->ldl);
    gs_free(&diagonal);
    gs_free(&damping);
}

/* tr(E H Eᵀ) of what a decoder reads; the residual must be that of the decoded weights. */
static double true_loss(const struct problem *p, const struct gs_format *f, size_t rows,
                        size_t cols, bool check_residual)
{
    float *y = gs_alloc(rows * cols, sizeof *y);
    double loss = 0;

    gs_kernels()->decode[f->type](p->dst, y, rows * cols);
    for (size_t i = 0; i < rows * cols; i++) {
        y[i] = p->w[i] - y[i];
        if (check_residual)
            assert_true(fabsf(y[i] - p->e[i]) < 1e-6f);
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < cols; i++) {
            double sum = 0;
            for (size_t j = 0; j < cols; j++)
                sum += p->h[i * cols + j] * (double)y[r * cols + j];
            loss += sum * (double)y[r * cols + i];
        }
    gs_free(&y);
    return loss;
}

/* Nearest codes, then feedback, then more and more polish: each no worse than the last. */
static void test_ladder(void **state)
{
    double *h = make_h(COLS, 1);

    (void)state;
    for (size_t k = 0; gs_format_at(k); k++) {
        const struct gs_format *f = gs_format_at(k);
        size_t rows = f->type == GS_TYPE_Q4_K ? ROWS : 3;
        struct problem p = {.h = h};
        problem_make(&p, f, rows, COLS);
        run(&p, f, rows, COLS, 0, false, NULL);
        double nearest = true_loss(&p, f, rows, COLS, true), last;
        run(&p, f, rows, COLS, 0, true, NULL);
        last = true_loss(&p, f, rows, COLS, true);
        if (!(last < 0.75 * nearest))
            fail_msg("%s: %g with feedback, %g nearest", gs_type_info(f->type)->name, last,
                     nearest);
        assert_true(fabs(p.result.loss - last) < 1e-3 * last);
        double damped = p.result.sweep;
        for (unsigned sweeps = 1; sweeps < (k % 5 ? 2 : 3); sweeps++) {
            run(&p, f, rows, COLS, sweeps, true, NULL);
            assert_true(p.result.polished <= damped * (1 + 1e-6));
            damped = p.result.polished;
        }
        double polished = true_loss(&p, f, rows, COLS, true);
        assert_true(fabs(p.result.loss - polished) < 1e-3 * polished);
        if (!(polished < 0.98 * last))
            fail_msg("%s: %g polished, %g before", gs_type_info(f->type)->name, polished, last);
        problem_clear(&p);
    }
    gs_free(&h);
}

/* Small spans: fewer columns than a span, and one block. */
static void test_narrow(void **state)
{
    static const size_t widths[] = {32, 96, 288};
    const struct gs_format *f = gs_format_find(GS_TYPE_Q4_0);

    (void)state;
    for (size_t k = 0; k < GS_COUNT(widths); k++) {
        struct problem p = {.h = make_h(widths[k], k)};
        problem_make(&p, f, 5, widths[k]);
        run(&p, f, 5, widths[k], 2, true, NULL);
        double loss = true_loss(&p, f, 5, widths[k], true);
        assert_true(fabs(p.result.loss - loss) < 1e-3 * loss);
        problem_clear(&p);
        gs_free(&p.h);
    }
}

static void test_threads(void **state)
{
    static const enum gs_type types[] = {GS_TYPE_Q4_K, GS_TYPE_MXFP4, GS_TYPE_IQ2_XXS};
    double *h = make_h(COLS, 2);
    struct gs_team *team = NULL;

    (void)state;
    assert_int_equal(gs_team_create(3, &team, NULL), GS_OK);
    for (size_t k = 0; k < GS_COUNT(types); k++) {
        const struct gs_format *f = gs_format_find(types[k]);
        struct problem one = {.h = h}, three = {.h = h};
        problem_make(&one, f, ROWS, COLS);
        problem_make(&three, f, ROWS, COLS);
        run(&one, f, ROWS, COLS, 1, true, NULL);
        run(&three, f, ROWS, COLS, 1, true, team);
        assert_memory_equal(one.dst, three.dst,
                            ROWS * COLS / f->block * gs_type_info(f->type)->bytes);
        assert_true(one.result.loss == three.result.loss);
        problem_clear(&one);
        problem_clear(&three);
    }
    gs_team_destroy(&team);
    gs_free(&h);
}

static void test_bad_input(void **state)
{
    const struct gs_format *f = gs_format_find(GS_TYPE_Q4_K);
    struct gs_err err = {0};
    struct problem p = {.h = make_h(256, 3)};
    struct gs_block_round job = {.format = f, .h = p.h, .rows = 2, .cols = 256, .w_stride = 256,
                                 .sweeps = 1};

    (void)state;
    problem_make(&p, f, 2, 256);
    job.w = p.w;
    job.dst = p.dst;
    job.ldl = &p.ldl;
    assert_int_equal(gs_ldl_create(NULL, p.h, 256, 8, GS_DAMPING, &p.ldl, NULL), GS_OK);
    assert_int_equal(gs_block_round(&job, NULL, &p.result, &err), GS_E_ARG);
    assert_non_null(strstr(err.msg, "blocks of 1"));
    gs_ldl_clear(&p.ldl);
    assert_int_equal(gs_ldl_create(NULL, p.h, 256, 1, GS_DAMPING, &p.ldl, NULL), GS_OK);
    job.cols = 224;
    assert_int_equal(gs_block_round(&job, NULL, &p.result, NULL), GS_E_ARG);
    job.cols = 256;
    p.w[300] = NAN;
    err = (struct gs_err){0};
    assert_int_equal(gs_block_round(&job, NULL, &p.result, &err), GS_E_FORMAT);
    assert_non_null(strstr(err.msg, "weight (1, 44) is NaN"));
    gs_ldl_clear(&p.ldl);
    gs_free(&p.h);
    problem_clear(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ladder), cmocka_unit_test(test_narrow),
        cmocka_unit_test(test_threads), cmocka_unit_test(test_bad_input),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
