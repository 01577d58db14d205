/* SPDX-License-Identifier: MIT
 * Every grid of the list: round trips, errors as promised, independence of threads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "grid/grid.h"

/* Weights of a test matrix: enough for a few tiles, few enough for the slowest search. */
enum { ROWS = 32, COLS = 32 };

static void fill_normal(float *x, size_t n, uint64_t seed)
{
    struct gs_rng rng;

    gs_rng_init(&rng, seed, 0);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)gs_rng_normal(&rng);
}

static struct gs_codec *create(const struct gs_grid *grid, unsigned rate)
{
    struct gs_codec *codec = NULL;
    struct gs_err err = {0};

    assert_int_equal(gs_codec_create(grid, &(struct gs_grid_params){.rate = rate}, &codec, &err),
                     GS_OK);
    return codec;
}

static uint8_t *quantize(const struct gs_codec *codec, struct gs_team *team, const float *x,
                         float *y)
{
    size_t stride = COLS / codec->grid->block_cols * codec->block_bytes;
    uint8_t *codes = gs_alloc(ROWS / codec->grid->block_rows, stride);
    void *work = gs_alloc(1, gs_codec_work_bytes(codec, team));

    assert_non_null(codes);
    assert_non_null(work);
    gs_codec_quantize(codec, team, x, COLS, ROWS, COLS, codes, stride, y, COLS, work);
    gs_free(&work);
    return codes;
}

static double mean_square(const float *x, const float *y, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
    return sum / (double)n;
}

/* The rates that a test of `grid` visits: both ends and some between. */
static unsigned next_rate(const struct gs_grid *grid, unsigned rate)
{
    unsigned step = GS_MAX(grid->rate_step, 5 * grid->rate_step);

    if (rate == grid->rate_max)
        return 0;
    return GS_MIN(rate + step, grid->rate_max);
}

static void grids_are_found_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; gs_grid_at(i); i++)
        assert_ptr_equal(gs_grid_find(gs_grid_at(i)->name), gs_grid_at(i));
    assert_null(gs_grid_find("no such grid"));
    assert_non_null(gs_grid_find("trellis8"));
}

static void a_codec_tells_its_exact_bits(void **state)
{
    (void)state;
    for (size_t i = 0; gs_grid_at(i); i++) {
        const struct gs_grid *grid = gs_grid_at(i);
        for (unsigned rate = grid->rate_min; rate; rate = next_rate(grid, rate)) {
            struct gs_codec *codec = create(grid, rate);
            size_t weights = (size_t)grid->block_rows * grid->block_cols;
            assert_int_equal(codec->rate, rate);
            assert_int_equal(codec->block_bytes * 64, rate * weights);
            assert_int_equal(gs_codec_bits(codec, 512, 512), 512 * 512 / 8 * rate);
            /* Part of a block costs a whole one. */
            assert_int_equal(gs_codec_bits(codec, 1, 1), 8 * codec->block_bytes);
            gs_codec_destroy(&codec);
            assert_null(codec);
        }
    }
}

static void decoding_gives_what_quantizing_promised(void **state)
{
    static float x[ROWS * COLS], y[ROWS * COLS], z[ROWS * COLS];

    (void)state;
    fill_normal(x, ROWS * COLS, 1);
    for (size_t i = 0; gs_grid_at(i); i++) {
        const struct gs_grid *grid = gs_grid_at(i);
        for (unsigned rate = grid->rate_min; rate; rate = next_rate(grid, rate)) {
            struct gs_codec *codec = create(grid, rate);
            size_t stride = COLS / grid->block_cols * codec->block_bytes;
            uint8_t *codes = quantize(codec, NULL, x, y);
            gs_codec_decode(codec, codes, stride, ROWS, COLS, z, COLS);
            assert_memory_equal(y, z, sizeof y);
            /* The promised error: 1024 weights of a Gaussian have a standard deviation of
             * 1.4/32 in their own variance, and tails weigh more in errors. */
            double mse = mean_square(x, y, ROWS * COLS);
            if (mse > 1.25 * codec->gaussian_mse || mse < 0.75 * codec->gaussian_mse)
                fail_msg("%s at %u: error %g, promised %g", grid->name, rate, mse,
                         codec->gaussian_mse);
            gs_free(&codes);
            gs_codec_destroy(&codec);
        }
    }
}

static void more_bits_mean_less_error(void **state)
{
    (void)state;
    for (size_t i = 0; gs_grid_at(i); i++) {
        const struct gs_grid *grid = gs_grid_at(i);
        double last = 1;
        for (unsigned rate = grid->rate_min; rate <= grid->rate_max; rate += grid->rate_step) {
            struct gs_codec *codec = create(grid, rate);
            assert_true(codec->gaussian_mse < last);
            assert_true(codec->gaussian_mse > pow(2, -(double)rate / 4)); /* Shannon's bound */
            last = codec->gaussian_mse;
            gs_codec_destroy(&codec);
        }
    }
}

static void any_bytes_unpack_and_pack_to_themselves(void **state)
{
    static uint32_t symbols[256];
    static uint8_t block[512], again[512];
    struct gs_rng rng;

    (void)state;
    gs_rng_init(&rng, 7, 0);
    for (size_t i = 0; gs_grid_at(i); i++) {
        const struct gs_grid *grid = gs_grid_at(i);
        for (unsigned rate = grid->rate_min; rate; rate = next_rate(grid, rate)) {
            struct gs_codec *codec = create(grid, rate);
            assert_true(codec->block_bytes <= sizeof block && codec->symbols <= 256);
            for (size_t j = 0; j < codec->block_bytes; j++)
                block[j] = (uint8_t)gs_rng_u64(&rng);
            memset(again, 0xa5, sizeof again);
            gs_codec_unpack(codec, block, symbols);
            gs_codec_pack(codec, symbols, again);
            assert_memory_equal(block, again, codec->block_bytes);
            assert_int_equal(again[codec->block_bytes], 0xa5);
            /* Bits beyond a symbol's range are ignored. */
            for (size_t j = 0; j < codec->symbols; j++)
                symbols[j] |= 0xffff0000;
            gs_codec_pack(codec, symbols, again);
            assert_memory_equal(block, again, codec->block_bytes);
            gs_codec_destroy(&codec);
        }
    }
}

static void threads_change_nothing(void **state)
{
    static float x[ROWS * COLS], y[ROWS * COLS], z[ROWS * COLS];
    struct gs_team *team = NULL;

    (void)state;
    assert_int_equal(gs_team_create(3, &team, NULL), GS_OK);
    fill_normal(x, ROWS * COLS, 2);
    for (size_t i = 0; gs_grid_at(i); i++) {
        struct gs_codec *codec = create(gs_grid_at(i), 16);
        size_t bytes = ROWS * COLS * 16 / 64;
        uint8_t *one = quantize(codec, NULL, x, y), *three = quantize(codec, team, x, z);
        assert_memory_equal(one, three, bytes);
        assert_memory_equal(y, z, sizeof y);
        gs_free(&one);
        gs_free(&three);
        gs_codec_destroy(&codec);
    }
    gs_team_destroy(&team);
}

/* One block column at a time, as the rounding loop does: the same codes in the same places,
 * and nothing written between. */
static void block_columns_can_come_one_by_one(void **state)
{
    static float x[ROWS * COLS], y[ROWS * COLS], z[ROWS * COLS];

    (void)state;
    fill_normal(x, ROWS * COLS, 3);
    for (size_t i = 0; gs_grid_at(i); i++) {
        const struct gs_grid *grid = gs_grid_at(i);
        struct gs_codec *codec = create(grid, 24);
        size_t stride = COLS / grid->block_cols * codec->block_bytes;
        uint8_t *whole = quantize(codec, NULL, x, y);
        uint8_t *parts = gs_alloc(ROWS / grid->block_rows, stride);
        void *work = gs_alloc(1, gs_codec_work_bytes(codec, NULL));
        memcpy(z, x, sizeof z);
        for (size_t c = 0; c < COLS; c += grid->block_cols)
            gs_codec_quantize(codec, NULL, z + c, COLS, ROWS, grid->block_cols,
                              parts + c / grid->block_cols * codec->block_bytes, stride, z + c,
                              COLS, work); /* in place */
        assert_memory_equal(whole, parts, ROWS / grid->block_rows * stride);
        assert_memory_equal(y, z, sizeof y);
        gs_free(&work);
        gs_free(&whole);
        gs_free(&parts);
        gs_codec_destroy(&codec);
    }
}

static void outliers_get_the_farthest_values(void **state)
{
    static float x[ROWS * COLS], y[ROWS * COLS];

    (void)state;
    for (size_t i = 0; gs_grid_at(i); i++) {
        struct gs_codec *codec = create(gs_grid_at(i), 16);
        for (size_t j = 0; j < ROWS * COLS; j++)
            x[j] = j % 32 ? 0.1f : 1e30f;
        uint8_t *codes = quantize(codec, NULL, x, y);
        for (size_t j = 0; j < ROWS * COLS; j += 32)
            assert_true(y[j] > 1.4f && y[j] < 10.0f);
        gs_free(&codes);
        gs_codec_destroy(&codec);
    }
}

static void a_rate_that_is_not_there_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; gs_grid_at(i); i++) {
        const struct gs_grid *grid = gs_grid_at(i);
        const unsigned wrong[] = {0, grid->rate_min - 1, grid->rate_max + 1, 0xffffffffu};
        for (size_t j = 0; j < GS_COUNT(wrong); j++) {
            struct gs_codec *codec = NULL;
            struct gs_err err = {0};
            assert_int_equal(gs_codec_create(grid, &(struct gs_grid_params){.rate = wrong[j]},
                                             &codec, &err), GS_E_ARG);
            assert_null(codec);
            assert_non_null(strstr(err.msg, grid->name));
        }
    }
    struct gs_err err = {0};
    struct gs_codec *codec = NULL;
    assert_int_equal(gs_codec_create(gs_grid_find("uniform"),
                                     &(struct gs_grid_params){.rate = 17}, &codec, &err),
                     GS_E_ARG);
    assert_non_null(strstr(err.msg, "2.125"));
}

static void running_out_of_memory_is_told(void **state)
{
    (void)state;
    for (size_t i = 0; gs_grid_at(i); i++) {
        struct gs_codec *codec = NULL;
        struct gs_err err = {0};
        gs_alloc_fail_at(1);
        assert_int_equal(gs_codec_create(gs_grid_at(i), &(struct gs_grid_params){.rate = 16},
                                         &codec, &err), GS_E_NOMEM);
        gs_alloc_fail_at(0);
        assert_null(codec);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grids_are_found_by_name),
        cmocka_unit_test(a_codec_tells_its_exact_bits),
        cmocka_unit_test(decoding_gives_what_quantizing_promised),
        cmocka_unit_test(more_bits_mean_less_error),
        cmocka_unit_test(any_bytes_unpack_and_pack_to_themselves),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(block_columns_can_come_one_by_one),
        cmocka_unit_test(outliers_get_the_farthest_values),
        cmocka_unit_test(a_rate_that_is_not_there_is_refused),
        cmocka_unit_test(running_out_of_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
