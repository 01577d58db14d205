/* SPDX-License-Identifier: MIT
 * Decoded weights as stored types: the smallest that has every weight exactly, or F16. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/half.h"
#include "core/rng.h"
#include "kernels/kernels.h"
#include "part/part.h"

#define ROWS 37
#define COLS 160
#define GROUP 64

static struct gs_err err;

/* Integers low … high under f16 steps, one for each group of a row, both ends in each row. */
static float *make_integers(int low, int high, size_t cols)
{
    float *w = gs_alloc(ROWS * cols, sizeof *w);
    struct gs_rng rng;

    gs_rng_init(&rng, 3, 0);
    for (size_t r = 0; r < ROWS; r++) {
        float step = 0;
        for (size_t c = 0; c < cols; c++) {
            if (c % GROUP == 0)
                step = gs_f16_to_f32(gs_f32_to_f16(0.01f + 0.01f * (float)gs_rng_f64(&rng)));
            int q = low + (int)(gs_rng_f64(&rng) * (high - low + 1));
            w[r * cols + c] = step * (float)(c == 0 ? low : c == 1 ? high : c == 2 ? 1 : q);
        }
    }
    return w;
}

/* The largest difference between w and what the type holds. */
static float check(float *w, size_t cols, bool exact, struct gs_team *team, enum gs_type type)
{
    float *copy = gs_alloc(ROWS * cols, sizeof *copy), worst = 0;
    float *row = gs_alloc(cols, sizeof *row);
    struct gs_part_stored stored;

    memcpy(copy, w, ROWS * cols * sizeof *w);
    assert_int_equal(gs_part_store(&w, ROWS, cols, exact, team, &stored, &err), 0);
    assert_null(w);
    assert_int_equal(stored.type, type);
    for (size_t r = 0; r < ROWS; r++) {
        const uint8_t *at = (const uint8_t *)stored.data + r * stored.row_bytes;
        gs_kernels()->decode[stored.type](at, row, cols);
        for (size_t c = 0; c < cols; c++)
            worst = fmaxf(worst, fabsf(row[c] - copy[r * cols + c]));
    }
    gs_free(&stored.data);
    gs_free(&copy);
    gs_free(&row);
    return worst;
}

static void test_integers_lose_nothing(void **state)
{
    static const struct { int low, high; enum gs_type type; } cases[] = {
        {-1, 1, GS_TYPE_Q4_0},   {-2, 1, GS_TYPE_Q4_0},    {-8, 7, GS_TYPE_Q4_0},
        {-7, 8, GS_TYPE_Q4_0},   {-8, 8, GS_TYPE_Q5_0},    {-15, 15, GS_TYPE_Q5_0},
        {-16, 16, GS_TYPE_Q8_0}, {-128, 127, GS_TYPE_Q8_0}, {-127, 128, GS_TYPE_Q8_0},
    };
    struct gs_team *team = NULL;

    (void)state;
    assert_int_equal(gs_team_create(3, &team, &err), 0);
    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        float *w = make_integers(cases[i].low, cases[i].high, COLS);
        assert_true(check(w, COLS, i % 2, i % 3 ? team : NULL, cases[i].type) == 0);
    }
    gs_team_destroy(&team);
}

static void test_zeros(void **state)
{
    (void)state;
    assert_true(check(gs_alloc(ROWS * COLS, sizeof(float)), COLS, true, NULL, GS_TYPE_Q4_0) == 0);
}

/* One weight that is no multiple, rows that are no whole blocks: F16, or F32 if exact. */
static void test_others_become_f16(void **state)
{
    (void)state;
    for (int exact = 0; exact < 2; exact++) {
        float *w = make_integers(-8, 7, COLS);
        w[5 * COLS + 7] *= 1.0001f;
        float worst = check(w, COLS, exact, NULL, exact ? GS_TYPE_F32 : GS_TYPE_F16);
        assert_true(exact ? worst == 0 : worst > 0 && worst < 0x1p-13f);
        worst = check(make_integers(-8, 7, COLS + 8), COLS + 8, exact, NULL,
                      exact ? GS_TYPE_F32 : GS_TYPE_F16);
        assert_true(worst < 0x1p-13f);
    }
    assert_true(check(make_integers(-128, 129, COLS), COLS, true, NULL, GS_TYPE_F32) == 0);
}

/* Beyond what F16 can say nothing is lost either. */
static void test_range(void **state)
{
    static const float factors[] = {1e7f, 1e-6f};

    (void)state;
    for (size_t k = 0; k < GS_COUNT(factors); k++) {
        float *w = make_integers(-100, 100, COLS);
        for (size_t i = 0; i < ROWS * COLS; i++)
            w[i] *= factors[k];
        assert_true(check(w, COLS, false, NULL, GS_TYPE_F32) == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers_lose_nothing),
        cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_others_become_f16),
        cmocka_unit_test(test_range),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
