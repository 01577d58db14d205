/* SPDX-License-Identifier: MIT
 * The store whatever the format: paths, lookup, lifetime of data, many tensors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <time.h>

#include "tests/unit/bytes.h"

#include "core/alloc.h"
#include "core/hash.h"

static struct gs_err err;

static void refuses(const char *path, int code, const char *message)
{
    struct gs_store *store;

    err = (struct gs_err){0};
    assert_int_equal(gs_store_open(path, &store, &err), code);
    assert_null(store);
    if (!strstr(err.msg, message))
        fail_msg("\"%s\" lacks \"%s\"", err.msg, message);
}

static void paths(void **state)
{
    char folder[128], path[200];
    (void)state;

    refuses("/no/such/file.gguf", GS_E_IO, "/no/such/file.gguf: No such file or directory");
    refuses("", GS_E_IO, "No such file or directory");
    refuses("/dev/null", GS_E_IO, "/dev/null: not a regular file");
    make_folder(folder, sizeof folder);
    write_file(folder, "empty.gguf", "", 0);
    snprintf(path, sizeof path, "%s/empty.gguf", folder);
    refuses(path, GS_E_FORMAT, "empty.gguf: an empty file");
    remove_file(folder, "empty.gguf");
    write_file(folder, "bad.safetensors", "nonsense, and more of it", 24);
    snprintf(path, sizeof path, "%s/bad.safetensors", folder);
    refuses(path, GS_E_FORMAT, "bad.safetensors: header of");
    remove_file(folder, "bad.safetensors");
    rmdir(folder);

    struct gs_store *none = NULL;
    gs_store_close(&none);
}

/* Mapped data is handed out without an allocation and lives as long as the store. */
static void mapped_data(void **state)
{
    static struct bytes b;
    char folder[128], path[200];
    struct gs_store *store;
    const void *data, *again;
    (void)state;

    make_folder(folder, sizeof folder);
    put_header(&b, 3, 1, 0);
    put_tensor(&b, "a", 1, (uint64_t[]){8}, GS_TYPE_F32, 0);
    pad_to(&b, 32);
    for (uint32_t i = 0; i < 8; i++)
        put_u32(&b, i);
    write_file(folder, "m.gguf", b.data, b.size);
    snprintf(path, sizeof path, "%s/m.gguf", folder);
    assert_int_equal(gs_store_open(path, &store, &err), 0);
    assert_string_equal(gs_store_path(store), path);
    gs_alloc_guard(true);
    assert_int_equal(gs_store_data(store, gs_store_find(store, "a"), &data, &err), 0);
    assert_int_equal(gs_store_data(store, gs_store_find(store, "a"), &again, &err), 0);
    gs_alloc_guard(false);
    assert_ptr_equal(data, again);
    remove_file(folder, "m.gguf"); /* the mapping outlives the name */
    assert_memory_equal(data, b.data + b.size - 32, 32);
    gs_store_close(&store);
    rmdir(folder);
}

#define MANY 100000u

/* 100,000 tensors and as many keys: with a quadratic check anywhere this takes minutes. */
static void many_tensors(void **state)
{
    size_t n = 24 + MANY * (8 + 9 + 4 + 8 + 4 + 8) + MANY * (8 + 9 + 4 + 1) + 64 + MANY * 32;
    uint8_t *buffer = calloc(1, n), *p = buffer + 24;
    struct gs_map *map;
    struct gs_store *store;
    char name[16];
    (void)state;

    assert_non_null(buffer);
    memcpy(buffer, "GGUF\3\0\0\0", 8);
    memcpy(buffer + 8, &(uint64_t){MANY}, 8);
    memcpy(buffer + 16, &(uint64_t){MANY}, 8);
    for (unsigned i = 0; i < MANY; i++) { /* u8 pairs of value 0 */
        memcpy(p, &(uint64_t){9}, 8);
        snprintf(name, sizeof name, "key%06u", i);
        memcpy(p + 8, name, 9);
        p += 8 + 9 + 4 + 1;
    }
    for (unsigned i = 0; i < MANY; i++) { /* one f32 each, listed backwards */
        memcpy(p, &(uint64_t){9}, 8);
        snprintf(name, sizeof name, "ten%06u", i);
        memcpy(p + 8, name, 9);
        memcpy(p + 17, &(uint32_t){1}, 4);
        memcpy(p + 21, &(uint64_t){1}, 8);
        memcpy(p + 33, &(uint64_t){32u * (MANY - 1 - i)}, 8);
        p += 41;
    }
    clock_t start = clock();
    assert_int_equal(gs_map_memory(buffer, n, "many", &map, &err), 0);
    if (gs_store_open_map(&map, &store, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(gs_store_count(store), MANY);
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "ten%06u", i);
        assert_ptr_equal(gs_store_find(store, name), gs_store_tensor(store, i));
    }
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 10);
    gs_store_close(&store);
    free(buffer);
}

static void hash_spreads(void **state)
{
    unsigned buckets[64] = {0};
    (void)state;

    assert_int_equal(gs_hash("abcdefghi", 9), gs_hash("abcdefghi", 9));
    assert_true(gs_hash("abcdefghi", 9) != gs_hash("abcdefghj", 9));
    assert_true(gs_hash("", 0) != gs_hash("\0", 1)); /* the length counts */
    for (uint32_t i = 0; i < 64000; i++)
        buckets[gs_hash(&i, sizeof i) % 64]++;
    for (size_t i = 0; i < 64; i++) /* 1000 expected, standard deviation 31 */
        assert_in_range(buckets[i], 750, 1250);
}

/* The vocabularies of real models, where they are. */
static void real_files(void **state)
{
    static const struct { const char *name; size_t pairs; } files[] = {
        {"bert-bge", 20}, {"falcon", 18}, {"gpt-2", 16}, {"gpt-neox", 17}, {"llama-spm", 22},
        {"phi-3", 26}, {"starcoder", 19},
    };
    const char *folder = getenv("GOSSET_DATA");
    char path[512];
    (void)state;

    if (!folder || !*folder)
        skip();
    for (size_t i = 0; i < GS_COUNT(files); i++) {
        struct gs_store *store;
        snprintf(path, sizeof path, "%s/vocab/ggml-vocab-%s.gguf", folder, files[i].name);
        if (gs_store_open(path, &store, &err))
            fail_msg("%s", err.msg);
        assert_int_equal(gs_store_count(store), 0);
        assert_int_equal(gs_meta_count(gs_store_meta(store)), files[i].pairs);
        gs_store_close(&store);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths),
        cmocka_unit_test(mapped_data),
        cmocka_unit_test(many_tensors),
        cmocka_unit_test(hash_spreads),
        cmocka_unit_test(real_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
