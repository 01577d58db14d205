/* SPDX-License-Identifier: MIT
 * Eigenvectors against what defines them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "linalg/eigen.h"

static double *zeros(size_t n)
{
    double *x = gs_alloc(n, sizeof *x);

    assert_non_null(x);
    return x;
}

/* A = Vᵀ diag(values) V with random orthonormal rows V. */
static double *with_spectrum(const double *values, size_t n, uint64_t seed)
{
    double *a = zeros(n * n), *v = zeros(n * n);
    struct gs_rng rng;

    gs_rng_init(&rng, seed, 0);
    for (size_t i = 0; i < n; i++) {
        double norm = 0;
        for (size_t j = 0; j < n; j++)
            v[i * n + j] = gs_rng_normal(&rng);
        for (int pass = 0; pass < 2; pass++)
            for (size_t k = 0; k < i; k++) {
                double c = 0;
                for (size_t j = 0; j < n; j++)
                    c += v[k * n + j] * v[i * n + j];
                for (size_t j = 0; j < n; j++)
                    v[i * n + j] -= c * v[k * n + j];
            }
        for (size_t j = 0; j < n; j++)
            norm += v[i * n + j] * v[i * n + j];
        for (size_t j = 0; j < n; j++)
            v[i * n + j] /= sqrt(norm);
    }
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++)
                a[i * n + j] += values[k] * v[k * n + i] * v[k * n + j];
    gs_free(&v);
    return a;
}

/* |A v − λ v| and |v_i · v_j − δ_ij| of k vectors. */
static double worst_error(const double *a, size_t n, const double *values, const double *vectors,
                          size_t k)
{
    double worst = 0;

    for (size_t i = 0; i < k; i++) {
        const double *v = vectors + i * n;
        for (size_t r = 0; r < n; r++) {
            double sum = -values[i] * v[r];
            for (size_t c = 0; c < n; c++)
                sum += a[r * n + c] * v[c];
            worst = fmax(worst, fabs(sum));
        }
        for (size_t j = 0; j <= i; j++) {
            double sum = -(double)(i == j);
            for (size_t c = 0; c < n; c++)
                sum += v[c] * vectors[j * n + c];
            worst = fmax(worst, fabs(sum));
        }
    }
    return worst;
}

static void test_small(void **state)
{
    static const size_t sizes[] = {1, 2, 3, 17, 40};
    (void)state;

    for (size_t s = 0; s < GS_COUNT(sizes); s++) {
        size_t n = sizes[s];
        double *values = zeros(n), *got = zeros(n), *vectors = zeros(n * n);
        for (size_t i = 0; i < n; i++)
            values[i] = i % 5 == 4 ? values[i - 1] : 3 - (double)i / 4; /* pairs, negatives */
        double *a = with_spectrum(values, n, s), *copy = with_spectrum(values, n, s);
        gs_eigen_symmetric(a, n, got, vectors);
        assert_true(worst_error(copy, n, got, vectors, n) < 1e-12);
        for (size_t i = 0; i < n; i++) {
            assert_true(fabs(got[i] - values[i]) < 1e-12);
            assert_true(i == 0 || got[i] <= got[i - 1]);
        }
        gs_free(&values);
        gs_free(&got);
        gs_free(&vectors);
        gs_free(&a);
        gs_free(&copy);
    }
}

static void test_zero(void **state)
{
    double a[9] = {0}, values[3], vectors[9];
    (void)state;

    gs_eigen_symmetric(a, 3, values, vectors);
    for (size_t i = 0; i < 3; i++)
        assert_true(values[i] == 0);
    assert_true(worst_error(a, 3, values, vectors, 3) == 0);
}

struct dense {
    const double *a;
    size_t n;
    int calls;
};

static int dense_apply(void *ctx, const double *x, size_t count, double *y, struct gs_err *err)
{
    struct dense *d = ctx;
    (void)err;

    d->calls++;
    memset(y, 0, count * d->n * sizeof *y);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < d->n; j++)
            for (size_t c = 0; c < d->n; c++)
                y[i * d->n + c] += x[i * d->n + j] * d->a[j * d->n + c];
    return GS_OK;
}

/* Decaying, with a gap, of small rank, flat, zero: values always, vectors as far as they are
 * determined. */
static void test_top(void **state)
{
    enum { N = 90, K = 6 };
    (void)state;

    for (int kind = 0; kind < 5; kind++) {
        double values[N], got[K], *vectors = zeros(K * N);
        for (size_t i = 0; i < N; i++)
            values[i] = kind == 0   ? pow(0.7, (double)i)
                        : kind == 1 ? (i < K ? 10 - (double)i : 0.01)
                        : kind == 2 ? (i < 3 ? 3 - (double)i : 0)
                        : kind == 3 ? 1
                                    : 0;
        struct dense d = {.a = with_spectrum(values, N, 7), .n = N};
        assert_int_equal(gs_eigen_top(NULL, N, K, dense_apply, &d, 1e-14, got, vectors, NULL),
                         GS_OK);
        for (size_t i = 0; i < K; i++)
            assert_true(fabs(got[i] - values[i]) < 1e-9);
        assert_true(worst_error(d.a, N, got, vectors, K) < 1e-5);
        gs_free(&d.a);
        gs_free(&vectors);
    }
}

static void test_top_of_everything(void **state)
{
    double values[8] = {8, 7, 6, 5, 4, 3, 2, 1}, got[8], vectors[64];
    struct dense d = {.a = with_spectrum(values, 8, 3), .n = 8};
    (void)state;

    assert_int_equal(gs_eigen_top(NULL, 8, 8, dense_apply, &d, 0, got, vectors, NULL), GS_OK);
    assert_int_equal(d.calls, 1);
    assert_true(worst_error(d.a, 8, got, vectors, 8) < 1e-12);
    gs_free(&d.a);
}

static void test_same_bits_for_any_team(void **state)
{
    enum { N = 150, K = 9 };
    double values[N], got[2][K], vectors[2][K * N];
    (void)state;

    for (size_t i = 0; i < N; i++)
        values[i] = 1 / (double)(i + 1);
    struct dense d = {.a = with_spectrum(values, N, 11), .n = N};
    for (int threads = 1; threads <= 3; threads += 2) {
        struct gs_team *team;
        assert_int_equal(gs_team_create(threads, &team, NULL), GS_OK);
        assert_int_equal(gs_eigen_top(team, N, K, dense_apply, &d, 1e-9, got[threads / 2],
                                      vectors[threads / 2], NULL), GS_OK);
        gs_team_destroy(&team);
    }
    assert_memory_equal(got[0], got[1], sizeof got[0]);
    assert_memory_equal(vectors[0], vectors[1], sizeof vectors[0]);
    gs_free(&d.a);
}

static int failing_apply(void *ctx, const double *x, size_t count, double *y, struct gs_err *err)
{
    (void)x;
    for (size_t i = 0; i < count * 20; i++)
        y[i] = NAN;
    return ctx ? gs_fail(err, GS_E_STOPPED, "stopped") : GS_OK;
}

static void test_failures(void **state)
{
    double values[2], vectors[40];
    struct gs_err err = {0};
    int stop = 1;
    (void)state;

    assert_int_equal(gs_eigen_top(NULL, 20, 2, failing_apply, &stop, 0, values, vectors, &err),
                     GS_E_STOPPED);
    memset(&err, 0, sizeof err);
    assert_int_equal(gs_eigen_top(NULL, 20, 2, failing_apply, NULL, 0, values, vectors, &err),
                     GS_E_FORMAT);
    assert_non_null(strstr(err.msg, "not finite"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small),
        cmocka_unit_test(test_zero),
        cmocka_unit_test(test_top),
        cmocka_unit_test(test_top_of_everything),
        cmocka_unit_test(test_same_bits_for_any_team),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
