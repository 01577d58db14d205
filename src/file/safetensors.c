/* SPDX-License-Identifier: MIT */
#include "file/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/cursor.h"
#include "core/json.h"
#include "file/store_impl.h"

#define HEADER_MAX 100000000u
#define NAME_SHOWN 96

static const struct dtype {
    const char *name;
    int type;       /* enum gs_type; negative: known, but nothing we can use */
    uint32_t bits;
} dtypes[] = {
    {"F64", GS_TYPE_F64, 64},  {"F32", GS_TYPE_F32, 32}, {"F16", GS_TYPE_F16, 16},
    {"BF16", GS_TYPE_BF16, 16}, {"I64", GS_TYPE_I64, 64}, {"I32", GS_TYPE_I32, 32},
    {"I16", GS_TYPE_I16, 16},  {"I8", GS_TYPE_I8, 8},
    {"U8", -1, 8},   {"BOOL", -1, 8},  {"U16", -1, 16}, {"U32", -1, 32}, {"U64", -1, 64},
    {"C64", -1, 64}, {"F8_E4M3", -1, 8}, {"F8_E5M2", -1, 8}, {"F8_E8M0", -1, 8},
    {"F8_E4M3FNUZ", -1, 8}, {"F8_E5M2FNUZ", -1, 8}, {"F6_E2M3", -1, 6}, {"F6_E3M2", -1, 6},
    {"F4", -1, 4},
};

static const struct dtype *find_dtype(const char *name)
{
    for (size_t i = 0; i < GS_COUNT(dtypes); i++)
        if (!strcmp(dtypes[i].name, name))
            return dtypes + i;
    return NULL;
}

void gs_st_clear(struct gs_st *st)
{
    gs_arena_clear(&st->arena);
    gs_free(&st->tensors);
    st->count = st->capacity = 0;
}

static struct gs_st_tensor *append(struct gs_st *st)
{
    if (st->count == st->capacity) {
        size_t capacity = st->capacity ? 2 * st->capacity : 64;
        struct gs_st_tensor *t = gs_realloc(st->tensors, st->capacity * sizeof *t,
                                            capacity * sizeof *t);
        if (!t)
            return NULL;
        st->tensors = t;
        st->capacity = capacity;
    }
    struct gs_st_tensor *t = st->tensors + st->count++;
    *t = (struct gs_st_tensor){.dim = {1, 1, 1, 1}};
    return t;
}

/* Shape and number of elements; safetensors lists the outermost dimension first. */
static int read_shape(const json_t *shape, struct gs_st_tensor *t, uint64_t *elements,
                      struct gs_err *err)
{
    size_t n = json_array_size(shape);

    if (!json_is_array(shape))
        return gs_fail(err, GS_E_FORMAT, "\"shape\" must be an array");
    *elements = 1;
    t->n_dims = (uint32_t)GS_MIN(n, UINT32_MAX);
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(shape, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0)
            return gs_fail(err, GS_E_FORMAT, "\"shape\" must hold non-negative integers");
        uint64_t d = (uint64_t)json_integer_value(v);
        if (n <= 4)
            t->dim[n - 1 - i] = d;
        if (!gs_mul_ok(*elements, d, elements))
            return gs_fail(err, GS_E_FORMAT, "the number of elements overflows");
    }
    return GS_OK;
}

static int read_range(const json_t *offsets, uint64_t *begin, uint64_t *end,
                      struct gs_err *err)
{
    const json_t *a = json_array_get(offsets, 0), *b = json_array_get(offsets, 1);

    if (json_array_size(offsets) != 2 || !json_is_integer(a) || !json_is_integer(b) ||
        json_integer_value(a) < 0 || json_integer_value(b) < json_integer_value(a))
        return gs_fail(err, GS_E_FORMAT, "\"data_offsets\" must be two ascending positions");
    *begin = (uint64_t)json_integer_value(a);
    *end = (uint64_t)json_integer_value(b);
    return GS_OK;
}

static int read_tensor(const json_t *entry, struct gs_st_tensor *t, struct gs_err *err)
{
    const char *name;
    uint64_t elements = 0, bits, end = 0;

    if (!json_is_object(entry))
        return gs_fail(err, GS_E_FORMAT, "its entry must be an object");
    int rc = gs_json_get_str(entry, "dtype", &name, err);
    if (rc < 0)
        return rc;
    const struct dtype *dtype = rc ? find_dtype(name) : NULL;
    if (!dtype)
        return gs_fail(err, rc ? GS_E_UNSUPPORTED : GS_E_FORMAT, "dtype %.32s is unknown",
                       rc ? name : "(absent)");
    t->dtype = dtype->name;
    t->type = dtype->type;
    rc = read_shape(json_object_get(entry, "shape"), t, &elements, err);
    if (!rc)
        rc = read_range(json_object_get(entry, "data_offsets"), &t->offset, &end, err);
    if (rc)
        return rc;
    t->bytes = end - t->offset;
    if (!gs_mul_ok(elements, dtype->bits, &bits) || bits % 8 || bits / 8 != t->bytes)
        return gs_fail(err, GS_E_FORMAT,
                       "data_offsets hold %" PRIu64 " bytes, %" PRIu64 " elements of %s are not "
                       "that", t->bytes, elements, dtype->name);
    return GS_OK;
}

/* Order of the data. Ties can only be empty tensors, or an overlap that place() refuses. */
static int compare_offsets(const void *a, const void *b)
{
    const struct gs_st_tensor *x = a, *y = b;

    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1; /* empty ones first */
    return strcmp(x->name, y->name);
}

/* Ranges follow each other without gap or overlap and end with the file. Makes offsets
 * absolute and drops empty tensors. */
static int place(const struct gs_map *map, struct gs_st *st, size_t first, uint64_t data,
                 struct gs_err *err)
{
    uint64_t at = 0, have = map->size - data;
    size_t kept = first;

    if (st->count > first)
        qsort(st->tensors + first, st->count - first, sizeof *st->tensors, compare_offsets);
    for (size_t i = first; i < st->count; i++) {
        struct gs_st_tensor *t = st->tensors + i;
        if (t->offset != at)
            return gs_fail(err, GS_E_FORMAT, "tensor %.*s begins at %" PRIu64
                           ", the one before ends at %" PRIu64, NAME_SHOWN, t->name, t->offset,
                           at);
        at = t->offset + t->bytes; /* both below 2^63: no overflow */
        t->offset += data;
        if (t->bytes)
            st->tensors[kept++] = *t;
    }
    st->count = kept;
    if (at > have)
        return gs_fail_at(err, GS_E_FORMAT, map->size,
                          "truncated: header and tensors need %" PRIu64
                          " bytes, the file has %" PRIu64, data + at, map->size);
    if (at < have)
        return gs_fail_at(err, GS_E_FORMAT, data + at,
                          "%" PRIu64 " bytes follow the last tensor", have - at);
    return GS_OK;
}

static int read_metadata(const json_t *entry, struct gs_meta *meta, struct gs_err *err)
{
    const char *key;
    json_t *value;
    char name[128];

    if (!json_is_object(entry))
        return gs_fail(err, GS_E_FORMAT, "__metadata__ must be an object");
    json_object_foreach((json_t *)gs_unconst(entry), key, value) {
        if (!json_is_string(value))
            return gs_fail(err, GS_E_FORMAT, "__metadata__ must hold strings");
        if (!meta)
            continue;
        snprintf(name, sizeof name, "safetensors.%.100s", key);
        struct gs_str s = {json_string_value(value), json_string_length(value)};
        int rc = gs_meta_set_str(meta, name, s, err);
        if (rc)
            return rc;
    }
    return GS_OK;
}

static int read_entries(const json_t *header, const struct gs_map *map, struct gs_st *st,
                        struct gs_meta *meta, struct gs_err *err)
{
    const char *key;
    json_t *entry;

    json_object_foreach((json_t *)gs_unconst(header), key, entry) {
        if (!strcmp(key, "__metadata__")) {
            int rc = read_metadata(entry, meta, err);
            if (rc)
                return rc;
            continue;
        }
        struct gs_st_tensor *t = append(st);
        if (!t || !(t->name = gs_arena_strndup(&st->arena, key, strlen(key))))
            return gs_fail_nomem(err, "tensors");
        t->map = map;
        int rc = *key ? read_tensor(entry, t, err)
                      : gs_fail(err, GS_E_FORMAT, "it has no name");
        if (rc) {
            char where[NAME_SHOWN + 16];
            snprintf(where, sizeof where, "tensor %.*s", NAME_SHOWN, key);
            return gs_err_prefix(err, rc, where);
        }
    }
    return GS_OK;
}

/* Length of the JSON, which then lies in the file and begins with a brace. */
static int read_length(const struct gs_map *map, uint64_t *n, struct gs_err *err)
{
    struct gs_cursor c = gs_cursor_make(map->data, map->size);

    *n = gs_cursor_u64(&c);
    int rc = gs_cursor_check(&c, "the header's length", err);
    if (rc)
        return rc;
    if (*n < 2 || *n > HEADER_MAX)
        return gs_fail_at(err, GS_E_FORMAT, 0,
                          "header of %" PRIu64 " bytes, allowed are 2 to %u", *n, HEADER_MAX);
    if (*n > gs_cursor_left(&c))
        return gs_fail_at(err, GS_E_FORMAT, 0,
                          "truncated: header of %" PRIu64 " bytes, %" PRIu64 " follow", *n,
                          gs_cursor_left(&c));
    if (map->data[8] != '{')
        return gs_fail_at(err, GS_E_FORMAT, 8, "the header is not a JSON object");
    return GS_OK;
}

int gs_st_read(const struct gs_map *map, struct gs_st *st, struct gs_meta *meta,
               struct gs_err *err)
{
    uint64_t n;
    json_t *header = NULL;
    size_t first = st->count;

    int rc = read_length(map, &n, err);
    if (!rc)
        rc = gs_json_parse((const char *)map->data + 8, n, "header", &header, err);
    if (!rc)
        rc = read_entries(header, map, st, meta, err);
    if (!rc)
        rc = place(map, st, first, 8 + n, err);
    json_decref(header);
    return rc ? gs_err_prefix(err, rc, map->path) : GS_OK;
}

int gs_st_check_usable(const struct gs_st_tensor *t, struct gs_err *err)
{
    if (t->type < 0)
        return gs_fail(err, GS_E_UNSUPPORTED, "%s: tensor %.*s: dtype %s is not supported",
                       t->map->path, NAME_SHOWN, t->name, t->dtype);
    if (t->n_dims > 4)
        return gs_fail(err, GS_E_UNSUPPORTED,
                       "%s: tensor %.*s: %" PRIu32 " dimensions, the limit is 4", t->map->path,
                       NAME_SHOWN, t->name, t->n_dims);
    return GS_OK;
}

/* ---- a bare file as a store ------------------------------------------------------------- */

static bool probe(const char *path, const struct gs_map *map)
{
    static const char suffix[] = ".safetensors";
    size_t n = strlen(path), m = sizeof suffix - 1;

    if (!map)
        return false;
    if (n > m && !strcmp(path + n - m, suffix) && map->size)
        return true;
    return map->size > 8 && map->data[8] == '{' && gs_load_u64(map->data) <= map->size - 8;
}

static int open_file(struct gs_store *store, const char *path, const struct gs_map *map,
                     struct gs_err *err)
{
    struct gs_st st = {.count = 0};
    (void)path;

    int rc = gs_st_read(map, &st, gs_store_meta_edit(store), err);
    for (size_t i = 0; !rc && i < st.count; i++) {
        const struct gs_st_tensor *t = st.tensors + i;
        struct gs_source source = {.map = t->map, .offset = t->offset, .bytes = t->bytes};
        rc = gs_st_check_usable(t, err);
        if (!rc)
            rc = gs_store_add(store, (struct gs_str){t->name, strlen(t->name)},
                              (enum gs_type)t->type, GS_MAX(t->n_dims, 1), t->dim, &source, err);
    }
    gs_st_clear(&st);
    return rc;
}

const struct gs_format gs_format_safetensors = {"safetensors", probe, open_file};
