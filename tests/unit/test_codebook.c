/* SPDX-License-Identifier: MIT
 * Every codebook of the list with every combination of its keys: codes and bytes, the nearest
 * point, exact bits, fits that can be stored and repeated, what was learned. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "codebook/codebook.h"
#include "codebook_walk.h"
#include "core/alloc.h"

/* One matrix for all: two rows of four groups. */
enum { ROWS = 2, COLS = 256, GROUP = 64 };

static float weights[ROWS * COLS], importances[COLS];

/* Every codebook that can be made, learned from `weights`, with its text. */
static struct made {
    struct gs_codebook *codebook;
    char text[160];
} *made;
static size_t made_count;

static void learn(struct gs_codebook *codebook, struct gs_team *team)
{
    struct gs_codebook_data data = {.w = weights, .rows = ROWS, .cols = COLS, .stride = COLS,
                                    .h = importances, .team = team};

    assert_int_equal(gs_codebook_learn(codebook, &data, NULL), GS_OK);
}

static void make(const struct gs_codebook_kind *kind, const char *text)
{
    struct gs_codebook *codebook;
    struct gs_err err = {0};
    int rc = gs_codebook_create(text, &codebook, &err);

    if (rc) { /* some combinations make no sense; then the message says which */
        assert_int_equal(rc, GS_E_ARG);
        assert_null(codebook);
        assert_non_null(strstr(err.msg, kind->name));
        return;
    }
    learn(codebook, NULL);
    made = gs_realloc(made, made_count * sizeof *made, (made_count + 1) * sizeof *made);
    assert_non_null(made);
    made[made_count].codebook = codebook;
    snprintf(made[made_count++].text, sizeof made[0].text, "%s", text);
}

static int make_all(void **state)
{
    char text[160];

    (void)state;
    walk_normal(weights, ROWS * COLS, 3);
    walk_normal(importances, COLS, 4);
    for (int i = 0; i < COLS; i++)
        importances[i] *= importances[i];
    for (size_t i = 0; gs_codebook_at(i); i++)
        for (unsigned k = 0; walk_text(gs_codebook_at(i), k, text, sizeof text); k++)
            make(gs_codebook_at(i), text);
    return 0;
}

static int destroy_all(void **state)
{
    (void)state;
    while (made_count > 0) {
        gs_codebook_destroy(&made[--made_count].codebook);
        assert_null(made[made_count].codebook);
    }
    gs_free(&made);
    return 0;
}

static void walk(void (*fn)(const struct gs_codebook *codebook))
{
    assert_true(made_count > 300);
    for (size_t i = 0; i < made_count; i++)
        fn(made[i].codebook);
}

/* Weights of a group that are whole codes. */
static size_t whole(const struct gs_codebook *codebook)
{
    return GROUP - GROUP % codebook->dim;
}

static float *new_table(const struct gs_codebook *codebook)
{
    float *table = gs_alloc(codebook->table_floats, sizeof *table);

    assert_non_null(table);
    return table;
}

/* ---- facts -------------------------------------------------------------------------------- */

static void kinds_are_found_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; gs_codebook_at(i); i++) {
        const struct gs_codebook_kind *kind = gs_codebook_at(i);
        assert_ptr_equal(gs_codebook_find(kind->name), kind);
        assert_true(kind->paper && *kind->paper);
        for (size_t k = 0; kind->keys && kind->keys[k].name; k++) {
            const struct gs_codebook_key *key = &kind->keys[k];
            assert_true(k < GS_CODEBOOK_KEYS && key->help && *key->help);
            assert_true(key->low <= key->value && key->value <= key->high);
        }
    }
    assert_null(gs_codebook_find("no such codebook"));
    assert_non_null(gs_codebook_find("uniform"));
}

static void check_bits(const struct gs_codebook *codebook)
{
    unsigned dim = codebook->dim, codes = codebook->pack_codes;

    assert_true(dim >= 1 && dim <= GS_CODEBOOK_DIM && codes >= 1);
    assert_true(codebook->pack_bits >= 1 && codebook->pack_bits <= 64);
    assert_true(codebook->states != 1);
    /* All of states^codes fit in a word, and a bit less would not do (or be rounded to bytes). */
    double bits = codebook->states ? codes * log2((double)codebook->states) : 64;
    assert_true(bits <= codebook->pack_bits + 1e-9 && bits > codebook->pack_bits - 1 - 1e-9);
    assert_int_equal(gs_codebook_code_bits(codebook, 0), 0);
    assert_int_equal(gs_codebook_code_bits(codebook, dim), codebook->pack_bits);
    assert_int_equal(gs_codebook_code_bits(codebook, (uint64_t)7 * dim * codes),
                     7 * codebook->pack_bits);
    assert_int_equal(gs_codebook_code_bits(codebook, (uint64_t)dim * codes + dim),
                     2 * codebook->pack_bits);
    uint64_t rest = codebook->choice_bits + UINT64_C(16) * codebook->table_floats +
                    (codebook->has_zero && codebook->zero_bits ? codebook->zero_bits : 0);
    for (size_t i = 0; gs_scale_rule_at(i); i++) {
        unsigned rule_bits = gs_scale_rule_at(i)->bits;
        unsigned numbers = codebook->has_scale + (codebook->has_zero && !codebook->zero_bits);
        assert_int_equal(gs_codebook_group_bits(codebook, gs_scale_rule_at(i)),
                         rest + numbers * rule_bits);
    }
}

static void bits_are_exact(void **state)
{
    (void)state;
    walk(check_bits);
}

/* ---- codes -------------------------------------------------------------------------------- */

static uint64_t random_code(const struct gs_codebook *codebook, struct gs_rng *rng)
{
    return codebook->states ? gs_rng_below(rng, codebook->states) : gs_rng_u64(rng);
}

static void check_pack(const struct gs_codebook *codebook)
{
    enum { N = 37 };
    static uint64_t codes[N], again[N];
    uint8_t bytes[8 * N + 1], copy[8 * N + 1];
    struct gs_rng rng;
    size_t n = (size_t)N * codebook->dim;

    gs_rng_init(&rng, 5, 0);
    for (int i = 0; i < N; i++)
        codes[i] = random_code(codebook, &rng);
    codes[0] = codebook->states - 1;
    size_t size = (size_t)(gs_codebook_code_bits(codebook, n) + 7) / 8;
    memset(bytes, 0xa5, sizeof bytes);
    gs_codebook_pack(codebook, codes, n, bytes);
    assert_int_equal(bytes[size], 0xa5);
    gs_codebook_unpack(codebook, bytes, n, again);
    assert_memory_equal(codes, again, sizeof codes);
    /* Any bytes are codes in range, and those that are packed of them mean the same. */
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)gs_rng_below(&rng, 256);
    gs_codebook_unpack(codebook, bytes, n, codes);
    for (int i = 0; i < N; i++)
        assert_true(!codebook->states || codes[i] < codebook->states);
    gs_codebook_pack(codebook, codes, n, copy);
    gs_codebook_unpack(codebook, copy, n, again);
    assert_memory_equal(codes, again, sizeof codes);
}

static void codes_survive_packing(void **state)
{
    (void)state;
    walk(check_pack);
}

/* ---- groups ------------------------------------------------------------------------------- */

static double distance(const float *x, const float *h, const float *y, unsigned dim)
{
    double sum = 0;

    for (unsigned i = 0; i < dim; i++)
        sum += (h ? h[i] : 1) * ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
    return sum;
}

/* The values of the code that nearest gives are those that it promised; and no other code
 * (all of them, or some of many) is nearer, or few are where `nearest` is a search. */
static void check_nearest_in(const struct gs_codebook *codebook, const struct gs_group *group,
                             const float *x, const float *h)
{
    float y[GS_CODEBOOK_DIM], z[GS_CODEBOOK_DIM];
    uint64_t states = codebook->states;
    bool all = states && states <= 4096;
    struct gs_rng rng;

    uint64_t code = gs_codebook_nearest(codebook, group, x, h, y);
    assert_true(!states || code < states);
    gs_codebook_value(codebook, group, code, z);
    for (unsigned i = 0; i < codebook->dim; i++)
        assert_true(y[i] == z[i] && isfinite(y[i]));
    double least = distance(x, h, y, codebook->dim);
    unsigned nearer = 0;
    gs_rng_init(&rng, 6, 0);
    for (uint64_t i = 0; i < (all ? states : 500); i++) {
        gs_codebook_value(codebook, group, all ? i : random_code(codebook, &rng), z);
        nearer += distance(x, h, z, codebook->dim) < least * (1 - 1e-6);
    }
    /* Searches may miss a few of many (small books hold many near sums). */
    if (nearer > (codebook->approximate ? (all ? states : 500) / 20 : 0))
        fail_msg("%s (%g %g %g %g …): %u nearer points than %g away from %g",
                 codebook->kind->name, codebook->values[0], codebook->values[1],
                 codebook->values[2], codebook->values[3], nearer, least, x[0]);
}

static void check_nearest(const struct gs_codebook *codebook)
{
    float *table = new_table(codebook);
    struct gs_group group;

    for (size_t i = 0; gs_scale_rule_at(i); i++) {
        gs_codebook_fit(codebook, gs_scale_rule_at(i), weights, importances,
                        whole(codebook), table, &group);
        for (unsigned k = 0; k < whole(codebook); k += 4 * codebook->dim) {
            check_nearest_in(codebook, &group, weights + k, NULL);
            check_nearest_in(codebook, &group, weights + COLS + k, importances + k);
        }
    }
    gs_free(&table);
}

static void nearest_is_nearest(void **state)
{
    (void)state;
    walk(check_nearest);
}

static void check_fit(const struct gs_codebook *codebook)
{
    float *table = new_table(codebook), *again = new_table(codebook);
    size_t table_bytes = codebook->table_floats * sizeof *table;

    for (size_t i = 0; gs_scale_rule_at(i); i++) {
        const struct gs_scale_rule *rule = gs_scale_rule_at(i);
        struct gs_group group = {0}, twin = {0};
        gs_alloc_guard(true);
        gs_codebook_fit(codebook, rule, weights, importances, whole(codebook), table, &group);
        gs_alloc_guard(false);
        gs_codebook_fit(codebook, rule, weights, importances, whole(codebook), again, &twin);
        assert_true(group.scale == twin.scale && group.zero == twin.zero);
        assert_int_equal(group.choice, twin.choice);
        assert_memory_equal(table, again, table_bytes);
        /* As a file will hold it. */
        assert_true(isfinite(group.scale) && isfinite(group.zero));
        if (codebook->has_scale)
            assert_true(group.scale == rule->round(group.scale));
        else
            assert_true(group.scale == 1);
        if (!codebook->has_zero)
            assert_true(group.zero == 0);
        else if (codebook->zero_bits)
            assert_true(group.zero == floorf(group.zero) && group.zero >= 0 &&
                        group.zero < ldexpf(1, (int)codebook->zero_bits));
        else
            assert_true(group.zero == rule->round(group.zero));
        assert_true(group.choice < UINT64_C(1) << codebook->choice_bits);
        for (size_t k = 0; k < codebook->table_floats; k++)
            assert_true(table[k] == gs_scale_rule_find("f16")->round(table[k]));
    }
    gs_free(&table);
    gs_free(&again);
}

static void fits_are_storable_and_repeatable(void **state)
{
    (void)state;
    walk(check_fit);
}

/* A file that holds `shared_bits` of it makes the same codebook. */
static void what_was_learned_survives_a_file(void **state)
{
    (void)state;
    for (size_t i = 0; i < made_count; i++) {
        const struct gs_codebook *codebook = made[i].codebook;
        size_t size = (size_t)((codebook->shared_bits + 7) / 8);
        struct gs_codebook *twin;
        uint8_t *bytes = gs_alloc(size + 1, 1), *again = gs_alloc(size + 1, 1);
        float *table = new_table(codebook), y[GS_CODEBOOK_DIM], z[GS_CODEBOOK_DIM];
        struct gs_group group;
        struct gs_rng rng;

        bytes[size] = again[size] = 0xa5;
        gs_codebook_write(codebook, bytes);
        assert_int_equal(bytes[size], 0xa5);
        assert_int_equal(gs_codebook_create(made[i].text, &twin, NULL), GS_OK);
        assert_true(twin->shared_bits == codebook->shared_bits);
        assert_int_equal(gs_codebook_read(twin, bytes, NULL), GS_OK);
        gs_codebook_write(twin, again);
        assert_memory_equal(bytes, again, size + 1);
        gs_codebook_fit(codebook, gs_scale_rule_find("f16"), weights, NULL, whole(codebook),
                        table, &group);
        gs_rng_init(&rng, 11, 0);
        for (int k = 0; k < 50; k++) {
            uint64_t code = random_code(codebook, &rng);
            gs_codebook_value(codebook, &group, code, y);
            gs_codebook_value(twin, &group, code, z);
            assert_memory_equal(y, z, codebook->dim * sizeof y[0]);
        }
        gs_codebook_destroy(&twin);
        gs_free(&bytes);
        gs_free(&again);
        gs_free(&table);
    }
}

/* The same for any number of threads. */
static void learning_does_not_depend_on_the_team(void **state)
{
    struct gs_team *team;

    (void)state;
    assert_int_equal(gs_team_create(3, &team, NULL), GS_OK);
    for (size_t i = 0; i < made_count; i++) {
        const struct gs_codebook *codebook = made[i].codebook;
        bool first = i == 0 || made[i - 1].codebook->kind != codebook->kind;
        size_t size = (size_t)((codebook->shared_bits + 7) / 8);
        struct gs_codebook *twin;
        if (!size || (!first && i % 7)) /* some of each kind */
            continue;
        uint8_t *bytes = gs_alloc(size, 1), *again = gs_alloc(size, 1);
        assert_int_equal(gs_codebook_create(made[i].text, &twin, NULL), GS_OK);
        learn(twin, team);
        gs_codebook_write(codebook, bytes);
        gs_codebook_write(twin, again);
        assert_memory_equal(bytes, again, size);
        gs_codebook_destroy(&twin);
        gs_free(&bytes);
        gs_free(&again);
    }
    gs_team_destroy(&team);
}

static void wrong_bytes_are_refused(void **state)
{
    static const struct { const char *text; uint8_t byte; } cases[] = {
        {"power", 0}, {"power", 129}, {"power", 31}, {"choice:learn=1", 0x80},
    };
    uint8_t bytes[512];

    (void)state;
    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        struct gs_codebook *codebook;
        struct gs_err err = {0};
        assert_int_equal(gs_codebook_create(cases[i].text, &codebook, NULL), GS_OK);
        assert_true(codebook->shared_bits && codebook->shared_bits <= 8 * sizeof bytes);
        memset(bytes, cases[i].byte, sizeof bytes);
        assert_int_equal(gs_codebook_read(codebook, bytes, &err), GS_E_FORMAT);
        gs_codebook_destroy(&codebook);
    }
}

/* Groups that are not Gaussian at all. */
static void check_odd_groups(const struct gs_codebook *codebook)
{
    static const float levels[] = {0, 1, -3e-5f, 1e-30f, -2e30f, 6e4f};
    float *table = new_table(codebook);
    float x[GROUP], h[GROUP] = {0}, y[GS_CODEBOOK_DIM];

    for (size_t kind = 0; kind < 3 * GS_COUNT(levels); kind++) {
        struct gs_group group;
        for (int i = 0; i < GROUP; i++) /* constant; a single weight; alternating in size */
            x[i] = levels[kind / 3] * (kind % 3 == 0 ? 1 : kind % 3 == 1 ? i == 9
                                       : (float)(i % 5) * 0.1f);
        for (int weighted = 0; weighted < 2; weighted++)
            for (size_t r = 0; gs_scale_rule_at(r); r++) {
                gs_codebook_fit(codebook, gs_scale_rule_at(r), x, weighted ? h : NULL,
                                whole(codebook), table, &group);
                for (unsigned i = 0; i < whole(codebook); i += codebook->dim) {
                    gs_codebook_nearest(codebook, &group, x + i, NULL, y);
                    for (unsigned k = 0; k < codebook->dim; k++)
                        assert_true(isfinite(y[k]));
                }
            }
    }
    gs_free(&table);
}

static void odd_groups_have_finite_values(void **state)
{
    (void)state;
    walk(check_odd_groups);
}

/* ---- text --------------------------------------------------------------------------------- */

static void texts_are_read(void **state)
{
    struct gs_codebook *codebook;

    (void)state;
    assert_int_equal(gs_codebook_create("uniform", &codebook, NULL), GS_OK);
    assert_true(codebook->states == 16 && codebook->zero_bits == 4);
    gs_codebook_destroy(&codebook);
    assert_int_equal(gs_codebook_create("uniform:zero=2,bits=3", &codebook, NULL), GS_OK);
    assert_true(codebook->states == 8 && codebook->has_zero && !codebook->zero_bits);
    assert_true(codebook->values[0] == 3 && codebook->values[1] == 2);
    gs_codebook_destroy(&codebook);
    assert_int_equal(gs_codebook_create("uniform:zero=3:bits=1", &codebook, NULL), GS_OK);
    assert_true(codebook->states == 2 && !codebook->has_zero);
    gs_codebook_destroy(&codebook);
}

static void wrong_texts_are_refused_with_the_rule(void **state)
{
    static const struct { const char *text, *says; } cases[] = {
        {"", "no codebook ''"},
        {"unifrom", "nearest name is 'uniform'"},
        {"Uniform", "nearest name is 'uniform'"},
        {"uniform ", "no codebook"},
        {"uniform:", "no 'key=number'"},
        {"uniform:bits", "no 'key=number'"},
        {"uniform:bits=", "bits: '' is not a number"},
        {"uniform:bit=4", "no key 'bit'; the nearest name is 'bits'"},
        {"uniform:=4", "no key ''"},
        {"uniform:bits=4,", "no 'key=number'"},
        {"uniform:bits=4,bits=4", "bits: given twice"},
        {"uniform:bits=9", "bits: 9 is not within 1 to 8"},
        {"uniform:bits=-1", "not within"},
        {"uniform:bits=2.5", "not a whole number"},
        {"uniform:bits=nan", "not a number"},
        {"uniform:bits=inf", "not a number"},
        {"uniform:bits=1e999", "not a number"},
        {"uniform:bits=4 x", "not a number"},
        {"uniform:bits=4=4", "not a number"},
        {"uniform:bits=0000000000000000000000000000000000000000000000000004", "not a number"},
        {"uniform:bits=1,zero=0", "take 1, 2 or 3"},
        {"uniform:\x1b[31m=1", "no key '?[31m'"},
    };
    struct gs_codebook *codebook;

    (void)state;
    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        struct gs_err err = {0};
        assert_int_equal(gs_codebook_create(cases[i].text, &codebook, &err), GS_E_ARG);
        assert_null(codebook);
        if (!strstr(err.msg, cases[i].says))
            fail_msg("'%s' said '%s'", cases[i].text, err.msg);
    }
}

static void long_and_random_texts_do_no_harm(void **state)
{
    static const char alphabet[] = "uniformbtszeroft:,=0123456789.-e \x01\xff";
    static char text[20000];
    struct gs_codebook *codebook;
    struct gs_rng rng;

    (void)state;
    memset(text, 'u', sizeof text - 1);
    assert_int_equal(gs_codebook_create(text, &codebook, NULL), GS_E_ARG);
    memcpy(text, "uniform:", 8);
    assert_int_equal(gs_codebook_create(text, &codebook, NULL), GS_E_ARG);
    memcpy(text, "uniform:bits=", 13);
    assert_int_equal(gs_codebook_create(text, &codebook, NULL), GS_E_ARG);
    gs_rng_init(&rng, 8, 0);
    for (int i = 0; i < 5000; i++) {
        size_t n = gs_rng_below(&rng, 24);
        memcpy(text, "uniform:", 8);
        for (size_t k = 0; k < n; k++)
            text[8 + k] = alphabet[gs_rng_below(&rng, sizeof alphabet - 1)];
        text[8 + n] = 0;
        if (gs_codebook_create(text + gs_rng_below(&rng, 9), &codebook, NULL) == GS_OK)
            gs_codebook_destroy(&codebook);
        else
            assert_null(codebook);
    }
}

static void lost_memory_is_an_error(void **state)
{
    struct gs_codebook *codebook;

    (void)state;
    for (size_t i = 0; gs_codebook_at(i); i++) {
        struct gs_err err = {0};
        gs_alloc_fail_at(1);
        int rc = gs_codebook_create(gs_codebook_at(i)->name, &codebook, &err);
        gs_alloc_fail_at(0);
        assert_int_equal(rc, GS_E_NOMEM);
        assert_null(codebook);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_are_found_by_name),
        cmocka_unit_test(bits_are_exact),
        cmocka_unit_test(codes_survive_packing),
        cmocka_unit_test(nearest_is_nearest),
        cmocka_unit_test(fits_are_storable_and_repeatable),
        cmocka_unit_test(what_was_learned_survives_a_file),
        cmocka_unit_test(learning_does_not_depend_on_the_team),
        cmocka_unit_test(wrong_bytes_are_refused),
        cmocka_unit_test(odd_groups_have_finite_values),
        cmocka_unit_test(texts_are_read),
        cmocka_unit_test(wrong_texts_are_refused_with_the_rule),
        cmocka_unit_test(long_and_random_texts_do_no_harm),
        cmocka_unit_test(lost_memory_is_an_error),
    };

    return cmocka_run_group_tests(tests, make_all, destroy_all);
}
