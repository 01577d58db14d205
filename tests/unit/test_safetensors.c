/* SPDX-License-Identifier: MIT
 * Bare safetensors files: types, shapes, the rules of the header, damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/unit/bytes.h"

#include "core/alloc.h"
#include "core/rng.h"

static struct gs_err err;

static int open_case(const struct bytes *b, struct gs_store **store, uint8_t **copy)
{
    err = (struct gs_err){0};
    return open_bytes(b->data, b->size, "t.safetensors", copy, store, &err);
}

static void types_and_shapes(void **state)
{
    static const struct { const char *dtype; enum gs_type type; size_t bytes; } types[] = {
        {"F64", GS_TYPE_F64, 8}, {"F32", GS_TYPE_F32, 4}, {"F16", GS_TYPE_F16, 2},
        {"BF16", GS_TYPE_BF16, 2}, {"I64", GS_TYPE_I64, 8}, {"I32", GS_TYPE_I32, 4},
        {"I16", GS_TYPE_I16, 2}, {"I8", GS_TYPE_I8, 1},
    };
    static struct st_bytes s;
    static struct bytes b;
    struct gs_store *store;
    uint8_t *copy, payload[48];
    const void *data;
    (void)state;

    st_begin(&s);
    for (size_t i = 0; i < GS_COUNT(types); i++) {
        memset(payload, (int)i + 1, sizeof payload);
        st_add(&s, types[i].dtype, types[i].dtype, "[2,3]", payload, 6 * types[i].bytes);
    }
    st_add(&s, "scalar", "F32", "[]", "abcd", 4);
    st_add(&s, "empty", "F32", "[0,7]", "", 0);
    st_end(&s, &b);
    assert_int_equal(open_case(&b, &store, &copy), 0);
    assert_string_equal(gs_store_format(store), "safetensors");
    assert_int_equal(gs_store_count(store), GS_COUNT(types) + 1);
    for (size_t i = 0; i < GS_COUNT(types); i++) {
        const struct gs_tensor *t = gs_store_find(store, types[i].dtype);
        assert_non_null(t);
        assert_int_equal(t->type, types[i].type);
        assert_int_equal(t->n_dims, 2);
        assert_int_equal(t->dim[0], 3); /* innermost first */
        assert_int_equal(t->dim[1], 2);
        assert_int_equal(gs_store_data(store, t, &data, &err), 0);
        assert_int_equal((uintptr_t)data % 8, 0); /* wherever it lay in the file */
        memset(payload, (int)i + 1, sizeof payload);
        assert_memory_equal(data, payload, t->bytes);
    }
    assert_int_equal(gs_store_find(store, "scalar")->n_dims, 1);
    assert_null(gs_store_find(store, "empty"));
    gs_store_close(&store);
    free(copy);
}

static void metadata(void **state)
{
    static struct bytes b;
    struct gs_store *store;
    struct gs_str s;
    uint8_t *copy;
    (void)state;

    st_raw(&b, "{\"__metadata__\":{\"format\":\"pt\"},"
               "\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}  ", 1);
    assert_int_equal(open_case(&b, &store, &copy), 0);
    assert_int_equal(gs_meta_get_str(gs_store_meta(store), "safetensors.format", &s, &err), 1);
    assert_true(gs_str_equal(s, "pt"));
    gs_store_close(&store);
    free(copy);
}

static void refuses(const struct bytes *b, int code, const char *message)
{
    struct gs_store *store;
    uint8_t *copy;

    int rc = open_case(b, &store, &copy);
    free(copy);
    assert_null(store);
    if (rc != code || strncmp(err.msg, "t.safetensors: ", 15) || !strstr(err.msg, message))
        fail_msg("code %d, expected %d with \"%s\": %s", rc, code, message, err.msg);
}

#define ENTRY(name, dtype, shape, offsets) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void header_lies(void **state)
{
    static const struct {
        const char *json;
        size_t bytes;
        int code;
        const char *message;
    } cases[] = {
        {"{" ENTRY("a", "F32", "[2]", "[0,4]") "}", 4, GS_E_FORMAT,
         "tensor a: data_offsets hold 4 bytes, 2 elements of F32 are not that"},
        {"{" ENTRY("a", "F32", "[1]", "[4,8]") "}", 8, GS_E_FORMAT,
         "tensor a begins at 4, the one before ends at 0"},
        {"{" ENTRY("a", "F32", "[1]", "[0,4]") "," ENTRY("b", "F32", "[1]", "[2,6]") "}", 6,
         GS_E_FORMAT, "tensor b begins at 2, the one before ends at 4"},
        {"{" ENTRY("a", "F32", "[1]", "[0,4]") "," ENTRY("b", "F32", "[1]", "[0,4]") "}", 4,
         GS_E_FORMAT, "tensor b begins at 0, the one before ends at 4"},
        {"{" ENTRY("a", "F32", "[1]", "[0,4]") "}", 5, GS_E_FORMAT, "1 bytes follow the last"},
        {"{" ENTRY("a", "F32", "[4]", "[0,16]") "}", 15, GS_E_FORMAT,
         "truncated: header and tensors need 79 bytes, the file has 78"},
        {"{" ENTRY("a", "F32", "[4294967296,4294967296]", "[0,0]") "}", 0, GS_E_FORMAT,
         "tensor a: the number of elements overflows"},
        {"{" ENTRY("a", "F32", "[4611686018427387904]", "[0,0]") "}", 0, GS_E_FORMAT,
         "tensor a: data_offsets hold 0 bytes"},
        {"{" ENTRY("a", "F32", "[1]", "[4,0]") "}", 4, GS_E_FORMAT, "two ascending positions"},
        {"{" ENTRY("a", "F32", "[1]", "[-4,0]") "}", 4, GS_E_FORMAT, "two ascending positions"},
        {"{" ENTRY("a", "F32", "[1]", "[0]") "}", 4, GS_E_FORMAT, "two ascending positions"},
        {"{" ENTRY("a", "F32", "[1]", "[0.0,4.0]") "}", 4, GS_E_FORMAT, "two ascending positions"},
        {"{" ENTRY("a", "F32", "[-1]", "[0,4]") "}", 4, GS_E_FORMAT, "non-negative integers"},
        {"{" ENTRY("a", "F32", "7", "[0,4]") "}", 4, GS_E_FORMAT, "\"shape\" must be an array"},
        {"{" ENTRY("a", "F99", "[1]", "[0,4]") "}", 4, GS_E_UNSUPPORTED, "dtype F99 is unknown"},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, GS_E_FORMAT, "dtype (absent)"},
        {"{\"a\":{\"dtype\":5,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, GS_E_FORMAT,
         "tensor a: \"dtype\" must be a string"},
        {"{\"a\":7}", 0, GS_E_FORMAT, "tensor a: its entry must be an object"},
        {"{" ENTRY("", "F32", "[1]", "[0,4]") "}", 4, GS_E_FORMAT, "it has no name"},
        {"{" ENTRY("a", "F32", "[1]", "[0,4]") "," ENTRY("a", "F32", "[1]", "[4,8]") "}", 8,
         GS_E_FORMAT, "not valid JSON: duplicate object key"},
        {"{\"a\":", 0, GS_E_FORMAT, "header: line 1"},
        {"[1]", 0, GS_E_FORMAT, "the header is not a JSON object"},
        {"{\"__metadata__\":{\"a\":1}}", 0, GS_E_FORMAT, "__metadata__ must hold strings"},
        {"{" ENTRY("a", "F8_E4M3", "[4]", "[0,4]") "}", 4, GS_E_UNSUPPORTED,
         "tensor a: dtype F8_E4M3 is not supported"},
        {"{" ENTRY("a", "BOOL", "[4]", "[0,4]") "}", 4, GS_E_UNSUPPORTED, "dtype BOOL is not"},
        {"{" ENTRY("a", "I8", "[1,1,1,1,4]", "[0,4]") "}", 4, GS_E_UNSUPPORTED, "5 dimensions"},
    };
    static struct bytes b;
    (void)state;

    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        st_raw(&b, cases[i].json, cases[i].bytes);
        refuses(&b, cases[i].code, cases[i].message);
    }
}

static void length_lies(void **state)
{
    static struct bytes b;
    (void)state;

    b.size = 0, put_text(&b, "\1");
    refuses(&b, GS_E_FORMAT, "unexpected end of the header's length at byte 0 of 1");
    b.size = 0, put_u64(&b, 0), put_text(&b, "{}");
    refuses(&b, GS_E_FORMAT, "header of 0 bytes, allowed are 2 to 100000000");
    b.size = 0, put_u64(&b, UINT64_MAX), put_text(&b, "{}");
    refuses(&b, GS_E_FORMAT, "header of 18446744073709551615 bytes");
    b.size = 0, put_u64(&b, 100000000), put_text(&b, "{}");
    refuses(&b, GS_E_FORMAT, "truncated: header of 100000000 bytes, 2 follow");
}

static void put_good(struct bytes *b)
{
    static struct st_bytes s;
    uint8_t payload[64] = {1, 2, 3};

    st_begin(&s);
    st_add(&s, "a", "F32", "[2,2]", payload, 16);
    st_add(&s, "odd", "I8", "[3]", payload, 3);
    st_add(&s, "b", "BF16", "[2,3,1]", payload, 12);
    st_end(&s, b);
}

static void touch_all(struct gs_store *store)
{
    const void *data;
    volatile uint8_t sum = 0;

    for (size_t i = 0; i < gs_store_count(store); i++) {
        const struct gs_tensor *t = gs_store_tensor(store, i);
        assert_int_equal(gs_store_data(store, t, &data, &err), 0);
        for (uint64_t j = 0; j < t->bytes; j++)
            sum = (uint8_t)(sum + ((const uint8_t *)data)[j]);
    }
}

static void truncation_at_every_byte(void **state)
{
    static struct bytes b;
    struct gs_store *store;
    uint8_t *copy;
    (void)state;

    put_good(&b);
    for (size_t whole = b.size; b.size > 1; ) {
        b.size--;
        assert_true(b.size < whole);
        assert_int_equal(open_case(&b, &store, &copy), GS_E_FORMAT);
        assert_null(store);
        free(copy);
    }
}

static void damage(void **state)
{
    static struct bytes good, b;
    struct gs_store *store;
    struct gs_rng rng;
    uint8_t *copy;
    unsigned opened = 0, refused = 0;
    (void)state;

    put_good(&good);
    gs_rng_init(&rng, 13, 0);
    for (unsigned i = 0; i < 10000; i++) {
        b = good;
        b.data[gs_rng_below(&rng, b.size)] ^= (uint8_t)(1u << gs_rng_below(&rng, 8));
        if (gs_rng_below(&rng, 2))
            b.data[8 + gs_rng_below(&rng, 180)] =
                (uint8_t)"[]{}\",:-019eE."[gs_rng_below(&rng, 14)];
        if (open_case(&b, &store, &copy)) {
            refused++;
            assert_true(err.code < 0 && err.msg[0]);
        } else {
            opened++;
            touch_all(store);
            gs_store_close(&store);
        }
        free(copy);
    }
    assert_true(opened > 300 && refused > 3000);
}

static void out_of_memory(void **state)
{
    static struct bytes b;
    struct gs_store *store;
    uint8_t *copy;
    uint64_t n = 1;
    (void)state;

    put_good(&b);
    for (;; n++) {
        gs_alloc_fail_at(n);
        int rc = open_case(&b, &store, &copy);
        if (!rc)
            break;
        free(copy);
        assert_int_equal(rc, GS_E_NOMEM);
        assert_true(n < 1000);
    }
    gs_alloc_fail_at(0);
    gs_store_close(&store);
    free(copy);
    assert_true(n > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_and_shapes),
        cmocka_unit_test(metadata),
        cmocka_unit_test(header_lies),
        cmocka_unit_test(length_lies),
        cmocka_unit_test(truncation_at_every_byte),
        cmocka_unit_test(damage),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
