/* SPDX-License-Identifier: MIT
 * Hadamard matrices: every order is orthonormal with entries of one size, the rule that
 * chooses orders, and the error of the f32 path. */
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
#include "transform/hadamard.h"

/* Columns of H (or Hᵀ) as rows: row j = H e_j. */
static double *matrix(const struct gs_hadamard *h, bool transposed)
{
    double *m = gs_alloc(h->n * h->n, sizeof *m);
    double *work = gs_alloc(1, gs_hadamard_work_bytes(h) + 1);

    for (size_t j = 0; j < h->n; j++) {
        m[j * h->n + j] = 1;
        gs_hadamard_apply_f64(h, transposed, m + j * h->n, work);
    }
    gs_free(&work);
    return m;
}

static void check_orthonormal(size_t n, size_t order)
{
    struct gs_hadamard h;

    assert_int_equal(gs_hadamard_init(n, order, &h, NULL), GS_OK);
    double *m = matrix(&h, false), *t = matrix(&h, true);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double dot = 0, size = i / order == j / order ? 1 / sqrt((double)order) : 0;
            for (size_t k = i / order * order; k < i / order * order + order; k++)
                dot += m[i * n + k] * m[j * n + k];
            assert_true(fabs(dot - (i == j)) < 1e-13);
            assert_true(fabs(fabs(m[i * n + j]) - size) < 1e-15);
            assert_true(m[i * n + j] == t[j * n + i]);
        }
    gs_free(&m);
    gs_free(&t);
}

/* Every Paley order up to 200, alone and times 2 and 64; all those of the digest are here. */
static void test_every_order_is_orthonormal(void **state)
{
    static const size_t expected[] = {12, 20, 28, 36, 44, 60, 68, 76, 84, 104, 108, 124, 132,
                                      140, 148, 164, 180, 200};
    size_t found = 0;
    (void)state;

    for (size_t n = 1; n <= GS_HADAMARD_Q_MAX; n++) {
        size_t q, order = gs_hadamard_order(n, 0, &q);
        if (order != n || q != n)
            continue;
        check_orthonormal(n, n);
        check_orthonormal(2 * n, 2 * n);
        if (found < GS_COUNT(expected) && n == expected[found])
            found++;
    }
    assert_int_equal(found, GS_COUNT(expected));
    check_orthonormal(256, 256);
    check_orthonormal(576, 576);
    check_orthonormal(12 * 64, 12 * 64);
}

static void test_rule_of_orders(void **state)
{
    static const struct { size_t n, max, order, q; } cases[] = {
        {1, 0, 1, 1},           {2, 0, 2, 1},           {4096, 0, 4096, 1},
        {576, 0, 576, 36},      {640, 0, 640, 20},      {1536, 0, 1536, 12},
        {2048, 0, 2048, 1},     {896, 0, 896, 28},      {4864, 0, 4864, 76},
        {5632, 0, 5632, 44},    {8960, 0, 8960, 140},   {13824, 0, 13824, 108},
        {14336, 0, 14336, 28},  {18944, 0, 18944, 148}, {11008, 0, 256, 1},
        {11008, 128, 128, 1},   {576, 128, 96, 12},     {577, 0, 1, 1},
        {30, 0, 2, 1},          {9728, 0, 9728, 76},    {4096, 128, 128, 1},
    };
    (void)state;

    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        size_t q;
        assert_int_equal(gs_hadamard_order(cases[i].n, cases[i].max, &q), cases[i].order);
        assert_int_equal(q, cases[i].q);
    }
}

static void test_blocks(void **state)
{
    (void)state;
    check_orthonormal(3 * 128, 128);
    check_orthonormal(5, 1);
    check_orthonormal(7 * 4, 4);
}

/* f32 against f64: each output is off by at most (t + q + 2) roundings of ‖x‖₁ / √n. */
static void test_f32_error_and_inverse(void **state)
{
    static const size_t sizes[] = {1, 2, 8, 16, 32, 64, 128, 640, 576, 1536, 4096, 4864};
    struct gs_rng rng;
    (void)state;

    gs_rng_init(&rng, 3, 0);
    for (size_t s = 0; s < GS_COUNT(sizes); s++) {
        size_t n = sizes[s], q, order = gs_hadamard_order(n, 0, &q);
        struct gs_hadamard h;
        assert_int_equal(gs_hadamard_init(n, order, &h, NULL), GS_OK);
        float *x = gs_alloc(n, sizeof *x), *first = gs_alloc(n, sizeof *x);
        double *y = gs_alloc(n, sizeof *y), *work = gs_alloc(1, gs_hadamard_work_bytes(&h) + 1);
        double sum = 0, back = 0, norm = 0;
        for (size_t i = 0; i < n; i++) {
            first[i] = x[i] = (float)gs_rng_normal(&rng);
            y[i] = (double)x[i];
            sum += fabs(y[i]);
            norm += y[i] * y[i];
        }
        gs_hadamard_apply_f32(&h, false, x, (float *)(void *)work);
        gs_hadamard_apply_f64(&h, false, y, work);
        double bound = (log2((double)(order / q)) + (double)q + 2) * 0x1p-24 * sum /
                       sqrt((double)order);
        for (size_t i = 0; i < n; i++)
            assert_true(fabs((double)x[i] - y[i]) <= bound);
        gs_hadamard_apply_f32(&h, true, x, (float *)(void *)work);
        for (size_t i = 0; i < n; i++)
            back += pow((double)x[i] - (double)first[i], 2);
        assert_true(back <= 1e-13 * norm);
        gs_free(&x);
        gs_free(&first);
        gs_free(&y);
        gs_free(&work);
    }
}

static void test_same_bits_on_every_level(void **state)
{
    static const size_t sizes[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 576, 640, 1536, 2048};
    const struct gs_kernels *level;
    float x[2048], first[2048];
    struct gs_rng rng;
    (void)state;

    for (size_t s = 0; s < GS_COUNT(sizes); s++) {
        size_t n = sizes[s], q;
        struct gs_hadamard h;
        assert_int_equal(gs_hadamard_init(n, gs_hadamard_order(n, 0, &q), &h, NULL), GS_OK);
        float *work = gs_alloc(1, gs_hadamard_work_bytes(&h) + 1);
        for (size_t l = 0; (level = gs_kernels_level(l)) != NULL; l++) {
            if (gs_kernels_select(level->name, NULL) != GS_OK)
                continue;
            gs_rng_init(&rng, 4, s);
            for (size_t i = 0; i < n; i++)
                x[i] = (float)gs_rng_normal(&rng);
            gs_hadamard_apply_f32(&h, false, x, work);
            if (l == 0)
                memcpy(first, x, n * sizeof *x);
            assert_memory_equal(x, first, n * sizeof *x);
        }
        gs_free(&work);
    }
}

/* Runs first, while no dense matrix has been made. */
static void test_out_of_memory_then_shared(void **state)
{
    struct gs_hadamard h, again;
    int rc = GS_E_NOMEM;
    uint64_t count;
    (void)state;

    for (uint64_t at = 1; rc == GS_E_NOMEM; at++) {
        assert_true(at < 10);
        gs_alloc_fail_at(at);
        rc = gs_hadamard_init(12, 12, &h, NULL);
        gs_alloc_fail_at(0);
    }
    assert_int_equal(rc, GS_OK);
    count = gs_alloc_count();
    assert_int_equal(gs_hadamard_init(24, 24, &again, NULL), GS_OK);
    assert_ptr_equal(again.base, h.base);
    assert_int_equal(gs_alloc_count(), count);
}

static void test_bad_orders(void **state)
{
    struct gs_hadamard h;
    struct gs_err err = {0};
    (void)state;

    assert_int_equal(gs_hadamard_init(640, 40 * 3, &h, &err), GS_E_ARG);
    assert_string_equal(err.msg, "no Hadamard blocks of order 120 for 640 channels");
    assert_int_equal(gs_hadamard_init(12, 6, &h, NULL), GS_E_ARG);
    assert_int_equal(gs_hadamard_init(0, 1, &h, NULL), GS_E_ARG);
    assert_int_equal(gs_hadamard_init(4, 0, &h, NULL), GS_E_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_out_of_memory_then_shared),
        cmocka_unit_test(test_every_order_is_orthonormal),
        cmocka_unit_test(test_rule_of_orders),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_f32_error_and_inverse),
        cmocka_unit_test(test_same_bits_on_every_level),
        cmocka_unit_test(test_bad_orders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
