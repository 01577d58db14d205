/* SPDX-License-Identifier: MIT
 * QTIP's codes: values by the published formulas, the layout of the ring, searches that no
 * change of a bit improves, errors as known. What holds for every grid is in test_grid.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/alloc.h"
#include "core/half.h"
#include "core/rng.h"
#include "grid/grid.h"

static struct gs_codec *create_with(const char *name, unsigned bits, bool full)
{
    struct gs_grid_params params = {.rate = 8 * bits, .full = full};
    struct gs_codec *codec = NULL;

    assert_int_equal(gs_codec_create(gs_grid_find(name), &params, &codec, NULL), GS_OK);
    return codec;
}

static struct gs_codec *create(const char *name, unsigned bits)
{
    return create_with(name, bits, false);
}

/* A tile whose first 16 ring bits, highest first, are a state: its first value. */
static float value_of(const struct gs_codec *codec, unsigned state)
{
    uint8_t tile[128] = {(uint8_t)(state >> 8), (uint8_t)state};
    float y[256];

    gs_codec_decode(codec, tile, codec->block_bytes, 16, 16, y, 16);
    return y[0];
}

static void values_follow_the_formulas(void **state)
{
    struct gs_codec *mad = create("qtip-1mad", 2), *inst = create("qtip-3inst", 2);
    double squares[2] = {0};
    (void)state;

    for (uint32_t s = 0; s < 65536; s++) {
        uint32_t x = s * 34038481u + 76625530u, sum = 0;
        for (int i = 0; i < 32; i += 8)
            sum += x >> i & 255;
        double want = ((double)sum - 510) / 147.800537;
        assert_true(fabs((double)value_of(mad, s) - want) < 1e-6);
        squares[0] += want * want / 65536;
        uint32_t y = ((s * 89226354u + 64248484u) & 0x8fff8fffu) ^ 0x3b603b60u;
        double a = (double)gs_f16_to_f32((uint16_t)y);
        double b = (double)gs_f16_to_f32((uint16_t)(y >> 16));
        assert_true(fabs(1.24 * (double)value_of(inst, s) - (a + b)) < 1e-3);
        squares[1] += (a + b) * (a + b) / 65536;
    }
    assert_true(fabs(sqrt(squares[0]) - 1.0001) < 1e-4);
    assert_true(fabs(sqrt(squares[1]) - 1.24371) < 1e-4);
    gs_codec_destroy(&mad);
    gs_codec_destroy(&inst);
}

/* HYB: bit 15 of h turns the sign of the second weight only; the table's spread is QTIP's. */
static void hybrid_pairs_share_a_table(void **state)
{
    struct gs_codec *codec = create("qtip-hyb", 2);
    double squares = 0;
    unsigned twins = 0;
    (void)state;

    for (uint32_t s = 0; s < 65536; s += 7) {
        uint8_t tile[64] = {(uint8_t)(s >> 8), (uint8_t)s};
        uint32_t h = (s * s + s) & 0xffff, other = 0;
        float y[256], z[256];
        gs_codec_decode(codec, tile, 64, 16, 16, y, 16);
        squares += (double)y[0] * y[0] + (double)y[1] * y[1];
        if (s % 497) /* looking for its twin takes long */
            continue;
        while (((other * other + other) & 0xffff) != (h ^ 0x8000) && other < 65536)
            other++;
        if (other == 65536)
            continue;
        twins++;
        tile[0] = (uint8_t)(other >> 8);
        tile[1] = (uint8_t)other;
        gs_codec_decode(codec, tile, 64, 16, 16, z, 16);
        assert_true(y[0] == z[0] && y[1] == -z[1]);
    }
    assert_true(twins > 20);
    assert_true(fabs(sqrt(squares / (2 * 65536 / 7)) - sqrt(15.0 / 16)) < 0.02);
    gs_codec_destroy(&codec);
}

static double error_of(const struct gs_codec *codec, const uint8_t *tile, const float *x)
{
    float y[256];
    double sum = 0;

    gs_codec_decode(codec, tile, codec->block_bytes, 16, 16, y, 16);
    for (int i = 0; i < 256; i++)
        sum += pow((double)x[i] - (double)y[i], 2);
    return sum;
}

/* The full search is exact among the tiles that share the seam's bits, the first 15 at most. */
static void no_bit_can_be_improved(void **state)
{
    static const char *const names[] = {"qtip-1mad", "qtip-3inst", "qtip-hyb"};
    struct gs_rng rng;
    float x[256];
    uint8_t tile[128];
    (void)state;

    gs_rng_init(&rng, 3, 0);
    for (unsigned bits = 1; bits <= 4; bits++) {
        struct gs_codec *codec = create_with(names[bits % 3], bits, true);
        void *work = gs_alloc(1, gs_codec_work_bytes(codec, NULL));
        assert_non_null(work);
        for (int i = 0; i < 256; i++)
            x[i] = (float)gs_rng_normal(&rng);
        gs_codec_quantize(codec, NULL, x, 16, 16, 16, tile, codec->block_bytes, NULL, 0, work);
        double least = error_of(codec, tile, x);
        for (unsigned i = 15; i < 256 * bits; i++) {
            tile[i / 8] ^= (uint8_t)(128 >> i % 8);
            assert_true(error_of(codec, tile, x) > least - 1e-4);
            tile[i / 8] ^= (uint8_t)(128 >> i % 8);
        }
        gs_free(&work);
        gs_codec_destroy(&codec);
    }
}

/* Its squared error on n tiles one below the other, relative to their power. */
static double relative_error(const struct gs_codec *codec, struct gs_team *team, const float *x,
                             size_t tiles)
{
    float *y = gs_alloc(256 * tiles, sizeof *y);
    uint8_t *codes = gs_alloc(tiles, codec->block_bytes);
    void *work = gs_alloc(1, gs_codec_work_bytes(codec, team));
    double sum = 0, power = 0;

    assert_true(y && codes && work);
    gs_codec_quantize(codec, team, x, 16, 16 * tiles, 16, codes, codec->block_bytes, y, 16,
                      work);
    for (size_t i = 0; i < 256 * tiles; i++) {
        sum += pow((double)x[i] - (double)y[i], 2);
        power += (double)x[i] * x[i];
    }
    gs_free(&y);
    gs_free(&codes);
    gs_free(&work);
    return sum / power;
}

/* Errors on Gaussian weights: within 1 %, or 10 % of few tiles; of the kernels' search at most
 * half a percent above those of the full one. */
static void gaussian_errors_are_as_known(void **state)
{
    static const struct { const char *name; unsigned bits; double mse; size_t tiles; } cases[] = {
        {"qtip-1mad", 2, 0.0690, 48}, {"qtip-3inst", 2, 0.0688, 48},
        {"qtip-hyb", 2, 0.0711, 48},  {"qtip-1mad", 1, 0.272, 16},
        {"qtip-1mad", 3, 0.0178, 16}, {"qtip-3inst", 4, 0.0048, 16},
        {"qtip-hyb", 1, 0.270, 16},   {"qtip-hyb", 3, 0.0207, 16},
        {"qtip-hyb", 4, 0.0080, 16},
    };
    enum { TILES = 48 };
    float *x = gs_alloc(TILES, 256 * sizeof *x);
    struct gs_team *team;
    struct gs_rng rng;
    (void)state;

    assert_non_null(x);
    assert_int_equal(gs_team_create(2, &team, NULL), GS_OK);
    gs_rng_init(&rng, 4, 0);
    for (int i = 0; i < TILES * 256; i++)
        x[i] = (float)gs_rng_normal(&rng);
    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        bool many = cases[i].tiles == TILES;
        double error[2];
        for (int full = 0; full < 2; full++) {
            struct gs_codec *codec = create_with(cases[i].name, cases[i].bits, full);
            error[full] = relative_error(codec, team, x, cases[i].tiles);
            gs_codec_destroy(&codec);
            if (fabs(error[full] / cases[i].mse - 1) > (many ? 0.01 : 0.1))
                fail_msg("%s, %u bits: error %g, not %g", cases[i].name, cases[i].bits,
                         error[full], cases[i].mse);
        }
        if (getenv("GS_PRINT"))
            print_message("%s %u bits: %.5f, full search %.5f\n", cases[i].name, cases[i].bits,
                          error[0], error[1]);
        if (error[0] > (many ? 1.005 : 1.01) * error[1])
            fail_msg("%s, %u bits: %g, %g after a full search", cases[i].name, cases[i].bits,
                     error[0], error[1]);
    }
    gs_team_destroy(&team);
    gs_free(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_follow_the_formulas),
        cmocka_unit_test(hybrid_pairs_share_a_table),
        cmocka_unit_test(no_bit_can_be_improved),
        cmocka_unit_test(gaussian_errors_are_as_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
