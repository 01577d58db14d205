/* SPDX-License-Identifier: MIT
 * GGUF files that are wrong: one clear line each, no crash, no memory beyond what the file's
 * size justifies. The files lie in exact-size heap blocks, so a sanitizer build sees every
 * read beyond the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <sys/resource.h>

#include "tests/unit/bytes.h"

#include "core/alloc.h"
#include "core/rng.h"

static struct gs_err err;

static int open_case(const struct bytes *b, struct gs_store **store, uint8_t **copy)
{
    err = (struct gs_err){0};
    return open_bytes(b->data, b->size, "bad.gguf", copy, store, &err);
}

/* Opening fails with this code and a one-line message that names the file and contains
 * `message`. */
static void refuses(const struct bytes *b, int code, const char *message)
{
    struct gs_store *store;
    uint8_t *copy;

    int rc = open_case(b, &store, &copy);
    free(copy);
    assert_null(store);
    if (rc != code || err.code != code)
        fail_msg("code %d, expected %d: %s", rc, code, err.msg);
    if (strncmp(err.msg, "bad.gguf: ", 10) || !strstr(err.msg, message) || strchr(err.msg, '\n'))
        fail_msg("\"%s\" lacks \"%s\"", err.msg, message);
}

static void header_lies(void **state)
{
    static struct bytes b;
    (void)state;

    put_header(&b, 1, 0, 0), refuses(&b, GS_E_UNSUPPORTED, "GGUF version 1 is not supported");
    put_header(&b, 0, 0, 0), refuses(&b, GS_E_FORMAT, "GGUF version 0 is not one of 2 and 3");
    put_header(&b, 4, 0, 0), refuses(&b, GS_E_UNSUPPORTED, "GGUF version 4 is not one of");
    put_header(&b, 0x03000000, 0, 0), refuses(&b, GS_E_UNSUPPORTED, "big-endian");
    put_header(&b, 3, 0, UINT64_MAX);
    refuses(&b, GS_E_FORMAT, "header promises 18446744073709551615 metadata pairs, 0 bytes");
    put_header(&b, 3, UINT64_C(1) << 60, 0);
    refuses(&b, GS_E_FORMAT, "header promises 1152921504606846976 tensors, 0 bytes follow");
    put_header(&b, 3, 0, 0), b.size = 20;
    refuses(&b, GS_E_FORMAT, "unexpected end of the GGUF header at byte 16 of 20");
}

static void other_kinds_of_file(void **state)
{
    static const struct { const char *head; size_t n; int code; const char *message; } files[] = {
        {"", 0, GS_E_FORMAT, "an empty file"},
        {"G", 1, GS_E_FORMAT, "neither GGUF nor safetensors"},
        {"lmgg\1\0\0\0", 8, GS_E_FORMAT, "a ggml file from before GGUF"},
        {"fmgg\1\0\0\0", 8, GS_E_FORMAT, "a ggmf file from before GGUF"},
        {"tjgg\3\0\0\0", 8, GS_E_FORMAT, "a ggjt file from before GGUF"},
        {"algg\1\0\0\0", 8, GS_E_FORMAT, "a LoRA adapter"},
        {"FUGG\0\0\0\3", 8, GS_E_FORMAT, "a big-endian GGUF file"},
        {"PK\3\4....", 8, GS_E_FORMAT, "a PyTorch or zip archive"},
        {"version https://git-lfs.github.com/spec/v1\n", 43, GS_E_FORMAT, "a Git LFS pointer"},
        {"<!DOCTYPE html>", 15, GS_E_FORMAT, "a web page"},
        {"\0\0\0\0\0\0\0\0\0\0\0\0", 12, GS_E_FORMAT, "an unfinished write"},
    };
    static struct bytes b;
    (void)state;

    for (size_t i = 0; i < GS_COUNT(files); i++) {
        b.size = 0;
        put(&b, files[i].head, files[i].n);
        refuses(&b, files[i].code, files[i].message);
    }
}

static void put_array(struct bytes *b, const char *key, uint32_t type, uint64_t count)
{
    put_string(b, key);
    put_u32(b, GS_VALUE_ARRAY);
    put_u32(b, type);
    put_u64(b, count);
}

static void metadata_lies(void **state)
{
    static struct bytes b;
    (void)state;

    put_header(&b, 3, 0, 1), put_string(&b, "key"), put_u32(&b, 13), put_zeros(&b, 8);
    refuses(&b, GS_E_FORMAT, "metadata key key: unknown type 13");
    put_header(&b, 3, 0, 1), put_array(&b, "key", GS_VALUE_ARRAY, 1), put_zeros(&b, 16);
    refuses(&b, GS_E_UNSUPPORTED, "metadata key key: arrays of arrays are not supported");
    put_header(&b, 3, 0, 1), put_array(&b, "key", 77, 1), put_zeros(&b, 16);
    refuses(&b, GS_E_FORMAT, "metadata key key: array of unknown type 77");
    put_header(&b, 3, 0, 1), put_array(&b, "key", GS_VALUE_U64, UINT64_C(1) << 61);
    refuses(&b, GS_E_FORMAT, "array of 2305843009213693952 u64s, 0 bytes follow");
    put_header(&b, 3, 0, 1), put_array(&b, "key", GS_VALUE_STRING, 3), put_zeros(&b, 23);
    refuses(&b, GS_E_FORMAT, "array of 3 strings, 23 bytes follow");
    put_header(&b, 3, 0, 1), put_array(&b, "key", GS_VALUE_STRING, 2);
    put_u64(&b, UINT64_MAX), put_zeros(&b, 16);
    refuses(&b, GS_E_FORMAT, "unexpected end of metadata");
    put_header(&b, 3, 0, 1), put_u64(&b, UINT64_MAX - 7), put_zeros(&b, 8);
    refuses(&b, GS_E_FORMAT, "unexpected end of metadata at byte 32 of 40");
    put_header(&b, 3, 0, 1), put_pair_u32(&b, "", 1);
    refuses(&b, GS_E_FORMAT, "metadata pair 0 has no key");
    put_header(&b, 3, 0, 2), put_pair_u32(&b, "twice", 1), put_pair_u32(&b, "twice", 1);
    refuses(&b, GS_E_FORMAT, "metadata key twice appears twice");
    put_header(&b, 3, 0, 1), put_u64(&b, 3), put(&b, "a\0b", 3), put_u32(&b, 0), put_u8(&b, 0);
    refuses(&b, GS_E_FORMAT, "a metadata key contains a NUL byte");
    static const uint32_t alignments[] = {0, 3, 48, 1u << 17, 1u << 31};
    for (size_t i = 0; i < GS_COUNT(alignments); i++) {
        put_header(&b, 3, 0, 1), put_pair_u32(&b, "general.alignment", alignments[i]);
        refuses(&b, GS_E_FORMAT, "general.alignment must be a power of two up to 65536, is");
    }
    put_header(&b, 3, 0, 1), put_pair_str(&b, "general.alignment", "32");
    refuses(&b, GS_E_FORMAT, "general.alignment must be an integer, is string");
    put_header(&b, 3, 0, 2), put_pair_u32(&b, "split.count", 2), put_pair_u32(&b, "split.no", 2);
    refuses(&b, GS_E_FORMAT, "split.no 2 of split.count 2 is not possible");
}

/* One tensor and 64 bytes of data. */
static void put_one(struct bytes *b, uint32_t n_dims, const uint64_t *dim, uint32_t type,
                    uint64_t offset)
{
    put_header(b, 3, 1, 0);
    put_tensor(b, "the.tensor", n_dims, dim, type, offset);
    pad_to(b, 32);
    put_zeros(b, 64);
}

static void tensors_lie(void **state)
{
    static struct bytes b;
    (void)state;

    put_one(&b, 5, (uint64_t[]){1, 1, 1, 1, 1}, GS_TYPE_F32, 0);
    refuses(&b, GS_E_FORMAT, "tensor the.tensor: 5 dimensions, the limit is 4");
    put_one(&b, 2, (uint64_t[]){4, 0}, GS_TYPE_F32, 0);
    refuses(&b, GS_E_FORMAT, "tensor the.tensor: dimension 1 is 0");
    /* Products that wrap round to something small. */
    put_one(&b, 2, (uint64_t[]){UINT64_C(1) << 32, UINT64_C(1) << 32}, GS_TYPE_F32, 0);
    refuses(&b, GS_E_FORMAT, "tensor the.tensor: the number of elements overflows");
    put_one(&b, 2, (uint64_t[]){UINT64_MAX, UINT64_MAX}, GS_TYPE_F32, 0);
    refuses(&b, GS_E_FORMAT, "the number of elements overflows");
    put_one(&b, 1, (uint64_t[]){UINT64_C(1) << 62}, GS_TYPE_F32, 0);
    refuses(&b, GS_E_FORMAT, "overflows");
    put_one(&b, 1, (uint64_t[]){16}, GS_TYPE_F32, UINT64_MAX - 31);
    refuses(&b, GS_E_FORMAT, "overflows");
    put_one(&b, 1, (uint64_t[]){16}, GS_TYPE_F32, (UINT64_C(1) << 63) - 32);
    refuses(&b, GS_E_FORMAT, "truncated: the tensors need");
    put_one(&b, 1, (uint64_t[]){33}, GS_TYPE_Q8_0, 0);
    refuses(&b, GS_E_FORMAT, "row length 33 is no multiple of the 32 weights in a block of Q8_0");
    put_one(&b, 1, (uint64_t[]){16}, 4, 0);
    refuses(&b, GS_E_UNSUPPORTED, "tensor the.tensor: type 4 is not supported (a retired");
    put_one(&b, 1, (uint64_t[]){16}, 137, 0);
    refuses(&b, GS_E_UNSUPPORTED, "type 137 is not supported (a type of ik_llama.cpp)");
    put_one(&b, 1, (uint64_t[]){16}, UINT32_MAX, 0);
    refuses(&b, GS_E_UNSUPPORTED, "type 4294967295 is not supported (unknown)");
    put_one(&b, 1, (uint64_t[]){4}, GS_TYPE_F32, 4);
    refuses(&b, GS_E_FORMAT, "offset 4 is no multiple of the alignment 32");
    put_one(&b, 1, (uint64_t[]){17}, GS_TYPE_F32, 0);
    refuses(&b, GS_E_FORMAT, "truncated: the tensors need 164 bytes, the file has 160");
    put_one(&b, 1, (uint64_t[]){1}, GS_TYPE_F32, 64);
    refuses(&b, GS_E_FORMAT, "truncated: the tensors need 164 bytes, the file has 160");

    put_header(&b, 3, 1, 0), put_tensor(&b, "", 1, (uint64_t[]){1}, 0, 0), put_zeros(&b, 64);
    refuses(&b, GS_E_FORMAT, "tensor 0 has no name");
    put_header(&b, 3, 2, 0);
    put_tensor(&b, "x", 1, (uint64_t[]){1}, 0, 0), put_tensor(&b, "x", 1, (uint64_t[]){1}, 0, 32);
    put_zeros(&b, 128);
    refuses(&b, GS_E_FORMAT, "tensor x: a second tensor of this name");
    put_header(&b, 3, 3, 0);
    put_tensor(&b, "x", 1, (uint64_t[]){1}, 0, 64);
    put_tensor(&b, "y", 1, (uint64_t[]){9}, 0, 0), put_tensor(&b, "z", 1, (uint64_t[]){1}, 0, 32);
    put_zeros(&b, 256);
    refuses(&b, GS_E_FORMAT, "tensors y and z overlap");
}

/* What a file says reaches a terminal in one printable line. */
static void messages_are_printable(void **state)
{
    static struct bytes b;
    char name[301];
    (void)state;

    memset(name, '\n', 300);
    name[300] = 0;
    name[0] = '\033';
    put_header(&b, 3, 1, 0), put_tensor(&b, name, 1, (uint64_t[]){1}, 4, 0), put_zeros(&b, 64);
    refuses(&b, GS_E_UNSUPPORTED, "type 4 is not supported");
    for (const char *p = err.msg; *p; p++)
        assert_true(*p >= ' ');
}

/* A small file with a bit of everything. */
static void put_good(struct bytes *b)
{
    put_header(b, 3, 3, 5);
    put_pair_str(b, "general.architecture", "llama");
    put_pair_u32(b, "llama.block_count", 1);
    put_array(b, "tokens", GS_VALUE_STRING, 3);
    put_string(b, "<s>"), put_string(b, ""), put_string(b, "\xe2\x96\x81");
    put_array(b, "scores", GS_VALUE_F32, 3), put_zeros(b, 12);
    put_pair_u32(b, "general.alignment", 32);
    put_tensor(b, "a", 2, (uint64_t[]){4, 2}, GS_TYPE_F32, 0);
    put_tensor(b, "b", 1, (uint64_t[]){32}, GS_TYPE_Q8_0, 32);
    put_tensor(b, "c", 4, (uint64_t[]){1, 2, 3, 1}, GS_TYPE_F16, 96);
    pad_to(b, 32);
    put_zeros(b, 96 + 12);
}

/* Every tensor of an opened store is readable to its last byte. */
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
    size_t whole = b.size;
    assert_int_equal(open_case(&b, &store, &copy), 0);
    touch_all(store);
    gs_store_close(&store);
    free(copy);
    for (size_t n = 0; n < whole; n++) {
        b.size = n;
        int rc = open_case(&b, &store, &copy);
        free(copy);
        assert_null(store);
        assert_int_equal(rc, GS_E_FORMAT);
        assert_int_equal(strncmp(err.msg, "bad.gguf: ", 10), 0);
    }
}

/* Seeded damage: an error or a store whose every byte can be read, nothing else. */
static void damage(void **state)
{
    static struct bytes good, b;
    struct gs_store *store;
    uint8_t *copy;
    struct gs_rng rng;
    unsigned opened = 0, refused = 0;
    (void)state;

    put_good(&good);
    gs_rng_init(&rng, 11, 0);
    for (unsigned i = 0; i < 20000; i++) {
        b = good;
        for (uint64_t flips = 1 + gs_rng_below(&rng, 3); flips; flips--) {
            size_t at = gs_rng_below(&rng, b.size);
            if (gs_rng_below(&rng, 4))
                b.data[at] ^= (uint8_t)(1u << gs_rng_below(&rng, 8));
            else
                b.data[at] = (uint8_t)(gs_rng_below(&rng, 2) ? 0xff : gs_rng_u64(&rng));
        }
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
    assert_true(opened > 1000 && refused > 1000); /* the test sees both sides */
}

/* A file of 64 KiB that promises as much as it can, opened under a limit of 64 MiB more
 * address space than is in use: a count taken at its word would not fit. */
static void allocation_bombs(void **state)
{
    static struct bytes b;
    struct rlimit old, small;
    struct gs_store *store;
    uint8_t *copy;
    long pages = 0;
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* they reserve terabytes of address space */
#endif
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld", &pages) != 1)
        skip();
    fclose(f);
    assert_int_equal(getrlimit(RLIMIT_AS, &old), 0);
    small = (struct rlimit){(rlim_t)pages * 4096 + (64u << 20), old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_AS, &small), 0);
    for (unsigned kind = 0; kind < 4; kind++) {
        put_header(&b, 3, 0, 1);
        if (kind == 0) { /* many empty strings: 8 bytes each here, 16 in memory */
            put_array(&b, "k", GS_VALUE_STRING, (sizeof b.data - b.size - 64) / 8);
        } else if (kind == 1) {
            put_array(&b, "k", GS_VALUE_STRING, UINT64_C(1) << 30);
        } else if (kind == 2) {
            put_header(&b, 3, (sizeof b.data - 24) / 25, 0);
        } else {
            put_header(&b, 3, 0, (sizeof b.data - 24) / 14);
        }
        put_zeros(&b, sizeof b.data - b.size);
        int rc = open_case(&b, &store, &copy);
        assert_int_equal(rc, kind ? GS_E_FORMAT : 0); /* never GS_E_NOMEM */
        gs_store_close(&store);
        free(copy);
    }
    assert_int_equal(setrlimit(RLIMIT_AS, &old), 0);
}

/* Each allocation fails once: an error, no crash, no leak (the sanitizer watches). */
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
        assert_null(store);
        assert_true(n < 1000);
    }
    gs_alloc_fail_at(0);
    gs_store_close(&store);
    free(copy);
    assert_true(n > 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_lies),
        cmocka_unit_test(other_kinds_of_file),
        cmocka_unit_test(metadata_lies),
        cmocka_unit_test(tensors_lie),
        cmocka_unit_test(messages_are_printable),
        cmocka_unit_test(truncation_at_every_byte),
        cmocka_unit_test(damage),
        cmocka_unit_test(allocation_bombs),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
