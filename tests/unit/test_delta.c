/* SPDX-License-Identifier: MIT
 * Deltas: what the parts add up to, and files that are not what they say. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "delta/delta.h"
#include "file/gguf.h"

enum { ROWS = 12, COLS = 21, N = ROWS * COLS };

static char base_path[] = "/tmp/gosset-delta-base-XXXXXX";
static char tuned_path[sizeof base_path + 8], delta_path[sizeof base_path + 8];
static float base[N], tuned[N], norm[COLS];
static struct gs_err err;

/* A matrix of a block and a norm, with a key of its own. */
static void write_model(const char *path, const float *w, float first, const char *key)
{
    struct gs_tensor tensors[] = {
        {.name = "blk.0.ffn_up.weight", .type = GS_TYPE_F32, .n_dims = 2,
         .dim = {COLS, ROWS, 1, 1}},
        {.name = "blk.0.ffn_norm.weight", .type = GS_TYPE_F32, .n_dims = 1,
         .dim = {COLS, 1, 1, 1}}};
    struct gs_gguf_writer *writer;
    struct gs_meta *meta;

    norm[0] = first;
    assert_int_equal(gs_meta_create(&meta, &err), GS_OK);
    assert_int_equal(gs_meta_set_str(meta, "general.architecture", GS_STR("llama"), &err), GS_OK);
    assert_int_equal(gs_meta_set_uint(meta, key, 7, &err), GS_OK);
    assert_int_equal(gs_gguf_create(path, true, meta, tensors, 2, &writer, &err), GS_OK);
    assert_int_equal(gs_gguf_write(writer, 0, w, sizeof base, &err), GS_OK);
    assert_int_equal(gs_gguf_write(writer, 1, norm, sizeof norm, &err), GS_OK);
    assert_int_equal(gs_gguf_commit(&writer, NULL, &err), GS_OK);
    gs_meta_destroy(&meta);
}

static int setup(void **state)
{
    struct gs_rng rng;
    int fd = mkstemp(base_path);
    (void)state;

    if (fd < 0)
        return -1;
    close(fd);
    snprintf(tuned_path, sizeof tuned_path, "%s.tuned", base_path);
    snprintf(delta_path, sizeof delta_path, "%s.delta", base_path);
    gs_rng_init(&rng, 3, 0);
    for (size_t i = 0; i < N; i++) {
        base[i] = (float)gs_rng_normal(&rng);
        tuned[i] = base[i] + 0.1f * (float)gs_rng_normal(&rng) * (float)(1 + i / COLS);
    }
    write_model(base_path, base, 1, "test.base");
    write_model(tuned_path, tuned, 2, "test.tuned");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(base_path);
    unlink(tuned_path);
    unlink(delta_path);
    return 0;
}

static struct gs_delta_result take(const struct gs_delta_options *options)
{
    struct gs_delta_options o = *options;
    struct gs_delta_result result;
    struct gs_store *b, *t;

    o.overwrite = true;
    err = (struct gs_err){0};
    assert_int_equal(gs_store_open(base_path, &b, &err), GS_OK);
    assert_int_equal(gs_store_open(tuned_path, &t, &err), GS_OK);
    assert_int_equal(gs_delta_make(b, t, delta_path, &o, &result, &err), GS_OK);
    gs_store_close(&b);
    gs_store_close(&t);
    return result;
}

/* The matrix of base plus delta. */
static void apply(float *out)
{
    struct gs_overlay overlay;
    const void *data;

    err = (struct gs_err){0};
    assert_int_equal(gs_overlay_open(base_path, delta_path, &overlay, &err), GS_OK);
    const struct gs_meta *meta = gs_store_meta(overlay.store);
    assert_null(gs_meta_find(meta, "test.base"));
    assert_non_null(gs_meta_find(meta, "test.tuned"));
    assert_null(gs_meta_find(meta, "gosset.delta.version"));
    const struct gs_tensor *t = gs_store_find(overlay.store, "blk.0.ffn_norm.weight");
    assert_int_equal(gs_store_data(overlay.store, t, &data, &err), GS_OK);
    assert_true(*(const float *)data == 2);
    t = gs_store_find(overlay.store, "blk.0.ffn_up.weight");
    assert_int_equal(gs_store_data(overlay.store, t, &data, &err), GS_OK);
    memcpy(out, data, sizeof base);
    gs_overlay_close(&overlay);
}

/* The sign pattern times the mean magnitude, of the matrix or of a row: no other scale leaves
 * less. */
static void test_signs(void **state)
{
    struct gs_delta_options options = {.planes = 1};
    float got[N];
    (void)state;

    for (int per_row = 0; per_row < 2; per_row++) {
        options.per_row = per_row;
        struct gs_delta_result result = take(&options);
        assert_int_equal(result.matrices, 1);
        assert_int_equal(result.whole, 1);
        assert_int_equal(result.weights, N);
        assert_true(fabs(result.bpw - (ROWS * 3 * 8 + (per_row ? ROWS : 1) * 32) / (double)N) <
                    1e-9);
        apply(got);
        double squares = 0, rest = 0, all = 0;
        for (size_t i = 0; i < N; i++)
            all += fabs((double)tuned[i] - (double)base[i]) / N;
        for (size_t r = 0; r < ROWS; r++) {
            double scale = 0;
            for (size_t i = r * COLS; i < (r + 1) * COLS; i++)
                scale += fabs((double)tuned[i] - (double)base[i]) / COLS;
            if (!per_row)
                scale = all;
            for (size_t i = r * COLS; i < (r + 1) * COLS; i++) {
                double d = (double)tuned[i] - (double)base[i], want = d >= 0 ? scale : -scale;
                assert_true(fabs((double)got[i] - (double)base[i] - want) < 1e-5);
                squares += d * d;
                rest += (d - want) * (d - want);
            }
        }
        assert_true(fabs(result.error - rest / squares) < 1e-5);
    }
}

static void test_more_leaves_less(void **state)
{
    double last = 1;
    float got[N];
    (void)state;

    for (uint32_t planes = 1; planes <= 8; planes++) {
        struct gs_delta_options options = {.planes = planes, .per_row = true};
        struct gs_delta_result result = take(&options);
        assert_true(result.error < 0.8 * last);
        last = result.error;
    }
    apply(got);
    for (size_t i = 0; i < N; i++)
        assert_true(fabsf(got[i] - tuned[i]) < 0.3f * fabsf(tuned[i] - base[i]) + 0.3f);
    struct gs_delta_options low = {.rank = ROWS};
    assert_true(take(&low).error < 1e-5);
    apply(got);
    for (size_t i = 0; i < N; i++)
        assert_true(fabsf(got[i] - tuned[i]) < 0.01f);
    struct gs_delta_options both = {.planes = 1, .rank = 2, .factors = "sign"}, one = {.planes = 1};
    assert_true(take(&both).error < take(&one).error);
}

/* Reading every tensor of whatever opens. */
static void read_all(const char *delta)
{
    struct gs_overlay overlay;
    const void *data;

    err = (struct gs_err){0};
    if (gs_overlay_open(base_path, delta, &overlay, &err)) {
        assert_true(err.msg[0] != 0);
        return;
    }
    for (size_t i = 0; i < gs_store_count(overlay.store); i++)
        if (gs_store_data(overlay.store, gs_store_tensor(overlay.store, i), &data, &err))
            assert_true(err.code < 0);
    gs_overlay_close(&overlay);
}

/* Every byte of the header and some of the data changed, every length cut. */
static void test_damaged(void **state)
{
    struct gs_delta_options options = {.planes = 2, .rank = 3, .factors = "int8"};
    char broken[sizeof delta_path + 8];
    uint8_t bytes[8192];
    (void)state;

    take(&options);
    FILE *f = fopen(delta_path, "rb");
    assert_non_null(f);
    size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    assert_in_range(n, 1000, sizeof bytes - 1);
    snprintf(broken, sizeof broken, "%s.broken", delta_path);
    for (size_t i = 0; i < 2 * n; i++) {
        size_t keep = i < n ? n : i - n;
        f = fopen(broken, "wb");
        assert_non_null(f);
        if (i < n)
            bytes[i] ^= 0x45;
        assert_int_equal(fwrite(bytes, 1, keep, f), keep);
        fclose(f);
        read_all(broken);
        assert_true(i < n || keep + 32 > n || err.code < 0); /* padding may be missing */
        if (i < n)
            bytes[i] ^= 0x45;
    }
    unlink(broken);
}

/* Deltas whose keys say what their tensors do not hold. */
static void test_hostile(void **state)
{
    static const struct {
        const char *key;
        uint64_t value;
        const char *says;
    } cases[] = {
        {"gosset.delta.version", 2, "version 2"},
        {"gosset.delta.planes", 9, "planes"},
        {"gosset.delta.planes", 3, "blk.0.ffn_up.weight.sign"},
        {"gosset.delta.rank", 5, "blk.0.ffn_up.weight.low"},
        {"gosset.delta.rank", UINT64_C(1) << 33, "rank"},
        {"gosset.delta.per_row", 1, "per_row"},
        {"gosset.delta.factors", 1, "factors"},
        {"gosset.delta.base", 1, "another base"},
        {"gosset.delta.matrices", 1, "matrices"},
    };
    struct gs_delta_options options = {.planes = 2};
    struct gs_store *store;
    struct gs_gguf_writer *writer;
    struct gs_overlay overlay;
    (void)state;

    for (size_t i = 0; i < GS_COUNT(cases); i++) {
        take(&options);
        assert_int_equal(gs_store_open(delta_path, &store, &err), GS_OK);
        struct gs_meta *meta;
        assert_int_equal(gs_meta_create(&meta, &err), GS_OK);
        const struct gs_meta *from = gs_store_meta(store);
        for (size_t k = 0; k < gs_meta_count(from); k++)
            assert_int_equal(gs_meta_set(meta, (struct gs_str){gs_meta_key(from, k),
                                                               strlen(gs_meta_key(from, k))},
                                         gs_meta_value(from, k), &err), GS_OK);
        assert_int_equal(gs_meta_set_uint(meta, cases[i].key, cases[i].value, &err), GS_OK);
        assert_int_equal(gs_gguf_create(delta_path, true, meta, gs_store_tensor(store, 0),
                                        gs_store_count(store), &writer, &err), GS_OK);
        for (size_t k = 0; k < gs_store_count(store); k++) {
            const struct gs_tensor *t = gs_store_tensor(store, k);
            const void *data;
            assert_int_equal(gs_store_data(store, t, &data, &err), GS_OK);
            assert_int_equal(gs_gguf_write(writer, k, data, t->bytes, &err), GS_OK);
        }
        assert_int_equal(gs_gguf_commit(&writer, NULL, &err), GS_OK);
        gs_meta_destroy(&meta);
        gs_store_close(&store);
        err = (struct gs_err){0};
        assert_true(gs_overlay_open(base_path, delta_path, &overlay, &err) < 0);
        assert_non_null(strstr(err.msg, cases[i].says));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signs),
        cmocka_unit_test(test_more_leaves_less),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
