/* SPDX-License-Identifier: MIT
 * Statistics against their definitions and published values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "eval/stats.h"

static bool near(double a, double b, double relative)
{
    return fabs(a - b) <= relative * fabs(b);
}

static void moments_match_the_two_pass_formula(void **state)
{
    enum { N = 10000 };
    static double x[N];
    struct gs_moments m = {.n = 0};
    struct gs_rng rng;
    double sum = 0, squares = 0;

    (void)state;
    gs_rng_init(&rng, 5, 0);
    for (int i = 0; i < N; i++) {
        x[i] = 3 + gs_rng_normal(&rng);
        gs_moments_add(&m, x[i]);
        sum += x[i];
    }
    for (int i = 0; i < N; i++)
        squares += (x[i] - sum / N) * (x[i] - sum / N);
    assert_int_equal(m.n, N);
    assert_true(near(m.mean, sum / N, 1e-13));
    assert_true(near(gs_moments_sigma(&m), sqrt(squares / N / (N - 1)), 1e-12));
}

/* E[x²] − E[x]² loses all digits here. */
static void moments_do_not_cancel(void **state)
{
    struct gs_moments m = {.n = 0};

    (void)state;
    for (int i = 0; i < 1000; i++)
        gs_moments_add(&m, 1e9 + (i % 2 ? 1e-3 : -1e-3));
    assert_true(near(m.m2 / 1000, 1e-6, 1e-3));
}

static void few_values_have_no_error(void **state)
{
    struct gs_moments m = {.n = 0};

    (void)state;
    assert_true(gs_moments_sigma(&m) == 0);
    gs_moments_add(&m, 4);
    assert_true(m.mean == 4 && gs_moments_sigma(&m) == 0);
    gs_moments_add(&m, 6);
    assert_true(near(gs_moments_sigma(&m), 1, 1e-15)); /* sqrt(2 / 2 / 1) */
}

static void sort_orders_any_input(void **state)
{
    enum { N = 1000 };
    static float x[N];
    struct gs_rng rng;

    (void)state;
    gs_rng_init(&rng, 8, 0);
    for (int kind = 0; kind < 4; kind++) {
        for (size_t n = 0; n <= N; n = n < 20 ? n + 1 : n * 3 + 7) {
            double before = 0, after = 0;
            for (size_t i = 0; i < n; i++) {
                float values[] = {gs_rng_f32(&rng), (float)(i % 3), (float)i, -(float)i};
                x[i] = values[kind];
                before += (double)x[i];
            }
            gs_sort_f32(x, n);
            for (size_t i = 0; i < n; i++) {
                assert_true(i == 0 || x[i - 1] <= x[i]);
                after += (double)x[i];
            }
            assert_true(fabs(before - after) <= 1e-9 * (1 + fabs(before)));
        }
    }
    float ends[] = {INFINITY, 0, -INFINITY, 1};
    gs_alloc_guard(true);
    gs_sort_f32(ends, 4);
    gs_alloc_guard(false);
    assert_true(ends[0] == -INFINITY && ends[1] == 0 && ends[3] == INFINITY);
}

static void percentiles_interpolate_between_ranks(void **state)
{
    const float x[] = {10, 20, 30, 40, 50}, one[] = {7};

    (void)state;
    assert_true(gs_percentile(x, 5, 0) == 10);
    assert_true(gs_percentile(x, 5, 1) == 50);
    assert_true(gs_percentile(x, 5, 0.5) == 30);
    assert_true(near(gs_percentile(x, 5, 0.9), 46, 1e-12)); /* rank 3.6 */
    assert_true(gs_percentile(x, 4, 0.5) == 25); /* an even number: mean of the middle two */
    assert_true(gs_percentile(one, 1, 0.999) == 7);
}

/* 8 of 10 and 1 of 20 from the roots of (p̂ − p)² = z² p (1 − p) / n. */
static void wilson_interval_solves_its_equation(void **state)
{
    static const struct { uint64_t hits, n; } cases[] = {{8, 10}, {1, 20}, {500, 1000}};
    double low, high;

    (void)state;
    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        double n = (double)cases[i].n, p = (double)cases[i].hits / n;
        gs_wilson_interval(cases[i].hits, cases[i].n, &low, &high);
        assert_true(0 < low && low < p && p < high && high < 1);
        for (int end = 0; end < 2; end++) {
            double q = end ? high : low;
            assert_true(near((p - q) * (p - q), 3.841458820694124 * q * (1 - q) / n, 1e-9));
        }
    }
    gs_wilson_interval(8, 10, &low, &high);
    assert_true(near(low, 0.4901625, 1e-6) && near(high, 0.9433178, 1e-6));
}

static void wilson_interval_at_the_ends(void **state)
{
    double low, high;

    (void)state;
    gs_wilson_interval(0, 0, &low, &high);
    assert_true(low == 0 && high == 1);
    gs_wilson_interval(0, 50, &low, &high);
    assert_true(low == 0 && near(high, 3.841458820694124 / (50 + 3.841458820694124), 1e-9));
    gs_wilson_interval(50, 50, &low, &high);
    assert_true(high == 1 && near(low, 50 / (50 + 3.841458820694124), 1e-9));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_match_the_two_pass_formula),
        cmocka_unit_test(moments_do_not_cancel),
        cmocka_unit_test(few_values_have_no_error),
        cmocka_unit_test(sort_orders_any_input),
        cmocka_unit_test(percentiles_interpolate_between_ranks),
        cmocka_unit_test(wilson_interval_solves_its_equation),
        cmocka_unit_test(wilson_interval_at_the_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
