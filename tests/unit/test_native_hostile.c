/* SPDX-License-Identifier: MIT
 * Native files that are broken: keys that are missing or of another kind, elements out of range,
 * names that lead nowhere, scales and factors that are no numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tests/unit/quantize_fixture.h"

#include "model/native.h"

static bool keep(void *ctx, struct gs_tensor *t, const void **data)
{
    (void)ctx, (void)t, (void)data;
    return true;
}

static struct gs_meta *copy_meta(const struct gs_store *store)
{
    const struct gs_meta *from = gs_store_meta(store);
    struct gs_meta *meta;

    assert_int_equal(gs_meta_create(&meta, &err), 0);
    for (size_t i = 0; i < gs_meta_count(from); i++) {
        const char *key = gs_meta_key(from, i);
        assert_int_equal(gs_meta_set(meta, (struct gs_str){key, strlen(key)},
                                     gs_meta_value(from, i), &err), 0);
    }
    return meta;
}

/* Opening a copy with this metadata is refused with a message that holds `why`. */
static void refuse(struct gs_store *store, const struct gs_meta *meta, const char *why)
{
    struct gs_store *bad = tiny_copy(store, meta, keep, NULL);
    struct gs_lm *lm;

    err = (struct gs_err){0};
    assert_true(gs_lm_open(bad, &lm, &err) < 0);
    assert_null(lm);
    if (!strstr(err.msg, why))
        fail_msg("'%s' lacks '%s'", err.msg, why);
    gs_store_close(&bad);
}

static void test_hostile_keys(void **state)
{
    static const char *const arrays[] = {"names", "grids", "rates", "rows", "cols", "units",
                                         "in", "in_factors", "in_streams", "out",
                                         "out_streams"};
    struct gs_store *store = open_target();
    char key[64];

    (void)state;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        snprintf(key, sizeof key, GS_KEY_NATIVE "%s", arrays[i]);
        struct gs_meta *meta = copy_meta(store);
        gs_meta_remove(meta, key);
        refuse(store, meta, i ? key : "tensor"); /* no names: ordinary I8 of a wrong shape */
        assert_int_equal(gs_meta_set_uint(meta, key, 3, &err), 0);
        refuse(store, meta, key);
        assert_int_equal(gs_meta_set_array(meta, key, GS_VALUE_U32, (uint32_t[]){1}, 1, &err), 0);
        refuse(store, meta, GS_KEY_NATIVE);
        gs_meta_destroy(&meta);
    }
    gs_store_close(&store);
}

struct element {
    const char *key;
    uint32_t value;
    const char *why;
};

static void test_hostile_elements(void **state)
{
    static const struct element bad[] = {
        {"rates", 7, "no rate"},          {"rates", 41, "no rate"},
        {"rates", 0xffffffff, "no rate"}, {"rates", 8, "expected I8"},
        {"rows", 0, "0 rows"},            {"rows", 0xffffffff, "rows"},
        {"rows", 16, "expected I8"},      {"cols", 17, "weights"},
        {"cols", 0, "weights"},           {"cols", 0xfffffff0, "weights"},
        {"cols", 32, "expected I8"},
    };
    struct gs_store *store = open_target();
    char key[64];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct gs_meta *meta = copy_meta(store);
        struct gs_array a;
        uint32_t values[64];
        snprintf(key, sizeof key, GS_KEY_NATIVE "%s", bad[i].key);
        assert_int_equal(gs_meta_get_array(meta, key, GS_VALUE_I64, &a, &err), 1);
        assert_true(a.count <= 64);
        for (uint64_t j = 0; j < a.count; j++)
            values[j] = (uint32_t)gs_array_int(&a, j);
        values[1] = bad[i].value;
        assert_int_equal(gs_meta_set_array(meta, key, GS_VALUE_U32, values, a.count, &err), 0);
        refuse(store, meta, bad[i].why);
        gs_meta_destroy(&meta);
    }
    gs_store_close(&store);
}

static void test_hostile_strings(void **state)
{
    static const struct {
        const char *key, *value, *why;
    } bad[] = {
        {"names", "token_embd.weigh", "missing"},  {"names", "", "bad name"},
        {"grids", "trellis9", "unknown kind"},     {"in", "rotation", "unknown kind"},
        {"out", "diagonal", "no factors"},         {"in_factors", "nothing", "missing"},
        {"in_factors", "output_norm.weight", "F16"},
    };
    struct gs_store *store = open_target();
    char key[64];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct gs_meta *meta = copy_meta(store);
        struct gs_array a;
        struct gs_str values[64];
        snprintf(key, sizeof key, GS_KEY_NATIVE "%s", bad[i].key);
        assert_int_equal(gs_meta_get_array(meta, key, GS_VALUE_STRING, &a, &err), 1);
        for (uint64_t j = 0; j < a.count; j++)
            values[j] = gs_array_str(&a, j);
        values[1] = (struct gs_str){bad[i].value, strlen(bad[i].value)};
        assert_int_equal(gs_meta_set_array(meta, key, GS_VALUE_STRING, values, a.count, &err), 0);
        refuse(store, meta, bad[i].why);
        if (i == 0) { /* one tensor as two matrices */
            values[1] = values[0];
            assert_int_equal(gs_meta_set_array(meta, key, GS_VALUE_STRING, values, a.count,
                                               &err), 0);
            refuse(store, meta, "");
        }
        gs_meta_destroy(&meta);
    }
    gs_store_close(&store);
}

/* Codes: any bytes are valid. Scales and factors: finite, factors not zero. */
static bool spoil(void *ctx, struct gs_tensor *t, const void **data)
{
    const char *tail = ctx;
    size_t n = strlen(t->name), m = strlen(tail);

    if (n < m || strcmp(t->name + n - m, tail))
        return true;
    uint8_t *copy = malloc(t->bytes);
    assert_non_null(copy);
    memset(copy, 0xff, t->bytes);
    *data = copy;
    return true;
}

static void test_hostile_sides(void **state)
{
    static const char *const tails[] = {".scale", ".factor"};
    struct gs_store *store = open_target();

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char tail[16];
        struct gs_lm *lm;
        snprintf(tail, sizeof tail, "%s", tails[i]);
        struct gs_store *bad = tiny_copy(store, NULL, spoil, tail);
        err = (struct gs_err){0};
        assert_int_equal(gs_lm_open(bad, &lm, &err), GS_E_FORMAT);
        assert_non_null(strstr(err.msg, "not finite"));
        gs_store_close(&bad);
    }
    char codes[] = "attn_q.weight";
    struct gs_store *odd = tiny_copy(store, NULL, spoil, codes);
    struct gs_lm *lm;
    assert_int_equal(gs_lm_open(odd, &lm, &err), 0);
    gs_lm_close(&lm);
    gs_store_close(&odd);
    gs_store_close(&store);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile_keys),
        cmocka_unit_test(test_hostile_elements),
        cmocka_unit_test(test_hostile_strings),
        cmocka_unit_test(test_hostile_sides),
    };

    (void)argc;
    tiny_init(argv[0]);
    int failed = cmocka_run_group_tests(tests, make_files, remove_files);
    tiny_exit();
    return failed;
}
