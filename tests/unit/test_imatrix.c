/* SPDX-License-Identifier: MIT
 * Importance matrices: both layouts give the same diagonals, a model is quantized with one,
 * and files that lie are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "recipe/imatrix.h"
#include "recipe/quantize.h"
#include "tiny.h"

static struct gs_err err;
static char source[512], path[512], target[512];
static struct gs_store *model;

/* The matrices of blocks, and what each entry says: value(i) = i + 1. */
static bool is_entry(const struct gs_tensor *t)
{
    return t->n_dims == 2 && !strncmp(t->name, "blk.", 4);
}

static float values[4096];

#define CALLS 5 /* of the legacy layout: its means are multiplied by it */

static void put_i32(FILE *f, int32_t v)
{
    const uint32_t u = (uint32_t)v;
    const uint8_t b[4] = {(uint8_t)u, (uint8_t)(u >> 8), (uint8_t)(u >> 16), (uint8_t)(u >> 24)};

    fwrite(b, 1, 4, f);
}

/* entries: as claimed; extra is added to every claimed length. */
static void write_legacy(int32_t entries, int32_t extra)
{
    FILE *f = fopen(path, "wb");
    int32_t n = 0;

    assert_non_null(f);
    for (size_t i = 0; i < gs_store_count(model); i++)
        n += is_entry(gs_store_tensor(model, i));
    put_i32(f, entries < 0 ? n : entries);
    for (size_t i = 0; i < gs_store_count(model); i++) {
        const struct gs_tensor *t = gs_store_tensor(model, i);
        if (!is_entry(t))
            continue;
        put_i32(f, (int32_t)strlen(t->name));
        fwrite(t->name, 1, strlen(t->name), f);
        put_i32(f, CALLS);
        put_i32(f, (int32_t)t->dim[0] + extra);
        fwrite(values, 4, t->dim[0], f);
    }
    fclose(f);
}

static void write_gguf(void)
{
    struct gs_tensor tensors[256];
    char names[256][64];
    struct gs_gguf_writer *w;
    struct gs_meta *meta;
    size_t n = 0;

    for (size_t i = 0; i < gs_store_count(model); i++) {
        const struct gs_tensor *t = gs_store_tensor(model, i);
        if (!is_entry(t))
            continue;
        for (int counts = 0; counts < 2; counts++, n++) {
            snprintf(names[n], sizeof names[n], "%.50s%s", t->name,
                     counts ? ".counts" : ".in_sum2");
            tensors[n] = (struct gs_tensor){.name = names[n], .type = GS_TYPE_F32, .n_dims = 2,
                                            .dim = {counts ? 1 : t->dim[0], 1, 1, 1}};
        }
    }
    assert_int_equal(gs_meta_create(&meta, &err), 0);
    assert_int_equal(gs_meta_set_str(meta, "general.type", GS_STR("imatrix"), &err), 0);
    assert_int_equal(gs_gguf_create(path, true, meta, tensors, n, &w, &err), 0);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(gs_gguf_write(w, i, values, 4 * tensors[i].dim[0], &err), 0);
    assert_int_equal(gs_gguf_commit(&w, NULL, &err), 0);
    gs_meta_destroy(&meta);
}

static int setup(void **state)
{
    (void)state;
    snprintf(source, sizeof source, "%s", tiny_make("llama"));
    snprintf(path, sizeof path, "%s/imatrix", tiny_folder);
    snprintf(target, sizeof target, "%s/target.gguf", tiny_folder);
    for (size_t i = 0; i < 4096; i++)
        values[i] = (float)(i + 1);
    return gs_store_open(source, &model, &err);
}

static int teardown(void **state)
{
    (void)state;
    gs_store_close(&model);
    unlink(source);
    unlink(path);
    unlink(target);
    return 0;
}

static void check_diagonals(double count)
{
    struct gs_imatrix m;

    err = (struct gs_err){0};
    if (gs_imatrix_open(path, model, &m, &err))
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < gs_store_count(model); i++) {
        const struct gs_tensor *t = gs_store_tensor(model, i);
        assert_true((m.diagonal[i] != NULL) == is_entry(t));
        for (size_t c = 0; m.diagonal[i] && c < t->dim[0]; c++)
            assert_true(m.diagonal[i][c] == (double)(c + 1) / count);
    }
    gs_imatrix_clear(&m);
}

static void test_both_layouts(void **state)
{
    (void)state;
    write_gguf();
    check_diagonals(1);
    write_legacy(-1, 0);
    check_diagonals(CALLS);
}

static void test_quantize_with_it(void **state)
{
    const struct gs_quantize_options o = {.bpw = 3, .imatrix = path, .no_eval = true,
                                          .overwrite = true, .threads = 2};
    struct gs_quantize_result result;
    struct gs_store *store;

    (void)state;
    write_legacy(-1, 0);
    err = (struct gs_err){0};
    if (gs_quantize_model(source, target, &o, NULL, NULL, &result, &err))
        fail_msg("%s", err.msg);
    assert_true(result.bpw <= 3 && result.loss > 0 && result.loss < 0.2);
    assert_int_equal(gs_store_open(target, &store, &err), 0);
    assert_non_null(gs_meta_find(gs_store_meta(store), "gosset.imatrix.hash"));
    assert_null(gs_meta_find(gs_store_meta(store), "gosset.calibration.hash"));
    gs_store_close(&store);
    /* One entry only: the first matrix without one is named. */
    write_legacy(1, 0);
    err = (struct gs_err){0};
    assert_int_equal(gs_quantize_model(source, target, &o, NULL, NULL, &result, &err),
                     GS_E_FORMAT);
    assert_non_null(strstr(err.msg, "blk."));
    assert_non_null(strstr(err.msg, "no entry"));
    char work[560];
    snprintf(work, sizeof work, "%s.work", target);
    unlink(work);
}

static void refuse(const char *why)
{
    struct gs_imatrix m;

    err = (struct gs_err){0};
    assert_int_equal(gs_imatrix_open(path, model, &m, &err), GS_E_FORMAT);
    assert_null(m.diagonal);
    if (!strstr(err.msg, why))
        fail_msg("'%s' lacks '%s'", err.msg, why);
}

static void test_hostile(void **state)
{
    static const float bad[] = {NAN, INFINITY, -1};

    (void)state;
    write_legacy(0, 0);
    refuse("no entry");
    write_legacy(INT32_MAX, 0);
    refuse("is broken");
    write_legacy(-1, 1);
    refuse("values, the matrix has");
    write_legacy(-1, INT32_MAX / 2);
    refuse("is broken");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        values[3] = bad[i];
        write_legacy(-1, 0);
        refuse("value 3 is");
        write_gguf();
        refuse("value 3 is");
        values[3] = 4;
    }
    write_legacy(-1, 0); /* every cut */
    FILE *f = fopen(path, "rb");
    char bytes[600];
    assert_int_equal(fread(bytes, 1, sizeof bytes, f), sizeof bytes);
    fclose(f);
    for (size_t n = 4; n < sizeof bytes; n += 7) {
        f = fopen(path, "wb");
        fwrite(bytes, 1, n, f);
        fclose(f);
        refuse("is broken");
    }
}

/* ---- experts ---- */

#define COLS 32
#define EXPERTS 4

static void write_tensors(const struct gs_tensor *tensors, const float *const *data, size_t n,
                          const char *type)
{
    struct gs_gguf_writer *w;
    struct gs_meta *meta;

    err = (struct gs_err){0};
    assert_int_equal(gs_meta_create(&meta, &err), 0);
    assert_int_equal(gs_meta_set_str(meta, "general.type", (struct gs_str){type, strlen(type)},
                                     &err), 0);
    if (gs_gguf_create(path, true, meta, tensors, n, &w, &err))
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < n; i++) {
        const uint64_t *d = tensors[i].dim;
        assert_int_equal(gs_gguf_write(w, i, data[i], 4 * d[0] * d[1] * d[2], &err), 0);
    }
    assert_int_equal(gs_gguf_commit(&w, NULL, &err), 0);
    gs_meta_destroy(&meta);
}

static void write_experts(uint64_t cols, uint64_t experts, uint64_t counted, const float *counts)
{
    const struct gs_tensor tensors[] = {
        {.name = "blk.0.ffn_up_exps.weight.in_sum2", .type = GS_TYPE_F32, .n_dims = 2,
         .dim = {cols, experts, 1, 1}},
        {.name = "blk.0.ffn_up_exps.weight.counts", .type = GS_TYPE_F32, .n_dims = 2,
         .dim = {1, counted, 1, 1}},
        {.name = "blk.0.ffn_gate_inp.weight.in_sum2", .type = GS_TYPE_F32, .n_dims = 2,
         .dim = {cols, 1, 1, 1}},
        {.name = "blk.0.ffn_gate_inp.weight.counts", .type = GS_TYPE_F32, .n_dims = 2,
         .dim = {1, 1, 1, 1}},
    };
    const float *data[] = {values, counts, values, counts + 1};

    write_tensors(tensors, data, GS_COUNT(tensors), "imatrix");
}

/* Each expert's sums are over its own tokens; one that saw none has ones; a matrix whose count
 * is 0 has no entry. */
static void test_experts(void **state)
{
    static const struct gs_tensor shapes[] = {
        {.name = "blk.0.ffn_up_exps.weight", .type = GS_TYPE_F32, .n_dims = 3,
         .dim = {COLS, 2, EXPERTS, 1}},
        {.name = "blk.0.ffn_gate_inp.weight", .type = GS_TYPE_F32, .n_dims = 2,
         .dim = {COLS, EXPERTS, 1, 1}},
    };
    static const float counts[] = {10, 0, 4, 0.5f, 7};
    const float *data[] = {values, values};
    struct gs_store *experts;
    struct gs_imatrix m;

    (void)state;
    write_tensors(shapes, data, GS_COUNT(shapes), "model");
    assert_int_equal(gs_store_open(path, &experts, &err), 0);
    unlink(path);
    write_experts(COLS, EXPERTS, EXPERTS, counts);
    assert_int_equal(gs_imatrix_open(path, experts, &m, &err), 0);
    assert_null(m.diagonal[1]);
    assert_int_equal(m.found, 1);
    for (size_t i = 0; i < EXPERTS * COLS; i++) {
        double count = (double)counts[i / COLS];
        assert_true(m.diagonal[0][i] == (count > 0 ? (double)values[i] / count : 1));
    }
    gs_imatrix_clear(&m);

    static const float hostile[][2] = {{NAN, 1}, {-1, 1}, {INFINITY, 1}, {1, -2}};
    for (size_t i = 0; i < GS_COUNT(hostile); i++) {
        float bad[EXPERTS] = {1, 1, hostile[i][0], hostile[i][1]};
        write_experts(COLS, EXPERTS, EXPERTS, bad);
        err = (struct gs_err){0};
        assert_int_equal(gs_imatrix_open(path, experts, &m, &err), GS_E_FORMAT);
        assert_non_null(strstr(err.msg, "count "));
    }
    static const uint64_t shapes_bad[][3] = {
        {COLS, EXPERTS, 3}, {COLS, EXPERTS + 1, EXPERTS + 1}, {COLS / 2, 2 * EXPERTS, 2 * EXPERTS}};
    for (size_t i = 0; i < GS_COUNT(shapes_bad); i++) {
        const float ones[2 * EXPERTS] = {1, 1, 1, 1, 1, 1, 1, 1};
        write_experts(shapes_bad[i][0], shapes_bad[i][1], shapes_bad[i][2], ones);
        err = (struct gs_err){0};
        assert_int_equal(gs_imatrix_open(path, experts, &m, &err), GS_E_FORMAT);
        assert_non_null(strstr(err.msg, i ? "for each expert" : "expected 4 numbers"));
    }
    gs_store_close(&experts);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_experts),
        cmocka_unit_test(test_both_layouts),
        cmocka_unit_test(test_quantize_with_it),
        cmocka_unit_test(test_hostile),
    };

    (void)argc;
    tiny_init(argv[0]);
    int failed = cmocka_run_group_tests(tests, setup, teardown);
    tiny_exit();
    return failed;
}
