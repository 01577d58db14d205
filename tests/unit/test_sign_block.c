/* SPDX-License-Identifier: MIT
 * Residual sign blocks: each takes most of what is left, written and read they are the same. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "compensate/sign_block.h"
#include "core/alloc.h"
#include "core/rng.h"

enum { ROWS = 60, COLS = 301, N = ROWS * COLS, RANK = 4, BLOCKS = 6 };

/* Rows and columns of different size, as weights have them. */
static void fill(float *w)
{
    struct gs_rng rng;

    gs_rng_init(&rng, 9, 0);
    for (size_t i = 0; i < N; i++)
        w[i] = (float)gs_rng_normal(&rng) * (1 + 0.5f * (float)(i / COLS % 5)) *
               (1 + (float)(i % COLS % 3));
}

static double squares(const float *w, const double *weights)
{
    double sum = 0;

    for (size_t i = 0; i < N; i++)
        sum += (double)w[i] * (double)w[i] * (weights ? weights[i % COLS] : 1);
    return sum;
}

static struct gs_sign_block *take(float *w, const double *weights, const char *format,
                                  struct gs_team *team)
{
    struct gs_sign_block *block;

    assert_int_equal(gs_sign_block_create(w, COLS, ROWS, COLS, RANK, weights,
                                          gs_factor_format_find(format), team, &block, NULL),
                     GS_OK);
    return block;
}

/* The first block leaves what is not of its rank in |w|: for normal weights 1 − 2/π = 0.36.
 * Any number of blocks plus what they leave is the matrix. */
static void test_stack(void **state)
{
    static float w[N], before[N], sum[N];
    struct gs_sign_block *block[BLOCKS];
    double last;
    (void)state;

    fill(w);
    memcpy(before, w, sizeof w);
    last = squares(w, NULL);
    memset(sum, 0, sizeof sum);
    for (size_t k = 0; k < BLOCKS; k++) {
        block[k] = take(w, NULL, "f16", NULL);
        double left = squares(w, NULL);
        assert_true(left < (k ? 0.7 : 0.37) * last && left > (k ? 0.2 : 0.25) * last);
        last = left;
        gs_sign_block_add(block[k], 1, NULL, sum, COLS);
        for (size_t i = 0; i < N; i++)
            assert_true(fabsf(sum[i] + w[i] - before[i]) < 1e-4f);
    }
    for (size_t k = 0; k < BLOCKS; k++)
        gs_sign_block_destroy(&block[k]);
}

/* What columns count for is where the error goes down. */
static void test_weights(void **state)
{
    static float plain[N], weighed[N];
    double weights[COLS];
    (void)state;

    for (size_t c = 0; c < COLS; c++)
        weights[c] = c % 10 ? 0.01 : 10;
    fill(plain);
    fill(weighed);
    struct gs_sign_block *a = take(plain, NULL, "f16", NULL);
    struct gs_sign_block *b = take(weighed, weights, "f16", NULL);
    assert_true(squares(weighed, weights) < squares(plain, weights));
    assert_true(squares(weighed, NULL) > squares(plain, NULL));
    gs_sign_block_destroy(&a);
    gs_sign_block_destroy(&b);
}

static void test_file(void **state)
{
    static float w[N], other[N];
    struct gs_team *team;
    (void)state;

    assert_int_equal(gs_team_create(3, &team, NULL), GS_OK);
    for (size_t f = 0; gs_factor_format_at(f); f++) {
        const struct gs_factor_format *format = gs_factor_format_at(f);
        fill(w);
        fill(other);
        struct gs_sign_block *block = take(w, NULL, format->name, NULL), *back;
        back = take(other, NULL, format->name, team);
        assert_memory_equal(w, other, sizeof w);
        gs_sign_block_destroy(&back);
        uint64_t bytes = gs_sign_block_bytes(block);
        assert_int_equal(bytes, ROWS * 38 + gs_low_rank_bytes(block->low));
        uint8_t *buffer = gs_alloc(bytes, 1);
        gs_sign_block_write(block, buffer);
        for (uint64_t n = 0; n < bytes; n += n < bytes - 99 ? 97 : 1) {
            struct gs_cursor c = gs_cursor_make(buffer, n);
            assert_int_equal(gs_sign_block_read(&c, ROWS, COLS, RANK, format, &back, NULL),
                             GS_E_FORMAT);
            assert_null(back);
        }
        struct gs_cursor c = gs_cursor_make(buffer, bytes);
        assert_int_equal(gs_sign_block_read(&c, ROWS, COLS, RANK, format, &back, NULL), GS_OK);
        assert_int_equal(gs_cursor_left(&c), 0);
        memset(w, 0, sizeof w);
        memset(other, 0, sizeof other);
        gs_sign_block_add(block, 1, NULL, w, COLS);
        gs_sign_block_add(back, 1, team, other, COLS);
        assert_memory_equal(w, other, sizeof w);
        gs_sign_block_destroy(&block);
        gs_sign_block_destroy(&back);
        gs_free(&buffer);
    }
    gs_team_destroy(&team);
}

static void test_hostile(void **state)
{
    static const size_t shapes[][2] = {{SIZE_MAX, 8}, {8, SIZE_MAX}, {SIZE_MAX / 2, SIZE_MAX / 2}};
    uint8_t bytes[100] = {0};
    (void)state;

    for (size_t i = 0; i < GS_COUNT(shapes); i++) {
        struct gs_cursor c = gs_cursor_make(bytes, sizeof bytes);
        struct gs_sign_block *block;
        struct gs_err err = {0};
        assert_int_equal(gs_sign_block_read(&c, shapes[i][0], shapes[i][1], 1,
                                            gs_factor_format_find("f16"), &block, &err),
                         GS_E_FORMAT);
        assert_non_null(strstr(err.msg, "do not fit"));
        assert_null(block);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stack),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
