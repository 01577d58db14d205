/* SPDX-License-Identifier: MIT
 * Storage types: every decoder of every level against vectors of the reference
 * (tests/golden/types, made by tests/tools/make_type_vectors.py), the Q8_0 encoder, and
 * the table of types. Run from the root of the repository. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/alloc.h"
#include "core/cursor.h"
#include "core/half.h"
#include "kernels/kernels.h"

struct vectors {
    uint8_t *file;
    size_t bytes;
    uint32_t count;
    const uint8_t *first, *second; /* the two arrays of the file */
};

static struct vectors read_vectors(const char *name, size_t first_size, size_t second_size)
{
    struct vectors v = {0};
    char path[128];

    snprintf(path, sizeof path, "tests/golden/types/%s.bin", name);
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s: cannot open (run from the repository's root)", path);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    v.bytes = (size_t)ftell(f);
    rewind(f);
    v.file = gs_alloc(v.bytes, 1);
    assert_int_equal(fread(v.file, 1, v.bytes, f), v.bytes);
    fclose(f);
    v.count = gs_load_u32(v.file);
    assert_true(v.count > 0);
    assert_int_equal(v.bytes, 4 + v.count * (first_size + second_size));
    v.first = v.file + 4;
    v.second = v.first + v.count * first_size;
    return v;
}

static void every_type_decodes_as_the_reference(void **state)
{
    int types = 0;

    (void)state;
    for (uint32_t t = 0; t < GS_TYPE_COUNT; t++) {
        const struct gs_type_info *info = gs_type_info(t);
        if (!info)
            continue;
        types++;
        struct vectors v = read_vectors(info->name, info->bytes, info->block * sizeof(float));
        size_t n = v.count * info->block, wrong = 0, numbers = 0;
        float *out = gs_alloc(n, sizeof *out);
        struct gs_kernels k;
        for (size_t level = 0; gs_kernels_level(level); level++) {
            if (!gs_kernels_resolve(level, &k))
                continue;
            memset(out, 0xa5, n * sizeof *out);
            k.decode[t](v.first, out, n);
            for (size_t i = 0; i < n; i++) {
                float want = gs_load_f32(v.second + 4 * i);
                numbers += want != 0.0f && isfinite(want);
                wrong += isnan(want) ? !isnan(out[i]) : gs_f32_bits(want) != gs_f32_bits(out[i]);
            }
            if (wrong)
                fail_msg("%s, %s: %zu of %zu differ", info->name, k.name, wrong, n);
        }
        assert_true(numbers > n / 4); /* the vectors are no mere zeros and NaN */
        gs_free(&out);
        gs_free(&v.file);
    }
    assert_int_equal(types, 35);
}

static void q8_0_encodes_as_the_reference(void **state)
{
    struct vectors v = read_vectors("Q8_0.encode", 32 * sizeof(float), 34);
    size_t n = v.count * 32;
    float *x = gs_alloc(n, sizeof *x);
    uint8_t *out = gs_alloc(v.count, 34);
    struct gs_kernels k;

    (void)state;
    memcpy(x, v.first, n * sizeof *x);
    for (size_t level = 0; gs_kernels_level(level); level++) {
        if (!gs_kernels_resolve(level, &k))
            continue;
        k.encode[GS_TYPE_Q8_0](x, out, n);
        assert_memory_equal(out, v.second, v.count * 34);
    }
    gs_free(&x);
    gs_free(&out);
    gs_free(&v.file);
}

/* What no reference defines: the numbers stay in range and nothing is undefined. */
static void q8_0_encodes_the_impossible(void **state)
{
    float x[32], back[32];
    uint8_t out[34];
    const struct gs_kernels *k = gs_kernels();

    (void)state;
    for (int j = 0; j < 32; j++)
        x[j] = j % 3 == 0 ? NAN : j % 3 == 1 ? 1.0f : -127.0f;
    k->encode[GS_TYPE_Q8_0](x, out, 32);
    k->decode[GS_TYPE_Q8_0](out, back, 32);
    for (int j = 0; j < 32; j++)
        assert_true(back[j] == (j % 3 == 0 ? 0.0f : x[j]));

    x[5] = INFINITY;
    k->encode[GS_TYPE_Q8_0](x, out, 32);
    assert_int_equal(gs_load_u16(out), 0x7c00);

    for (int j = 0; j < 32; j++) /* 1 / d overflows */
        x[j] = j % 2 ? 0x1p-140f : -0x1p-149f;
    k->encode[GS_TYPE_Q8_0](x, out, 32);
    assert_int_equal(gs_load_u16(out), 0);
    for (int j = 0; j < 32; j++)
        assert_in_range((int8_t)out[2 + j] + 127, 0, 254);
}

static void floats_encode_to_the_nearest(void **state)
{
    static const float x[] = {0.0f, -0.0f, 1.0f, 65504.0f, 65520.0f, 0x1p-25f, 1.00048828125f};
    static const uint16_t f16[] = {0, 0x8000, 0x3c00, 0x7bff, 0x7c00, 0, 0x3c00};
    uint16_t out[GS_COUNT(x)];
    float back[GS_COUNT(x)];
    const struct gs_kernels *k = gs_kernels();

    (void)state;
    k->encode[GS_TYPE_F16](x, out, GS_COUNT(x));
    assert_memory_equal(out, f16, sizeof out);
    k->encode[GS_TYPE_F32](x, back, GS_COUNT(x));
    assert_memory_equal(back, x, sizeof x);
    k->encode[GS_TYPE_BF16](x, out, GS_COUNT(x));
    for (size_t i = 0; i < GS_COUNT(x); i++)
        assert_int_equal(out[i], gs_f32_to_bf16(x[i]));
}

static void names_and_numbers(void **state)
{
    struct gs_err err = {0};
    uint64_t bytes;

    (void)state;
    for (uint32_t t = 0; t < GS_TYPE_COUNT; t++)
        if (gs_type_info(t))
            assert_int_equal(gs_type_find(gs_type_info(t)->name), t);
    assert_int_equal(gs_type_find("q4_k"), GS_TYPE_Q4_K);
    assert_true(gs_type_find("Q4_2") < 0);
    assert_null(gs_type_info(4));
    assert_null(gs_type_info(GS_TYPE_COUNT));
    assert_null(gs_type_info(UINT32_MAX));

    assert_int_equal(gs_type_row_bytes(GS_TYPE_Q6_K, 512, &bytes, &err), GS_OK);
    assert_int_equal(bytes, 420);
    assert_int_equal(gs_type_row_bytes(GS_TYPE_Q6_K, 500, &bytes, &err), GS_E_FORMAT);
    assert_non_null(strstr(err.msg, "500"));
    assert_int_equal(gs_type_row_bytes(GS_TYPE_F64, UINT64_MAX / 4, &bytes, NULL), GS_E_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_decodes_as_the_reference),
        cmocka_unit_test(q8_0_encodes_as_the_reference),
        cmocka_unit_test(q8_0_encodes_the_impossible),
        cmocka_unit_test(floats_encode_to_the_nearest),
        cmocka_unit_test(names_and_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
