/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

#define U "\xef\xbf\xbd"

/* From Unicode 15, section 3.9 (tables 3-8 to 3-11), and the WHATWG encoding tests. */
static const struct {
    const char *in, *out;
} repairs[] = {
    {"plain", "plain"},
    {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"},
    {"\x80", U},
    {"a\x80" "b", "a" U "b"},
    {"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82" "A", U U U U U U U U "A"}, /* overlong */
    {"\xed\xa0\x80\xed\xbf\xbf\xed\xaf" "A", U U U U U U U U "A"}, /* surrogates */
    {"\xf4\x91\x92\x93\xff" "A\x80\xbf" "B", U U U U U "A" U U "B"},
    {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf" "A", U U U U "A"}, /* truncated */
    {"\xf0\x9f\x98", U},
    {"\xf0\x9f\x98" "x", U "x"},
    {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"}, /* U+10FFFF */
    {"\xee\x80\x80\xed\x9f\xbf", "\xee\x80\x80\xed\x9f\xbf"},
    {"twelve ascii bytes then\xff", "twelve ascii bytes then" U},
};

static void check_repair(const char *in, size_t n, const char *want, size_t want_n)
{
    struct gs_err err = {0};
    char *out = NULL;
    size_t out_n = 0;

    assert_int_equal(gs_utf8_repair(in, n, &out, &out_n, &err), 0);
    const char *text = out ? out : in;
    assert_int_equal(out_n, want_n);
    assert_memory_equal(text, want, want_n);
    assert_int_equal(out == NULL, n == want_n && !memcmp(in, want, n));
    gs_free(&out);
}

static void test_repair(void **state)
{
    (void)state;
    for (size_t i = 0; i < GS_COUNT(repairs); i++)
        check_repair(repairs[i].in, strlen(repairs[i].in), repairs[i].out,
                     strlen(repairs[i].out));
    check_repair("", 0, "", 0);
    check_repair("a\0b", 3, "a\0b", 3);
}

/* Any cut of the bytes gives the same text as the whole, and what comes out at a time never
 * ends inside a character. */
static void test_stream(void **state)
{
    (void)state;
    for (size_t i = 0; i < GS_COUNT(repairs); i++) {
        const char *in = repairs[i].in;
        size_t n = strlen(in);
        for (size_t step = 1; step <= n; step++) {
            struct gs_utf8_stream s = {0};
            char out[256];
            size_t at = 0;
            for (size_t from = 0; from < n; from += step) {
                at += gs_utf8_push(&s, in + from, GS_MIN(step, n - from), out + at);
                struct gs_err err = {0};
                char *repaired;
                size_t repaired_n;
                assert_int_equal(gs_utf8_repair(out, at, &repaired, &repaired_n, &err), 0);
                assert_null(repaired);
            }
            at += gs_utf8_flush(&s, out + at);
            assert_int_equal(at, strlen(repairs[i].out));
            assert_memory_equal(out, repairs[i].out, at);
            assert_int_equal(gs_utf8_flush(&s, out), 0);
        }
    }
}

/* A whole character comes out with its last byte, not later. */
static void test_stream_is_prompt(void **state)
{
    struct gs_utf8_stream s = {0};
    char out[32];

    (void)state;
    assert_int_equal(gs_utf8_push(&s, "\xf0\x9f\x98", 3, out), 0);
    assert_int_equal(gs_utf8_push(&s, "\x80", 1, out), 4);
    assert_memory_equal(out, "\xf0\x9f\x98\x80", 4);
    assert_int_equal(gs_utf8_push(&s, "\xe2", 1, out), 0);
    assert_int_equal(gs_utf8_push(&s, "(", 1, out), 4);
    assert_memory_equal(out, U "(", 4);
}

static void test_put_and_next(void **state)
{
    (void)state;
    for (uint32_t c = 0; c <= 0x10ffff; c += c < 0x900 ? 1 : 61) {
        char bytes[4];
        uint32_t back;
        size_t len;
        if (c >= 0xd800 && c <= 0xdfff)
            continue;
        size_t n = gs_utf8_put(c, bytes);
        assert_int_equal(gs_utf8_next(bytes, n, &back, &len), GS_UTF8_VALID);
        assert_int_equal(back, c);
        assert_int_equal(len, n);
        if (n > 1)
            assert_int_equal(gs_utf8_next(bytes, n - 1, &back, &len), GS_UTF8_CUT);
    }
}

/* Random bytes: the stream and the whole agree, whatever the pieces. */
static void test_random(void **state)
{
    struct gs_rng rng;

    (void)state;
    gs_rng_init(&rng, 7, 0);
    for (int round = 0; round < 2000; round++) {
        char in[40], out[200];
        size_t n = (size_t)gs_rng_below(&rng, sizeof in), at = 0;
        for (size_t i = 0; i < n; i++) /* lead and continuation bytes often */
            in[i] = (char)(0x70 + gs_rng_below(&rng, 0x90));
        struct gs_utf8_stream s = {0};
        for (size_t from = 0; from < n;) {
            size_t step = 1 + (size_t)gs_rng_below(&rng, n - from);
            at += gs_utf8_push(&s, in + from, step, out + at);
            from += step;
        }
        at += gs_utf8_flush(&s, out + at);
        check_repair(in, n, out, at);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_repair),       cmocka_unit_test(test_stream),
        cmocka_unit_test(test_stream_is_prompt), cmocka_unit_test(test_put_and_next),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
