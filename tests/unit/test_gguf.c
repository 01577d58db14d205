/* SPDX-License-Identifier: MIT
 * GGUF files that are right: every value type, shapes, alignment, split sets, writing and
 * the round trip. test_gguf_hostile.c has those that are wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/unit/bytes.h"

#include "core/alloc.h"
#include "core/cursor.h"
#include "core/rng.h"
#include "file/gguf.h"

static struct gs_err err;

static struct gs_store *open_ok(const struct bytes *b, uint8_t **copy)
{
    struct gs_store *store;
    err = (struct gs_err){0};
    if (open_bytes(b->data, b->size, "mem.gguf", copy, &store, &err))
        fail_msg("%s", err.msg);
    return store;
}

static void put_scalars(struct bytes *b)
{
    static const struct { uint32_t type; uint8_t bytes, payload[8]; } scalars[] = {
        {GS_VALUE_U8, 1, {200}}, {GS_VALUE_I8, 1, {0xff}}, {GS_VALUE_U16, 2, {0x34, 0x12}},
        {GS_VALUE_I16, 2, {0xfe, 0xff}}, {GS_VALUE_U32, 4, {1, 0, 0, 0x80}},
        {GS_VALUE_I32, 4, {0xfd, 0xff, 0xff, 0xff}}, {GS_VALUE_F32, 4, {0, 0, 0xc0, 0x3f}},
        {GS_VALUE_BOOL, 1, {1}}, {GS_VALUE_U64, 8, {0, 0, 0, 0, 1}},
        {GS_VALUE_I64, 8, {0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
        {GS_VALUE_F64, 8, {0, 0, 0, 0, 0, 0, 0x04, 0xc0}},
    };
    for (size_t i = 0; i < GS_COUNT(scalars); i++) {
        char key[8];
        snprintf(key, sizeof key, "k%u", scalars[i].type);
        put_string(b, key);
        put_u32(b, scalars[i].type);
        put(b, scalars[i].payload, scalars[i].bytes);
    }
}

static const struct gs_value *value(const struct gs_store *store, const char *key)
{
    const struct gs_value *v = gs_meta_find(gs_store_meta(store), key);
    assert_non_null(v);
    return v;
}

static void every_value_type(void **state)
{
    static struct bytes b;
    uint8_t *copy;
    (void)state;

    for (uint32_t version = 2; version <= 3; version++) {
        put_header(&b, version, 0, 14);
        put_scalars(&b);
        put_pair_str(&b, "s", "h\xc3\xa9llo");
        put_string(&b, "ai"), put_u32(&b, GS_VALUE_ARRAY), put_u32(&b, GS_VALUE_I16);
        put_u64(&b, 3), put(&b, "\1\0\2\0\xff\xff", 6);
        put_string(&b, "as"), put_u32(&b, GS_VALUE_ARRAY), put_u32(&b, GS_VALUE_STRING);
        put_u64(&b, 2), put_string(&b, ""), put_string(&b, "xyz");
        struct gs_store *store = open_ok(&b, &copy);
        assert_string_equal(gs_store_format(store), "gguf");
        assert_int_equal(gs_meta_count(gs_store_meta(store)), 14);
        assert_int_equal(value(store, "k0")->as.u, 200);
        assert_int_equal(value(store, "k1")->as.i, -1);
        assert_int_equal(value(store, "k2")->as.u, 0x1234);
        assert_int_equal(value(store, "k3")->as.i, -2);
        assert_int_equal(value(store, "k4")->as.u, 0x80000001);
        assert_int_equal(value(store, "k5")->as.i, -3);
        assert_true(value(store, "k6")->as.f == 1.5);
        assert_int_equal(value(store, "k7")->as.u, 1);
        assert_int_equal(value(store, "k10")->as.u, UINT64_C(1) << 32);
        assert_int_equal(value(store, "k11")->as.i, -4);
        assert_true(value(store, "k12")->as.f == -2.5);
        assert_true(gs_str_equal(value(store, "s")->as.s, "h\xc3\xa9llo"));
        assert_int_equal(gs_array_int(&value(store, "ai")->as.a, 2), -1);
        assert_int_equal(value(store, "as")->as.a.count, 2);
        assert_true(gs_str_equal(gs_array_str(&value(store, "as")->as.a, 0), ""));
        assert_true(gs_str_equal(gs_array_str(&value(store, "as")->as.a, 1), "xyz"));
        gs_store_close(&store);
        free(copy);
    }
}

static void shapes_and_data(void **state)
{
    static struct bytes b;
    uint8_t *copy;
    const void *data;
    (void)state;

    put_header(&b, 3, 3, 1);
    put_pair_u32(&b, "general.alignment", 64);
    put_tensor(&b, "b", 2, (uint64_t[]){32, 2}, GS_TYPE_Q8_0, 64); /* listed out of order */
    put_tensor(&b, "a", 1, (uint64_t[]){3}, GS_TYPE_F32, 0);
    put_tensor(&b, "scalar", 0, NULL, GS_TYPE_F16, 192);
    pad_to(&b, 64);
    size_t start = b.size;
    for (unsigned i = 0; i < 194; i++)
        put_u8(&b, (uint8_t)i);
    struct gs_store *store = open_ok(&b, &copy);
    assert_int_equal(gs_store_count(store), 3);
    const struct gs_tensor *t = gs_store_tensor(store, 0);
    assert_string_equal(t->name, "b");
    assert_string_equal(t->file, "mem.gguf");
    assert_int_equal(t->type, GS_TYPE_Q8_0);
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->dim[1], 2);
    assert_int_equal(t->dim[3], 1);
    assert_int_equal(t->bytes, 68);
    assert_int_equal(gs_store_data(store, t, &data, &err), 0);
    assert_memory_equal(data, b.data + start + 64, 68);
    t = gs_store_find(store, "scalar");
    assert_int_equal(t->n_dims, 1);
    assert_int_equal(t->dim[0], 1);
    assert_int_equal(gs_store_data(store, t, &data, &err), 0);
    assert_memory_equal(data, "\xc0\xc1", 2);
    assert_null(gs_store_find(store, "c"));
    assert_null(gs_store_find(store, ""));
    gs_store_close(&store);
    free(copy);
}

/* A format may place bytes at odd addresses; what comes out is aligned all the same. */
static void misplaced_data_is_aligned(void **state)
{
    static struct bytes b;
    uint8_t *copy;
    const void *data, *again;
    (void)state;

    put_header(&b, 3, 2, 1);
    put_pair_u32(&b, "general.alignment", 1);
    put_tensor(&b, "a", 1, (uint64_t[]){1}, GS_TYPE_I8, 0);
    put_tensor(&b, "b", 1, (uint64_t[]){2}, GS_TYPE_F32, 1);
    put(&b, "\7abcdefgh", 9);
    struct gs_store *store = open_ok(&b, &copy);
    assert_int_equal(gs_store_data(store, gs_store_find(store, "b"), &data, &err), 0);
    assert_int_equal((uintptr_t)data % 8, 0);
    assert_memory_equal(data, "abcdefgh", 8);
    assert_int_equal(gs_store_data(store, gs_store_find(store, "b"), &again, &err), 0);
    assert_ptr_equal(data, again);
    gs_store_close(&store);
    free(copy);
}

/* ---- split sets --------------------------------------------------------------------------- */

static void put_shard(struct bytes *b, unsigned no, unsigned count, unsigned total)
{
    char name[16];

    put_header(b, 3, 1, 4);
    put_pair_u32(b, "split.no", no);
    put_pair_u32(b, "split.count", count);
    put_pair_u32(b, "split.tensors.count", total);
    put_pair_str(b, no ? "other" : "general.architecture", "llama");
    snprintf(name, sizeof name, "t%u", no);
    put_tensor(b, name, 1, (uint64_t[]){1}, GS_TYPE_F32, 0);
    pad_to(b, 32);
    put_u32(b, no + 1000);
    pad_to(b, 32);
}

static void write_set(const char *folder, unsigned count)
{
    static struct bytes b;
    for (unsigned i = 0; i < count; i++) {
        char name[40];
        put_shard(&b, i, count, count);
        snprintf(name, sizeof name, "m-%05u-of-%05u.gguf", i + 1, count);
        write_file(folder, name, b.data, b.size);
    }
}

static int open_named(const char *folder, const char *name, struct gs_store **store)
{
    char path[256];
    err = (struct gs_err){0};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return gs_store_open(path, store, &err);
}

static void split_from_any_shard(void **state)
{
    char folder[128], name[40];
    struct gs_store *store;
    const void *data;
    (void)state;

    make_folder(folder, sizeof folder);
    write_set(folder, 3);
    for (unsigned i = 1; i <= 3; i++) {
        snprintf(name, sizeof name, "m-%05u-of-00003.gguf", i);
        assert_int_equal(open_named(folder, name, &store), 0);
        assert_int_equal(gs_store_count(store), 3);
        assert_string_equal(gs_store_tensor(store, 2)->name, "t2");
        assert_non_null(gs_meta_find(gs_store_meta(store), "general.architecture"));
        assert_null(gs_meta_find(gs_store_meta(store), "other"));
        assert_int_equal(gs_store_data(store, gs_store_tensor(store, 2), &data, &err), 0);
        assert_int_equal(gs_load_u32(data), 1002);
        gs_store_close(&store);
    }
    for (unsigned i = 1; i <= 3; i++) {
        snprintf(name, sizeof name, "m-%05u-of-00003.gguf", i);
        remove_file(folder, name);
    }
    rmdir(folder);
}

static void split_sets_that_do_not_fit(void **state)
{
    static struct bytes b, joined;
    char folder[128];
    struct gs_store *store;
    (void)state;

    make_folder(folder, sizeof folder);
    write_set(folder, 2);
    remove_file(folder, "m-00001-of-00002.gguf");
    assert_int_equal(open_named(folder, "m-00002-of-00002.gguf", &store), GS_E_IO);
    assert_non_null(strstr(err.msg, "shard 1 of 2 is missing"));
    assert_non_null(strstr(err.msg, "m-00001-of-00002.gguf"));

    put_shard(&b, 0, 2, 3); /* another total */
    write_file(folder, "m-00001-of-00002.gguf", b.data, b.size);
    assert_int_equal(open_named(folder, "m-00002-of-00002.gguf", &store), GS_E_FORMAT);
    assert_non_null(strstr(err.msg, "expected shard 1 of 2 with 2"));

    put_shard(&b, 1, 2, 2); /* the second shard under the first one's name */
    write_file(folder, "m-00001-of-00002.gguf", b.data, b.size);
    assert_int_equal(open_named(folder, "m-00002-of-00002.gguf", &store), GS_E_FORMAT);

    put_shard(&b, 0, 2, 2);
    write_file(folder, "renamed.gguf", b.data, b.size);
    assert_int_equal(open_named(folder, "renamed.gguf", &store), GS_E_FORMAT);
    assert_non_null(strstr(err.msg, "must be named ...-00001-of-00002.gguf"));

    joined = b; /* cat first second > joined */
    put_shard(&b, 1, 2, 2);
    put(&joined, b.data, b.size);
    write_file(folder, "joined.gguf", joined.data, joined.size);
    assert_int_equal(open_named(folder, "joined.gguf", &store), GS_E_FORMAT);
    assert_non_null(strstr(err.msg, "must not be joined with cat"));

    remove_file(folder, "m-00001-of-00002.gguf");
    remove_file(folder, "m-00002-of-00002.gguf");
    remove_file(folder, "renamed.gguf");
    remove_file(folder, "joined.gguf");
    rmdir(folder);
}

/* ---- writing ------------------------------------------------------------------------------ */

struct out_case {
    char folder[128], path[160];
    struct gs_meta *meta;
};

static void out_setup(struct out_case *c)
{
    err = (struct gs_err){0};
    make_folder(c->folder, sizeof c->folder);
    snprintf(c->path, sizeof c->path, "%s/out.gguf", c->folder);
    assert_int_equal(gs_meta_create(&c->meta, &err), 0);
}

/* The folder must be empty but for out.gguf: no .part file is left behind. */
static void out_teardown(struct out_case *c)
{
    gs_meta_destroy(&c->meta);
    unlink(c->path);
    assert_int_equal(rmdir(c->folder), 0);
}

static const enum gs_type all_types[] = {
    GS_TYPE_F32, GS_TYPE_F16, GS_TYPE_Q4_0, GS_TYPE_Q4_1, GS_TYPE_Q5_0, GS_TYPE_Q5_1,
    GS_TYPE_Q8_0, GS_TYPE_Q2_K, GS_TYPE_Q3_K, GS_TYPE_Q4_K, GS_TYPE_Q5_K, GS_TYPE_Q6_K,
    GS_TYPE_IQ2_XXS, GS_TYPE_IQ2_XS, GS_TYPE_IQ3_XXS, GS_TYPE_IQ1_S, GS_TYPE_IQ4_NL,
    GS_TYPE_IQ3_S, GS_TYPE_IQ2_S, GS_TYPE_IQ4_XS, GS_TYPE_I8, GS_TYPE_I16, GS_TYPE_I32,
    GS_TYPE_I64, GS_TYPE_F64, GS_TYPE_IQ1_M, GS_TYPE_BF16, GS_TYPE_TQ1_0, GS_TYPE_TQ2_0,
    GS_TYPE_MXFP4, GS_TYPE_NVFP4, GS_TYPE_Q1_0, GS_TYPE_Q2_0,
};

static void set_some_meta(struct gs_meta *meta, struct gs_rng *rng)
{
    struct gs_str strings[3] = {GS_STR("a"), GS_STR(""), GS_STR("\xe2\x96\x81z")};
    float floats[5];
    struct gs_value v = {.type = GS_VALUE_I8, .as.i = -5};

    for (size_t i = 0; i < 5; i++)
        floats[i] = (float)gs_rng_normal(rng);
    assert_int_equal(gs_meta_set_str(meta, "general.architecture", GS_STR("llama"), &err), 0);
    assert_int_equal(gs_meta_set_uint(meta, "split.count", 3, &err), 0);
    assert_int_equal(gs_meta_set_uint(meta, "general.alignment", 256, &err), 0);
    assert_int_equal(gs_meta_set_uint(meta, "big", gs_rng_u64(rng), &err), 0);
    assert_int_equal(gs_meta_set_f32(meta, "eps", 1e-5, &err), 0);
    assert_int_equal(gs_meta_set_bool(meta, "yes", true, &err), 0);
    assert_int_equal(gs_meta_set(meta, GS_STR("small"), &v, &err), 0);
    assert_int_equal(gs_meta_set_array(meta, "strings", GS_VALUE_STRING, strings, 3, &err), 0);
    assert_int_equal(gs_meta_set_array(meta, "floats", GS_VALUE_F32, floats, 5, &err), 0);
    assert_int_equal(gs_meta_set_array(meta, "none", GS_VALUE_I32, NULL, 0, &err), 0);
}

static void compare_meta(const struct gs_meta *want, const struct gs_meta *have)
{
    assert_int_equal(gs_meta_count(have), gs_meta_count(want) - 2); /* layout keys are gone */
    assert_null(gs_meta_find(have, "split.count"));
    assert_null(gs_meta_find(have, "general.alignment"));
    assert_int_equal(gs_meta_find(have, "big")->as.u, gs_meta_find(want, "big")->as.u);
    assert_true(gs_meta_find(have, "eps")->as.f == (double)1e-5f);
    assert_int_equal(gs_meta_find(have, "yes")->type, GS_VALUE_BOOL);
    assert_int_equal(gs_meta_find(have, "small")->as.i, -5);
    const struct gs_array *a = &gs_meta_find(have, "strings")->as.a;
    assert_true(gs_str_equal(gs_array_str(a, 2), "\xe2\x96\x81z"));
    a = &gs_meta_find(have, "floats")->as.a;
    assert_memory_equal(a->data, gs_meta_find(want, "floats")->as.a.data, 20);
    assert_int_equal(gs_meta_find(have, "none")->as.a.count, 0);
}

#define N_TENSORS GS_COUNT(all_types)

/* Random tensors of every type, written in random pieces, read back. */
static void round_trip(void **state)
{
    struct out_case c;
    struct gs_rng rng;
    struct gs_tensor tensors[N_TENSORS];
    static uint8_t data[N_TENSORS][3 * 512 * 8];
    char names[N_TENSORS][64];
    struct gs_gguf_writer *w;
    struct gs_store *store;
    uint64_t bytes;
    (void)state;

    out_setup(&c);
    gs_rng_init(&rng, 7, 0);
    set_some_meta(c.meta, &rng);
    for (size_t i = 0; i < N_TENSORS; i++) {
        uint64_t block = gs_type_info(all_types[i])->block;
        snprintf(names[i], sizeof names[i], "blk.%zu.%s", i, gs_type_info(all_types[i])->name);
        tensors[i] = (struct gs_tensor){.name = names[i], .type = all_types[i],
            .n_dims = 1 + (uint32_t)(i % 3),
            .dim = {block * (1 + gs_rng_below(&rng, 512 / block)), 1, 1, 1}};
        for (uint32_t d = 1; d < tensors[i].n_dims; d++)
            tensors[i].dim[d] = 1 + gs_rng_below(&rng, d == 1 ? 3 : 1);
        for (size_t j = 0; j < sizeof data[i]; j++)
            data[i][j] = (uint8_t)gs_rng_u64(&rng);
    }
    assert_int_equal(gs_gguf_create(c.path, false, c.meta, tensors, N_TENSORS, &w, &err), 0);
    for (size_t i = 0; i < N_TENSORS; i++) {
        uint64_t n, done = 0;
        assert_int_equal(gs_tensor_bytes(tensors[i].type, tensors[i].n_dims, tensors[i].dim, &n,
                                         &err), 0);
        for (uint64_t step; done < n; done += step) {
            step = 1 + gs_rng_below(&rng, 700);
            step = GS_MIN(n - done, step);
            assert_int_equal(gs_gguf_write(w, i, data[i] + done, step, &err), 0);
        }
        tensors[i].bytes = n;
    }
    assert_int_equal(access(c.path, F_OK), -1); /* nothing under the name before commit */
    assert_int_equal(gs_gguf_commit(&w, &bytes, &err), 0);
    assert_null(w);

    struct stat st;
    assert_int_equal(stat(c.path, &st), 0);
    assert_int_equal(st.st_size, bytes);
    assert_int_equal(bytes % 32, 0);
    assert_int_equal(gs_store_open(c.path, &store, &err), 0);
    assert_int_equal(gs_store_count(store), N_TENSORS);
    compare_meta(c.meta, gs_store_meta(store));
    for (size_t i = 0; i < N_TENSORS; i++) {
        const struct gs_tensor *t = gs_store_tensor(store, i);
        const void *p;
        assert_string_equal(t->name, names[i]);
        assert_int_equal(t->type, tensors[i].type);
        assert_int_equal(t->n_dims, tensors[i].n_dims);
        assert_memory_equal(t->dim, tensors[i].dim, sizeof t->dim);
        assert_int_equal(gs_store_data(store, t, &p, &err), 0);
        assert_memory_equal(p, data[i], tensors[i].bytes);
    }
    gs_store_close(&store);
    out_teardown(&c);
}

static void writer_refuses(const struct gs_tensor *tensors, size_t n, const char *message)
{
    struct out_case c;
    struct gs_gguf_writer *w;

    out_setup(&c);
    assert_true(gs_gguf_create(c.path, false, c.meta, tensors, n, &w, &err) < 0);
    assert_null(w);
    if (!strstr(err.msg, message))
        fail_msg("\"%s\" lacks \"%s\"", err.msg, message);
    out_teardown(&c);
}

static void writer_keeps_the_rules(void **state)
{
    struct gs_tensor t = {.name = "a", .type = GS_TYPE_Q8_0, .n_dims = 1, .dim = {33, 1, 1, 1}};
    struct gs_tensor two[2];
    char name[65];
    (void)state;

    writer_refuses(&t, 1, "tensor a: row length 33 is no multiple of the 32 weights");
    t.dim[0] = 0;
    writer_refuses(&t, 1, "tensor a: dimension 0 is 0");
    t.dim[0] = 32;
    t.n_dims = 5;
    writer_refuses(&t, 1, "5 dimensions, allowed are 1 to 4");
    t.n_dims = 1;
    t.type = (enum gs_type)200;
    writer_refuses(&t, 1, "type 200 is unknown");
    t.type = GS_TYPE_F32;
    memset(name, 'n', 64);
    name[64] = 0;
    t.name = name;
    writer_refuses(&t, 1, "its name has 64 bytes, allowed are 1 to 63");
    t.name = "";
    writer_refuses(&t, 1, "its name has 0 bytes");
    t.name = "same";
    two[0] = two[1] = t;
    writer_refuses(two, 2, "tensor same: a second tensor of this name");
    t.dim[0] = UINT64_C(1) << 62;
    writer_refuses(&t, 1, "overflows");
}

static void writer_meets_the_system(void **state)
{
    struct out_case c;
    struct gs_gguf_writer *w;
    char path[200];
    (void)state;

    out_setup(&c);
    snprintf(path, sizeof path, "%s/no/out.gguf", c.folder);
    assert_int_equal(gs_gguf_create(path, false, c.meta, NULL, 0, &w, &err), GS_E_IO);
    assert_non_null(strstr(err.msg, "/no: No such file or directory"));
    err = (struct gs_err){0};
    assert_int_equal(gs_gguf_create(c.folder, true, c.meta, NULL, 0, &w, &err), GS_E_IO);
    assert_non_null(strstr(err.msg, "is a folder"));

    err = (struct gs_err){0};
    write_file(c.folder, "out.gguf", "old", 3);
    assert_int_equal(gs_gguf_create(c.path, false, c.meta, NULL, 0, &w, &err), GS_E_IO);
    assert_non_null(strstr(err.msg, "exists already"));
    err = (struct gs_err){0};
    assert_int_equal(gs_gguf_create(c.path, true, c.meta, NULL, 0, &w, &err), 0);
    gs_gguf_abort(&w); /* the old file stays */
    struct stat st;
    assert_int_equal(stat(c.path, &st), 0);
    assert_int_equal(st.st_size, 3);
    assert_int_equal(gs_gguf_create(c.path, true, c.meta, NULL, 0, &w, &err), 0);
    assert_int_equal(gs_gguf_commit(&w, NULL, &err), 0);
    assert_int_equal(stat(c.path, &st), 0);
    assert_int_equal(st.st_size, 32);
    out_teardown(&c);

    out_setup(&c); /* the name is taken while we write */
    assert_int_equal(gs_gguf_create(c.path, false, c.meta, NULL, 0, &w, &err), 0);
    write_file(c.folder, "out.gguf", "old", 3);
    assert_int_equal(gs_gguf_commit(&w, NULL, &err), GS_E_IO);
    assert_null(w);
    assert_non_null(strstr(err.msg, "exists already"));
    out_teardown(&c);

    out_setup(&c); /* a tensor is missing */
    struct gs_tensor t = {.name = "a", .type = GS_TYPE_F32, .n_dims = 1, .dim = {8, 1, 1, 1}};
    assert_int_equal(gs_gguf_create(c.path, false, c.meta, &t, 1, &w, &err), 0);
    assert_int_equal(gs_gguf_write(w, 0, "1234", 4, &err), 0);
    assert_int_equal(gs_gguf_commit(&w, NULL, &err), GS_E_ARG);
    assert_non_null(strstr(err.msg, "only 0 of 1 tensors"));
    out_teardown(&c);
}

/* A limit on the size of files stands in for a full disk. */
static void no_room_is_known_at_the_start(void **state)
{
    struct out_case c;
    struct gs_gguf_writer *w;
    struct rlimit old, small;
    (void)state;

    out_setup(&c);
    struct gs_tensor t = {.name = "a", .type = GS_TYPE_F32, .n_dims = 1,
                          .dim = {1 << 20, 1, 1, 1}};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){1 << 20, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int rc = gs_gguf_create(c.path, false, c.meta, &t, 1, &w, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(rc, GS_E_IO);
    assert_non_null(strstr(err.msg, "out.gguf: cannot make room for 4194368 bytes"));
    out_teardown(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_type),
        cmocka_unit_test(shapes_and_data),
        cmocka_unit_test(misplaced_data_is_aligned),
        cmocka_unit_test(split_from_any_shard),
        cmocka_unit_test(split_sets_that_do_not_fit),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(writer_keeps_the_rules),
        cmocka_unit_test(writer_meets_the_system),
        cmocka_unit_test(no_room_is_known_at_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
