/* SPDX-License-Identifier: MIT
 * Scale rules: every code there and back, the nearest of all, no infinities. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "codebook/codebook.h"
#include "codebook_walk.h"

static void rules_are_found_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; gs_scale_rule_at(i); i++)
        assert_ptr_equal(gs_scale_rule_find(gs_scale_rule_at(i)->name), gs_scale_rule_at(i));
    assert_null(gs_scale_rule_find("f64"));
    assert_non_null(gs_scale_rule_find("e8m0"));
}

static void codes_go_there_and_back(void **state)
{
    (void)state;
    for (size_t i = 0; gs_scale_rule_at(i); i++) {
        const struct gs_scale_rule *rule = gs_scale_rule_at(i);
        uint32_t codes = rule->bits >= 16 ? 65536 : 1u << rule->bits, refused = 0;
        for (uint32_t k = 0; k < codes; k++) {
            uint32_t code = rule->bits == 32 ? k << 16 | k : k;
            float v = rule->decode(code);
            if (!isfinite(v)) {
                refused++;
                continue;
            }
            assert_true(rule->round(v) == v);
            assert_int_equal(rule->encode(v), code);
        }
        assert_true(refused <= codes / 32);
    }
}

/* By brute force over all codes, for the rules of 8 bits. */
static void rounding_is_to_the_nearest(void **state)
{
    struct gs_rng rng;

    (void)state;
    gs_rng_init(&rng, 1, 0);
    for (size_t i = 0; gs_scale_rule_at(i); i++) {
        const struct gs_scale_rule *rule = gs_scale_rule_at(i);
        for (int k = 0; rule->bits == 8 && k < 3000; k++) {
            float v = (float)ldexp(gs_rng_normal(&rng), (int)gs_rng_below(&rng, 30) - 15);
            float got = rule->round(v), best = INFINITY;
            for (uint32_t code = 0; code < 256; code++)
                if (fabsf(rule->decode(code) - v) < fabsf(best - v))
                    best = rule->decode(code);
            assert_true(fabsf(got - v) == fabsf(best - v));
            assert_true(rule->decode(rule->encode(v)) == got);
        }
    }
}

static void ties_go_to_the_even_code(void **state)
{
    const struct gs_scale_rule *e8m0 = gs_scale_rule_find("e8m0");
    const struct gs_scale_rule *e4m3 = gs_scale_rule_find("e4m3");

    (void)state;
    assert_true(e8m0->round(1.5f) == 2);   /* codes 127, 128 */
    assert_true(e8m0->round(3) == 2);      /* codes 128, 129 */
    assert_true(e8m0->round(6) == 8);
    assert_true(e4m3->round(17) == 16);
    assert_true(e4m3->round(19) == 20);
    assert_true(e4m3->round(0x1p-10f) == 0 && e4m3->round(0x3p-10f) == 0x1p-8f);
}

static void extremes_stay_finite(void **state)
{
    static const float extremes[] = {3.4e38f, -3.4e38f, 70000, 1e-45f, -1e-45f, 0};

    (void)state;
    for (size_t i = 0; gs_scale_rule_at(i); i++)
        for (size_t k = 0; k < GS_COUNT(extremes); k++)
            assert_true(isfinite(gs_scale_rule_at(i)->round(extremes[k])));
    assert_true(gs_scale_rule_find("f16")->round(1e9f) == 65504);
    assert_true(gs_scale_rule_find("e4m3")->round(-1e9f) == -448);
    assert_true(gs_scale_rule_find("e8m0")->round(3.4e38f) == 0x1p127f);
    assert_true(gs_scale_rule_find("e8m0")->round(-1) == 0x1p-127f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_are_found_by_name),
        cmocka_unit_test(codes_go_there_and_back),
        cmocka_unit_test(rounding_is_to_the_nearest),
        cmocka_unit_test(ties_go_to_the_even_code),
        cmocka_unit_test(extremes_stay_finite),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
