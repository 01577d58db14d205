/* SPDX-License-Identifier: MIT
 * Products, second moments and factors against plain loops in f64. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "kernels/kernels.h"
#include "linalg/factor.h"
#include "linalg/gram.h"
#include "linalg/mul.h"
#include "linalg/space.h"

static float *random_f32(size_t n, uint64_t seed)
{
    float *x = gs_alloc(n, sizeof *x);
    struct gs_rng rng;

    assert_non_null(x);
    gs_rng_init(&rng, seed, 0);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)gs_rng_normal(&rng);
    return x;
}

/* H = Xᵀ X / rank, X (rank, n), both triangles. */
static double *random_h(size_t n, size_t rank, uint64_t seed)
{
    float *x = random_f32(rank * n, seed);
    double *h = gs_alloc(n * n, sizeof *h);

    assert_non_null(h);
    assert_int_equal(gs_gram_add(NULL, x, rank, n, n, h, NULL), GS_OK);
    gs_gram_finish(h, n, 1.0 / (double)rank);
    gs_free(&x);
    return h;
}

/* A chain of k fma is off by at most k·2^-24·Σ|a·b|. */
static void test_product_matches_loops(void **state)
{
    static const size_t shapes[][3] = {
        {1, 1, 1}, {8, 32, 5}, {7, 31, 300}, {130, 257, 70}, {5, 3, 0}};
    (void)state;

    for (size_t s = 0; s < GS_COUNT(shapes); s++) {
        size_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
        float *a = random_f32(m * k + 1, 1), *b = random_f32(k * n + 1, 2);
        float *c = random_f32(m * n, 3), *before = random_f32(m * n, 3);
        /* b is stored transposed, to exercise strides: element (p, j) at j·k + p */
        assert_int_equal(gs_mul_f32(NULL, m, n, k, -1, (struct gs_operand_f32){a, k, 1},
                                    (struct gs_operand_f32){b, 1, k}, c, n, NULL), GS_OK);
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < n; j++) {
                double sum = (double)before[i * n + j], magnitude = fabs(sum);
                for (size_t p = 0; p < k; p++) {
                    double v = (double)a[i * k + p] * (double)b[j * k + p];
                    sum -= v;
                    magnitude += fabs(v);
                }
                assert_true(fabs((double)c[i * n + j] - sum) <=
                            (double)(k + 1) * 0x1p-24 * magnitude);
            }
        gs_free(&a);
        gs_free(&b);
        gs_free(&c);
        gs_free(&before);
    }
}

/* The same bits in a room that takes neither operand whole as in one that takes both, for every
 * way that the operands may lie; without `add`, what C held is not seen. */
static void test_product_in_any_room(void **state)
{
    static const size_t shapes[][3] = {
        {1, 1, 1}, {8, 32, 5}, {300, 500, 1000}, {700, 90, 1300}, {40, 900, 600}, {5, 3, 0}};
    struct gs_mul_space *small, *large;
    (void)state;

    assert_int_equal(gs_mul_space_create(NULL, 0, &small, NULL), GS_OK);
    assert_int_equal(gs_mul_space_create(NULL, (size_t)1 << 20, &large, NULL), GS_OK);
    for (size_t s = 0; s < GS_COUNT(shapes) * 8; s++) {
        size_t m = shapes[s / 8][0], n = shapes[s / 8][1], k = shapes[s / 8][2];
        bool add = s & 1, at = s & 2, bt = s & 4;
        struct gs_operand_f32 a = {random_f32(m * k + 1, 1), at ? 1 : k, at ? m : 1};
        struct gs_operand_f32 b = {random_f32(k * n + 1, 2), bt ? 1 : n, bt ? k : 1};
        float *c = random_f32(m * n, 3), *d = random_f32(m * n, 3), *e = random_f32(m * n, 3);
        for (size_t i = 0; !add && i < m * n; i++)
            c[i] = d[i] = NAN, e[i] = 0;
        gs_mul_in_space(small, m, n, k, a, b, add, c, n);
        gs_mul_in_space(large, m, n, k, a, b, add, d, n);
        assert_int_equal(gs_mul_f32(NULL, m, n, k, 1, a, b, e, n, NULL), GS_OK);
        assert_memory_equal(c, e, m * n * sizeof *c);
        assert_memory_equal(d, e, m * n * sizeof *d);
        float *data[] = {(float *)(uintptr_t)a.data, (float *)(uintptr_t)b.data};
        gs_free(&data[0]);
        gs_free(&data[1]);
        gs_free(&c);
        gs_free(&d);
        gs_free(&e);
    }
    gs_mul_space_destroy(&small);
    gs_mul_space_destroy(&large);
}

struct results {
    double *h; /* (N, N) a Cholesky factor */
    float *c;  /* (N, N) a product */
};

#define N 200
#define TOKENS 150

static void compute(int threads, const float *x, struct results *out)
{
    struct gs_operand_f32 xt = {x, 1, N}, xn = {x, N, 1};
    struct gs_team *team;

    assert_int_equal(gs_team_create(threads, &team, NULL), GS_OK);
    memset(out->h, 0, N * N * sizeof *out->h);
    memset(out->c, 0, N * N * sizeof *out->c);
    assert_int_equal(gs_gram_add(team, x, TOKENS, N, N, out->h, NULL), GS_OK);
    gs_gram_finish(out->h, N, 1.0 / TOKENS);
    for (size_t i = 0; i < N; i++)
        out->h[i * N + i] += 0.1;
    assert_int_equal(gs_cholesky(team, out->h, N, NULL), GS_OK);
    assert_int_equal(gs_mul_f32(team, N, N, TOKENS, 1, xt, xn, out->c, N, NULL), GS_OK);
    gs_team_destroy(&team);
}

static void test_same_bits_for_threads_and_levels(void **state)
{
    float *x = random_f32(TOKENS * N, 5);
    struct results first = {gs_alloc(N * N, sizeof(double)), gs_alloc(N * N, sizeof(float))};
    struct results other = {gs_alloc(N * N, sizeof(double)), gs_alloc(N * N, sizeof(float))};
    const struct gs_kernels *level;
    (void)state;

    for (size_t l = 0; (level = gs_kernels_level(l)) != NULL; l++) {
        if (gs_kernels_select(level->name, NULL) != GS_OK)
            continue;
        for (int threads = 1; threads <= 3; threads += 2) {
            compute(threads, x, &other);
            if (l == 0 && threads == 1)
                compute(1, x, &first);
            assert_memory_equal(first.h, other.h, N * N * sizeof *other.h);
            assert_memory_equal(first.c, other.c, N * N * sizeof *other.c);
        }
    }
    gs_free(&x);
    gs_free(&first.h);
    gs_free(&first.c);
    gs_free(&other.h);
    gs_free(&other.c);
}

static void test_gram_bound_and_split(void **state)
{
    size_t n = 140, tokens = 128 * 3 + 17;
    float *x = random_f32(tokens * n, 7);
    double *h = gs_alloc(n * n, sizeof *h), *split = gs_alloc(n * n, sizeof *h);
    double *diagonal = gs_alloc(n, sizeof *h);
    (void)state;

    assert_int_equal(gs_gram_add(NULL, x, tokens, n, n, h, NULL), GS_OK);
    assert_int_equal(gs_gram_add(NULL, x, 128, n, n, split, NULL), GS_OK);
    assert_int_equal(gs_gram_add(NULL, x + 128 * n, tokens - 128, n, n, split, NULL), GS_OK);
    assert_memory_equal(h, split, n * n * sizeof *h);
    gs_gram_add_diagonal(x, tokens, n, n, diagonal);
    gs_gram_finish(h, n, 1);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0, magnitude = 0;
            for (size_t t = 0; t < tokens; t++) {
                double v = (double)x[t * n + i] * (double)x[t * n + j];
                sum += v;
                magnitude += fabs(v);
            }
            assert_true(fabs(h[i * n + j] - sum) <= GS_GRAM_DEPTH * 0x1p-24 * magnitude);
            if (i == j)
                assert_true(fabs(diagonal[i] - sum) <= 1e-12 * sum);
        }
    gs_free(&x);
    gs_free(&h);
    gs_free(&split);
    gs_free(&diagonal);
}

/* Element (i, j) of L D Lᵀ. */
static double ldl_element(const struct gs_ldl *ldl, size_t i, size_t j)
{
    size_t n = ldl->n, b = ldl->block;
    double sum = 0;

    for (size_t k = 0; k < n; k += b)
        for (size_t p = k; p < GS_MIN(k + b, n); p++)
            for (size_t q = k; q < GS_MIN(k + b, n); q++)
                sum += (double)gs_ldl_lower(ldl, i, p) * ldl->d[p * GS_LDL_BLOCK + q - k] *
                       (double)gs_ldl_lower(ldl, j, q);
    return sum;
}

static void test_ldl_reproduces_h(void **state)
{
    static const size_t cases[][2] = {{1, 1}, {40, 1}, {100, 8}, {160, 16}, {150, 16}, {129, 4}};
    (void)state;

    for (size_t s = 0; s < GS_COUNT(cases); s++) {
        size_t n = cases[s][0], b = cases[s][1];
        double *h = random_h(n, 2 * n, s), *copy = random_h(n, 2 * n, s);
        struct gs_ldl ldl;
        assert_int_equal(gs_ldl_create(NULL, h, n, b, GS_DAMPING, &ldl, NULL), GS_OK);
        assert_memory_equal(h, copy, n * n * sizeof *h);
        assert_int_equal(ldl.raised, 0);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++) {
                double want = h[i * n + j] + (i == j ? ldl.damping : 0);
                double scale = sqrt(h[i * n + i] * h[j * n + j]) + ldl.damping;
                bool inside = i / b == j / b; /* diagonal blocks are the identity */
                assert_true(fabs(ldl_element(&ldl, i, j) - want) < 4e-7 * scale);
                if (j > i || inside)
                    assert_true(gs_ldl_lower(&ldl, i, j) == (i == j));
            }
        gs_ldl_clear(&ldl);
        gs_free(&h);
        gs_free(&copy);
    }
}

static void test_cholesky_reproduces_h(void **state)
{
    size_t n = 300;
    double *h = random_h(n, 3 * n, 9), *c = random_h(n, 3 * n, 9);
    (void)state;

    assert_int_equal(gs_cholesky(NULL, c, n, NULL), GS_OK);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) {
            double sum = 0;
            for (size_t k = 0; k <= j; k++)
                sum += c[i * n + k] * c[j * n + k];
            assert_true(fabs(sum - h[i * n + j]) < 1e-13 * sqrt(h[i * n + i] * h[j * n + j]));
            if (j < i)
                assert_true(c[j * n + i] == h[j * n + i]);
        }
    gs_free(&h);
    gs_free(&c);
}

static void test_damping_ladder(void **state)
{
    size_t n = 150;
    double *h = random_h(n, 5, 11); /* rank 5: singular */
    struct gs_ldl ldl;
    struct gs_err err = {0};
    (void)state;

    assert_int_equal(gs_ldl_create(NULL, h, n, 16, GS_DAMPING, &ldl, &err), GS_OK);
    assert_int_equal(ldl.raised, 0);
    gs_ldl_clear(&ldl);
    assert_int_equal(gs_ldl_create(NULL, h, n, 16, 0, &ldl, &err), GS_OK);
    assert_int_equal(ldl.raised, 1);
    assert_true(ldl.damping > 0);
    gs_ldl_clear(&ldl);

    for (size_t i = 0; i < n * n; i++) /* a layer that no token reached */
        h[i] = 0;
    assert_int_equal(gs_ldl_create(NULL, h, n, 16, GS_DAMPING, &ldl, &err), GS_OK);
    assert_true(ldl.damping == GS_DAMPING && gs_ldl_lower(&ldl, 1, 0) == 0);
    gs_ldl_clear(&ldl);

    h[0] = -1; /* no damping on the ladder mends this */
    h[1] = h[n] = 1e30;
    assert_int_equal(gs_ldl_create(NULL, h, n, 16, GS_DAMPING, &ldl, &err), GS_E_FORMAT);
    assert_non_null(strstr(err.msg, "far from positive"));
    assert_null(ldl.lower);
    gs_free(&h);
}

static void test_bad_hessian_is_named(void **state)
{
    size_t n = 33;
    double *h = random_h(n, 2 * n, 12), diagonal[3] = {1, -2, 3};
    struct gs_ldl ldl;
    struct gs_err err = {0};
    (void)state;

    h[4 * n + 7] = NAN;
    assert_int_equal(gs_ldl_create(NULL, h, n, 16, GS_DAMPING, &ldl, &err), GS_E_FORMAT);
    assert_string_equal(err.msg, "Hessian element (4, 7) is NaN");
    h[4 * n + 7] = INFINITY;
    err = (struct gs_err){0};
    assert_int_equal(gs_ldl_create(NULL, h, n, 16, GS_DAMPING, &ldl, &err), GS_E_FORMAT);
    assert_string_equal(err.msg, "Hessian element (4, 7) is infinite");
    assert_int_equal(gs_ldl_create(NULL, h, n, 0, GS_DAMPING, &ldl, NULL), GS_E_ARG);
    assert_int_equal(gs_ldl_create(NULL, h, n, 17, GS_DAMPING, &ldl, NULL), GS_E_ARG);
    assert_int_equal(gs_ldl_create(NULL, h, 0, 16, GS_DAMPING, &ldl, NULL), GS_E_ARG);
    err = (struct gs_err){0};
    assert_int_equal(gs_ldl_create_diagonal(diagonal, 3, 16, 0, &ldl, &err), GS_E_FORMAT);
    assert_string_equal(err.msg, "diagonal Hessian element 1 is -2");
    assert_null(ldl.d);
    gs_free(&h);
}

static void test_diagonal_factors(void **state)
{
    const double diagonal[3] = {1, 2, 4};
    struct gs_ldl ldl;
    (void)state;

    assert_int_equal(gs_ldl_create_diagonal(diagonal, 3, 2, 0, &ldl, NULL), GS_OK);
    assert_true(ldl.d[0] == 1 && ldl.d[1] == 0 && ldl.d[17] == 2 && ldl.d[32] == 4);
    assert_true(gs_ldl_lower(&ldl, 1, 1) == 1 && gs_ldl_lower(&ldl, 2, 0) == 0);
    gs_ldl_clear(&ldl);
    assert_int_equal(gs_ldl_create_diagonal(NULL, 3, 2, 0.5, &ldl, NULL), GS_OK);
    assert_true(ldl.d[0] == 1.5 && ldl.d[17] == 1.5 && ldl.damping == 0.5);
    gs_ldl_clear(&ldl);
}

static void test_out_of_memory(void **state)
{
    size_t n = 20;
    double *h = random_h(n, 40, 13);
    struct gs_ldl ldl;
    int rc = GS_E_NOMEM;
    (void)state;

    for (uint64_t at = 1; rc == GS_E_NOMEM; at++) {
        assert_true(at < 20);
        gs_alloc_fail_at(at);
        rc = gs_ldl_create(NULL, h, n, 4, GS_DAMPING, &ldl, NULL);
        gs_alloc_fail_at(0);
        if (rc)
            assert_true(!ldl.lower && !ldl.d);
    }
    assert_int_equal(rc, GS_OK);
    gs_ldl_clear(&ldl);
    gs_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_product_matches_loops),
        cmocka_unit_test(test_product_in_any_room),
        cmocka_unit_test(test_same_bits_for_threads_and_levels),
        cmocka_unit_test(test_gram_bound_and_split),
        cmocka_unit_test(test_ldl_reproduces_h),
        cmocka_unit_test(test_cholesky_reproduces_h),
        cmocka_unit_test(test_damping_ladder),
        cmocka_unit_test(test_bad_hessian_is_named),
        cmocka_unit_test(test_diagonal_factors),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
