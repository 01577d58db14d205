/* SPDX-License-Identifier: MIT
 * Random numbers: the published generator, independent streams, unbiased ranges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "core/rng.h"

/* xoshiro256++ from the state 1, 2, 3, 4, as its authors' reference program prints. */
static void generator_is_xoshiro256pp(void **state)
{
    static const uint64_t want[] = {
        41943041u, 58720359u, 3588806011781223u, 3591011842654386u, 9228616714210784205u,
        9973669472204895162u, 14011001112246962877u, 12406186145184390807u,
    };
    struct gs_rng rng = {{1, 2, 3, 4}};

    (void)state;
    for (size_t i = 0; i < GS_COUNT(want); i++)
        assert_true(gs_rng_u64(&rng) == want[i]);
}

static void same_seed_same_numbers_other_stream_others(void **state)
{
    struct gs_rng a, b, c, d;

    (void)state;
    gs_rng_init(&a, 42, 0);
    gs_rng_init(&b, 42, 0);
    gs_rng_init(&c, 42, 1);
    gs_rng_init(&d, 43, 0);
    for (int i = 0; i < 1000; i++) {
        uint64_t x = gs_rng_u64(&a);
        assert_true(x == gs_rng_u64(&b));
        assert_true(x != gs_rng_u64(&c));
        assert_true(x != gs_rng_u64(&d));
    }
}

static void seed_zero_is_not_stuck(void **state)
{
    struct gs_rng rng;
    uint64_t any = 0;

    (void)state;
    gs_rng_init(&rng, 0, 0);
    for (int i = 0; i < 10; i++)
        any |= gs_rng_u64(&rng);
    assert_true(any != 0);
}

/* Of 2^64 raw values the range n = 3·2^62 rejects a quarter: a generator that took them
 * modulo n would put 5/8 of all into the lower half. */
static void below_is_unbiased(void **state)
{
    const uint64_t n = ((uint64_t)1 << 63) + ((uint64_t)1 << 62);
    struct gs_rng rng;
    int low = 0, counts[6] = {0};

    (void)state;
    gs_rng_init(&rng, 7, 0);
    for (int i = 0; i < 60000; i++) {
        uint64_t x = gs_rng_below(&rng, n), y = gs_rng_below(&rng, 6);
        assert_true(x < n && y < 6);
        low += x < n / 2;
        counts[y]++;
    }
    assert_in_range(low, 30000 - 750, 30000 + 750); /* 6 standard deviations */
    for (int i = 0; i < 6; i++)
        assert_in_range(counts[i], 10000 - 550, 10000 + 550);
    assert_int_equal(gs_rng_below(&rng, 1), 0);
}

static void floats_are_below_one_with_their_moments(void **state)
{
    enum { N = 200000 };
    double sum = 0, sum_normal = 0, sum2_normal = 0;
    struct gs_rng rng;

    (void)state;
    gs_rng_init(&rng, 3, 9);
    for (int i = 0; i < N; i++) {
        double x = gs_rng_f64(&rng), z = gs_rng_normal(&rng);
        float y = gs_rng_f32(&rng);
        assert_true(x >= 0 && x < 1 && y >= 0 && y < 1);
        sum += x;
        sum_normal += z;
        sum2_normal += z * z;
    }
    assert_true(fabs(sum / N - 0.5) < 6 * 0.2887 / sqrt(N));
    assert_true(fabs(sum_normal / N) < 6 / sqrt(N));
    assert_true(fabs(sum2_normal / N - 1) < 6 * sqrt(2) / sqrt(N));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generator_is_xoshiro256pp),
        cmocka_unit_test(same_seed_same_numbers_other_stream_others),
        cmocka_unit_test(seed_zero_is_not_stuck),
        cmocka_unit_test(below_is_unbiased),
        cmocka_unit_test(floats_are_below_one_with_their_moments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
