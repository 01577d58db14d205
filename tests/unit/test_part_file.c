/* SPDX-License-Identifier: MIT
 * Files of matrices of parts: pieces in any order and any number of them, what is chosen of them,
 * and metadata that does not go with the tensors.
 *
 * Where a piece lies is never said: it follows from the list and from the bases, so that pieces
 * cannot overlap. What a file can get wrong is the list and the length of the tensor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/part_case.h"

#include "core/alloc.h"
#include "core/rng.h"
#include "file/gguf.h"
#include "model/part_file.h"

enum { ROWS = 16, COLS = 64, N = ROWS * COLS, MATRICES = 3, LIST_MAX = 64 };

static char path[] = "/tmp/gosset-part-file-XXXXXX";
static struct gs_err err;

/* a: four slices, b: three blocks of signs, c: not cut. The base first. */
static const struct {
    const char *name, *codebook;
    unsigned blocks;
} matrices[MATRICES] = {{"a.weight", "nested", 0}, {"b.weight", "binary", 3},
                        {"c.weight", "uniform:bits=4", 0}};

static struct matrix {
    uint8_t *blob;
    uint64_t bytes;
    struct gs_part_facts facts;
} rounded[MATRICES];

static int setup(void **state)
{
    static float w[N];
    struct gs_rng rng;
    int fd = mkstemp(path);

    (void)state;
    if (fd < 0)
        return -1;
    close(fd);
    gs_rng_init(&rng, 3, 0);
    for (size_t m = 0; m < MATRICES; m++) {
        struct gs_part_spec spec = make_cut_spec(matrices[m].codebook, matrices[m].blocks);
        struct gs_part_input input;
        struct gs_part_result result;
        for (size_t i = 0; i < N; i++)
            w[i] = (float)(0.03 * gs_rng_normal(&rng));
        if (gs_part_check(&spec, &err) ||
            gs_part_input_create(&spec, NULL, COLS, NULL, NULL, &input, &err))
            return -1;
        const struct gs_part_job job = {.spec = &spec, .input = &input, .rows = ROWS,
                                        .cols = COLS, .w = w, .seed = 5};
        if (gs_part_round(&job, &rounded[m].blob, &result, &err) ||
            gs_part_read_facts(rounded[m].blob, result.bytes, &rounded[m].facts, &err))
            return -1;
        rounded[m].bytes = result.bytes;
        gs_part_input_clear(&input);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t m = 0; m < MATRICES; m++)
        gs_free(&rounded[m].blob);
    unlink(path);
    return 0;
}

/* ---- files ---- */

/* What is written: the arrays of the metadata and the tensors. */
struct parts {
    const char *names[MATRICES];
    int64_t rows[MATRICES], cols[MATRICES];
    size_t n_names, n_rows, n_cols;
    enum gs_value_type list_type;
    int64_t list[LIST_MAX];
    size_t n_list;
    bool no_list, no_tensor, scalar;
    uint64_t base_bytes[MATRICES];
    struct gs_tensor pieces;
    uint8_t bytes[1 << 13]; /* of that tensor */
};

/* The pieces of `list`, behind one another. */
static void fill(struct parts *p, const int64_t *list, size_t n)
{
    unsigned next[MATRICES] = {1, 1, 1};
    uint64_t at = 0;

    memset(p, 0, sizeof *p);
    for (size_t m = 0; m < MATRICES; m++) {
        p->names[m] = matrices[m].name;
        p->rows[m] = ROWS;
        p->cols[m] = COLS;
        p->base_bytes[m] = rounded[m].facts.piece[0].bytes;
    }
    p->n_names = p->n_rows = p->n_cols = MATRICES;
    p->list_type = GS_VALUE_U32;
    for (size_t i = 0; i < n; i++) {
        const struct matrix *m = &rounded[list[i]];
        unsigned k = next[list[i]]++;
        uint64_t from = 0;
        for (unsigned j = 0; j < k; j++)
            from += m->facts.piece[j].bytes;
        assert_true(at + m->facts.piece[k].bytes <= sizeof p->bytes);
        memcpy(p->bytes + at, m->blob + from, m->facts.piece[k].bytes);
        at += m->facts.piece[k].bytes;
        p->list[p->n_list++] = list[i];
    }
    p->pieces = (struct gs_tensor){.name = GS_PART_PIECES_TENSOR, .type = GS_TYPE_I8,
                                   .n_dims = 1, .dim = {at, 1, 1, 1}};
    p->no_list = p->no_tensor = !n;
}

static const int64_t order[] = {0, 1, 0, 1, 0};

/* Integers as the file has them. */
static void set_integers(struct gs_meta *meta, const char *key, enum gs_value_type type,
                         const int64_t *values, size_t n)
{
    uint8_t packed[8 * LIST_MAX];
    size_t bytes = gs_value_bytes(type);

    for (size_t i = 0; i < n; i++)
        memcpy(packed + i * bytes, &values[i], bytes);
    assert_int_equal(gs_meta_set_array(meta, key, type, packed, n, &err), 0);
}

static struct gs_meta *make_meta(const struct parts *p)
{
    struct gs_str names[MATRICES];
    struct gs_meta *meta;

    for (size_t i = 0; i < MATRICES; i++)
        names[i] = (struct gs_str){p->names[i], strlen(p->names[i])};
    assert_int_equal(gs_meta_create(&meta, &err), 0);
    assert_int_equal(gs_meta_set_array(meta, GS_KEY_PART "names", GS_VALUE_STRING, names,
                                       p->n_names, &err), 0);
    set_integers(meta, GS_KEY_PART "rows", GS_VALUE_I32, p->rows, p->n_rows);
    set_integers(meta, GS_KEY_PART "cols", GS_VALUE_U32, p->cols, p->n_cols);
    if (p->scalar)
        assert_int_equal(gs_meta_set_uint(meta, GS_KEY_PART "pieces", 5, &err), 0);
    else if (p->list_type == GS_VALUE_STRING)
        assert_int_equal(gs_meta_set_array(meta, GS_KEY_PART "pieces", GS_VALUE_STRING, names,
                                           MATRICES, &err), 0);
    else if (!p->no_list)
        set_integers(meta, GS_KEY_PART "pieces", p->list_type, p->list, p->n_list);
    return meta;
}

static void write_file(const struct parts *p)
{
    struct gs_tensor tensors[MATRICES + 1];
    struct gs_meta *meta = make_meta(p);
    struct gs_gguf_writer *w;
    size_t n = MATRICES + !p->no_tensor;
    uint64_t row;

    for (size_t m = 0; m < MATRICES; m++)
        tensors[m] = (struct gs_tensor){.name = matrices[m].name, .type = GS_TYPE_I8,
                                        .n_dims = 1, .dim = {p->base_bytes[m], 1, 1, 1}};
    tensors[MATRICES] = p->pieces;
    if (gs_gguf_create(path, true, meta, tensors, n, &w, &err))
        fail_msg("%s", err.msg);
    for (size_t m = 0; m < MATRICES; m++)
        assert_int_equal(gs_gguf_write(w, m, rounded[m].blob, p->base_bytes[m], &err), 0);
    assert_int_equal(gs_type_row_bytes(p->pieces.type, p->pieces.dim[0], &row, &err), 0);
    if (!p->no_tensor)
        assert_int_equal(gs_gguf_write(w, MATRICES, p->bytes, row * p->pieces.dim[1], &err), 0);
    if (gs_gguf_commit(&w, NULL, &err))
        fail_msg("%s", err.msg);
    gs_meta_destroy(&meta);
}

struct opened {
    struct gs_store *store;
    struct gs_part_file *file;
};

static int open_file(struct opened *o)
{
    *o = (struct opened){NULL, NULL};
    err = (struct gs_err){0};
    int rc = gs_store_open(path, &o->store, &err);
    return rc ? rc : gs_part_file_open(o->store, &o->file, &err);
}

static void close_file(struct opened *o)
{
    gs_part_file_close(&o->file);
    gs_store_close(&o->store);
}

static struct opened make(const int64_t *list, size_t n)
{
    struct parts p;
    struct opened o;

    fill(&p, list, n);
    write_file(&p);
    if (open_file(&o))
        fail_msg("%s", err.msg);
    return o;
}

/* Weights of matrix m as products see them. */
static const struct gs_part_stored *weights(struct opened *o, size_t m)
{
    const struct gs_part_stored *out;
    const struct gs_tensor *t = gs_store_find(o->store, matrices[m].name);

    assert_non_null(gs_part_file_facts(o->file, t));
    if (gs_part_file_weights(o->file, t, true, NULL, &out, &err))
        fail_msg("%s", err.msg);
    return out;
}

static void assert_same_weights(struct opened *a, struct opened *b)
{
    for (size_t m = 0; m < MATRICES; m++) {
        const struct gs_part_stored *x = weights(a, m), *y = weights(b, m);
        assert_int_equal(x->type, y->type);
        assert_memory_equal(x->data, y->data, ROWS * x->row_bytes);
    }
}

/* ---- pieces that are fine ---- */

/* The order counts for what is chosen, not for what all of them give. */
static void test_any_order(void **state)
{
    static const int64_t orders[][5] = {{0, 0, 0, 1, 1}, {1, 1, 0, 0, 0}, {1, 0, 0, 1, 0}};
    struct opened whole = make(order, GS_COUNT(order));

    (void)state;
    for (size_t i = 0; i < GS_COUNT(orders); i++) {
        struct opened o = make(orders[i], GS_COUNT(orders[i]));
        assert_same_weights(&whole, &o);
        close_file(&o);
    }
    close_file(&whole);
}

/* Whatever is chosen of a file is what a file has that holds no more than that. */
static void test_chosen_is_a_smaller_file(void **state)
{
    static const struct gs_part_choice choices[] = {
        {.bits = 2}, {.bits = 3}, {.bits = 4}, {.bits = 8}, {.memory = 1}, {.memory = 3000},
        {.memory = 3200}, {.memory = 3400}, {.bits = 3, .memory = 3200}, {.memory = 1 << 20}};
    uint64_t fewest = UINT64_MAX, most = 0;

    (void)state;
    for (size_t i = 0; i < GS_COUNT(choices); i++) {
        struct opened whole = make(order, GS_COUNT(order));
        struct gs_part_choice c = choices[i];
        int64_t list[GS_COUNT(order)];
        size_t n = 0;
        if (gs_part_file_choose(whole.file, &c, &err))
            fail_msg("%s", err.msg);
        assert_int_equal(gs_part_file_pieces(whole.file), GS_COUNT(order));
        for (size_t k = 0; k < GS_COUNT(order); k++) {
            struct gs_part_place place = gs_part_file_place(whole.file, k);
            assert_int_equal(place.matrix, order[k]);
            assert_true(place.bytes > 0);
            if (place.chosen)
                list[n++] = place.matrix;
        }
        assert_int_equal(n, c.pieces);
        struct opened slice = make(list, n);
        assert_same_weights(&whole, &slice);
        for (size_t k = 0; k < n; k++)
            assert_true(gs_part_file_place(slice.file, k).chosen);
        fewest = GS_MIN(fewest, c.pieces);
        most = GS_MAX(most, c.pieces);
        close_file(&slice);
        close_file(&whole);
    }
    assert_int_equal(fewest, 0);
    assert_int_equal(most, GS_COUNT(order));
}

static void test_precisions_that_are_left(void **state)
{
    static const int64_t list[] = {0, 1, 1};
    struct gs_part_choice c = {.bits = 4};
    struct opened o = make(list, GS_COUNT(list));

    (void)state;
    assert_int_equal(gs_part_file_choose(o.file, &c, &err), GS_E_ARG);
    assert_non_null(strstr(err.msg, "4 bits: the file serves 2, 3"));
    assert_non_null(strstr(err.msg, path));
    c.bits = 3;
    assert_int_equal(gs_part_file_choose(o.file, &c, &err), 0);
    close_file(&o);
}

/* ---- pieces that are not ---- */

static void beyond(struct parts *p) { p->list[2] = MATRICES; }
static void far_beyond(struct parts *p) { p->list[0] = UINT32_MAX; }
static void uncut(struct parts *p) { p->list[4] = 2; }
static void stack_of_four(struct parts *p) { p->list[2] = 1; }
static void longer(struct parts *p) { p->list[p->n_list++] = 0; }
static void shorter(struct parts *p) { p->n_list--; }
static void short_tensor(struct parts *p) { p->pieces.dim[0]--; }
static void tiny_tensor(struct parts *p) { p->pieces.dim[0] = GS_COUNT(order); }
static void tinier_tensor(struct parts *p) { p->pieces.dim[0] = GS_COUNT(order) - 1; }
static void long_tensor(struct parts *p) { p->pieces.dim[0]++; }
static void huge_list(struct parts *p)
{
    for (p->pieces.dim[0] = LIST_MAX - 1; p->n_list < LIST_MAX; p->n_list++)
        p->list[p->n_list] = 0;
}
static void empty_list(struct parts *p) { p->n_list = 0; }
static void empty_list_alone(struct parts *p) { p->n_list = 0, p->no_tensor = true; }
static void list_alone(struct parts *p) { p->no_tensor = true; }
static void tensor_alone(struct parts *p) { p->no_list = true; }
static void negative(struct parts *p) { p->list_type = GS_VALUE_I32, p->list[1] = -1; }
static void most_negative(struct parts *p) { p->list_type = GS_VALUE_I64, p->list[1] = INT64_MIN; }
static void wide(struct parts *p) { p->list_type = GS_VALUE_U64, p->list[3] = INT64_MAX; }
static void wider(struct parts *p) { p->list_type = GS_VALUE_U64, p->list[3] = -1; }
static void wraps(struct parts *p)
{
    p->list_type = GS_VALUE_U64;
    p->list[3] = 1 + (INT64_C(1) << 32);
}
static void list_of_texts(struct parts *p) { p->list_type = GS_VALUE_STRING; }
static void list_of_floats(struct parts *p) { p->list_type = GS_VALUE_F32; }
static void no_list_at_all(struct parts *p) { p->scalar = true; }
static void floats(struct parts *p)
{
    p->pieces.type = GS_TYPE_F32;
    p->pieces.dim[0] /= 4;
}
static void square(struct parts *p)
{
    p->pieces.n_dims = 2;
    p->pieces.dim[0] /= 2;
    p->pieces.dim[1] = 2;
}
static void matrix_too(struct parts *p)
{
    p->names[2] = GS_PART_PIECES_TENSOR;
    p->pieces.dim[0] = rounded[2].bytes;
    memcpy(p->bytes, rounded[2].blob, rounded[2].bytes);
}
static void behind_base(struct parts *p) { p->base_bytes[1] = rounded[1].bytes; }
static void short_base(struct parts *p) { p->base_bytes[0]--; }
static void twice(struct parts *p) { p->names[1] = p->names[0]; }
static void missing(struct parts *p) { p->names[1] = "d.weight"; }
static void nameless(struct parts *p) { p->names[1] = ""; }
static void fewer_rows(struct parts *p) { p->n_rows--; }
static void fewer_names(struct parts *p) { p->n_names--; }
static void other_shape(struct parts *p) { p->rows[0] = COLS, p->cols[0] = ROWS; }
static void negative_rows(struct parts *p) { p->rows[2] = -ROWS; }

static const struct {
    void (*edit)(struct parts *p);
    const char *message;
} hostile[] = {
    {beyond, "piece 2 is of no matrix that has so many"},
    {far_beyond, "piece 0 is of no matrix"},
    {uncut, "piece 4 is of no matrix that has so many"},
    {stack_of_four, "piece 3 is of no matrix that has so many"},
    {longer, "piece 5 is of no matrix that has so many"},
    {shorter, "bytes, its pieces have"},
    {short_tensor, "piece 4 of 5 ends beyond its"},
    {tiny_tensor, "piece 0 of 5 ends beyond its"},
    {tinier_tensor, "do not go together"},
    {long_tensor, "bytes, its pieces have"},
    {huge_list, "do not go together"},
    {empty_list, "bytes, its pieces have"},
    {empty_list_alone, "do not go together"},
    {list_alone, "do not go together"},
    {tensor_alone, "do not go together"},
    {negative, "piece 1 is of no matrix"},
    {most_negative, "piece 1 is of no matrix"},
    {wide, "piece 3 is of no matrix"},
    {wider, "piece 3 is of no matrix"},
    {wraps, "piece 3 is of no matrix"},
    {list_of_texts, "gosset.part.pieces"},
    {list_of_floats, "gosset.part.pieces"},
    {no_list_at_all, "gosset.part.pieces"},
    {floats, "do not go together"},
    {square, "do not go together"},
    {matrix_too, "do not go together"},
    {behind_base, "b.weight: pieces behind its base"},
    {short_base, "a.weight: "},
    {twice, "a.weight: the tensor is given twice"},
    {missing, "d.weight: the tensor is missing"},
    {nameless, "a bad name"},
    {fewer_rows, "do not go together"},
    {fewer_names, "do not go together"},
    {other_shape, "a.weight: shape [16, 64] in the metadata, [64, 16] in the tensor"},
    {negative_rows, "c.weight: shape [64, -16]"},
};

/* One line that names the file, the place and the rule. */
static void test_hostile_metadata(void **state)
{
    struct parts p;
    struct opened o;

    (void)state;
    for (size_t i = 0; i < GS_COUNT(hostile); i++) {
        fill(&p, order, GS_COUNT(order));
        hostile[i].edit(&p);
        write_file(&p);
        if (!open_file(&o))
            fail_msg("case %zu was opened, not refused by '%s'", i, hostile[i].message);
        if (err.code != GS_E_FORMAT || !strstr(err.msg, hostile[i].message))
            fail_msg("case %zu: '%s' lacks '%s'", i, err.msg, hostile[i].message);
        assert_int_equal(strncmp(err.msg, path, strlen(path)), 0);
        assert_null(strchr(err.msg, '\n'));
        assert_null(o.file);
        close_file(&o);
    }
}

/* Where the bytes of `text` end in the file. */
static long find_in_file(FILE *f, const char *text)
{
    static char bytes[1 << 15];
    size_t n = fread(bytes, 1, sizeof bytes, f), length = strlen(text);

    for (size_t i = 0; i + length <= n; i++)
        if (!memcmp(bytes + i, text, length))
            return (long)(i + length);
    fail_msg("no %s in the file", text);
    return 0;
}

static void patch(long at, const void *data, size_t n)
{
    FILE *f = fopen(path, "r+b");

    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* Counts that no file can hold; every bit of the list turned over. Either it is refused, or all
 * weights are finite. */
static void test_hostile_bytes(void **state)
{
    static const uint64_t counts[] = {6, 1u << 20, UINT64_C(1) << 61, UINT64_C(1) << 62,
                                      UINT64_MAX};
    struct parts p;
    struct opened o;

    (void)state;
    fill(&p, order, GS_COUNT(order));
    write_file(&p);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    long at = find_in_file(f, GS_KEY_PART "pieces") + 8; /* type, type of elements, count */
    fclose(f);
    for (size_t i = 0; i < GS_COUNT(counts); i++) {
        patch(at, &counts[i], sizeof counts[i]);
        if (!open_file(&o))
            fail_msg("%llu pieces were opened", (unsigned long long)counts[i]);
        assert_true(err.msg[0]);
        close_file(&o);
    }
    const uint64_t n = GS_COUNT(order);
    patch(at, &n, sizeof n);
    for (size_t bit = 0; bit < 8 * 4 * GS_COUNT(order); bit++) {
        uint32_t element = (uint32_t)order[bit / 32] ^ 1u << bit % 32;
        const uint32_t kept = (uint32_t)order[bit / 32];
        patch(at + 8 + (long)(bit / 32 * 4), &element, sizeof element);
        if (!open_file(&o))
            for (size_t m = 0; m < MATRICES; m++) {
                const struct gs_part_stored *s = weights(&o, m);
                for (size_t i = 0; s->type == GS_TYPE_F32 && i < N; i++)
                    assert_true(isfinite(((const float *)s->data)[i]));
            }
        close_file(&o);
        patch(at + 8 + (long)(bit / 32 * 4), &kept, sizeof kept);
    }
    assert_int_equal(open_file(&o), 0);
    close_file(&o);
}

/* Memory that is lost anywhere is an error, and nothing leaks. */
static void test_lost_memory(void **state)
{
    uint64_t at = 1;
    struct opened o = make(order, GS_COUNT(order));

    (void)state;
    for (int rc = GS_E_NOMEM; rc; at++) {
        struct gs_part_file *file = NULL;
        struct gs_part_choice c = {.memory = 3200};
        gs_alloc_fail_at(at);
        rc = gs_part_file_open(o.store, &file, NULL);
        if (!rc)
            rc = gs_part_file_choose(file, &c, NULL);
        gs_alloc_fail_at(0);
        if (rc)
            assert_int_equal(rc, GS_E_NOMEM);
        gs_part_file_close(&file);
    }
    assert_in_range(at, 8, 100);
    close_file(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_order),
        cmocka_unit_test(test_chosen_is_a_smaller_file),
        cmocka_unit_test(test_precisions_that_are_left),
        cmocka_unit_test(test_hostile_metadata),
        cmocka_unit_test(test_hostile_bytes),
        cmocka_unit_test(test_lost_memory),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
