/* SPDX-License-Identifier: MIT
 * A base and a delta as one store. A matrix is made when it is first asked for, row by row:
 * the base's row in f32, plus planes of signs, plus factors, in the type that the tuned model
 * had (a float; F16 where it was quantized). All shapes are checked at opening. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "compensate/compensate.h"
#include "core/alloc.h"
#include "delta/delta_file.h"
#include "file/store_impl.h"
#include "kernels/kernels.h"

/* How to make one tensor; in the arena of the store. */
struct recipe {
    struct gs_store *base, *delta;
    const struct gs_tensor *from;                /* in the base; or, copied, in the delta */
    struct gs_store *copied;                     /* the store of `from`, if it is all */
    const struct gs_tensor *sign, *scale, *low;  /* in the delta, or NULL */
    const struct gs_factor_format *format;
    uint32_t planes, rank;
    bool per_row;
};

/* ---- making ---- */

struct parts {
    const uint8_t *signs;
    const void *scales;
    struct gs_low_rank *low;
    const void *base;
    float *row;
};

static int parts_open(const struct recipe *p, const struct gs_tensor *t, struct parts *x,
                      struct gs_err *err)
{
    const void *data;
    int rc = gs_store_data(p->base, p->from, &x->base, err);

    if (!rc && p->sign) {
        rc = gs_store_data(p->delta, p->sign, &data, err);
        x->signs = data;
        if (!rc)
            rc = gs_store_data(p->delta, p->scale, &x->scales, err);
    }
    if (!rc && p->low && !(rc = gs_store_data(p->delta, p->low, &data, err))) {
        struct gs_cursor c = gs_cursor_make(data, p->low->bytes);
        rc = gs_low_rank_read(&c, t->dim[1], t->dim[0],
                              GS_MIN(p->rank, GS_MIN(t->dim[0], t->dim[1])), p->format, &x->low,
                              err);
    }
    if (!rc && !(x->row = gs_alloc(t->dim[0], sizeof *x->row)))
        rc = gs_fail_nomem(err, t->name);
    return rc;
}

static void add_signs(const struct recipe *p, const struct parts *x, uint64_t r, uint64_t rows,
                      uint64_t cols)
{
    uint64_t bytes = gs_delta_row_bytes(cols);

    for (uint32_t k = 0; k < p->planes; k++) {
        const uint8_t *signs = x->signs + (k * rows + r) * bytes;
        uint64_t at = p->per_row ? k * rows + r : k;
        float scale = gs_load_f32((const uint8_t *)x->scales + at * sizeof(float));
        for (uint64_t c = 0; c < cols; c++)
            x->row[c] += signs[c / 8] >> c % 8 & 1 ? scale : -scale;
    }
}

static void add_low(const struct gs_low_rank *low, uint64_t r, float *row)
{
    for (size_t k = 0; k < low->rank; k++)
        for (size_t c = 0; c < low->cols; c++)
            row[c] += low->a[k * low->rows + r] * low->b[k * low->cols + c];
}

/* The largest magnitude that the type holds once rounded. */
static float limit(enum gs_type type)
{
    return type == GS_TYPE_F16 ? 65519.0f : type == GS_TYPE_BF16 ? 3.38e38f : 3.4e38f;
}

static int make_matrix(const struct gs_tensor *t, const struct gs_source *source, void *dst,
                       struct gs_err *err)
{
    const struct recipe *p = source->ctx;
    uint64_t rows = t->dim[1], cols = t->dim[0], row_bytes = t->bytes / rows;
    struct parts x = {0};
    int rc = parts_open(p, t, &x, err);

    for (uint64_t r = 0; !rc && r < rows; r++) {
        gs_delta_decode(p->from, x.base, r, 1, x.row);
        if (p->sign)
            add_signs(p, &x, r, rows, cols);
        if (p->low)
            add_low(x.low, r, x.row);
        for (uint64_t c = 0; !rc && c < cols; c++)
            if (!(fabsf(x.row[c]) <= limit(t->type)))
                rc = gs_fail(err, GS_E_FORMAT, "%s: tensor %s: row %" PRIu64 ", column %" PRIu64
                             " is %g, which %s cannot hold", gs_store_path(p->delta), t->name,
                             r, c, (double)x.row[c], gs_type_info(t->type)->name);
        if (!rc)
            gs_kernels()->encode[t->type](x.row, (uint8_t *)dst + r * row_bytes, cols);
    }
    gs_free(&x.row);
    gs_low_rank_destroy(&x.low);
    gs_store_release(p->base, p->from);
    return rc;
}

static int make_copy(const struct gs_tensor *t, const struct gs_source *source, void *dst,
                     struct gs_err *err)
{
    const struct recipe *p = source->ctx;
    const void *data;
    int rc = gs_store_data(p->copied, p->from, &data, err);

    if (!rc)
        memcpy(dst, data, t->bytes);
    gs_store_release(p->copied, p->from);
    return rc;
}

static const struct gs_build build_matrix = {"delta", make_matrix};
static const struct gs_build build_copy = {"copy", make_copy};

/* ---- opening ---- */

struct opening {
    struct gs_overlay *o;
    const char *path; /* of the delta */
    struct recipe common;
    struct gs_array names, types;
};

static int fail_key(const struct opening *x, const char *key, struct gs_err *err)
{
    return gs_fail(err, GS_E_FORMAT, "%s: the key " GS_KEY_DELTA "%s is missing or out of range",
                   x->path, key);
}

static int get_uint(const struct opening *x, const char *key, uint64_t max, uint64_t *out,
                    struct gs_err *err)
{
    char name[64] = GS_KEY_DELTA;

    strncat(name, key, sizeof name - sizeof GS_KEY_DELTA);
    int rc = gs_meta_get_uint(gs_store_meta(x->o->delta), name, out, err);
    return rc < 0 ? rc : rc == 0 || *out > max ? fail_key(x, key, err) : GS_OK;
}

static int read_keys(struct opening *x, struct gs_err *err)
{
    const struct gs_meta *meta = gs_store_meta(x->o->delta);
    uint64_t version, planes, rank, hash, have;
    struct gs_str factors;
    char format[16];
    int rc;

    if (!gs_meta_find(meta, GS_KEY_DELTA "version"))
        return gs_fail(err, GS_E_FORMAT, "%s: is no delta (gosset delta makes them)", x->path);
    if ((rc = get_uint(x, "version", UINT32_MAX, &version, err)))
        return rc;
    if (version != GS_DELTA_VERSION)
        return gs_fail(err, GS_E_UNSUPPORTED, "%s: a delta of version %" PRIu64 ", this program "
                       "reads %d", x->path, version, GS_DELTA_VERSION);
    if ((rc = get_uint(x, "planes", GS_DELTA_PLANES_MAX, &planes, err)) ||
        (rc = get_uint(x, "rank", UINT32_MAX, &rank, err)) ||
        (rc = get_uint(x, "base", UINT64_MAX, &hash, err)))
        return rc;
    if ((rc = gs_meta_get_bool(meta, GS_KEY_DELTA "per_row", &x->common.per_row, err)) <= 0)
        return rc < 0 ? rc : fail_key(x, "per_row", err);
    if ((rc = gs_meta_get_str(meta, GS_KEY_DELTA "factors", &factors, err)) <= 0)
        return rc < 0 ? rc : fail_key(x, "factors", err);
    if (factors.size < sizeof format) {
        memcpy(format, factors.data, factors.size);
        format[factors.size] = 0;
        x->common.format = gs_factor_format_find(format);
    }
    if (!x->common.format)
        return fail_key(x, "factors", err);
    x->common.planes = (uint32_t)planes;
    x->common.rank = (uint32_t)rank;
    if ((rc = gs_delta_fingerprint(x->o->base, &have, err)))
        return rc;
    if (have != hash)
        return gs_fail(err, GS_E_ARG, "%s: was taken over another base than %s", x->path,
                       gs_store_path(x->o->base));
    return GS_OK;
}

static int read_lists(struct opening *x, struct gs_err *err)
{
    const struct gs_meta *meta = gs_store_meta(x->o->delta);
    int rc = gs_meta_get_array(meta, GS_KEY_DELTA "matrices", GS_VALUE_STRING, &x->names, err);

    if (rc > 0)
        rc = gs_meta_get_array(meta, GS_KEY_DELTA "types", GS_VALUE_I64, &x->types, err);
    if (rc < 0)
        return rc;
    return x->names.count == x->types.count ? GS_OK : fail_key(x, "types", err);
}

/* The tensor NAME.TAIL of the delta, which must have this type and shape. */
static int find_part(const struct opening *x, const char *name, const char *tail,
                     enum gs_type type, uint64_t d0, uint64_t d1, uint64_t d2,
                     const struct gs_tensor **out, struct gs_err *err)
{
    char full[GS_DELTA_NAME_MAX];
    int rc = gs_delta_name(name, tail, full, err);
    const struct gs_tensor *t = rc ? NULL : gs_store_find(x->o->delta, full);

    *out = t;
    if (rc)
        return rc;
    if (!t)
        return gs_fail(err, GS_E_FORMAT, "%s: tensor %s is missing", x->path, full);
    if (t->type != type || t->dim[0] != d0 || t->dim[1] != d1 || t->dim[2] != d2 ||
        t->dim[3] != 1)
        return gs_fail(err, GS_E_FORMAT, "%s: tensor %s has not the type and shape that its "
                       "matrix asks for", x->path, full);
    return GS_OK;
}

/* The tensor of the base as the recipe for its place in the overlay. */
static int add_matrix(struct opening *x, const struct gs_tensor *b, int64_t type,
                      struct gs_err *err)
{
    struct recipe *p = gs_arena_alloc(gs_store_arena(x->o->store), 1, sizeof *p);
    struct gs_low_rank shape = {.rows = b->dim[1], .cols = b->dim[0],
                                .format = x->common.format};
    struct gs_source source = {.build = &build_matrix, .ctx = p};
    int rc = GS_OK;

    if (!p)
        return gs_fail_nomem(err, b->name);
    if (!gs_delta_is_matrix(b, true) ||
        (type != GS_TYPE_F32 && type != GS_TYPE_F16 && type != GS_TYPE_BF16))
        return gs_fail(err, GS_E_FORMAT, "%s: tensor %s is no matrix, or its type no float",
                       x->path, b->name);
    *p = x->common;
    p->from = b;
    shape.rank = GS_MIN(p->rank, GS_MIN(shape.rows, shape.cols));
    if (p->planes &&
        ((rc = find_part(x, b->name, "sign", GS_TYPE_I8, gs_delta_row_bytes(b->dim[0]),
                         b->dim[1], p->planes, &p->sign, err)) ||
         (rc = find_part(x, b->name, "scale", GS_TYPE_F32, p->per_row ? b->dim[1] : 1,
                         p->planes, 1, &p->scale, err))))
        return rc;
    if (p->rank && (rc = find_part(x, b->name, "low", GS_TYPE_I8, gs_low_rank_bytes(&shape), 1,
                                   1, &p->low, err)))
        return rc;
    return gs_store_add(x->o->store, (struct gs_str){b->name, strlen(b->name)},
                        (enum gs_type)type, b->n_dims, b->dim, &source, err);
}

/* As the delta has it, or else as the base has it. */
static int add_whole(struct opening *x, const struct gs_tensor *b, struct gs_err *err)
{
    struct recipe *p = gs_arena_alloc(gs_store_arena(x->o->store), 1, sizeof *p);
    const struct gs_tensor *t = gs_store_find(x->o->delta, b->name);
    struct gs_source source = {.build = &build_copy, .ctx = p};

    if (!p)
        return gs_fail_nomem(err, b->name);
    if (t && memcmp(t->dim, b->dim, sizeof t->dim))
        return gs_fail(err, GS_E_FORMAT, "%s: tensor %s has another shape than in %s", x->path,
                       b->name, gs_store_path(x->o->base));
    *p = (struct recipe){.copied = t ? x->o->delta : x->o->base, .from = t ? t : b};
    return gs_store_add(x->o->store, (struct gs_str){b->name, strlen(b->name)}, p->from->type,
                        b->n_dims, b->dim, &source, err);
}

/* Every tensor of the base, each listed matrix found once. */
static int add_tensors(struct opening *x, struct gs_err *err)
{
    size_t count = gs_store_count(x->o->base);
    int64_t *types = gs_alloc(count, sizeof *types); /* −1: no matrix of the delta */
    int rc = types ? GS_OK : gs_fail_nomem(err, "a delta");

    for (size_t i = 0; !rc && i < count; i++)
        types[i] = -1;
    for (uint64_t i = 0; !rc && i < x->names.count; i++) {
        struct gs_str s = gs_array_str(&x->names, i);
        char name[GS_DELTA_NAME_MAX] = "";
        if (s.size < sizeof name)
            memcpy(name, s.data, s.size);
        const struct gs_tensor *b = gs_store_find(x->o->base, name);
        if (!b || types[b - gs_store_tensor(x->o->base, 0)] >= 0)
            rc = gs_fail(err, GS_E_FORMAT, "%s: matrix %" PRIu64 " of the list, '%.64s', is "
                         "listed twice or not in %s", x->path, i, name,
                         gs_store_path(x->o->base));
        else
            types[b - gs_store_tensor(x->o->base, 0)] =
                gs_array_int(&x->types, i) < 0 ? INT64_MAX : gs_array_int(&x->types, i);
    }
    for (size_t i = 0; !rc && i < count; i++) {
        const struct gs_tensor *b = gs_store_tensor(x->o->base, i);
        rc = types[i] >= 0 ? add_matrix(x, b, types[i], err) : add_whole(x, b, err);
    }
    gs_free(&types);
    return rc;
}

static int merge_meta(struct opening *x, struct gs_err *err)
{
    struct gs_meta *out = gs_store_meta_edit(x->o->store);
    const struct gs_meta *from[] = {gs_store_meta(x->o->base), gs_store_meta(x->o->delta)};
    struct gs_array removed = {0};
    int rc = gs_meta_get_array(from[1], GS_KEY_DELTA "removed", GS_VALUE_STRING, &removed, err);

    for (size_t f = 0; rc >= 0 && f < 2; f++)
        for (size_t i = 0; rc >= 0 && i < gs_meta_count(from[f]); i++) {
            const char *key = gs_meta_key(from[f], i);
            if (strncmp(key, GS_KEY_DELTA, sizeof GS_KEY_DELTA - 1))
                rc = gs_meta_set(out, (struct gs_str){key, strlen(key)},
                                 gs_meta_value(from[f], i), err);
        }
    for (uint64_t i = 0; rc >= 0 && i < removed.count; i++) {
        struct gs_str s = gs_array_str(&removed, i);
        char *key = gs_strndup(s.data, s.size);
        if (!key)
            return gs_fail_nomem(err, x->path);
        gs_meta_remove(out, key);
        gs_free(&key);
    }
    return rc < 0 ? rc : GS_OK;
}

int gs_overlay_open(const char *base, const char *delta, struct gs_overlay *out,
                    struct gs_err *err)
{
    struct opening x = {.o = out, .path = delta};
    int rc;

    *out = (struct gs_overlay){0};
    if (!(rc = gs_store_open(base, &out->base, err)) &&
        !(rc = gs_store_open(delta, &out->delta, err)) &&
        !(rc = gs_delta_check_stock(out->base, err)) && !(rc = read_keys(&x, err)) &&
        !(rc = read_lists(&x, err)) &&
        !(rc = gs_store_create(delta, gs_store_format(out->base), &out->store, err))) {
        x.common.base = out->base;
        x.common.delta = out->delta;
        if (!(rc = merge_meta(&x, err)))
            rc = add_tensors(&x, err);
    }
    if (rc)
        gs_overlay_close(out);
    return rc;
}

void gs_overlay_close(struct gs_overlay *overlay)
{
    gs_store_close(&overlay->store);
    gs_store_close(&overlay->delta);
    gs_store_close(&overlay->base);
}
