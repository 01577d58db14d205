/* SPDX-License-Identifier: MIT
 * Bytes and cursor: little-endian values, the sticky end, huge lengths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "core/cursor.h"

static const uint8_t bytes[] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                                0xf0, 0xe1, 0xd2, 0xc3, 0xb4, 0xa5, 0x96};

static void values_are_little_endian(void **state)
{
    struct gs_cursor c = gs_cursor_make(bytes, sizeof bytes);

    (void)state;
    assert_int_equal(gs_cursor_u8(&c), 0x01);
    assert_int_equal(gs_cursor_u16(&c), 0x4523);
    assert_int_equal(gs_cursor_u32(&c), 0xcdab8967u);
    assert_true(gs_cursor_u64(&c) == 0x96a5b4c3d2e1f0efu);
    assert_int_equal(gs_cursor_left(&c), 0);
    assert_int_equal(gs_cursor_check(&c, "test", NULL), GS_OK);
}

static void loads_accept_any_alignment(void **state)
{
    uint8_t buffer[24];
    float f = -1.5f;
    double d = 0.1;

    (void)state;
    for (int shift = 0; shift < 8; shift++) {
        memcpy(buffer + shift, bytes, 8);
        assert_int_equal(gs_load_u16(buffer + shift), 0x2301);
        assert_int_equal(gs_load_u32(buffer + shift), 0x67452301);
        assert_true(gs_load_u64(buffer + shift) == 0xefcdab8967452301u);
        memcpy(buffer + shift, &f, 4); /* the hosts we test on are little-endian */
        assert_true(gs_load_f32(buffer + shift) == f);
        memcpy(buffer + shift, &d, 8);
        assert_true(gs_load_f64(buffer + shift) == d);
    }
}

/* Every kind of read, one byte short. */
static void what_is_put_is_what_is_loaded(void **state)
{
    uint8_t out[sizeof bytes + 1];

    (void)state;
    for (size_t at = 0; at < 8; at++) {
        memset(out, 0xee, sizeof out);
        gs_put_u16(gs_load_u16(bytes + at), out + at);
        assert_memory_equal(out + at, bytes + at, 2);
        assert_int_equal(out[at + 2], 0xee);
        gs_put_u32(gs_load_u32(bytes + at), out + at);
        assert_memory_equal(out + at, bytes + at, 4);
        assert_int_equal(out[at + 4], 0xee);
        gs_put_u64(gs_load_u64(bytes + at), out + at);
        assert_memory_equal(out + at, bytes + at, 8);
        assert_int_equal(out[at + 8], 0xee);
    }
}

static void reads_beyond_the_end_give_zero_and_stick(void **state)
{
    struct gs_err err;

    (void)state;
    for (int kind = 0; kind < 5; kind++) {
        static const uint64_t sizes[] = {1, 2, 4, 8, 5};
        struct gs_cursor c = gs_cursor_make(bytes, sizeof bytes);
        assert_non_null(gs_cursor_bytes(&c, sizeof bytes - sizes[kind] + 1));
        switch (kind) {
        case 0: assert_int_equal(gs_cursor_u8(&c), 0); break;
        case 1: assert_int_equal(gs_cursor_u16(&c), 0); break;
        case 2: assert_int_equal(gs_cursor_u32(&c), 0); break;
        case 3: assert_true(gs_cursor_u64(&c) == 0); break;
        default: assert_null(gs_cursor_bytes(&c, 5)); break;
        }
        assert_true(c.failed);
        assert_int_equal(gs_cursor_u8(&c), 0); /* even if it would fit */
        assert_null(gs_cursor_bytes(&c, 0));
        assert_int_equal(c.pos, sizeof bytes - sizes[kind] + 1);

        memset(&err, 0, sizeof err);
        assert_int_equal(gs_cursor_check(&c, "the header", &err), GS_E_FORMAT);
        assert_int_equal(err.pos, c.pos);
        assert_non_null(strstr(err.msg, "unexpected end of the header"));
    }
}

static void lengths_cannot_wrap(void **state)
{
    static const uint64_t huge[] = {UINT64_MAX, UINT64_MAX - 3, (uint64_t)1 << 63,
                                    (uint64_t)1 << 32, sizeof bytes - 3};

    (void)state;
    for (size_t i = 0; i < GS_COUNT(huge); i++) {
        struct gs_cursor c = gs_cursor_make(bytes, sizeof bytes);
        assert_ptr_equal(gs_cursor_bytes(&c, 4), bytes);
        assert_null(gs_cursor_bytes(&c, huge[i]));
        assert_true(c.failed);
        assert_int_equal(c.fail_pos, 4);
    }
}

static void nothing_can_be_read_from_nothing(void **state)
{
    struct gs_cursor c = gs_cursor_make(NULL, 0);

    (void)state;
    assert_non_null(gs_cursor_bytes(&c, 0));
    assert_false(c.failed);
    assert_int_equal(gs_cursor_u8(&c), 0);
    assert_true(c.failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_little_endian),
        cmocka_unit_test(loads_accept_any_alignment),
        cmocka_unit_test(what_is_put_is_what_is_loaded),
        cmocka_unit_test(reads_beyond_the_end_give_zero_and_stick),
        cmocka_unit_test(lengths_cannot_wrap),
        cmocka_unit_test(nothing_can_be_read_from_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
