/* SPDX-License-Identifier: MIT
 * Matrices of parts: whatever is rounded is what the blob decodes to, bits are what was
 * planned, feedback does not lose to nearest, and broken blobs are refused. */
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

#define ROWS 48
#define COLS 192
#define TOKENS 1024

static struct gs_err err;
static float weights[ROWS * COLS];
static double moments[COLS * COLS];

/* Heavy-tailed weights; inputs that are alike and of different sizes, as in a network. */
static int setup(void **state)
{
    static float x[TOKENS][COLS];
    struct gs_rng rng;

    (void)state;
    gs_rng_init(&rng, 7, 0);
    for (size_t i = 0; i < ROWS * COLS; i++) {
        double g = gs_rng_normal(&rng);
        weights[i] = (float)(0.02 * g * (1 + 0.3 * g * g));
    }
    for (size_t t = 0; t < TOKENS; t++) {
        double common[4], last = 0;
        for (int k = 0; k < 4; k++)
            common[k] = gs_rng_normal(&rng);
        for (size_t i = 0; i < COLS; i++) {
            last = 0.7 * last + gs_rng_normal(&rng);
            x[t][i] = (float)((last + 2 * common[i % 4]) * (i % 29 ? 1 : 6));
        }
    }
    for (size_t i = 0; i < COLS; i++)
        for (size_t j = 0; j < COLS; j++) {
            double sum = 0;
            for (size_t t = 0; t < TOKENS; t++)
                sum += (double)x[t][i] * (double)x[t][j];
            moments[i * COLS + j] = sum / TOKENS;
        }
    return 0;
}

struct rounded {
    uint8_t *blob;
    uint64_t bytes, header;
    struct gs_part_result result;
    float y[ROWS * COLS]; /* decoded */
};

static void free_rounded(struct rounded *r)
{
    gs_free(&r->blob);
}

static void round_with(const struct gs_part_spec *spec, struct gs_team *team,
                       struct rounded *out)
{
    static float w[ROWS * COLS];
    struct gs_part_input input;

    err = (struct gs_err){0};
    memcpy(w, weights, sizeof w);
    if (gs_part_check(spec, &err) ||
        gs_part_bytes(spec, ROWS, COLS, "none", "none", false, &out->bytes, &out->header, &err) ||
        gs_part_input_create(spec, team, COLS, moments, NULL, &input, &err))
        fail_msg("%s", err.msg);
    const struct gs_part_job job = {.spec = spec, .input = &input, .rows = ROWS, .cols = COLS,
                                    .w = w, .team = team, .seed = 5};
    uint64_t planned = out->bytes;
    if (gs_part_round(&job, &out->blob, &out->result, &err))
        fail_msg("%s %s %s: %s", spec->codebook, spec->scale, spec->rounder, err.msg);
    out->bytes = out->result.bytes;
    if (!strcmp(spec->sparse_by, "none"))
        assert_int_equal(out->bytes, planned);
    if (gs_part_decode(out->blob, out->bytes, team, out->y, &err))
        fail_msg("%s %s %s: %s", spec->codebook, spec->scale, spec->rounder, err.msg);
    gs_part_input_clear(&input);
}

/* tr(E H Eᵀ) of the decoded matrix, the plain way. */
static double plain_loss(const struct rounded *r)
{
    double sum = 0;

    for (size_t row = 0; row < ROWS; row++)
        for (size_t i = 0; i < COLS; i++)
            for (size_t j = 0; j < COLS; j++)
                sum += ((double)weights[row * COLS + i] - (double)r->y[row * COLS + i]) *
                       moments[i * COLS + j] *
                       ((double)weights[row * COLS + j] - (double)r->y[row * COLS + j]);
    return sum;
}

static const struct {
    const char *scale;
    unsigned group;
} shapes[] = {{"tensor", 0}, {"row", 0}, {"column", 0}, {"column", 16}, {"group", 32},
              {"group", 50}, {"block", 16}};

/* The loss that rounding tells is that of the decoded weights: so decoding gives exactly what
 * the rounder saw. */
static void test_blob_decodes_to_what_was_rounded(void **state)
{
    struct rounded r;

    (void)state;
    for (size_t s = 0; s < GS_COUNT(shapes); s++)
        for (size_t k = 0; gs_part_rounder_name(k); k++) {
            struct gs_part_spec spec = make_spec("uniform:bits=3,zero=2", shapes[s].scale,
                                                 shapes[s].group, gs_part_rounder_name(k));
            if (gs_part_check(&spec, NULL))
                continue; /* it does not go with such groups */
            round_with(&spec, NULL, &r);
            double plain = plain_loss(&r);
            if (fabs(plain - r.result.loss) > 1e-6 * plain)
                fail_msg("%s %u %s: loss %g, decoded %g", shapes[s].scale, shapes[s].group,
                         spec.rounder, r.result.loss, plain);
            assert_int_equal(r.result.bits, 8 * (r.bytes - r.header));
            free_rounded(&r);
        }
}

static void test_feedback_never_loses(void **state)
{
    struct rounded near, fed;

    (void)state;
    for (size_t s = 0; s < GS_COUNT(shapes); s++)
        for (unsigned bits = 2; bits <= 4; bits++) {
            char text[32];
            snprintf(text, sizeof text, "uniform:bits=%u", bits);
            struct gs_part_spec spec = make_spec(text, shapes[s].scale, shapes[s].group,
                                                 "nearest");
            round_with(&spec, NULL, &near);
            strcpy(spec.rounder, "gptq");
            round_with(&spec, NULL, &fed);
            if (!(fed.result.loss < near.result.loss))
                fail_msg("%s %u, %u bits: gptq %g, nearest %g", shapes[s].scale,
                         shapes[s].group, bits, fed.result.loss, near.result.loss);
            free_rounded(&near);
            free_rounded(&fed);
        }
}

/* Descent after any rounder, and alternation after feedback, never raise the loss. */
static void test_polish_never_loses(void **state)
{
    static const char *const books[] = {"uniform:bits=2", "uniform:bits=3,zero=2", "e8p"};
    struct rounded before, after;

    (void)state;
    for (size_t b = 0; b < GS_COUNT(books); b++)
        for (size_t k = 0; k < 2; k++) {
            struct gs_part_spec spec = make_spec(books[b], "row", 0, k ? "gptq" : "nearest");
            round_with(&spec, NULL, &before);
            spec.sweeps = 3;
            round_with(&spec, NULL, &after);
            if (!(after.result.loss < before.result.loss))
                fail_msg("%s %s: %g, polished %g", books[b], spec.rounder, before.result.loss,
                         after.result.loss);
            free_rounded(&before);
            free_rounded(&after);
        }
    struct gs_part_spec spec = make_spec("uniform:bits=2,zero=2", "group", 32, "gptq");
    spec.static_groups = true;
    round_with(&spec, NULL, &before);
    strcpy(spec.rounder, "decoupleq");
    round_with(&spec, NULL, &after);
    if (!(after.result.loss < before.result.loss))
        fail_msg("gptq %g, decoupleq %g", before.result.loss, after.result.loss);
    print_message("gptq %g, decoupleq %g\n", before.result.loss, after.result.loss);
    free_rounded(&before);
    free_rounded(&after);
}

/* Outliers, low rank and two-level scales: decoded as rounded, and worth what they cost. */
static void test_extras(void **state)
{
    static const char *const sparse[] = {"none", "magnitude", "leave-one-out", "cherry"};
    static const char *const books[] = {"uniform:bits=2", "quantile:bits=3", "e8p",
                                        "kmeans:bits=2", "vector:bits=1.5,dim=4"};
    struct rounded plain, with;

    (void)state;
    for (size_t b = 0; b < GS_COUNT(books); b++)
        for (size_t i = 0; i < GS_COUNT(sparse); i++)
            for (unsigned rank = 0; rank <= 8; rank += 8) {
                struct gs_part_spec spec = make_spec(books[b], "group", 64, "gptq");
                if (b == 3)
                    spec = make_spec(books[b], "row", 0, "gptq");
                round_with(&spec, NULL, &plain);
                strcpy(spec.sparse_by, sparse[i]);
                spec.low_rank = rank;
                spec.whiten = rank;
                round_with(&spec, NULL, &with);
                double loss = plain_loss(&with);
                if (fabs(loss - with.result.loss) > 1e-5 * loss)
                    fail_msg("%s %s %u: loss %g, decoded %g", books[b], sparse[i], rank,
                             with.result.loss, loss);
                if ((i || rank) && !(loss < plain.result.loss))
                    fail_msg("%s %s rank %u: %g, without %g", books[b], sparse[i], rank, loss,
                             plain.result.loss);
                free_rounded(&plain);
                free_rounded(&with);
            }
}

static void test_two_levels(void **state)
{
    struct rounded one, two;

    (void)state;
    for (unsigned dynamic = 0; dynamic < 2; dynamic++) {
        struct gs_part_spec spec = make_spec("uniform:bits=3,zero=2", "group", 16, "gptq");
        spec.static_groups = !dynamic;
        round_with(&spec, NULL, &one);
        spec.scale_group = 16;
        spec.scale_bits = 3;
        round_with(&spec, NULL, &two);
        double loss = plain_loss(&two);
        assert_true(fabs(loss - two.result.loss) < 1e-6 * loss);
        assert_true(two.bytes < one.bytes);
        assert_true(loss < 2 * one.result.loss);
        free_rounded(&one);
        free_rounded(&two);
    }
}

/* The better of both axes, matrix by matrix. */
static void test_adaptive_axis(void **state)
{
    struct rounded row, column, better;

    (void)state;
    struct gs_part_spec spec = make_spec("uniform:bits=3", "group", 16, "nearest");
    round_with(&spec, NULL, &row);
    strcpy(spec.scale, "column");
    round_with(&spec, NULL, &column);
    strcpy(spec.scale, "adaptive");
    round_with(&spec, NULL, &better);
    double loss = row.result.loss < column.result.loss ? row.result.loss : column.result.loss;
    assert_true(better.result.loss == loss);
    free_rounded(&row);
    free_rounded(&column);
    free_rounded(&better);
}

/* Learned rounding ends far below nearest rounding; descent over all points gets further. */
static void test_learning_pays(void **state)
{
    static const char *const names[] = {"adaround", "discquant", "flexround"};
    struct rounded near, descent, learned;

    (void)state;
    for (unsigned bits = 2; bits <= 4; bits += 2) {
        char text[32];
        snprintf(text, sizeof text, "uniform:bits=%u", bits);
        struct gs_part_spec spec = make_spec(text, "row", 0, "nearest");
        round_with(&spec, NULL, &near);
        strcpy(spec.rounder, "coordinate");
        round_with(&spec, NULL, &descent);
        for (size_t k = 0; k < GS_COUNT(names); k++) {
            strcpy(spec.rounder, names[k]);
            round_with(&spec, NULL, &learned);
            if (!(learned.result.loss < 0.7 * near.result.loss &&
                  learned.result.loss < 3 * descent.result.loss))
                fail_msg("%u bits: nearest %g, coordinate %g, %s %g", bits, near.result.loss,
                         descent.result.loss, names[k], learned.result.loss);
            free_rounded(&learned);
        }
        free_rounded(&near);
        free_rounded(&descent);
    }
}

/* Rows are independent: the same bytes for any number of threads. */
static void test_threads_do_not_matter(void **state)
{
    struct gs_team *team = NULL;
    struct rounded one, many;

    (void)state;
    assert_int_equal(gs_team_create(3, &team, &err), GS_OK);
    for (size_t k = 0; gs_part_rounder_name(k); k++) {
        struct gs_part_spec spec = make_spec("uniform:bits=3,zero=2", "group", 32,
                                             gs_part_rounder_name(k));
        round_with(&spec, NULL, &one);
        round_with(&spec, team, &many);
        assert_int_equal(one.bytes, many.bytes);
        assert_memory_equal(one.blob, many.blob, one.bytes);
        assert_memory_equal(one.y, many.y, sizeof one.y);
        free_rounded(&one);
        free_rounded(&many);
    }
    gs_team_destroy(&team);
}

/* Every byte of a blob changed, and every length: an error or finite weights, never more. */
static void test_hostile_blobs(void **state)
{
    static float y[ROWS * COLS];
    struct gs_part_spec spec = make_spec("uniform:bits=3,zero=2", "group", 64, "nearest");
    struct gs_part_facts facts;
    struct rounded r;

    (void)state;
    spec.scale_group = 16;
    spec.scale_bits = 4;
    strcpy(spec.sparse_by, "cherry");
    spec.low_rank = 2;
    round_with(&spec, NULL, &r);
    uint8_t *copy = gs_alloc(r.bytes, 1);
    for (uint64_t n = 0; n < r.bytes; n += n < 256 ? 1 : 97) {
        assert_true(gs_part_decode(r.blob, n, NULL, y, NULL) < 0);
    }
    for (uint64_t i = 0; i < r.bytes; i += i < 256 ? 1 : 13) {
        memcpy(copy, r.blob, r.bytes);
        copy[i] ^= (uint8_t)(1u << i % 8);
        if (gs_part_read_facts(copy, r.bytes, &facts, NULL) ||
            facts.rows * facts.cols > ROWS * COLS)
            continue;
        if (gs_part_decode(copy, r.bytes, NULL, y, NULL))
            continue;
        for (size_t k = 0; k < facts.rows * facts.cols; k++)
            assert_true(isfinite(y[k]));
    }
    memcpy(copy, r.blob, r.bytes);
    copy[0] ^= 1;
    err = (struct gs_err){0};
    assert_int_equal(gs_part_decode(copy, r.bytes, NULL, y, &err), GS_E_FORMAT);
    assert_string_equal(err.msg, "is no matrix of parts");
    gs_free(&copy);
    free_rounded(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blob_decodes_to_what_was_rounded),
        cmocka_unit_test(test_feedback_never_loses), cmocka_unit_test(test_polish_never_loses),
        cmocka_unit_test(test_threads_do_not_matter), cmocka_unit_test(test_extras),
        cmocka_unit_test(test_two_levels), cmocka_unit_test(test_adaptive_axis),
        cmocka_unit_test(test_hostile_blobs), cmocka_unit_test(test_learning_pays),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
