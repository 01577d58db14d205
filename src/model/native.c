/* SPDX-License-Identifier: MIT
 * Reading native matrices: metadata to facts, then facts to tables in memory.
 *
 * A hostile file is bounded by itself: as many matrices as it has tensors, and scales,
 * factors and codes each as long as the rows and columns that they claim to be of. */
#include "model/native.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/arena.h"
#include "core/half.h"
#include "core/cursor.h"

#define NAME_BYTES 160
#define DIM_MAX (UINT64_C(1) << 31)
/* Matrices of one input stand side by side; a factor is looked for so far back. */
#define SHARED_WITHIN 8

/* A codec that some matrix uses, or with a table of its own one only. */
struct codec_entry {
    const struct gs_grid *grid;
    unsigned rate;
    const struct gs_tensor *table;
    struct gs_codec *codec;
};

struct gs_natives {
    struct gs_store *store;
    uint64_t seed;
    size_t count, sides;
    struct gs_native_facts *facts; /* (count) */
    struct gs_native *matrices;    /* (count) */
    struct gs_transform **in, **out; /* (count); in: owned by the first of those that share */
    uint32_t *of_tensor;           /* per tensor of the store: 1 + matrix, SIDE, or 0 */
    struct codec_entry *codecs;    /* (n_codecs), room for one a matrix */
    size_t n_codecs;
    struct gs_arena arena;         /* scales */
};

#define SIDE UINT32_MAX

/* The arrays of the metadata, by field. */
struct columns {
    struct gs_array names, grids, rates, rows, cols, units, in, in_factors, in_streams, out,
        out_streams;
};

static const struct {
    const char *key;
    size_t offset;
    enum gs_value_type type;
} column_keys[] = {
#define COLUMN(field, type) {GS_KEY_NATIVE #field, offsetof(struct columns, field), type}
    COLUMN(names, GS_VALUE_STRING),      COLUMN(grids, GS_VALUE_STRING),
    COLUMN(rates, GS_VALUE_I64),         COLUMN(rows, GS_VALUE_I64),
    COLUMN(cols, GS_VALUE_I64),          COLUMN(units, GS_VALUE_F64),
    COLUMN(in, GS_VALUE_STRING),         COLUMN(in_factors, GS_VALUE_STRING),
    COLUMN(in_streams, GS_VALUE_I64),    COLUMN(out, GS_VALUE_STRING),
    COLUMN(out_streams, GS_VALUE_I64),
#undef COLUMN
};

static int read_columns(const struct gs_natives *n, struct columns *c, struct gs_err *err)
{
    const struct gs_meta *meta = gs_store_meta(n->store);

    for (size_t i = 0; i < GS_COUNT(column_keys); i++) {
        struct gs_array *a = (struct gs_array *)(void *)((char *)c + column_keys[i].offset);
        int rc = gs_meta_get_array(meta, column_keys[i].key, column_keys[i].type, a, err);
        if (rc == 0)
            rc = gs_fail(err, GS_E_FORMAT, "key %s is missing", column_keys[i].key);
        if (rc > 0 && a->count != n->count)
            rc = gs_fail(err, GS_E_FORMAT, "key %s has %" PRIu64 " elements, expected %zu",
                         column_keys[i].key, a->count, n->count);
        if (rc < 0)
            return rc;
    }
    return GS_OK;
}

static bool copy_name(struct gs_str s, char out[NAME_BYTES])
{
    if (!s.size || s.size >= NAME_BYTES || memchr(s.data, 0, s.size))
        return false;
    memcpy(out, s.data, s.size);
    out[s.size] = 0;
    return true;
}

/* A vector of n F16 beside a matrix. */
static int find_side(const struct gs_natives *n, const char *name, size_t size,
                     const struct gs_tensor **out, struct gs_err *err)
{
    const struct gs_tensor *t = gs_store_find(n->store, name);

    if (!t)
        return gs_fail(err, GS_E_FORMAT, "tensor %s is missing", name);
    if (t->type != GS_TYPE_F16 || t->n_dims != 1 || t->dim[0] != size)
        return gs_fail(err, GS_E_FORMAT, "tensor %s: expected F16 [%zu]", name, size);
    *out = t;
    return GS_OK;
}

static int find_table(const struct gs_natives *n, const char *name,
                      const struct gs_tensor **out, struct gs_err *err)
{
    const struct gs_tensor *t = gs_store_find(n->store, name);

    if (t && (t->type != GS_TYPE_I8 || t->n_dims != 1 || t->dim[0] != GS_NATIVE_TABLE_BYTES))
        return gs_fail(err, GS_E_FORMAT, "tensor %s: expected I8 [%u]", name,
                       GS_NATIVE_TABLE_BYTES);
    *out = t;
    return GS_OK;
}

static int read_transform(struct gs_str name, const struct gs_transform_kind **out,
                          struct gs_err *err)
{
    char text[NAME_BYTES];

    *out = copy_name(name, text) ? gs_transform_find(text) : NULL;
    return *out ? GS_OK : gs_fail(err, GS_E_UNSUPPORTED, "a transform of an unknown kind");
}

static int read_shape(const struct columns *c, size_t i, struct gs_native_facts *f,
                      struct gs_err *err)
{
    int64_t rate = gs_array_int(&c->rates, i), rows = gs_array_int(&c->rows, i);
    int64_t cols = gs_array_int(&c->cols, i);
    char grid[NAME_BYTES];

    f->grid = copy_name(gs_array_str(&c->grids, i), grid) ? gs_grid_find(grid) : NULL;
    if (!f->grid)
        return gs_fail(err, GS_E_UNSUPPORTED, "a grid of an unknown kind");
    if (rate < f->grid->rate_min || rate > f->grid->rate_max)
        return gs_fail(err, GS_E_UNSUPPORTED, "grid %s has no rate of %" PRId64 "/8 bits",
                       f->grid->name, rate);
    if (rows <= 0 || cols <= 0 || (uint64_t)rows > DIM_MAX || (uint64_t)cols > DIM_MAX ||
        cols % f->grid->block_cols)
        return gs_fail(err, GS_E_FORMAT, "%" PRId64 " rows of %" PRId64 " weights", rows, cols);
    f->rate = (unsigned)rate;
    f->rows = (size_t)rows;
    f->cols = (size_t)cols;
    return GS_OK;
}

/* The codes have the size that grid and shape ask for. */
static int check_codes(const struct gs_native_facts *f, struct gs_err *err)
{
    uint64_t bits = (uint64_t)f->rate * f->grid->block_rows * f->cols; /* of 8 block rows */
    uint64_t block_rows = (f->rows + f->grid->block_rows - 1) / f->grid->block_rows;
    const struct gs_tensor *t = f->codes;

    if (t->type == GS_TYPE_I8 && t->n_dims == 2 && t->dim[0] == bits / 64 &&
        t->dim[1] == block_rows)
        return GS_OK;
    return gs_fail(err, GS_E_FORMAT, "expected I8 [%" PRIu64 ", %" PRIu64 "]", bits / 64,
                   block_rows);
}

static int read_matrix(struct gs_natives *n, const struct columns *c, size_t i,
                       const char *name, struct gs_err *err)
{
    struct gs_native_facts *f = &n->facts[i];
    struct gs_str factor = gs_array_str(&c->in_factors, i);
    char side[NAME_BYTES + 16];
    int rc;

    f->codes = gs_store_find(n->store, name);
    if (!f->codes)
        return gs_fail(err, GS_E_FORMAT, "the tensor is missing");
    if ((rc = read_shape(c, i, f, err)) || (rc = check_codes(f, err)) ||
        (rc = read_transform(gs_array_str(&c->in, i), &f->in, err)) ||
        (rc = read_transform(gs_array_str(&c->out, i), &f->out, err)))
        return rc;
    f->in_stream = (uint32_t)gs_array_int(&c->in_streams, i);
    f->out_stream = (uint32_t)gs_array_int(&c->out_streams, i);
    f->unit = (float)gs_array_float(&c->units, i);
    if (!(f->unit > 0) || !isfinite(f->unit))
        return gs_fail(err, GS_E_FORMAT, "its scales have a unit of %g", (double)f->unit);
    if (f->out->needs_fit || (f->in->needs_fit && !factor.size))
        return gs_fail(err, GS_E_FORMAT, "its transform has no factors");
    size_t base = strlen(name);
    if (base > 7 && !strcmp(name + base - 7, ".weight"))
        base -= 7;
    snprintf(side, sizeof side, "%.*s" GS_NATIVE_SCALE, (int)base, name);
    if ((rc = find_side(n, side, f->rows, &f->scale, err)))
        return rc;
    snprintf(side, sizeof side, "%.*s" GS_NATIVE_TABLE, (int)base, name);
    if ((rc = find_table(n, side, &f->table, err)))
        return rc;
    if (factor.size && !copy_name(factor, side))
        return gs_fail(err, GS_E_FORMAT, "the name of its factors is too long");
    return factor.size ? find_side(n, side, f->cols, &f->factor, err) : GS_OK;
}

static size_t tensor_index(const struct gs_natives *n, const struct gs_tensor *t)
{
    return (size_t)(t - gs_store_tensor(n->store, 0));
}

static void mark_side(struct gs_natives *n, const struct gs_tensor *t)
{
    uint32_t *mark = &n->of_tensor[tensor_index(n, t)];

    n->sides += *mark == 0;
    if (!*mark)
        *mark = SIDE;
}

static int read_all(struct gs_natives *n, struct gs_err *err)
{
    struct columns c;
    char name[NAME_BYTES];
    int rc = read_columns(n, &c, err);

    for (size_t i = 0; !rc && i < n->count; i++) {
        if (!copy_name(gs_array_str(&c.names, i), name))
            return gs_fail(err, GS_E_FORMAT, "key " GS_KEY_NATIVE "names: a bad name");
        if ((rc = read_matrix(n, &c, i, name, err)))
            return gs_err_prefix(err, rc, name);
        uint32_t *mark = &n->of_tensor[tensor_index(n, n->facts[i].codes)];
        if (*mark)
            return gs_fail(err, GS_E_FORMAT, "tensor %s is given twice", name);
        *mark = (uint32_t)i + 1;
    }
    for (size_t i = 0; !rc && i < n->count; i++) {
        mark_side(n, n->facts[i].scale);
        if (n->facts[i].factor)
            mark_side(n, n->facts[i].factor);
        if (n->facts[i].table)
            mark_side(n, n->facts[i].table);
    }
    return rc;
}

int gs_natives_open(struct gs_store *store, struct gs_natives **out, struct gs_err *err)
{
    const struct gs_meta *meta = gs_store_meta(store);
    struct gs_array names;
    uint64_t version = 0;

    *out = NULL;
    int rc = gs_meta_get_uint(meta, GS_KEY_VERSION, &version, err);
    if (rc > 0 && (version < GS_NATIVE_VERSION || version > GS_NATIVE_VERSION_PIECES))
        rc = gs_fail(err, GS_E_UNSUPPORTED, "key " GS_KEY_VERSION " is %" PRIu64
                     ", known are %d to %d", version, GS_NATIVE_VERSION,
                     GS_NATIVE_VERSION_PIECES);
    if (rc > 0)
        rc = gs_meta_get_array(meta, GS_KEY_NATIVE "names", GS_VALUE_STRING, &names, err);
    if (rc <= 0)
        return rc ? gs_err_prefix(err, rc, gs_store_path(store)) : GS_OK;
    if (names.count > gs_store_count(store))
        return gs_fail(err, GS_E_FORMAT, "%s: %" PRIu64 " native matrices in %zu tensors",
                       gs_store_path(store), names.count, gs_store_count(store));
    struct gs_natives *n = gs_alloc(1, sizeof *n);
    if (!n)
        return gs_fail_nomem(err, "native matrices");
    n->store = store;
    n->count = (size_t)names.count;
    n->facts = gs_alloc(n->count, sizeof *n->facts);
    n->of_tensor = gs_alloc(gs_store_count(store), sizeof *n->of_tensor);
    rc = n->facts && n->of_tensor ? gs_meta_get_uint(meta, GS_KEY_SEED, &n->seed, err)
                                  : gs_fail_nomem(err, "native matrices");
    rc = rc < 0 ? rc : read_all(n, err);
    if (rc) {
        gs_natives_close(&n);
        return gs_err_prefix(err, rc, gs_store_path(store));
    }
    *out = n;
    return GS_OK;
}

void gs_natives_close(struct gs_natives **np)
{
    struct gs_natives *n = *np;

    if (!n)
        return;
    for (size_t i = 0; n->in && i < n->count; i++)
        gs_transform_destroy(&n->in[i]);
    for (size_t i = 0; n->out && i < n->count; i++)
        gs_transform_destroy(&n->out[i]);
    for (size_t i = 0; i < n->n_codecs; i++)
        gs_codec_destroy(&n->codecs[i].codec);
    gs_arena_clear(&n->arena);
    gs_free(&n->in);
    gs_free(&n->out);
    gs_free(&n->codecs);
    gs_free(&n->matrices);
    gs_free(&n->facts);
    gs_free(&n->of_tensor);
    gs_free(np);
}

/* ---- tables ------------------------------------------------------------------------------- */

static int load_codec(struct gs_natives *n, const struct gs_native_facts *f,
                      const struct gs_codec **out, struct gs_err *err)
{
    struct gs_grid_params params = {.rate = f->rate};
    const void *table = NULL;
    int rc = f->table ? gs_store_data(n->store, f->table, &table, err) : GS_OK;
    size_t i = 0;

    if (rc)
        return rc;
    params.table = table;
    while (i < n->n_codecs && (n->codecs[i].grid != f->grid || n->codecs[i].rate != f->rate ||
                               n->codecs[i].table != f->table))
        i++;
    if (i == n->n_codecs) {
        n->codecs[i] = (struct codec_entry){.grid = f->grid, .rate = f->rate,
                                            .table = f->table};
        rc = gs_codec_create(f->grid, &params, &n->codecs[i].codec, err);
        n->n_codecs += rc == GS_OK;
    }
    *out = rc ? NULL : n->codecs[i].codec;
    return rc;
}

/* F16 values as floats times `unit`, in the arena. */
static int load_side(struct gs_natives *n, const struct gs_tensor *t, float unit,
                     float **out, struct gs_err *err)
{
    const uint8_t *data;
    const void *bytes;
    int rc = gs_store_data(n->store, t, &bytes, err);

    if (rc)
        return rc;
    data = bytes;
    *out = gs_arena_alloc(&n->arena, t->dim[0], sizeof **out);
    if (!*out)
        return gs_fail_nomem(err, t->name);
    for (size_t i = 0; i < t->dim[0]; i++) {
        (*out)[i] = unit * gs_f16_to_f32(gs_load_u16(data + 2 * i));
        if (!isfinite((*out)[i]))
            return gs_fail(err, GS_E_FORMAT, "tensor %s: value %zu is not finite", t->name, i);
    }
    return GS_OK;
}

static int load_in(struct gs_natives *n, size_t i, struct gs_err *err)
{
    const struct gs_native_facts *f = &n->facts[i];
    const struct gs_transform_fit fit = {.seed = n->seed, .stream = f->in_stream};
    float *factor;

    if (!f->factor)
        return gs_transform_create(f->in, f->cols, &fit, &n->in[i], err);
    int rc = load_side(n, f->factor, 1, &factor, err);
    return rc ? rc : gs_transform_load(f->in, f->cols, factor, &n->in[i], err);
}

/* The transform of an earlier matrix that reads the same input, or NULL. */
static const struct gs_transform *shared_in(const struct gs_natives *n, size_t i)
{
    const struct gs_native_facts *f = &n->facts[i];

    for (size_t j = i; j-- > 0 && i - j <= SHARED_WITHIN;) {
        const struct gs_native_facts *g = &n->facts[j];
        if (g->in == f->in && g->factor == f->factor && g->in_stream == f->in_stream &&
            g->cols == f->cols)
            return n->matrices[j].in;
    }
    return NULL;
}

static int load_matrix(struct gs_natives *n, size_t i, struct gs_err *err)
{
    const struct gs_native_facts *f = &n->facts[i];
    const struct gs_transform_fit fit = {.seed = n->seed, .stream = f->out_stream};
    struct gs_native *m = &n->matrices[i];
    const void *codes;
    float *scales;
    int rc;

    *m = (struct gs_native){.rows = f->rows, .cols = f->cols, .codes_stride = f->codes->dim[0]};
    if ((rc = load_codec(n, f, &m->codec, err)) ||
        (rc = load_side(n, f->scale, f->unit, &scales, err)) ||
        (rc = gs_store_data(n->store, f->codes, &codes, err)))
        return rc;
    m->codes = codes;
    m->scales = scales;
    m->in = shared_in(n, i);
    if (!m->in) {
        if ((rc = load_in(n, i, err)))
            return rc;
        m->in = n->in[i];
    }
    rc = gs_transform_create(f->out, f->rows, &fit, &n->out[i], err);
    m->out = n->out[i];
    return rc;
}

int gs_natives_load(struct gs_natives *n, struct gs_err *err)
{
    int rc = GS_OK;

    n->matrices = gs_alloc(n->count, sizeof *n->matrices);
    n->codecs = gs_alloc(n->count, sizeof *n->codecs);
    n->in = gs_alloc(n->count, sizeof(struct gs_transform *));
    n->out = gs_alloc(n->count, sizeof(struct gs_transform *));
    if (!n->matrices || !n->codecs || !n->in || !n->out)
        return gs_fail_nomem(err, "native matrices");
    for (size_t i = 0; !rc && i < n->count; i++)
        if ((rc = load_matrix(n, i, err))) {
            char place[512];
            snprintf(place, sizeof place, "%.300s: tensor %.160s", gs_store_path(n->store),
                     n->facts[i].codes->name);
            rc = gs_err_prefix(err, rc, place);
        }
    return rc;
}

/* ---- asking ------------------------------------------------------------------------------- */

static size_t matrix_index(const struct gs_natives *n, const struct gs_tensor *t)
{
    uint32_t mark = n ? n->of_tensor[tensor_index(n, t)] : 0;

    return mark && mark != SIDE ? mark - 1 : SIZE_MAX;
}

const struct gs_native_facts *gs_natives_facts(const struct gs_natives *n,
                                               const struct gs_tensor *t)
{
    size_t i = matrix_index(n, t);

    return i == SIZE_MAX ? NULL : &n->facts[i];
}

const struct gs_native *gs_natives_matrix(const struct gs_natives *n, const struct gs_tensor *t)
{
    size_t i = matrix_index(n, t);

    return i == SIZE_MAX ? NULL : &n->matrices[i];
}

bool gs_natives_is_side(const struct gs_natives *n, const struct gs_tensor *t)
{
    return n && n->of_tensor[tensor_index(n, t)] == SIDE;
}

size_t gs_natives_sides(const struct gs_natives *n)
{
    return n ? n->sides : 0;
}

void gs_native_decode(const struct gs_native *w, size_t first, size_t n, float *y)
{
    size_t block = w->codec->grid->block_rows;
    size_t padded = (n + block - 1) / block * block;

    gs_codec_decode(w->codec, w->codes + first / block * w->codes_stride, w->codes_stride,
                    padded, w->cols, y, w->cols);
    for (size_t r = 0; r < n; r++)
        for (size_t c = 0; c < w->cols; c++)
            y[r * w->cols + c] *= w->scales[first + r];
}
