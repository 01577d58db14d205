/* SPDX-License-Identifier: MIT
 * CrossQuant's diagnostic against the definition in double, and what it is for: a channel that
 * stands out makes tokens lose the others, and crosswise steps lose far fewer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "compare/kernel_share.h"
#include "core/rng.h"

enum { T = 40, N = 96 };

static void count(const float *x, struct gs_kernel_share *share)
{
    for (size_t i = 0; i < T; i++)
        for (size_t j = 0; j < N; j++) {
            double row = 0, column = 0, v = fabs((double)x[i * N + j]);
            for (size_t k = 0; k < N; k++)
                row = fmax(row, fabs((double)x[i * N + k]));
            for (size_t k = 0; k < T; k++)
                column = fmax(column, fabs((double)x[k * N + j]));
            share->token += v < row / 127 / 2;
            share->cross += v < pow(row, 0.15) * pow(column, 0.85) / 127 / 2;
            share->entries++;
        }
}

static void shares_follow_the_definition(void **state)
{
    static float x[T * N], columns[N];
    struct gs_kernel_share share = {0}, want = {0};
    struct gs_rng rng;

    (void)state;
    gs_rng_init(&rng, 3, 0);
    for (size_t i = 0; i < T * N; i++)
        x[i] = (float)gs_rng_normal(&rng) * (i % N == 7 ? 100 : 1);
    gs_kernel_share_add(&share, x, T, N, columns);
    count(x, &want);
    assert_int_equal(share.entries, want.entries);
    assert_true(llabs((long long)share.token - (long long)want.token) <= 2); /* ties in f32 */
    assert_true(llabs((long long)share.cross - (long long)want.cross) <= 2);
    assert_true(share.token > 10 * share.cross);
    assert_true(share.cross > 0);
}

static void zeros_are_no_kernel(void **state)
{
    static float x[T * N], columns[N];
    struct gs_kernel_share share = {0};

    (void)state;
    gs_kernel_share_add(&share, x, T, N, columns);
    assert_int_equal(share.token + share.cross, 0);
    gs_kernel_share_add(&share, x, 0, N, columns);
    assert_int_equal(share.entries, T * N);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_follow_the_definition),
        cmocka_unit_test(zeros_are_no_kernel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
