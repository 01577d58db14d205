/* SPDX-License-Identifier: MIT
 * f16 and bf16 conversions: every 16-bit pattern, every rounding tie, and agreement with
 * the processor's own instructions where there are any. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/half.h"
#include "kernels/kernels.h"

/* The number that the fields of an f16 say, by arithmetic. */
static double f16_value(uint16_t h)
{
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double m = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);

    return h & 0x8000 ? -m : m;
}

static bool f16_is_nan(uint16_t h)
{
    return (h & 0x7fff) > 0x7c00;
}

static void every_f16_has_the_value_of_its_fields(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        float f = gs_f16_to_f32((uint16_t)h);
        if (f16_is_nan((uint16_t)h)) {
            assert_true(isnan(f));
        } else if ((h & 0x7fff) == 0x7c00) {
            assert_true(isinf(f));
            assert_int_equal(signbit(f) != 0, h >> 15);
        } else {
            assert_true((double)f == f16_value((uint16_t)h));
            assert_int_equal(signbit(f) != 0, h >> 15);
        }
    }
}

static void every_f16_survives_a_round_trip(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        uint32_t quiet = f16_is_nan((uint16_t)h) ? h | 0x200 : h;
        assert_int_equal(gs_f32_to_f16(gs_f16_to_f32((uint16_t)h)), quiet);
    }
}

/* Halfway between neighbours goes to the even one, a hair off goes to the nearer. */
static void f16_rounds_to_nearest_ties_to_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7c00; h++) {
        double low = f16_value((uint16_t)h);
        double high = h == 0x7bff ? 65536.0 : f16_value((uint16_t)(h + 1));
        float middle = (float)((low + high) / 2); /* exact: 12 bits of fraction */
        uint32_t even = h & 1 ? h + 1 : h;
        assert_int_equal(gs_f32_to_f16(middle), even);
        assert_int_equal(gs_f32_to_f16(nextafterf(middle, -INFINITY)), h);
        assert_int_equal(gs_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(gs_f32_to_f16(-middle), even | 0x8000);
    }
}

static void f16_extremes(void **state)
{
    (void)state;
    assert_int_equal(gs_f32_to_f16(INFINITY), 0x7c00);
    assert_int_equal(gs_f32_to_f16(-INFINITY), 0xfc00);
    assert_int_equal(gs_f32_to_f16(3e38f), 0x7c00);
    assert_int_equal(gs_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(gs_f32_to_f16(0x1p-149f), 0);
    assert_int_equal(gs_f32_to_f16(-0x1p-149f), 0x8000);
    assert_true(f16_is_nan(gs_f32_to_f16(NAN)));
    /* A NaN whose payload lies in the dropped bits stays NaN. */
    assert_true(f16_is_nan(gs_f32_to_f16(gs_f32_from_bits(0x7f800001))));
}

static void every_bf16_survives_and_rounds(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        float f = gs_bf16_to_f32((uint16_t)h);
        assert_int_equal(gs_f32_bits(f), h << 16);
        bool nan = (h & 0x7fff) > 0x7f80;
        assert_int_equal(gs_f32_to_bf16(f), nan ? h | 0x40 : h);
        if (nan || (h & 0x7fff) == 0x7f80)
            continue;
        uint32_t even = h & 1 ? h + 1 : h;
        assert_int_equal(gs_f32_to_bf16(gs_f32_from_bits(h << 16 | 0x8000)), even);
        assert_int_equal(gs_f32_to_bf16(gs_f32_from_bits(h << 16 | 0x7fff)), h);
        assert_int_equal(gs_f32_to_bf16(gs_f32_from_bits(h << 16 | 0x8001)), h + 1);
    }
    assert_int_equal(gs_f32_to_bf16(gs_f32_from_bits(0x7f800001)), 0x7fc0);
}

/* The levels above scalar convert with instructions (F16C), not with half.h. */
static void instructions_agree(void **state)
{
    static uint16_t in[0x10000];
    static float out[0x10000];
    struct gs_kernels k;

    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++)
        in[h] = (uint16_t)h;
    for (size_t level = 0; gs_kernels_level(level); level++) {
        if (!gs_kernels_resolve(level, &k))
            continue;
        k.decode[GS_TYPE_F16](in, out, 0x10000);
        for (uint32_t h = 0; h < 0x10000; h++)
            assert_int_equal(gs_f32_bits(out[h]), gs_f32_bits(gs_f16_to_f32((uint16_t)h)));
        k.decode[GS_TYPE_BF16](in, out, 0x10000);
        for (uint32_t h = 0; h < 0x10000; h++)
            assert_int_equal(gs_f32_bits(out[h]), h << 16);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_f16_has_the_value_of_its_fields),
        cmocka_unit_test(every_f16_survives_a_round_trip),
        cmocka_unit_test(f16_rounds_to_nearest_ties_to_even),
        cmocka_unit_test(f16_extremes),
        cmocka_unit_test(every_bf16_survives_and_rounds),
        cmocka_unit_test(instructions_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
