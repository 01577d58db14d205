/* SPDX-License-Identifier: MIT
 * Low-rank corrections, bias and gain against what they are to minimise. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "compensate/compensate.h"
#include "core/alloc.h"
#include "core/rng.h"
#include "linalg/eigen.h"
#include "linalg/gram.h"

enum { ROWS = 70, COLS = 50, N = ROWS * COLS, RANK = 5 };

struct problem {
    float w[N], e[N];
    double h[COLS * COLS], mean[COLS], diagonal[COLS];
    struct gs_moments full, diag;
};

/* Weights, an error of full rank whose columns differ in size, inputs of a few directions
 * around a mean. */
static struct problem *make_problem(uint64_t seed)
{
    enum { T = 300 };
    struct problem *p = gs_alloc(1, sizeof *p);
    float *x = gs_alloc(T * COLS, sizeof *x);
    struct gs_rng rng;

    assert_non_null(p);
    assert_non_null(x);
    gs_rng_init(&rng, seed, 0);
    for (size_t i = 0; i < N; i++) {
        p->w[i] = (float)gs_rng_normal(&rng);
        p->e[i] = 0.1f * (float)gs_rng_normal(&rng);
    }
    for (size_t t = 0; t < T; t++) {
        double common = gs_rng_normal(&rng);
        for (size_t c = 0; c < COLS; c++) {
            x[t * COLS + c] = (float)(0.5 * (double)(c % 3) + common * sin((double)c) +
                                      0.3 * gs_rng_normal(&rng) * (c % 11 ? 1 : 8));
            p->mean[c] += (double)x[t * COLS + c] / T;
        }
    }
    assert_int_equal(gs_gram_add(NULL, x, T, COLS, COLS, p->h, NULL), GS_OK);
    gs_gram_finish(p->h, COLS, 1.0 / T);
    for (size_t c = 0; c < COLS; c++)
        p->diagonal[c] = p->h[c * COLS + c];
    p->full.full = p->h;
    p->diag.diagonal = p->diagonal;
    gs_free(&x);
    return p;
}

/* u H vᵀ for two rows. */
static double form(const struct gs_moments *m, const float *u, const float *v)
{
    double sum = 0;

    for (size_t i = 0; i < COLS; i++)
        for (size_t j = 0; m && m->full && j < COLS; j++)
            sum += (double)u[i] * m->full[i * COLS + j] * (double)v[j];
    for (size_t i = 0; i < COLS && !(m && m->full); i++)
        sum += (double)u[i] * (double)v[i] * (m ? m->diagonal[i] : 1);
    return sum;
}

/* tr(E H Eᵀ), low taken out of e first (may be NULL). */
static double loss_of(const struct gs_moments *m, const float *e, const struct gs_low_rank *low)
{
    float rest[N];
    double sum = 0;

    memcpy(rest, e, sizeof rest);
    if (low)
        gs_low_rank_add(low, -1, NULL, rest, COLS);
    for (size_t r = 0; r < ROWS; r++)
        sum += form(m, rest + r * COLS, rest + r * COLS);
    return sum;
}

/* What no correction of this rank can be below: the eigenvalues of E H Eᵀ past the rank. */
static double bound(const struct gs_moments *m, const float *e, size_t rank)
{
    double a[ROWS * ROWS], values[ROWS], vectors[ROWS * ROWS], sum = 0;

    for (size_t i = 0; i < ROWS; i++)
        for (size_t j = 0; j < ROWS; j++)
            a[i * ROWS + j] = form(m, e + i * COLS, e + j * COLS);
    gs_eigen_symmetric(a, ROWS, values, vectors);
    for (size_t i = rank; i < ROWS; i++)
        sum += fmax(values[i], 0);
    return sum;
}

static struct gs_low_rank *correct(const struct problem *p, const struct gs_moments *m,
                                   size_t rank, const char *format)
{
    struct gs_low_rank *low;

    assert_int_equal(gs_low_rank_create(p->e, COLS, ROWS, COLS, rank, m,
                                        gs_factor_format_find(format), NULL, &low, NULL), GS_OK);
    return low;
}

/* The best there is for the identity, a diagonal and a full H, and better under its own H than
 * the plain one. */
static void test_optimal(void **state)
{
    struct problem *p = make_problem(1);
    const struct gs_moments *moments[] = {NULL, &p->diag, &p->full};
    (void)state;

    for (size_t i = 0; i < GS_COUNT(moments); i++) {
        struct gs_low_rank *low = correct(p, moments[i], RANK, "f16");
        double loss = loss_of(moments[i], p->e, low), least = bound(moments[i], p->e, RANK);
        assert_true(loss >= least * (1 - 1e-6));
        assert_true(loss <= least * 1.001);
        if (i) {
            struct gs_low_rank *plain = correct(p, NULL, RANK, "f16");
            assert_true(loss < 0.9 * loss_of(moments[i], p->e, plain));
            gs_low_rank_destroy(&plain);
        }
        gs_low_rank_destroy(&low);
        /* eight bits lose a little more, and never as much as the correction gains */
        low = correct(p, moments[i], RANK, "int8");
        loss = loss_of(moments[i], p->e, low);
        assert_true(loss <= least * 1.02 && loss < 0.9 * loss_of(moments[i], p->e, NULL));
        gs_low_rank_destroy(&low);
        /* signs of factors: still a gain, where no second bit could be spent better */
        low = correct(p, moments[i], RANK, "sign");
        assert_true(loss_of(moments[i], p->e, low) < loss_of(moments[i], p->e, NULL));
        gs_low_rank_destroy(&low);
    }
    gs_free(&p);
}

/* A singular H, a rank beyond the matrix, an error of zero, an error of small rank. */
static void test_edges(void **state)
{
    struct problem *p = make_problem(2);
    (void)state;

    for (size_t i = 0; i < COLS * COLS; i++) /* the last ten inputs never come */
        if (i / COLS >= COLS - 10 || i % COLS >= COLS - 10)
            p->h[i] = 0;
    struct gs_low_rank *low = correct(p, &p->full, RANK, "f16");
    assert_true(loss_of(&p->full, p->e, low) <= bound(&p->full, p->e, RANK) * 1.001);
    gs_low_rank_destroy(&low);

    low = correct(p, NULL, 1000, "f16");
    assert_int_equal(low->rank, COLS);
    assert_true(loss_of(NULL, p->e, low) < 1e-5 * loss_of(NULL, p->e, NULL));
    gs_low_rank_destroy(&low);

    for (size_t i = 0; i < N; i++)
        p->e[i] = (float)(i / COLS % 4) * (float)(i % COLS % 3);
    low = correct(p, NULL, RANK, "f16");
    assert_true(loss_of(NULL, p->e, low) < 1e-6 * loss_of(NULL, p->e, NULL));
    gs_low_rank_destroy(&low);

    memset(p->e, 0, sizeof p->e);
    for (size_t f = 0; gs_factor_format_at(f); f++) {
        low = correct(p, NULL, RANK, gs_factor_format_at(f)->name);
        for (size_t i = 0; i < RANK * COLS; i++)
            assert_true(low->b[i] == 0);
        gs_low_rank_destroy(&low);
    }
    low = correct(p, NULL, 0, "f16");
    assert_int_equal(gs_low_rank_bytes(low), 0);
    gs_low_rank_destroy(&low);
    gs_free(&p);
}

static void test_not_finite(void **state)
{
    struct problem *p = make_problem(3);
    struct gs_low_rank *low;
    struct gs_err err = {0};
    (void)state;

    p->e[77] = NAN;
    assert_int_equal(gs_low_rank_create(p->e, COLS, ROWS, COLS, RANK, NULL,
                                        gs_factor_format_find("f16"), NULL, &low, &err),
                     GS_E_FORMAT);
    assert_null(low);
    gs_free(&p);
}

/* Any team gives the same bits; written and read they are the same; products agree. */
static void test_file_and_product(void **state)
{
    enum { T = 3 };
    struct problem *p = make_problem(4);
    struct gs_team *team;
    float x[T * COLS], y[T * ROWS], work[T * RANK], dense[N];
    (void)state;

    assert_int_equal(gs_team_create(3, &team, NULL), GS_OK);
    for (size_t i = 0; i < T * COLS; i++)
        x[i] = p->w[i];
    for (size_t f = 0; gs_factor_format_at(f); f++) {
        const struct gs_factor_format *format = gs_factor_format_at(f);
        struct gs_low_rank *low = correct(p, &p->full, RANK, format->name), *other;
        assert_int_equal(gs_low_rank_create(p->e, COLS, ROWS, COLS, RANK, &p->full, format, team,
                                            &other, NULL), GS_OK);
        assert_memory_equal(low->a, other->a, RANK * ROWS * sizeof *low->a);
        assert_memory_equal(low->b, other->b, RANK * COLS * sizeof *low->b);
        gs_low_rank_destroy(&other);

        uint64_t bytes = gs_low_rank_bytes(low);
        assert_int_equal(bytes, RANK * (8 + (ROWS * format->bits + 7) / 8 +
                                         (COLS * format->bits + 7) / 8));
        uint8_t *buffer = gs_alloc(bytes, 1);
        gs_low_rank_write(low, buffer);
        struct gs_cursor c = gs_cursor_make(buffer, bytes);
        assert_int_equal(gs_low_rank_read(&c, ROWS, COLS, RANK, format, &other, NULL), GS_OK);
        assert_int_equal(gs_cursor_left(&c), 0);
        assert_memory_equal(low->a, other->a, RANK * ROWS * sizeof *low->a);
        assert_memory_equal(low->b, other->b, RANK * COLS * sizeof *low->b);
        gs_low_rank_destroy(&other);
        for (uint64_t n = 0; n < bytes; n++) {
            c = gs_cursor_make(buffer, n);
            assert_int_equal(gs_low_rank_read(&c, ROWS, COLS, RANK, format, &other, NULL),
                             GS_E_FORMAT);
            assert_null(other);
        }
        gs_free(&buffer);

        memset(dense, 0, sizeof dense);
        gs_low_rank_add(low, 1, team, dense, COLS);
        memset(y, 0, sizeof y);
        gs_low_rank_mul(low, x, T, team, work, y);
        for (size_t i = 0; i < T * ROWS; i++) {
            double sum = 0, size = 0;
            for (size_t j = 0; j < COLS; j++) {
                sum += (double)dense[i % ROWS * COLS + j] * (double)x[i / ROWS * COLS + j];
                size += fabs((double)x[i / ROWS * COLS + j]);
            }
            assert_true(fabs((double)y[i] - sum) < 1e-5 * size);
        }
        gs_low_rank_destroy(&low);
    }
    gs_team_destroy(&team);
    gs_free(&p);
}

static void test_hostile(void **state)
{
    static const size_t shapes[][3] = {
        {SIZE_MAX, 5, 1}, {5, SIZE_MAX / 2, 2}, {SIZE_MAX / 2, SIZE_MAX / 2, SIZE_MAX / 2},
        {4, 4, 5}, {1u << 30, 1u << 30, 1u << 20}};
    const struct gs_factor_format *f16 = gs_factor_format_find("f16");
    uint8_t bytes[64] = {0};
    struct gs_low_rank *low;
    (void)state;

    for (size_t i = 0; i < GS_COUNT(shapes); i++) {
        struct gs_cursor c = gs_cursor_make(bytes, sizeof bytes);
        struct gs_err err = {0};
        assert_int_equal(gs_low_rank_read(&c, shapes[i][0], shapes[i][1], shapes[i][2], f16,
                                          &low, &err), GS_E_FORMAT);
        assert_non_null(strstr(err.msg, "does not fit"));
        assert_null(low);
    }
    bytes[3] = 0x7f; /* a scale of 2^127 times f16's 65504 */
    bytes[2] = 0;
    bytes[5] = 0x7b;
    struct gs_cursor c = gs_cursor_make(bytes, sizeof bytes);
    assert_int_equal(gs_low_rank_read(&c, 4, 4, 1, f16, &low, NULL), GS_E_FORMAT);
    assert_null(low);
}

struct rounding {
    const struct gs_moments *moments;
    float step, last[N]; /* the last target */
    int calls;
};

static int round_to_step(void *ctx, const float *target, float *rounded, double *loss,
                         struct gs_err *err)
{
    struct rounding *r = ctx;
    float e[N];
    (void)err;

    r->calls++;
    for (size_t i = 0; i < N; i++) {
        r->last[i] = target[i];
        rounded[i] = r->step * fminf(1.5f, fmaxf(-1.5f, floorf(target[i] / r->step) + 0.5f));
        e[i] = target[i] - rounded[i];
    }
    *loss = loss_of(r->moments, e, NULL);
    return GS_OK;
}

/* More steps never end worse; the loss told is the loss; the codes in place are the best's. */
static void test_alternation(void **state)
{
    struct problem *p = make_problem(5);
    struct rounding r = {.moments = &p->full, .step = 0.8f};
    float rounded[N], e[N];
    double first = 0;
    (void)state;

    for (int start = 0; start < 2; start++)
        for (int steps = 1; steps <= 4; steps += 3) {
            struct gs_low_rank *low;
            double loss;
            r.calls = 0;
            assert_int_equal(gs_low_rank_alternate(p->w, ROWS, COLS, RANK, steps, start == 1,
                                                   &p->full, gs_factor_format_find("f16"),
                                                   round_to_step, &r, NULL, rounded, &low, &loss,
                                                   NULL), GS_OK);
            assert_in_range(r.calls, steps + !start, steps + !start + 1);
            for (size_t i = 0; i < N; i++)
                e[i] = p->w[i] - rounded[i];
            assert_true(fabs(loss_of(&p->full, e, low) - loss) < 1e-4 * loss);
            gs_low_rank_add(low, 1, NULL, r.last, COLS);
            for (size_t i = 0; i < N; i++)
                assert_true(fabsf(r.last[i] - p->w[i]) < 1e-5f);
            assert_true(steps == 1 || loss < first);
            first = loss;
            gs_low_rank_destroy(&low);
        }
    gs_free(&p);
}

static int round_fails(void *ctx, const float *target, float *rounded, double *loss,
                       struct gs_err *err)
{
    struct rounding *r = ctx;

    return ++r->calls == 3 ? gs_fail(err, GS_E_STOPPED, "stopped")
                           : round_to_step(ctx, target, rounded, loss, err);
}

static void test_alternation_stops(void **state)
{
    struct problem *p = make_problem(6);
    struct rounding r = {.step = 1};
    struct gs_low_rank *low;
    float rounded[N];
    (void)state;

    assert_int_equal(gs_low_rank_alternate(p->w, ROWS, COLS, RANK, 9, false, NULL,
                                           gs_factor_format_find("f16"), round_fails, &r, NULL,
                                           rounded, &low, NULL, NULL), GS_E_STOPPED);
    assert_null(low);
    gs_free(&p);
}

static void test_bias(void **state)
{
    struct problem *p = make_problem(7);
    float db[ROWS];
    (void)state;

    gs_bias_correct(p->e, COLS, ROWS, COLS, p->mean, NULL, db);
    for (size_t r = 0; r < ROWS; r++) {
        double sum = 0;
        for (size_t c = 0; c < COLS; c++)
            sum += (double)p->e[r * COLS + c] * p->mean[c];
        assert_true(fabs(sum - (double)db[r]) < 1e-6);
    }
    gs_free(&p);
}

/* E (w x − g ŵ x − c)² */
static double row_error(const struct problem *p, const struct gs_moments *m, const float *w,
                        const float *q, double g, double c)
{
    float d[COLS];
    double mean = 0;

    for (size_t i = 0; i < COLS; i++) {
        d[i] = (float)((double)w[i] - g * (double)q[i]);
        mean += (double)d[i] * p->mean[i];
    }
    return form(m, d, d) - 2 * c * mean + c * c;
}

/* No gain or bias near it is better; nor is none at all. */
static void test_affine(void **state)
{
    struct problem *p = make_problem(8);
    float what[N], gain[ROWS], bias[ROWS], again[ROWS];
    struct gs_team *team;
    (void)state;

    for (size_t i = 0; i < N; i++)
        what[i] = 0.8f * p->w[i] + p->e[i];
    memset(what + 9 * COLS, 0, COLS * sizeof *what); /* an output that is always 0 */
    assert_int_equal(gs_affine_correct(p->w, what, COLS, ROWS, COLS, &p->full, p->mean, NULL,
                                       gain, bias, NULL), GS_OK);
    for (size_t r = 0; r < ROWS; r++) {
        const float *w = p->w + r * COLS, *q = what + r * COLS;
        double g = (double)gain[r], c = (double)bias[r];
        double best = row_error(p, &p->full, w, q, g, c);
        assert_true(best <= row_error(p, &p->full, w, q, 1, 0));
        for (int i = 0; i < 4; i++) {
            double dg = i == 0 ? 0.02 : i == 1 ? -0.02 : 0, dc = i == 2 ? 0.02 : i == 3 ? -0.02 : 0;
            assert_true(r == 9 || best < row_error(p, &p->full, w, q, g + dg, c + dc));
        }
        assert_true(r != 9 || g == 1);
    }
    assert_int_equal(gs_team_create(2, &team, NULL), GS_OK);
    assert_int_equal(gs_affine_correct(p->w, what, COLS, ROWS, COLS, &p->full, p->mean, team,
                                       again, bias, NULL), GS_OK);
    assert_memory_equal(gain, again, sizeof gain);
    /* without a mean: least squares through zero, no bias wanted */
    assert_int_equal(gs_affine_correct(p->w, what, COLS, ROWS, COLS, &p->diag, NULL, team, gain,
                                       NULL, NULL), GS_OK);
    for (size_t r = 0; r < ROWS; r++)
        assert_true(r == 9 || fabs((double)gain[r] -
                                   form(&p->diag, p->w + r * COLS, what + r * COLS) /
                                   form(&p->diag, what + r * COLS, what + r * COLS)) < 1e-6);
    gs_team_destroy(&team);
    gs_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_optimal),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_file_and_product),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_alternation),
        cmocka_unit_test(test_alternation_stops),
        cmocka_unit_test(test_bias),
        cmocka_unit_test(test_affine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
