/* SPDX-License-Identifier: MIT
 * Metadata: order and lookup through growth and removal, typed getters, failing memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/meta.h"

static struct gs_meta *create(void)
{
    struct gs_meta *meta;

    assert_int_equal(gs_meta_create(&meta, NULL), GS_OK);
    return meta;
}

static const char *key_of(size_t i)
{
    static char key[32];

    snprintf(key, sizeof key, "group%zu.key.%zu", i % 7, i);
    return key;
}

static void expect_uint(const struct gs_meta *meta, const char *key, uint64_t want)
{
    uint64_t have = ~want;

    assert_int_equal(gs_meta_get_uint(meta, key, &have, NULL), 1);
    assert_true(have == want);
}

/* Against a model: an array of booleans that says which keys are in. */
static void growth_and_removal_keep_every_key(void **state)
{
    enum { N = 3000 };
    static bool in[N];
    struct gs_meta *meta = create();
    size_t count = 0;

    (void)state;
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(gs_meta_set_uint(meta, key_of(i), i, NULL), GS_OK);
        in[i] = true;
        count++;
        if (i % 3 == 2) { /* far back, so the table holds moved entries */
            size_t gone = i / 2;
            count -= in[gone];
            in[gone] = false;
            gs_meta_remove(meta, key_of(gone));
            gs_meta_remove(meta, "never there");
        }
        assert_int_equal(gs_meta_count(meta), count);
    }
    size_t at = 0;
    for (size_t i = 0; i < N; i++) {
        if (!in[i]) {
            assert_null(gs_meta_find(meta, key_of(i)));
            continue;
        }
        expect_uint(meta, key_of(i), i);
        assert_string_equal(gs_meta_key(meta, at), key_of(i)); /* order of insertion */
        assert_true(gs_meta_value(meta, at)->as.u == i);
        at++;
    }
    assert_int_equal(at, count);
    gs_meta_destroy(&meta);
    assert_null(meta);
    gs_meta_destroy(&meta);
}

static void empty_map_finds_nothing(void **state)
{
    struct gs_meta *meta = create();

    (void)state;
    assert_null(gs_meta_find(meta, ""));
    gs_meta_remove(meta, "x");
    assert_int_equal(gs_meta_set_uint(meta, "x", 1, NULL), GS_OK);
    gs_meta_remove(meta, "x");
    assert_int_equal(gs_meta_count(meta), 0);
    assert_null(gs_meta_find(meta, "x"));
    assert_int_equal(gs_meta_set_uint(meta, "x", 2, NULL), GS_OK);
    expect_uint(meta, "x", 2);
    gs_meta_destroy(&meta);
}

static void setting_again_replaces_in_place(void **state)
{
    struct gs_meta *meta = create();
    struct gs_str s;

    (void)state;
    assert_int_equal(gs_meta_set_uint(meta, "a", 1, NULL), GS_OK);
    assert_int_equal(gs_meta_set_uint(meta, "b", 2, NULL), GS_OK);
    assert_int_equal(gs_meta_set_str(meta, "a", GS_STR("text"), NULL), GS_OK);
    assert_int_equal(gs_meta_count(meta), 2);
    assert_string_equal(gs_meta_key(meta, 0), "a");
    assert_int_equal(gs_meta_get_str(meta, "a", &s, NULL), 1);
    assert_true(gs_str_equal(s, "text"));
    assert_false(gs_str_equal(s, "tex"));
    assert_false(gs_str_equal(s, "text2"));
    gs_meta_destroy(&meta);
}

static void keys_are_bytes_without_nul(void **state)
{
    struct gs_meta *meta = create();
    struct gs_err err = {.code = 0};
    struct gs_value v = {.type = GS_VALUE_U8, .as.u = 1};

    (void)state;
    assert_int_equal(gs_meta_set(meta, (struct gs_str){"a\0b", 3}, &v, &err), GS_E_FORMAT);
    assert_non_null(strstr(err.msg, "NUL"));
    assert_int_equal(gs_meta_set(meta, (struct gs_str){"abc", 2}, &v, NULL), GS_OK);
    assert_non_null(gs_meta_find(meta, "ab"));
    assert_null(gs_meta_find(meta, "abc"));
    assert_int_equal(gs_meta_set(meta, (struct gs_str){NULL, 0}, &v, NULL), GS_OK);
    assert_non_null(gs_meta_find(meta, ""));
    assert_true(gs_str_equal((struct gs_str){NULL, 0}, ""));
    gs_meta_destroy(&meta);
}

static void set_value(struct gs_meta *meta, const char *key, struct gs_value v)
{
    assert_int_equal(gs_meta_set(meta, (struct gs_str){key, strlen(key)}, &v, NULL), GS_OK);
}

static void integers_convert_when_they_fit(void **state)
{
    struct gs_meta *meta = create();
    struct gs_err err = {.code = 0};
    uint64_t u = 99;
    double f;

    (void)state;
    set_value(meta, "i64", (struct gs_value){.type = GS_VALUE_I64, .as.i = INT64_MAX});
    set_value(meta, "neg", (struct gs_value){.type = GS_VALUE_I32, .as.i = -3});
    set_value(meta, "u64", (struct gs_value){.type = GS_VALUE_U64, .as.u = UINT64_MAX});
    set_value(meta, "f", (struct gs_value){.type = GS_VALUE_F32, .as.f = 2.0});
    set_value(meta, "b", (struct gs_value){.type = GS_VALUE_BOOL, .as.u = 1});
    expect_uint(meta, "i64", INT64_MAX);
    expect_uint(meta, "u64", UINT64_MAX);
    assert_int_equal(gs_meta_get_uint(meta, "neg", &u, &err), GS_E_FORMAT);
    assert_string_equal(err.msg, "metadata key neg must not be negative, is -3");
    assert_int_equal(gs_meta_get_uint(meta, "f", &u, NULL), GS_E_FORMAT);
    assert_int_equal(gs_meta_get_uint(meta, "b", &u, NULL), GS_E_FORMAT);
    assert_int_equal(gs_meta_get_uint(meta, "absent", &u, NULL), 0);
    assert_true(u == 99);
    assert_int_equal(gs_meta_get_float(meta, "neg", &f, NULL), 1);
    assert_true(f == -3);
    assert_int_equal(gs_meta_get_float(meta, "f", &f, NULL), 1);
    assert_true(f == 2);
    assert_int_equal(gs_meta_get_float(meta, "b", &f, NULL), GS_E_FORMAT);
    gs_meta_destroy(&meta);
}

static void wrong_kinds_name_the_key(void **state)
{
    struct gs_meta *meta = create();
    struct gs_err err = {.code = 0};
    struct gs_array array;
    struct gs_str s;
    bool b;

    (void)state;
    assert_int_equal(gs_meta_set_f32(meta, "f", 0.5, NULL), GS_OK);
    assert_int_equal(gs_meta_get_str(meta, "f", &s, &err), GS_E_FORMAT);
    assert_string_equal(err.msg, "metadata key f must be a string, is f32");
    assert_int_equal(gs_meta_get_bool(meta, "f", &b, NULL), GS_E_FORMAT);
    assert_int_equal(gs_meta_get_array(meta, "f", GS_VALUE_F64, &array, NULL), GS_E_FORMAT);
    assert_int_equal(gs_meta_set_bool(meta, "b", true, NULL), GS_OK);
    assert_int_equal(gs_meta_get_bool(meta, "b", &b, NULL), 1);
    assert_true(b);
    gs_meta_destroy(&meta);
}

static void values_are_stored_as_the_narrow_type(void **state)
{
    struct gs_meta *meta = create();

    (void)state;
    assert_int_equal(gs_meta_set_uint(meta, "a", UINT32_MAX, NULL), GS_OK);
    assert_int_equal(gs_meta_set_uint(meta, "b", (uint64_t)UINT32_MAX + 1, NULL), GS_OK);
    assert_int_equal(gs_meta_find(meta, "a")->type, GS_VALUE_U32);
    assert_int_equal(gs_meta_find(meta, "b")->type, GS_VALUE_U64);
    gs_meta_destroy(&meta);
}

static void numeric_arrays_read_at_any_width(void **state)
{
    static const uint8_t bytes[] = {0xff, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f};
    static const struct { enum gs_value_type type; int64_t want; } cases[] = {
        {GS_VALUE_U8, 0xfe}, {GS_VALUE_I8, -2}, {GS_VALUE_U16, 0xfffe}, {GS_VALUE_I16, -2},
        {GS_VALUE_U32, 0xfffffffe}, {GS_VALUE_I32, -2}, {GS_VALUE_I64, 0x7ffffffffffffffe},
        {GS_VALUE_U64, 0x7ffffffffffffffe}, {GS_VALUE_BOOL, 0xfe},
    };

    (void)state;
    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        struct gs_array array = {cases[i].type, 1, bytes + 1}; /* unaligned */
        assert_true(gs_array_int(&array, 0) == cases[i].want);
        assert_true(gs_array_float(&array, 0) == (double)cases[i].want);
    }
    float f[2] = {1.5f, -0.25f};
    double d[2] = {0.1, -1e300};
    struct gs_array floats = {GS_VALUE_F32, 2, f}, doubles = {GS_VALUE_F64, 2, d};
    assert_true(gs_array_float(&floats, 1) == -0.25);
    assert_true(gs_array_float(&doubles, 1) == -1e300);
}

static void arrays_are_copied_and_checked_by_kind(void **state)
{
    struct gs_meta *meta = create();
    char word[] = "first";
    struct gs_str strings[2] = {{word, 5}, {"x\0y", 3}};
    int32_t ints[3] = {1, -2, 3};
    struct gs_array array;
    struct gs_err err = {.code = 0};

    (void)state;
    assert_int_equal(gs_meta_set_array(meta, "s", GS_VALUE_STRING, strings, 2, NULL), GS_OK);
    assert_int_equal(gs_meta_set_array(meta, "i", GS_VALUE_I32, ints, 3, NULL), GS_OK);
    assert_int_equal(gs_meta_set_array(meta, "none", GS_VALUE_U8, NULL, 0, NULL), GS_OK);
    word[0] = 'X';
    ints[1] = 0;
    assert_int_equal(gs_meta_get_array(meta, "s", GS_VALUE_STRING, &array, NULL), 1);
    assert_int_equal(array.count, 2);
    assert_true(gs_str_equal(gs_array_str(&array, 0), "first"));
    assert_int_equal(gs_array_str(&array, 1).size, 3);
    assert_int_equal(gs_meta_get_array(meta, "i", GS_VALUE_I64, &array, NULL), 1);
    assert_true(gs_array_int(&array, 1) == -2);
    assert_int_equal(gs_meta_get_array(meta, "i", GS_VALUE_F64, &array, &err), GS_E_FORMAT);
    assert_string_equal(err.msg, "metadata key i must be an array of f64, is of i32");
    assert_int_equal(gs_meta_get_array(meta, "i", GS_VALUE_STRING, &array, NULL), GS_E_FORMAT);
    assert_int_equal(gs_meta_get_array(meta, "none", GS_VALUE_I64, &array, NULL), 1);
    assert_int_equal(array.count, 0);
    gs_meta_destroy(&meta);
}

/* A count that a file could claim: refused before any memory is taken. */
static void absurd_counts_are_refused(void **state)
{
    struct gs_meta *meta = create();
    uint64_t before = gs_alloc_count();

    (void)state;
    assert_int_equal(gs_meta_set_array(meta, "a", GS_VALUE_F64, "", UINT64_MAX, NULL),
                     GS_E_NOMEM);
    assert_int_equal(gs_meta_set_array(meta, "a", GS_VALUE_STRING, "", UINT64_MAX / 8, NULL),
                     GS_E_NOMEM);
    assert_int_equal(gs_alloc_count(), before);
    gs_meta_destroy(&meta);
}

/* Fails every allocation in turn; what had been set before stays readable. */
static int fill(struct gs_meta *meta, struct gs_err *err)
{
    struct gs_str strings[2] = {GS_STR("a"), GS_STR("b")};
    int rc = GS_OK;

    for (size_t i = 0; i < 100 && rc == GS_OK; i++)
        rc = gs_meta_set_uint(meta, key_of(i), i, err);
    if (rc == GS_OK)
        rc = gs_meta_set_str(meta, "string", GS_STR("value"), err);
    if (rc == GS_OK)
        rc = gs_meta_set_array(meta, "array", GS_VALUE_STRING, strings, 2, err);
    return rc;
}

static void every_failing_allocation_is_reported(void **state)
{
    int rc = GS_E_NOMEM;

    (void)state;
    for (uint64_t n = 1; rc != GS_OK; n++) {
        struct gs_meta *meta = create();
        struct gs_err err = {.code = 0};
        gs_alloc_fail_at(n);
        rc = fill(meta, &err);
        gs_alloc_fail_at(0);
        assert_true(rc == GS_OK || rc == GS_E_NOMEM);
        assert_int_equal(err.code, rc);
        for (size_t i = 0; i < gs_meta_count(meta) && i < 100; i++)
            expect_uint(meta, key_of(i), i);
        assert_int_equal(gs_meta_set_uint(meta, "after", 5, NULL), GS_OK);
        expect_uint(meta, "after", 5);
        gs_meta_destroy(&meta);
        assert_true(n < 100);
    }
    gs_alloc_fail_at(1);
    struct gs_meta *meta;
    assert_int_equal(gs_meta_create(&meta, NULL), GS_E_NOMEM);
    gs_alloc_fail_at(0);
}

static void types_have_names_and_sizes(void **state)
{
    (void)state;
    for (int t = 0; t < GS_VALUE_COUNT; t++)
        assert_string_not_equal(gs_value_type_name((enum gs_value_type)t), "unknown");
    assert_string_equal(gs_value_type_name((enum gs_value_type)99), "unknown");
    assert_int_equal(gs_value_bytes(GS_VALUE_STRING), 0);
    assert_int_equal(gs_value_bytes(GS_VALUE_F64), 8);
    assert_int_equal(gs_value_bytes((enum gs_value_type)99), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(growth_and_removal_keep_every_key),
        cmocka_unit_test(empty_map_finds_nothing),
        cmocka_unit_test(setting_again_replaces_in_place),
        cmocka_unit_test(keys_are_bytes_without_nul),
        cmocka_unit_test(integers_convert_when_they_fit),
        cmocka_unit_test(wrong_kinds_name_the_key),
        cmocka_unit_test(values_are_stored_as_the_narrow_type),
        cmocka_unit_test(numeric_arrays_read_at_any_width),
        cmocka_unit_test(arrays_are_copied_and_checked_by_kind),
        cmocka_unit_test(absurd_counts_are_refused),
        cmocka_unit_test(every_failing_allocation_is_reported),
        cmocka_unit_test(types_have_names_and_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
