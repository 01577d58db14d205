/* SPDX-License-Identifier: MIT
 * Rate–distortion rounding: what it trades, and that the bits it counts are those of its codes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "compensate/rate.h"
#include "core/alloc.h"
#include "core/log2.h"
#include "core/rng.h"

enum { N = 100000, MOST = 1000 };

struct trial {
    double bits, mse; /* a weight */
};

static float *weights(void)
{
    float *w = gs_alloc(N, sizeof *w);
    struct gs_rng rng;

    assert_non_null(w);
    gs_rng_init(&rng, 2, 0);
    for (size_t i = 0; i < N; i++)
        w[i] = (float)gs_rng_normal(&rng);
    return w;
}

static struct trial try(const float *w, const float *h, float step, float lambda, int32_t *codes)
{
    struct gs_rate rate;
    struct trial t = {0};

    gs_rate_init(&rate);
    t.bits = (double)gs_rate_round_row(&rate, w, h, N, step, lambda, MOST, codes) / 256 / N;
    for (size_t i = 0; i < N; i++) {
        double e = (double)w[i] - (double)step * codes[i];
        t.mse += e * e / N;
    }
    return t;
}

static double entropy(const int32_t *codes)
{
    double counts[2 * MOST + 1] = {0}, sum = 0;

    for (size_t i = 0; i < N; i++)
        counts[codes[i] + MOST]++;
    for (size_t i = 0; i <= 2 * MOST; i++)
        sum -= counts[i] > 0 ? counts[i] / N * log2(counts[i] / N) : 0;
    return sum;
}

static void test_logarithm(void **state)
{
    (void)state;
    for (uint32_t n = 1; n < 100000; n += 1 + n / 50)
        assert_true(fabs(gs_log2_fixed(n) / 256.0 - log2(n)) < 1 / 200.0);
    assert_int_equal(gs_log2_fixed(1), 0);
    assert_int_equal(gs_log2_fixed(0x80000000u), 31 << 8);
    assert_in_range(gs_log2_fixed(0xffffffffu), (31 << 8) + 255, 32 << 8);
}

/* λ = 0 is nearest; the bits counted are within 2 % of the codes' entropy. */
static void test_nearest(void **state)
{
    static const float steps[] = {2, 0.7f, 0.2f, 0.02f};
    float *w = weights();
    int32_t *codes = gs_alloc(N, sizeof *codes);
    (void)state;

    for (size_t s = 0; s < GS_COUNT(steps); s++) {
        struct trial t = try(w, NULL, steps[s], 0, codes);
        for (size_t i = 0; i < N; i++)
            assert_int_equal(codes[i], (int32_t)rintf(w[i] / steps[s]));
        double h = entropy(codes);
        /* codes beyond ten go out as a gamma code, which is no model of a Gaussian */
        assert_true(t.bits > h - 0.02 && t.bits < (steps[s] < 0.1f ? h + 3.5 : 1.02 * h + 0.01));
    }
    gs_free(&w);
    gs_free(&codes);
}

/* More λ: fewer bits, more error; and at equal bits less error than a wider step has. */
static void test_trade(void **state)
{
    static const float lambdas[] = {0, 0.02f, 0.05f, 0.1f, 0.2f};
    float *w = weights();
    int32_t *codes = gs_alloc(N, sizeof *codes);
    struct trial last = {.bits = 99}, fine, coarse;
    (void)state;

    for (size_t l = 0; l < GS_COUNT(lambdas); l++) {
        struct trial t = try(w, NULL, 0.8f, lambdas[l], codes);
        assert_true(t.bits < last.bits && t.mse > last.mse);
        last = t;
    }
    fine = try(w, NULL, 0.9f, 0.1f, codes);
    float low = 0.9f, high = 3;
    for (int i = 0; i < 30; i++) { /* the step at which nearest takes as many bits */
        float mid = (low + high) / 2;
        coarse = try(w, NULL, mid, 0, codes);
        if (coarse.bits > fine.bits)
            low = mid;
        else
            high = mid;
    }
    assert_true(fabs(coarse.bits - fine.bits) < 0.01);
    assert_true(fine.mse < 0.97 * coarse.mse);
    gs_free(&w);
    gs_free(&codes);
}

/* A weight that matters is rounded nearest, one that does not goes where codes are cheap. */
static void test_importance(void **state)
{
    float *w = weights(), *h = gs_alloc(N, sizeof *h);
    int32_t *codes = gs_alloc(N, sizeof *codes);
    size_t zeros = 0;
    (void)state;

    for (size_t i = 0; i < N; i++)
        h[i] = i % 2 ? 1e6f : 0;
    try(w, h, 0.8f, 0.1f, codes);
    for (size_t i = 0; i < N; i++)
        if (i % 2)
            assert_int_equal(codes[i], (int32_t)rintf(w[i] / 0.8f));
        else
            zeros += codes[i] == 0;
    assert_true(zeros > N / 2 * 99 / 100);
    gs_free(&w);
    gs_free(&h);
    gs_free(&codes);
}

/* Whatever is chosen is the best of all codes near it, and within its bounds. */
static void test_best(void **state)
{
    struct gs_rate rate;
    struct gs_rng rng;
    (void)state;

    gs_rate_init(&rate);
    gs_rng_init(&rng, 4, 0);
    for (size_t i = 0; i < 20000; i++) { /* a Gaussian of 1.5 steps, seen in every context */
        int32_t q = (int32_t)rint(1.5 * gs_rng_normal(&rng));
        gs_rate_learn(&rate, (int32_t)(i % 3) - 1, q);
    }
    for (float x = -4; x < 4; x += 0.01f) {
        int32_t q = gs_rate_round(&rate, 1, x, 1, 0.05f, 3);
        double got = INFINITY, best = INFINITY;
        for (int32_t k = -3; k <= 3; k++) {
            double e = (double)x - k;
            double sum = e * e + 0.05f * (double)gs_rate_bits(&rate, 1, k) / 256;
            best = fmin(best, sum);
            got = k == q ? sum : got;
        }
        assert_true(got <= best + 1e-6);
    }
    assert_int_equal(gs_rate_round(&rate, 0, 1e30f, 1, 0, 5), 5);
    assert_int_equal(gs_rate_round(&rate, 0, -1e30f, 1, 0, 5), -5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logarithm),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_trade),
        cmocka_unit_test(test_importance),
        cmocka_unit_test(test_best),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
