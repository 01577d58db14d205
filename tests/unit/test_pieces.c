/* SPDX-License-Identifier: MIT
 * Matrices that are cut: any number of first pieces is a matrix, with the loss that rounding told;
 * more pieces are better; slices beat cutting 8-bit codes; broken ones are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/part_case.h"

#include "core/alloc.h"
#include "core/rng.h"

#define ROWS 40
#define COLS 160
#define N (ROWS * COLS)

static struct gs_err err;
static float weights[N];

static int setup(void **state)
{
    struct gs_rng rng;

    (void)state;
    gs_rng_init(&rng, 11, 0);
    for (size_t i = 0; i < N; i++)
        weights[i] = (float)(0.03 * gs_rng_normal(&rng));
    return 0;
}

struct cut {
    uint8_t *blob;
    struct gs_part_result result;
    struct gs_part_facts facts;
    struct gs_part_source source; /* all pieces */
};

static void cut_with(const char *codebook, unsigned blocks, struct gs_team *team, struct cut *out)
{
    static float w[N];
    struct gs_part_spec spec = make_cut_spec(codebook, blocks);
    struct gs_part_input input;

    memcpy(w, weights, sizeof w);
    if (gs_part_check(&spec, &err) ||
        gs_part_input_create(&spec, team, COLS, NULL, NULL, &input, &err))
        fail_msg("%s", err.msg);
    const struct gs_part_job job = {.spec = &spec, .input = &input, .rows = ROWS, .cols = COLS,
                                    .w = w, .team = team, .seed = 5};
    if (gs_part_round(&job, &out->blob, &out->result, &err) ||
        gs_part_read_facts(out->blob, out->result.bytes, &out->facts, &err))
        fail_msg("%s: %s", codebook, err.msg);
    uint64_t at = out->facts.piece[0].bytes;
    out->source = (struct gs_part_source){.base_bytes = at, .pieces = out->facts.pieces};
    out->source.piece[0] = out->blob;
    for (unsigned k = 1; k < out->facts.pieces; k++) {
        out->source.piece[k] = out->blob + at;
        at += out->facts.piece[k].bytes;
    }
    assert_int_equal(at, out->result.bytes);
    gs_part_input_clear(&input);
}

/* Σ (w − ŵ)² with the first pieces. */
static double squares(const struct cut *c, unsigned pieces, float *y)
{
    struct gs_part_source source = c->source;
    double sum = 0;

    source.pieces = pieces;
    if (gs_part_decode_source(&source, NULL, y, &err))
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < N; i++)
        sum += ((double)weights[i] - (double)y[i]) * ((double)weights[i] - (double)y[i]);
    return sum;
}

static const struct {
    const char *codebook;
    unsigned blocks, pieces;
} cases[] = {{"nested", 0, 4}, {"nested:rule=1", 0, 4}, {"residual:bits=2,terms=3", 0, 3},
             {"binary", 5, 5}};

static void test_every_number_of_pieces_is_a_matrix(void **state)
{
    static float y[N], whole[N];
    struct cut c;

    (void)state;
    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        cut_with(cases[i].codebook, cases[i].blocks, NULL, &c);
        assert_int_equal(c.facts.pieces, cases[i].pieces);
        assert_int_equal(c.result.pieces, cases[i].pieces);
        for (unsigned k = 1; k <= c.facts.pieces; k++) {
            double sum = squares(&c, k, y);
            if (fabs(sum - c.result.losses[k - 1]) > 1e-4 * sum)
                fail_msg("%s: %u pieces: %g, told %g", cases[i].codebook, k, sum,
                         c.result.losses[k - 1]);
            if (k > 1)
                assert_true(sum < c.result.losses[k - 2]);
            assert_true(c.facts.piece[k - 1].bytes > 0);
        }
        assert_int_equal(gs_part_decode(c.blob, c.result.bytes, NULL, whole, &err), 0);
        assert_memory_equal(whole, y, sizeof y);
        /* The base is a blob by itself. */
        squares(&c, 1, y);
        assert_int_equal(gs_part_decode(c.blob, c.source.base_bytes, NULL, whole, &err), 0);
        assert_memory_equal(whole, y, sizeof y);
        gs_free(&c.blob);
    }
}

/* Codes of 8 bits by absolute maximum, of which the first bits are kept as they are. */
static double cut_plainly(unsigned bits)
{
    double sum = 0;

    for (size_t g = 0; g < N; g += 32) {
        float largest = 0;
        for (size_t i = g; i < g + 32; i++)
            largest = fmaxf(largest, fabsf(weights[i]));
        float step = largest / 127;
        for (size_t i = g; i < g + 32; i++) {
            int q = (int)lrintf(weights[i] / step) + 128;
            float y = step * (float)((q >> (8 - bits) << (8 - bits)) - 128);
            sum += ((double)weights[i] - (double)y) * ((double)weights[i] - (double)y);
        }
    }
    return sum;
}

static void test_slices_beat_cut_codes(void **state)
{
    struct cut c;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        cut_with(cases[i].codebook, 0, NULL, &c);
        for (unsigned k = 0; k < 3; k++) {
            assert_int_equal(c.facts.piece[k].serves, k + 2);
            assert_true(c.result.losses[k] < 0.6 * cut_plainly(k + 2));
        }
        assert_int_equal(c.facts.piece[3].serves, 8);
        assert_true(c.result.losses[3] < 1.5 * cut_plainly(8));
        gs_free(&c.blob);
    }
}

static void test_threads_do_not_matter(void **state)
{
    struct gs_team *team = NULL;
    struct cut one, three;

    (void)state;
    assert_int_equal(gs_team_create(3, &team, &err), 0);
    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        cut_with(cases[i].codebook, cases[i].blocks, NULL, &one);
        cut_with(cases[i].codebook, cases[i].blocks, team, &three);
        assert_int_equal(one.result.bytes, three.result.bytes);
        assert_memory_equal(one.blob, three.blob, one.result.bytes);
        gs_free(&one.blob);
        gs_free(&three.blob);
    }
    gs_team_destroy(&team);
}

/* Every length but those of the base and the whole, every bit of the header. */
static void test_hostile_blobs(void **state)
{
    static float y[N];
    struct gs_part_facts facts;
    struct cut c;

    (void)state;
    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        cut_with(cases[i].codebook, cases[i].blocks, NULL, &c);
        for (uint64_t n = 0; n < c.result.bytes; n += n < 100 ? 1 : 97)
            if (n != c.source.base_bytes)
                assert_true(gs_part_read_facts(c.blob, n, &facts, &err) < 0);
        for (size_t bit = 0; bit < 8 * 100; bit++) {
            c.blob[bit / 8] ^= (uint8_t)(1u << bit % 8);
            if (!gs_part_read_facts(c.blob, c.result.bytes, &facts, &err) &&
                facts.rows == ROWS && facts.cols == COLS &&
                !gs_part_decode(c.blob, c.result.bytes, NULL, y, &err))
                for (size_t k = 0; k < N; k++)
                    assert_true(isfinite(y[k]));
            c.blob[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        gs_free(&c.blob);
    }
}

/* Factors that are not finite are found before a row is asked for. */
static void test_hostile_factors(void **state)
{
    static float y[N];
    struct cut c;

    (void)state;
    cut_with("binary", 3, NULL, &c);
    for (unsigned k = 0; k < 3; k++) {
        uint64_t end = k ? c.facts.piece[k].bytes : c.source.base_bytes;
        uint8_t *last = c.blob + (c.source.piece[k] - c.blob) + end - 2, kept = last[1];
        struct gs_part_stack stack;
        last[1] = 0x7c; /* infinite or a NaN */
        assert_int_equal(gs_part_stack_open(&c.source, &stack, &err), GS_E_FORMAT);
        assert_int_equal(gs_part_decode(c.blob, c.result.bytes, NULL, y, &err), GS_E_FORMAT);
        last[1] = kept;
        assert_int_equal(gs_part_stack_open(&c.source, &stack, &err), 0);
    }
    gs_free(&c.blob);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_number_of_pieces_is_a_matrix),
        cmocka_unit_test(test_slices_beat_cut_codes),
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_hostile_blobs),
        cmocka_unit_test(test_hostile_factors),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
