/* SPDX-License-Identifier: MIT
 * The trellis code: layout by an independent reading of tiles, the search against Viterbi in
 * floating point and against exhaustive search, dot products. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "grid/grid.h"
#include "kernels/kernels.h"
#include "kernels/trellis.h"

static struct gs_codec *create(const char *name, unsigned rate)
{
    struct gs_codec *codec = NULL;

    assert_int_equal(gs_codec_create(gs_grid_find(name), &(struct gs_grid_params){.rate = rate},
                                     &codec, NULL), GS_OK);
    return codec;
}

static int ring_bit(const uint8_t *tile, size_t bits, size_t i)
{
    i %= bits;
    return tile[i / 8] >> (i % 8) & 1;
}

/* Weight i of a tile, from the words of trellis.h: bit by bit, without any prepared table. */
static int value_by_hand(const struct gs_trellis *t, const uint8_t *tile, size_t i)
{
    size_t bits = 32u * t->rate, start = i / 8 * t->rate + (i % 8 * t->rate) / 8;
    unsigned index = 0, sign = 1u << (t->index_bits - 1);

    for (size_t j = 0; j < t->window; j++)
        if (ring_bit(tile, bits, start + j))
            index ^= t->column[j];
    int m = t->magnitude[index % sign];
    return index >= sign ? -m : m;
}

static int value_of(uint8_t decoded)
{
    return decoded - GS_TRELLIS_BIAS;
}

static void decoding_follows_the_layout(void **state)
{
    static const char *const names[] = {"trellis8", "trellis12", "trellis16"};
    uint8_t tile[160], values[256];
    float y[256];
    struct gs_rng rng;

    (void)state;
    gs_rng_init(&rng, 1, 0);
    for (size_t g = 0; g < GS_COUNT(names); g++)
        for (unsigned rate = 8; rate <= 40; rate++) {
            struct gs_codec *codec = create(names[g], rate);
            assert_int_equal(codec->block_bytes, 4 * rate);
            for (size_t i = 0; i < codec->block_bytes; i++)
                tile[i] = (uint8_t)gs_rng_u64(&rng);
            gs_kernels()->trellis_decode(codec->trellis, tile, 1, values);
            gs_codec_decode(codec, tile, codec->block_bytes, 16, 16, y, 16);
            for (size_t i = 0; i < 256; i++) {
                assert_int_equal(value_of(values[i]), value_by_hand(codec->trellis, tile, i));
                size_t row = i / 4 % 16, col = i / 64 * 4 + i % 4;
                assert_true(y[row * 16 + col] == (float)value_of(values[i]) * codec->unit);
            }
            gs_codec_destroy(&codec);
        }
}

/* Steps of 8 weights add up to the rate, and no step exceeds the next whole number of bits. */
static void steps_spread_evenly(void **state)
{
    (void)state;
    for (unsigned rate = 8; rate <= 40; rate++) {
        struct gs_codec *codec = create("trellis12", rate);
        unsigned sum = 0;
        for (unsigned i = 0; i < 8; i++) {
            unsigned step = codec->trellis->step[i];
            assert_true(step == rate / 8 || step == (rate + 7) / 8);
            sum += step;
        }
        assert_int_equal(sum, rate);
        gs_codec_destroy(&codec);
    }
}

/* A map that used fewer than 32 values would waste its table; magnitudes stay in 8 bits. */
static void codes_use_their_tables(void **state)
{
    static const char *const names[] = {"trellis8", "trellis12", "trellis16"};

    (void)state;
    for (size_t g = 0; g < GS_COUNT(names); g++)
        for (unsigned rate = 8; rate <= 40; rate++) {
            struct gs_codec *codec = create(names[g], rate);
            const struct gs_trellis *t = codec->trellis;
            bool seen[128] = {false};
            unsigned count = 0;
            for (unsigned s = 0; s < 1u << t->window; s++) {
                unsigned index = gs_trellis_index(t, s);
                count += !seen[index];
                seen[index] = true;
            }
            assert_true(count >= 32 && count <= 1u << t->index_bits);
            for (unsigned i = 0; i < 1u << (t->index_bits - 1); i++)
                assert_true(t->magnitude[i] >= -127);
            gs_codec_destroy(&codec);
        }
}

/* ---- Viterbi in double precision ----------------------------------------------------- */

struct reference {
    const struct gs_trellis *t;
    double *cost, *next;
    uint8_t *choice; /* [256][states] */
    int *value;      /* [states] */
};

/* One pass from weight `first`; from state `from` (or any, if negative) to the best or the
 * same state; states[n] is the one after the n-th weight of the pass. */
static void reference_pass(struct reference *r, const float *x, unsigned first, int from,
                           unsigned *states)
{
    unsigned window = r->t->window, n_states = 1u << window, best = 0;

    for (unsigned s = 0; s < n_states; s++)
        r->cost[s] = from < 0 || (unsigned)from == s ? 0 : 1e30;
    for (unsigned n = 0; n < 256; n++) {
        unsigned weight = (first + n) % 256, b = r->t->step[weight % 8];
        for (unsigned s = 0; s < n_states; s++) {
            unsigned before = s << b & (n_states - 1), choice = 0;
            double d = (double)x[weight] - r->value[s];
            for (unsigned j = 1; j < 1u << b; j++)
                if (r->cost[before | j] < r->cost[before | choice])
                    choice = j;
            r->choice[n * n_states + s] = (uint8_t)choice;
            r->next[s] = r->cost[before | choice] + d * d;
        }
        double *swap = r->cost;
        r->cost = r->next;
        r->next = swap;
    }
    for (unsigned s = 1; s < n_states; s++)
        if (r->cost[s] < r->cost[best])
            best = s;
    unsigned s = from < 0 ? best : (unsigned)from;
    for (unsigned n = 256; n-- > 0;) {
        states[n] = s;
        s = (s << r->t->step[(first + n) % 256 % 8] & (n_states - 1)) |
            r->choice[n * n_states + s];
    }
}

static double reference_error(struct reference *r, const float *x)
{
    unsigned states[256];
    double sum = 0;

    reference_pass(r, x, 128, -1, states);
    reference_pass(r, x, 0, (int)states[127], states);
    for (unsigned n = 0; n < 256; n++) {
        double d = (double)x[n] - r->value[states[n]];
        sum += d * d;
    }
    return sum;
}

static void compare_with_reference(const char *name, unsigned rate, size_t tiles)
{
    struct gs_codec *codec = create(name, rate);
    const struct gs_trellis *t = codec->trellis;
    size_t n_states = (size_t)1 << t->window;
    struct reference r = {.t = t, .cost = gs_alloc(n_states, sizeof(double)),
                          .next = gs_alloc(n_states, sizeof(double)),
                          .choice = gs_alloc(256, n_states),
                          .value = gs_alloc(n_states, sizeof(int))};
    float *x = gs_alloc(tiles * 256, sizeof *x);
    uint8_t *codes = gs_alloc(tiles, codec->block_bytes);
    uint8_t *values = gs_alloc(tiles, 256);
    void *work = gs_alloc(1, gs_viterbi_work_bytes(t));
    struct gs_rng rng;
    double ours = 0, best = 0;

    assert_true(r.cost && r.next && r.choice && r.value && x && codes && values && work);
    for (unsigned s = 0; s < n_states; s++)
        r.value[s] = gs_trellis_value(t, s);
    gs_rng_init(&rng, rate, t->window);
    for (size_t i = 0; i < tiles * 256; i++)
        x[i] = (float)gs_rng_normal(&rng) / codec->unit;
    gs_kernels()->viterbi(t, x, tiles, codes, codec->block_bytes, work);
    gs_kernels()->trellis_decode(t, codes, tiles, values);
    for (size_t i = 0; i < tiles * 256; i++)
        ours += pow((double)x[i] - value_of(values[i]), 2);
    for (size_t i = 0; i < tiles; i++)
        best += reference_error(&r, x + 256 * i);
    /* 16-bit costs lose less than a fifth of a percent, at any rate. */
    if (fabs(ours / best - 1) > 0.002)
        fail_msg("%s at %u: error %g, in double precision %g", name, rate, ours, best);
    gs_free(&r.cost);
    gs_free(&r.next);
    gs_free(&r.choice);
    gs_free(&r.value);
    gs_free(&x);
    gs_free(&codes);
    gs_free(&values);
    gs_free(&work);
    gs_codec_destroy(&codec);
}

static void integer_search_is_as_good_as_double(void **state)
{
    (void)state;
    for (unsigned rate = 8; rate <= 40; rate += 4)
        compare_with_reference("trellis8", rate, 48);
    for (unsigned rate = 8; rate <= 40; rate += 8)
        compare_with_reference("trellis12", rate, 4);
    compare_with_reference("trellis16", 16, 1);
}

/* Values that a tile can hold exactly are found again, bit for bit in value. */
static void exact_targets_are_found(void **state)
{
    uint8_t tile[160], found[160], values[256], again[256];
    float x[256];
    struct gs_rng rng;

    (void)state;
    gs_rng_init(&rng, 5, 0);
    for (unsigned rate = 8; rate <= 24; rate += 2) {
        struct gs_codec *codec = create("trellis8", rate);
        void *work = gs_alloc(1, gs_viterbi_work_bytes(codec->trellis));
        assert_non_null(work);
        for (size_t i = 0; i < codec->block_bytes; i++)
            tile[i] = (uint8_t)gs_rng_u64(&rng);
        gs_kernels()->trellis_decode(codec->trellis, tile, 1, values);
        for (size_t i = 0; i < 256; i++)
            x[i] = (float)value_of(values[i]);
        gs_kernels()->viterbi(codec->trellis, x, 1, found, codec->block_bytes, work);
        gs_kernels()->trellis_decode(codec->trellis, found, 1, again);
        int worst = 0;
        for (size_t i = 0; i < 256; i++)
            worst = GS_MAX(worst, abs(again[i] - values[i]));
        /* Costs resolve a few steps of the table, not single ones. */
        assert_true(worst <= 8);
        gs_free(&work);
        gs_codec_destroy(&codec);
    }
}

/* Both kernels follow the chain of int8.h, with exact sums inside its blocks. */
static void dots_are_sums_of_products(void **state)
{
    enum { TILES = 37, N = TILES * 16, BLOCKS = (N + GS_INT8_BLOCK - 1) / GS_INT8_BLOCK };
    static uint8_t codes[TILES * 160], values[TILES * 256];
    int8_t q[N];
    float scale[BLOCKS];
    int32_t sum[BLOCKS] = {0};
    const struct gs_int8 x = {.q = q, .scale = scale, .sum = sum, .stride = N, .blocks = BLOCKS};
    struct gs_rng rng;

    (void)state;
    gs_rng_init(&rng, 9, 0);
    for (unsigned rate = 8; rate <= 40; rate += 3) {
        struct gs_codec *codec = create(rate % 2 ? "trellis8" : "trellis16", rate);
        float y[16], z[16] = {0}, want[16] = {0};
        for (size_t i = 0; i < sizeof codes; i++)
            codes[i] = (uint8_t)gs_rng_u64(&rng);
        memset(sum, 0, sizeof sum);
        for (size_t i = 0; i < N; i++) {
            q[i] = rate == 8 ? 127 : (int8_t)((int)gs_rng_below(&rng, 255) - 127);
            sum[i / GS_INT8_BLOCK] += q[i];
            scale[i / GS_INT8_BLOCK] = 0.01f * (float)(1 + i / GS_INT8_BLOCK);
        }
        gs_kernels()->trellis_decode(codec->trellis, codes, TILES, values);
        for (size_t r = 0; r < 16; r++)
            for (size_t b = 0; b < BLOCKS; b++) {
                int64_t part = 0;
                size_t end = GS_MIN((b + 1) * GS_INT8_BLOCK, (size_t)N);
                for (size_t c = b * GS_INT8_BLOCK; c < end; c++)
                    part += value_of(values[c / 4 * 64 + 4 * r + c % 4]) * q[c];
                want[r] = fmaf(scale[b], (float)part, want[r]);
            }
        gs_kernels()->trellis_dot(codec->trellis, codes, TILES, &x, y);
        gs_kernels()->tile_mul(values, TILES, 16, &x, 1, z, 16);
        assert_memory_equal(y, want, sizeof want);
        assert_memory_equal(z, want, sizeof want);
        gs_codec_destroy(&codec);
    }
}

static void a_tensor_may_bring_its_own_table(void **state)
{
    int8_t table[64];
    uint8_t tile[64] = {1, 2, 3}, values[256];
    struct gs_codec *codec = NULL;
    struct gs_grid_params params = {.rate = 16, .table = table, .table_unit = 0.5f};
    float y[256];

    (void)state;
    for (int i = 0; i < 64; i++)
        table[i] = (int8_t)(i ? 2 * i : -128);
    assert_int_equal(gs_codec_create(gs_grid_find("trellis8"), &params, &codec, NULL), GS_OK);
    assert_int_equal(codec->table_bytes, 32 + 4);
    assert_int_equal(gs_codec_bits(codec, 16, 16), 8 * (64 + 32 + 4));
    assert_int_equal(codec->trellis->magnitude[0], -127); /* kernels never see -128 */
    assert_int_equal(codec->trellis->magnitude[5], 10);
    gs_codec_decode(codec, tile, 64, 16, 16, y, 16);
    gs_kernels()->trellis_decode(codec->trellis, tile, 1, values);
    assert_true(y[0] == 0.5f * (float)value_of(values[0]));
    gs_codec_destroy(&codec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoding_follows_the_layout),
        cmocka_unit_test(steps_spread_evenly),
        cmocka_unit_test(codes_use_their_tables),
        cmocka_unit_test(integer_search_is_as_good_as_double),
        cmocka_unit_test(exact_targets_are_found),
        cmocka_unit_test(dots_are_sums_of_products),
        cmocka_unit_test(a_tensor_may_bring_its_own_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
