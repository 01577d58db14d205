/* SPDX-License-Identifier: MIT
 * JSON: typed members, refusals that say where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "core/json.h"

static json_t *parse(const char *text)
{
    struct gs_err err = {.code = 0};
    json_t *json;

    assert_int_equal(gs_json_parse(text, strlen(text), "test.json", &json, &err), GS_OK);
    return json;
}

static void members_are_typed(void **state)
{
    json_t *json = parse("{\"u\": 9007199254740993, \"f\": 1.5, \"b\": true, \"s\": \"x\\u00e9\","
                         " \"null\": null, \"neg\": -1}");
    const char *s = "untouched";
    uint64_t u = 11;
    double f = 12;
    bool b = false;

    (void)state;
    assert_int_equal(gs_json_get_uint(json, "u", &u, NULL), 1);
    assert_true(u == 9007199254740993u); /* not through a double */
    assert_int_equal(gs_json_get_float(json, "f", &f, NULL), 1);
    assert_true(f == 1.5);
    assert_int_equal(gs_json_get_float(json, "neg", &f, NULL), 1);
    assert_true(f == -1);
    assert_int_equal(gs_json_get_bool(json, "b", &b, NULL), 1);
    assert_true(b);
    assert_int_equal(gs_json_get_str(json, "s", &s, NULL), 1);
    assert_string_equal(s, "x\xc3\xa9");
    json_decref(json);
}

static void absent_and_null_leave_the_value(void **state)
{
    json_t *json = parse("{\"null\": null}"), *array = parse("[1]");
    const json_t *objects[] = {json, array, NULL};
    const char *s = "untouched";
    uint64_t u = 11;
    double f = 12;
    bool b = true;

    (void)state;
    for (size_t i = 0; i < GS_COUNT(objects); i++) {
        assert_int_equal(gs_json_get_uint(objects[i], "null", &u, NULL), 0);
        assert_int_equal(gs_json_get_float(objects[i], "absent", &f, NULL), 0);
        assert_int_equal(gs_json_get_bool(objects[i], "null", &b, NULL), 0);
        assert_int_equal(gs_json_get_str(objects[i], "absent", &s, NULL), 0);
    }
    assert_true(u == 11 && f == 12 && b);
    assert_string_equal(s, "untouched");
    json_decref(json);
    json_decref(array);
}

static void other_kinds_are_refused_by_name(void **state)
{
    json_t *json = parse("{\"a\": \"1\", \"neg\": -1, \"f\": 1.0, \"list\": []}");
    struct gs_err err = {.code = 0};
    const char *s;
    uint64_t u;
    double f;
    bool b;

    (void)state;
    assert_int_equal(gs_json_get_uint(json, "a", &u, &err), GS_E_FORMAT);
    assert_string_equal(err.msg, "\"a\" must be a non-negative integer");
    assert_int_equal(gs_json_get_uint(json, "neg", &u, NULL), GS_E_FORMAT);
    assert_int_equal(gs_json_get_uint(json, "f", &u, NULL), GS_E_FORMAT);
    assert_int_equal(gs_json_get_float(json, "a", &f, NULL), GS_E_FORMAT);
    assert_int_equal(gs_json_get_bool(json, "neg", &b, NULL), GS_E_FORMAT);
    assert_int_equal(gs_json_get_str(json, "list", &s, NULL), GS_E_FORMAT);
    json_decref(json);
}

static void bad_texts_are_refused_with_their_place(void **state)
{
    static const struct { const char *text; size_t n; const char *say; } bad[] = {
        {"", 0, "test.json: line"},
        {"{\n\"a\": 1,\n}", 11, "line 3"},
        {"{\"a\": 1} x", 10, "end of file expected"},
        {"{\"a\": 1, \"a\": 2}", 16, "duplicate"},
        {"[1e999]", 7, "overflow"},
        {"[99999999999999999999]", 22, "big"},
        {"[\"\xff\"]", 5, "line 1"},
        {"[\"\\ud800\"]", 10, "line 1"},
        {"[1", 2, "line 1"},
        {"[\0]", 3, "line 1"},
    };

    (void)state;
    for (size_t i = 0; i < GS_COUNT(bad); i++) {
        struct gs_err err = {.code = 0};
        json_t *json = NULL;
        int rc = gs_json_parse(bad[i].text, bad[i].n, "test.json", &json, &err);
        assert_int_equal(rc, GS_E_FORMAT);
        assert_null(json);
        if (!strstr(err.msg, bad[i].say))
            fail_msg("case %zu: \"%s\" lacks \"%s\"", i, err.msg, bad[i].say);
    }
}

/* A parser that recursed without a limit would leave its stack. */
static void deep_nesting_is_refused(void **state)
{
    static char text[2000000];
    struct gs_err err = {.code = 0};
    json_t *json;

    (void)state;
    memset(text, '[', sizeof text);
    assert_int_equal(gs_json_parse(text, sizeof text, "deep", &json, &err), GS_E_FORMAT);
    assert_non_null(strstr(err.msg, "deep: line 1"));
}

static void strings_may_hold_nul(void **state)
{
    json_t *json = parse("\"a\\u0000b\"");

    (void)state;
    assert_int_equal(json_string_length(json), 3);
    assert_memory_equal(json_string_value(json), "a\0b", 4);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_typed),
        cmocka_unit_test(absent_and_null_leave_the_value),
        cmocka_unit_test(other_kinds_are_refused_by_name),
        cmocka_unit_test(bad_texts_are_refused_with_their_place),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(strings_may_hold_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
