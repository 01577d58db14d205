/* SPDX-License-Identifier: MIT
 * Packs: the same bytes again for whatever is packed, and refusals of what is no whole pack. */
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
#include "core/half.h"
#include "core/rng.h"
#include "core/type.h"
#include "file/gguf.h"
#include "transport/pack_file.h"

static char src[] = "/tmp/gosset-pack-src-XXXXXX";
static char dst[sizeof src + 8];
static struct gs_err err;

static int setup(void **state)
{
    int fd = mkstemp(src);
    (void)state;

    if (fd < 0)
        return -1;
    close(fd);
    snprintf(dst, sizeof dst, "%s.pack", src);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(src);
    unlink(dst);
    return 0;
}

static uint8_t *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");

    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    uint8_t *bytes = gs_alloc(*n, 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *n, f), *n);
    fclose(f);
    return bytes;
}

static void write_file(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* Packs the file at src to dst. */
static uint64_t pack(int threads)
{
    struct gs_pack_options options = {.overwrite = true, .threads = threads};
    struct gs_pack_result result;

    err = (struct gs_err){0};
    assert_int_equal(gs_pack_file(src, dst, &options, &result, &err), GS_OK);
    return result.bytes_out;
}

struct memory {
    uint8_t *bytes;
    uint64_t size, done;
};

static int memory_begin(void *ctx, uint64_t size, struct gs_err *e)
{
    struct memory *m = ctx;

    m->size = size;
    m->bytes = gs_alloc(size, 1);
    return m->bytes ? GS_OK : gs_fail_nomem(e, "test");
}

static int memory_bytes(void *ctx, const uint8_t *data, size_t n, struct gs_err *e)
{
    struct memory *m = ctx;
    (void)e;

    assert_true(n <= m->size - m->done);
    memcpy(m->bytes + m->done, data, n);
    m->done += n;
    return GS_OK;
}

static int unpack(const void *data, size_t n, int threads, struct memory *m)
{
    struct gs_unpack_sink sink = {memory_begin, memory_bytes, m};
    struct gs_map *map;
    uint64_t chunks;

    *m = (struct memory){0};
    err = (struct gs_err){0};
    assert_int_equal(gs_map_memory(data, n, "a.pack", &map, &err), GS_OK);
    int rc = gs_unpack_map(map, threads, &sink, &chunks, &err);
    gs_map_close(&map);
    assert_true(rc || m->done == m->size);
    return rc;
}

/* The bytes through a pack and back; the size of the pack. */
static uint64_t round_trip(const void *data, size_t n)
{
    struct memory m;
    size_t packed, again;

    write_file(src, data, n);
    uint64_t bytes = pack(1);
    uint8_t *first = read_file(dst, &packed);
    assert_int_equal(packed, bytes);
    assert_int_equal(unpack(first, packed, 1, &m), GS_OK);
    assert_int_equal(m.size, n);
    assert_memory_equal(m.bytes, data, n);
    gs_free(&m.bytes);
    assert_int_equal(pack(3), bytes);
    uint8_t *second = read_file(dst, &again);
    assert_memory_equal(first, second, packed);
    assert_int_equal(unpack(first, packed, 3, &m), GS_OK);
    assert_memory_equal(m.bytes, data, n);
    gs_free(&m.bytes);
    gs_free(&first);
    gs_free(&second);
    return bytes;
}

static void fill_random(uint8_t *bytes, size_t n)
{
    struct gs_rng rng;

    gs_rng_init(&rng, 17, 0);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)gs_rng_u64(&rng);
}

/* Every byte of a block is in one field, for every type that a file can hold. */
static void test_layouts(void **state)
{
    struct gs_layout l;
    (void)state;

    for (uint32_t type = 0; type < GS_TYPE_COUNT; type++) {
        uint8_t seen[512] = {0};
        const struct gs_type_info *info = gs_type_info(type);
        assert_true(gs_layout_get(type, &l) == (info != NULL));
        if (!info)
            continue;
        assert_int_equal(l.block, info->bytes);
        for (uint32_t i = 0; i < l.n_fields; i++)
            for (uint32_t b = 0; b < l.fields[i].count; b++) {
                assert_true(l.fields[i].offset + b < l.block);
                assert_int_equal(seen[l.fields[i].offset + b]++, 0);
            }
        for (uint32_t b = 0; b < l.block; b++)
            assert_int_equal(seen[b], 1);
        assert_false(l.fields[0].continues);
    }
    assert_true(gs_layout_get(GS_LAYOUT_BYTES, &l));
    assert_false(gs_layout_get(GS_TYPE_COUNT, &l));
    assert_false(gs_layout_get(UINT32_MAX, &l));
}

/* Chunks of every layout: random, constant, skewed, alternating bytes, and none at all. */
static void test_chunks(void **state)
{
    struct gs_chunk_work *work;
    struct gs_layout l;
    uint8_t *bytes = gs_alloc(GS_CHUNK_BYTES, 1), *back = gs_alloc(GS_CHUNK_BYTES, 1);
    uint8_t *code = gs_alloc(gs_chunk_room(), 1);
    (void)state;

    assert_int_equal(gs_chunk_work_create(&work, NULL), GS_OK);
    for (uint32_t type = 0; type < GS_TYPE_COUNT; type++)
        for (int kind = 0; kind < 5; kind++) {
            if (!gs_layout_get(type, &l))
                continue;
            size_t n = kind == 4 ? 0 : 30000 / l.block * l.block;
            fill_random(bytes, n);
            for (size_t i = 0; i < n; i++)
                bytes[i] = kind == 0   ? bytes[i]
                           : kind == 1 ? 0xff
                           : kind == 2 ? (uint8_t)(bytes[i] & bytes[i] >> 3)
                                       : (uint8_t)(i % 2 ? bytes[i] & 3 : 0xa0);
            size_t size = gs_chunk_encode(&l, work, bytes, n, code);
            assert_true(size <= n + 5 * l.n_fields);
            assert_true(kind != 1 || size < 100 + 40 * l.n_fields);
            memset(back, 0x55, n);
            assert_true(gs_chunk_decode(&l, work, code, size, back, n));
            assert_memory_equal(bytes, back, n);
            assert_false(size && gs_chunk_decode(&l, work, code, size - 1, back, n));
        }
    gs_chunk_work_destroy(&work);
    gs_free(&bytes);
    gs_free(&back);
    gs_free(&code);
}

/* Files that are no models. */
static void test_any_file(void **state)
{
    static const size_t sizes[] = {0, 1, 7, 1000, GS_CHUNK_BYTES, GS_CHUNK_BYTES + 1};
    uint8_t *bytes = gs_alloc(GS_CHUNK_BYTES + 1, 1);
    (void)state;

    for (size_t i = 0; i < GS_COUNT(sizes); i++) {
        fill_random(bytes, sizes[i]);
        assert_true(round_trip(bytes, sizes[i]) <= sizes[i] + 32 + 2 * 29);
        memset(bytes, 'a', sizes[i]);
        assert_true(round_trip(bytes, sizes[i]) <= 1500);
    }
    memcpy(bytes, "GGUF\3\0\0\0 and then nothing that makes sense", 40);
    assert_true(round_trip(bytes, 5000) < 5000);
    gs_free(&bytes);
}

/* A model with weights in f32 that have an f16's precision, f16, Q8_0 and a 1-D tensor. */
static uint8_t *make_model(size_t *n)
{
    enum { COLS = 256, ROWS = 96, N = COLS * ROWS };
    static float f32[N];
    static uint16_t f16[N];
    static uint8_t q8[N / 32 * 34];
    struct gs_tensor tensors[] = {
        {.name = "a", .type = GS_TYPE_F32, .n_dims = 2, .dim = {COLS, ROWS, 1, 1}},
        {.name = "b", .type = GS_TYPE_F16, .n_dims = 2, .dim = {COLS, ROWS, 1, 1}},
        {.name = "c", .type = GS_TYPE_Q8_0, .n_dims = 2, .dim = {COLS, ROWS, 1, 1}},
        {.name = "d", .type = GS_TYPE_F32, .n_dims = 1, .dim = {5, 1, 1, 1}}};
    const void *data[] = {f32, f16, q8, f32};
    struct gs_gguf_writer *w;
    struct gs_meta *meta;
    struct gs_rng rng;

    gs_rng_init(&rng, 1, 0);
    for (size_t i = 0; i < N; i++) {
        f16[i] = gs_f32_to_f16(0.02f * (float)gs_rng_normal(&rng));
        f32[i] = gs_f16_to_f32(f16[i]);
        q8[i / 32 * 34 + 2 + i % 32] = (uint8_t)(int8_t)lrint(40 * gs_rng_normal(&rng));
        q8[i / 32 * 34] = (uint8_t)f16[i];
        q8[i / 32 * 34 + 1] = 0x12;
    }
    assert_int_equal(gs_meta_create(&meta, &err), GS_OK);
    assert_int_equal(gs_meta_set_str(meta, "general.architecture", GS_STR("llama"), &err), GS_OK);
    assert_int_equal(gs_gguf_create(src, true, meta, tensors, 4, &w, &err), GS_OK);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(gs_gguf_write(w, i, data[i], i == 3 ? 20 : i == 2 ? sizeof q8 :
                                       i == 1 ? sizeof f16 : sizeof f32, &err), GS_OK);
    assert_int_equal(gs_gguf_commit(&w, NULL, &err), GS_OK);
    gs_meta_destroy(&meta);
    return read_file(src, n);
}

/* Half of the f32 bytes are zero, an f16's exponents are few, Q8_0 of σ = 40 has 7.4 bits. */
static void test_model(void **state)
{
    size_t n;
    uint8_t *bytes = make_model(&n);
    (void)state;

    uint64_t packed = round_trip(bytes, n);
    double f16 = 256 * 96 * 2 * 0.86, q8 = 256 * 96 / 32 * (2 + 32 * 7.4 / 8);
    assert_true((double)packed < 2 * f16 + q8 + 4000);
    /* the same file cut short is no GGUF file any more, and is packed all the same */
    round_trip(bytes, n - 1000);
    gs_free(&bytes);
}

/* Cut anywhere a pack is refused; changed anywhere it is refused or, where the change is one
 * that the coder does not read, gives the same bytes. */
static void test_damaged(void **state)
{
    size_t n, packed;
    struct memory m;
    uint8_t text[3000];
    (void)state;

    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)("abcdefgh"[i * i % 7]);
    write_file(src, text, sizeof text);
    pack(1);
    uint8_t *bytes = read_file(dst, &packed);
    n = sizeof text;
    assert_true(packed < n);
    for (size_t i = 0; i < packed; i++) {
        assert_int_equal(unpack(bytes, i, 1, &m), GS_E_FORMAT);
        assert_non_null(strstr(err.msg, "a.pack"));
        gs_free(&m.bytes);
        for (int bit = 0; bit < 8; bit += 7) {
            bytes[i] ^= (uint8_t)(1 << bit);
            if (unpack(bytes, packed, 1, &m) == GS_OK)
                assert_memory_equal(m.bytes, text, n);
            bytes[i] ^= (uint8_t)(1 << bit);
            gs_free(&m.bytes);
        }
    }
    gs_free(&bytes);
}

/* Chunks exchanged, left out, twice; a size that is not theirs. */
static void test_hostile(void **state)
{
    size_t packed, n = 2 * GS_CHUNK_BYTES + 100;
    uint8_t *data = gs_alloc(n, 1);
    struct memory m;
    (void)state;

    fill_random(data, n); /* stored as it is: chunks of one known size */
    write_file(src, data, n);
    pack(2);
    uint8_t *bytes = read_file(dst, &packed), *changed = gs_alloc(packed, 1);
    size_t chunk = GS_CHUNK_HEADER + 5 + GS_CHUNK_BYTES;
    uint8_t *a = changed + GS_PACK_HEADER;
    memcpy(changed, bytes, packed);
    memcpy(a, bytes + GS_PACK_HEADER + chunk, chunk);
    assert_int_equal(unpack(changed, packed, 1, &m), GS_E_FORMAT); /* the second one twice */
    assert_non_null(strstr(err.msg, "do not agree"));
    memcpy(a + chunk, bytes + GS_PACK_HEADER, chunk);
    assert_int_equal(unpack(changed, packed, 1, &m), GS_E_FORMAT); /* exchanged */
    assert_non_null(strstr(err.msg, "do not agree"));
    memcpy(changed, bytes, packed);
    changed[8] ^= 1; /* the size */
    assert_int_equal(unpack(changed, packed, 1, &m), GS_E_FORMAT);
    memcpy(changed, bytes, packed);
    memset(changed + 16, 0xff, 8); /* 2^64 − 1 chunks */
    assert_int_equal(unpack(changed, packed, 1, &m), GS_E_FORMAT);
    memcpy(changed, bytes, packed);
    changed[GS_PACK_HEADER + chunk + 5000] ^= 4; /* a byte of the second chunk */
    assert_int_equal(unpack(changed, packed, 1, &m), GS_E_FORMAT);
    assert_non_null(strstr(err.msg, "chunk 1 at byte 2097205 is damaged"));
    gs_free(&m.bytes);
    changed[4] = 2;
    assert_int_equal(unpack(changed, packed, 1, &m), GS_E_UNSUPPORTED);
    gs_free(&bytes);
    gs_free(&changed);
    gs_free(&data);
}

static int stop(void *ctx, const char *what, uint64_t done, uint64_t total)
{
    (void)ctx;
    (void)what;
    (void)done;
    (void)total;
    return 1;
}

static void test_files(void **state)
{
    struct gs_pack_options options = {.threads = 1};
    size_t n;
    uint8_t *bytes = make_model(&n);
    (void)state;

    unlink(dst);
    options.progress = stop;
    assert_int_equal(gs_pack_file(src, dst, &options, NULL, &err), GS_E_STOPPED);
    assert_int_not_equal(access(dst, F_OK), 0);
    options.progress = NULL;
    err = (struct gs_err){0};
    assert_int_equal(gs_pack_file(src, dst, &options, NULL, &err), GS_OK);
    assert_int_not_equal(gs_pack_file(src, dst, &options, NULL, &err), GS_OK); /* exists */
    options.overwrite = true;
    err = (struct gs_err){0};
    assert_int_equal(gs_pack_file(src, src, &options, NULL, &err), GS_E_ARG);
    err = (struct gs_err){0};
    assert_int_equal(gs_unpack_file(dst, dst, &options, NULL, &err), GS_E_ARG);
    write_file(src, "notes", 5);
    err = (struct gs_err){0};
    assert_int_equal(gs_unpack_file(dst, src, &options, NULL, &err), GS_E_ARG);
    assert_non_null(strstr(err.msg, "not replaced"));
    unlink(src);
    err = (struct gs_err){0};
    assert_int_equal(gs_unpack_file(dst, src, &options, NULL, &err), GS_OK);
    size_t again;
    uint8_t *back = read_file(src, &again);
    assert_int_equal(again, n);
    assert_memory_equal(bytes, back, n);
    gs_free(&bytes);
    gs_free(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layouts),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_any_file),
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
