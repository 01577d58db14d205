/* SPDX-License-Identifier: MIT
 * Converting: which tensor takes which type, values that a type cannot hold, several pieces,
 * stopping. The encoders themselves are tested with the kernels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/half.h"
#include "file/gguf.h"
#include "kernels/kernels.h"
#include "recipe/convert.h"
#include "recipe/recode.h"

static char src[] = "/tmp/gosset-convert-src-XXXXXX";
static char dst[sizeof src + 8];
static struct gs_err err;

static struct gs_tensor tensor(const char *name, enum gs_type type, uint64_t cols, uint64_t rows)
{
    return (struct gs_tensor){.name = name, .type = type, .n_dims = rows ? 2 : 1,
                              .dim = {cols, rows ? rows : 1, 1, 1}};
}

/* Writes tensors with the given bytes as the source. */
static void write_source(const struct gs_tensor *tensors, const void *const *data, size_t n)
{
    struct gs_gguf_writer *w;
    struct gs_meta *meta;

    err = (struct gs_err){0};
    assert_int_equal(gs_meta_create(&meta, &err), 0);
    assert_int_equal(gs_meta_set_str(meta, "general.architecture", GS_STR("llama"), &err), 0);
    assert_int_equal(gs_gguf_create(src, true, meta, tensors, n, &w, &err), 0);
    for (size_t i = 0; i < n; i++) {
        uint64_t row;
        assert_int_equal(gs_type_row_bytes(tensors[i].type, tensors[i].dim[0], &row, &err), 0);
        assert_int_equal(gs_gguf_write(w, i, data[i], row * tensors[i].dim[1], &err), 0);
    }
    assert_int_equal(gs_gguf_commit(&w, NULL, &err), 0);
    gs_meta_destroy(&meta);
}

static int convert(const char *type, int threads)
{
    struct gs_convert_options options = {.type = type, .overwrite = true, .threads = threads};

    err = (struct gs_err){0};
    return gs_convert_model(src, dst, &options, NULL, &err);
}

static enum gs_type type_of(const struct gs_store *store, const char *name)
{
    const struct gs_tensor *t = gs_store_find(store, name);
    assert_non_null(t);
    return t->type;
}

static void types_follow_the_plan(void **state)
{
    static const float zeros[64 * 64];
    const struct gs_tensor tensors[] = {
        tensor("token_embd.weight", GS_TYPE_F32, 64, 4),
        tensor("odd.weight", GS_TYPE_F32, 33, 4),
        tensor("output_norm.weight", GS_TYPE_F16, 64, 0),
        tensor("blk.0.attn_q_norm.weight", GS_TYPE_F32, 64, 2),
        tensor("blk.0.ffn_gate_inp.weight", GS_TYPE_BF16, 64, 2),
        tensor("position_embd.weight", GS_TYPE_F32, 64, 2),
        tensor("ids.weight", GS_TYPE_I32, 64, 2),
        tensor("wide.weight", GS_TYPE_F64, 64, 2),
    };
    const void *data[8] = {zeros, zeros, zeros, zeros, zeros, zeros, zeros, zeros};
    static const struct {
        const char *want;
        enum gs_type matrix, odd, wide;
        uint64_t file;
    } cases[] = {
        {"q8_0", GS_TYPE_Q8_0, GS_TYPE_F16, GS_TYPE_Q8_0, 7},
        {"F16", GS_TYPE_F16, GS_TYPE_F16, GS_TYPE_F16, 1},
        {"bf16", GS_TYPE_BF16, GS_TYPE_BF16, GS_TYPE_BF16, 32},
        {"f32", GS_TYPE_F32, GS_TYPE_F32, GS_TYPE_F32, 0},
        {NULL, GS_TYPE_F32, GS_TYPE_F32, GS_TYPE_F32, 0},
    };
    (void)state;

    write_source(tensors, data, GS_COUNT(tensors));
    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        struct gs_store *store;
        uint64_t u = 99;
        assert_int_equal(convert(cases[i].want, 2), 0);
        assert_int_equal(gs_store_open(dst, &store, &err), 0);
        assert_int_equal(type_of(store, "token_embd.weight"), cases[i].matrix);
        assert_int_equal(type_of(store, "odd.weight"), cases[i].odd);
        assert_int_equal(type_of(store, "wide.weight"), cases[i].wide);
        assert_int_equal(type_of(store, "output_norm.weight"), GS_TYPE_F32);
        assert_int_equal(type_of(store, "blk.0.attn_q_norm.weight"), GS_TYPE_F32);
        assert_int_equal(type_of(store, "blk.0.ffn_gate_inp.weight"), GS_TYPE_F32);
        assert_int_equal(type_of(store, "position_embd.weight"), GS_TYPE_F32);
        assert_int_equal(type_of(store, "ids.weight"), GS_TYPE_I32);
        const struct gs_meta *meta = gs_store_meta(store);
        assert_int_equal(gs_meta_get_uint(meta, "general.file_type", &u, &err), 1);
        assert_int_equal(u, cases[i].file);
        assert_int_equal(gs_meta_get_uint(meta, "general.quantization_version", &u, &err), 1);
        assert_int_equal(u, 2);
        gs_store_close(&store);
    }
}

/* The largest values that still fit, and the next ones. */
static void values_beyond_the_type(void **state)
{
    static const struct { const char *type; float fits, too_large; } cases[] = {
        {"f16", 65519.0f, 65520.0f},
        {"q8_0", 8321039.5f, 8321040.0f},
        {"bf16", 0x1.feffp127f, 0x1.ffp127f},
        {"f32", 0x1.fffffep127f, INFINITY},
    };
    struct gs_tensor t = tensor("blk.1.ffn_up.weight", GS_TYPE_F32, 64, 3);
    float weights[3 * 64] = {0};
    const void *data = weights;
    (void)state;

    for (size_t i = 0; i < GS_COUNT(cases); i++)
        for (int sign = -1; sign <= 1; sign += 2) {
            weights[2 * 64 + 5] = (float)sign * cases[i].fits;
            write_source(&t, &data, 1);
            assert_int_equal(convert(cases[i].type, 1), 0);
            if (isinf(cases[i].too_large))
                continue; /* f32 stays f32: copied */
            weights[2 * 64 + 5] = (float)sign * cases[i].too_large;
            write_source(&t, &data, 1);
            unlink(dst);
            assert_int_equal(convert(cases[i].type, 1), GS_E_FORMAT);
            assert_non_null(strstr(err.msg, "blk.1.ffn_up.weight"));
            assert_non_null(strstr(err.msg, "row 2, column 5"));
            assert_int_equal(access(dst, F_OK), -1);
        }
}

static void values_that_are_no_numbers(void **state)
{
    static const char *const types[] = {"f16", "bf16", "q8_0"};
    struct gs_tensor t = tensor("x.weight", GS_TYPE_F32, 32, 2);
    float weights[64] = {0};
    const void *data = weights;
    (void)state;

    for (size_t i = 0; i < GS_COUNT(types); i++) {
        weights[33] = NAN;
        write_source(&t, &data, 1);
        assert_int_equal(convert(types[i], 1), GS_E_FORMAT);
        assert_non_null(strstr(err.msg, "x.weight: row 1, column 1 is NaN"));
        weights[33] = -INFINITY;
        write_source(&t, &data, 1);
        assert_int_equal(convert(types[i], 1), GS_E_FORMAT);
        assert_non_null(strstr(err.msg, "infinite"));
    }
    assert_int_equal(convert("f32", 1), 0); /* nothing is lost */
}

/* More than one piece: each weight is at its place, and of several faults the first is
 * told, whoever found it. */
static void pieces(void **state)
{
    enum { COLS = 4096, ROWS = 600 };
    struct gs_tensor t = tensor("big.weight", GS_TYPE_F32, COLS, ROWS);
    float *weights = malloc(sizeof(float) * COLS * ROWS);
    const void *data = weights, *got;
    struct gs_store *store;
    (void)state;

    for (size_t i = 0; i < (size_t)COLS * ROWS; i++)
        weights[i] = (float)(i % 30011) / 64.0f; /* exact in f16 below 2048 * … */
    write_source(&t, &data, 1);
    for (int threads = 1; threads <= 4; threads++) {
        assert_int_equal(convert("f16", threads), 0);
        assert_int_equal(gs_store_open(dst, &store, &err), 0);
        assert_int_equal(gs_store_data(store, gs_store_tensor(store, 0), &got, &err), 0);
        const uint16_t *half = got;
        for (size_t i = 0; i < (size_t)COLS * ROWS; i++)
            if (half[i] != gs_f32_to_f16(weights[i]))
                fail_msg("weight %zu with %d threads", i, threads);
        gs_store_close(&store);
    }
    for (size_t row = 300; row < 500; row++)
        weights[row * COLS + 7] = 1e6f;
    write_source(&t, &data, 1);
    for (int threads = 1; threads <= 4; threads++) {
        assert_int_equal(convert("f16", threads), GS_E_FORMAT);
        assert_non_null(strstr(err.msg, "row 300, column 7 is 1e+06"));
        assert_non_null(strstr(err.msg, "bf16"));
    }
    free(weights);
}

static int stop_at_once(void *ctx, const char *what, uint64_t done, uint64_t total)
{
    assert_string_equal(what, "bytes");
    assert_true(done > 0 && done <= total);
    ++*(int *)ctx;
    return 1;
}

static void stopping(void **state)
{
    static const float zeros[64 * 64];
    struct gs_tensor t = tensor("x.weight", GS_TYPE_F32, 64, 64);
    const void *data = zeros;
    int calls = 0;
    struct gs_convert_options options = {.overwrite = true, .threads = 1,
                                         .progress = stop_at_once, .progress_ctx = &calls};
    (void)state;

    write_source(&t, &data, 1);
    unlink(dst);
    err = (struct gs_err){0};
    assert_int_equal(gs_convert_model(src, dst, &options, NULL, &err), GS_E_STOPPED);
    assert_int_equal(calls, 1);
    assert_int_equal(access(dst, F_OK), -1);
}

static int create_source(void **state)
{
    int fd = mkstemp(src);
    (void)state;
    if (fd < 0)
        return -1;
    close(fd);
    snprintf(dst, sizeof dst, "%s.out", src);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    unlink(src);
    unlink(dst);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_follow_the_plan), cmocka_unit_test(values_beyond_the_type),
        cmocka_unit_test(values_that_are_no_numbers), cmocka_unit_test(pieces),
        cmocka_unit_test(stopping),
    };
    return cmocka_run_group_tests(tests, create_source, remove_files);
}
