/* SPDX-License-Identifier: MIT
 * One GGUF file (the layout is drawn in gguf.h): header, pairs, tensor infos, extents.
 *
 * Accepted is what stock readers accept, minus what no writer produces and what would make
 * a later stage unsafe: empty names, dimensions of 0, alignments above 64 KiB. Offsets need
 * not be gapless, as ggml's own reader demands, but tensors must not overlap. Memory taken
 * is at most a small multiple of the bytes already read: counts in the header only say how
 * often to loop, and every turn consumes input. */
#include "file/gguf_read.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/cursor.h"

#define NAME_SHOWN 96 /* characters of a name in a message */

struct extent {
    uint64_t begin, end; /* from the start of the data */
    size_t tensor;       /* index in the store */
};

/* The state of reading one file; r->store may already hold the tensors of other shards. */
struct reader {
    struct gs_cursor c;
    const struct gs_map *map;
    struct gs_meta *meta;
    struct gs_store *store;
    uint64_t n_tensors, n_pairs;
    uint64_t data; /* where tensor data begins */
    uint32_t alignment;
    struct extent *extents;
    size_t n_extents, capacity;
};

static struct gs_str read_str(struct gs_cursor *c)
{
    uint64_t n = gs_cursor_u64(c);
    const uint8_t *p = gs_cursor_bytes(c, n);
    return p ? (struct gs_str){(const char *)p, n} : (struct gs_str){"", 0};
}

static int shown(struct gs_str s)
{
    return (int)GS_MIN(s.size, NAME_SHOWN);
}

static int read_header(struct reader *r, struct gs_err *err)
{
    const uint8_t *magic = gs_cursor_bytes(&r->c, 4);
    uint32_t version = gs_cursor_u32(&r->c);

    if (magic && memcmp(magic, "GGUF", 4))
        return gs_fail(err, GS_E_FORMAT, "does not begin with \"GGUF\"");
    int rc = gs_cursor_check(&r->c, "the GGUF header", err);
    if (rc)
        return rc;
    if (version && !(version & 0xffff))
        return gs_fail_at(err, GS_E_UNSUPPORTED, 4, "big-endian GGUF files are not supported");
    if (version == 1)
        return gs_fail_at(err, GS_E_UNSUPPORTED, 4,
                          "GGUF version 1 is not supported; convert the model anew");
    if (version != 2 && version != 3)
        return gs_fail_at(err, version ? GS_E_UNSUPPORTED : GS_E_FORMAT, 4,
                          "GGUF version %" PRIu32 " is not one of 2 and 3", version);
    r->n_tensors = gs_cursor_u64(&r->c);
    r->n_pairs = gs_cursor_u64(&r->c);
    rc = gs_cursor_check(&r->c, "the GGUF header", err);
    if (rc)
        return rc;
    /* The smallest pair is a 1-byte key and a u8, the smallest tensor info has one dimension
     * and a 1-byte name: more cannot be there. */
    uint64_t left = gs_cursor_left(&r->c);
    if (r->n_pairs > left / 14)
        return gs_fail_at(err, GS_E_FORMAT, 16,
                          "header promises %" PRIu64 " metadata pairs, %" PRIu64
                          " bytes follow", r->n_pairs, left);
    if (r->n_tensors > left / 25)
        return gs_fail_at(err, GS_E_FORMAT, 8,
                          "header promises %" PRIu64 " tensors, %" PRIu64 " bytes follow",
                          r->n_tensors, left);
    return GS_OK;
}

/* One pass over the strings of an array: 16 bytes of memory for at least 8 of input. */
static int read_strings(struct reader *r, struct gs_array *a, struct gs_err *err)
{
    struct gs_str *s = gs_arena_alloc(gs_meta_arena(r->meta), a->count, sizeof *s);

    if (!s)
        return gs_fail_nomem(err, "an array of strings");
    for (uint64_t i = 0; i < a->count && !r->c.failed; i++)
        s[i] = read_str(&r->c);
    a->data = s;
    return GS_OK;
}

static int read_array(struct reader *r, struct gs_str key, struct gs_array *a,
                      struct gs_err *err)
{
    uint64_t at = r->c.pos;
    uint32_t type = gs_cursor_u32(&r->c);
    uint64_t count = gs_cursor_u64(&r->c);

    if (r->c.failed)
        return GS_OK; /* reported by the caller's check */
    if (type == GS_VALUE_ARRAY)
        return gs_fail_at(err, GS_E_UNSUPPORTED, at,
                          "metadata key %.*s: arrays of arrays are not supported", shown(key),
                          key.data);
    if (type >= GS_VALUE_COUNT)
        return gs_fail_at(err, GS_E_FORMAT, at,
                          "metadata key %.*s: array of unknown type %" PRIu32, shown(key),
                          key.data, type);
    uint64_t each = type == GS_VALUE_STRING ? 8 : gs_value_bytes(type);
    if (count > gs_cursor_left(&r->c) / each)
        return gs_fail_at(err, GS_E_FORMAT, at,
                          "metadata key %.*s: array of %" PRIu64 " %ss, %" PRIu64
                          " bytes follow", shown(key), key.data, count,
                          gs_value_type_name(type), gs_cursor_left(&r->c));
    a->type = type;
    a->count = count;
    if (type == GS_VALUE_STRING)
        return read_strings(r, a, err);
    a->data = gs_cursor_bytes(&r->c, count * each);
    return GS_OK;
}

/* A read beyond the end yields zeros here and is reported by the caller's check, once per
 * pair. */
static int read_value(struct reader *r, struct gs_str key, struct gs_value *v,
                      struct gs_err *err)
{
    uint64_t at = r->c.pos;
    uint32_t type = gs_cursor_u32(&r->c);
    const uint8_t *p;

    v->type = type;
    switch (type) {
    case GS_VALUE_U8: v->as.u = gs_cursor_u8(&r->c); break;
    case GS_VALUE_I8: v->as.i = (int8_t)gs_cursor_u8(&r->c); break;
    case GS_VALUE_U16: v->as.u = gs_cursor_u16(&r->c); break;
    case GS_VALUE_I16: v->as.i = (int16_t)gs_cursor_u16(&r->c); break;
    case GS_VALUE_U32: v->as.u = gs_cursor_u32(&r->c); break;
    case GS_VALUE_I32: v->as.i = (int32_t)gs_cursor_u32(&r->c); break;
    case GS_VALUE_F32:
        p = gs_cursor_bytes(&r->c, 4);
        v->as.f = p ? (double)gs_load_f32(p) : 0;
        break;
    case GS_VALUE_BOOL: v->as.u = gs_cursor_u8(&r->c) != 0; break;
    case GS_VALUE_STRING: v->as.s = read_str(&r->c); break;
    case GS_VALUE_ARRAY: return read_array(r, key, &v->as.a, err);
    case GS_VALUE_U64: v->as.u = gs_cursor_u64(&r->c); break;
    case GS_VALUE_I64: v->as.i = (int64_t)gs_cursor_u64(&r->c); break;
    case GS_VALUE_F64:
        p = gs_cursor_bytes(&r->c, 8);
        v->as.f = p ? gs_load_f64(p) : 0;
        break;
    default:
        return gs_fail_at(err, GS_E_FORMAT, at, "metadata key %.*s: unknown type %" PRIu32,
                          shown(key), key.data, type);
    }
    return GS_OK;
}

static int read_pairs(struct reader *r, struct gs_err *err)
{
    for (uint64_t i = 0; i < r->n_pairs; i++) {
        struct gs_value v = {.type = GS_VALUE_U8};
        uint64_t at = r->c.pos;
        struct gs_str key = read_str(&r->c);
        int rc = read_value(r, key, &v, err);
        if (!rc)
            rc = gs_cursor_check(&r->c, "metadata", err);
        if (rc)
            return rc;
        if (!key.size)
            return gs_fail_at(err, GS_E_FORMAT, at, "metadata pair %" PRIu64 " has no key", i);
        size_t before = gs_meta_count(r->meta);
        rc = gs_meta_set(r->meta, key, &v, err);
        if (rc)
            return rc;
        if (gs_meta_count(r->meta) == before)
            return gs_fail_at(err, GS_E_FORMAT, at, "metadata key %.*s appears twice",
                              shown(key), key.data);
    }
    return GS_OK;
}

static int read_alignment(struct reader *r, struct gs_err *err)
{
    uint64_t a = GS_GGUF_ALIGNMENT;
    int rc = gs_meta_get_uint(r->meta, "general.alignment", &a, err);

    if (rc < 0)
        return rc;
    if (!a || (a & (a - 1)) || a > GS_GGUF_ALIGNMENT_MAX)
        return gs_fail(err, GS_E_FORMAT,
                       "general.alignment must be a power of two up to %u, is %" PRIu64,
                       GS_GGUF_ALIGNMENT_MAX, a);
    r->alignment = (uint32_t)a;
    return GS_OK;
}

/* Who uses a type number that ggml does not. */
static const char *foreign_type(uint32_t type)
{
    static const struct {
        uint32_t first, last;
        const char *who;
    } ranges[] = {
        {4, 5, "a retired ggml type"},   {31, 33, "a retired ggml type"},
        {36, 38, "a retired ggml type"}, {97, 99, "a type of ik_llama.cpp"},
        {133, 158, "a type of ik_llama.cpp"}, {202, 399, "a type of ik_llama.cpp"},
    };

    for (size_t i = 0; i < GS_COUNT(ranges); i++)
        if (type >= ranges[i].first && type <= ranges[i].last)
            return ranges[i].who;
    return "unknown";
}

/* Remembers where the tensor about to be added says it lies; judged together at the end. */
static int add_extent(struct reader *r, uint64_t begin, uint64_t bytes, struct gs_err *err)
{
    uint64_t end;

    if (begin % r->alignment)
        return gs_fail(err, GS_E_FORMAT,
                       "offset %" PRIu64 " is no multiple of the alignment %" PRIu32, begin,
                       r->alignment);
    if (!gs_add_ok(begin, bytes, &end))
        return gs_fail(err, GS_E_FORMAT, "offset %" PRIu64 " overflows", begin);
    if (r->n_extents == r->capacity) {
        size_t capacity = r->capacity ? 2 * r->capacity : 64;
        struct extent *e = gs_realloc(r->extents, r->capacity * sizeof *e,
                                      capacity * sizeof *e);
        if (!e)
            return gs_fail_nomem(err, "tensor extents");
        r->extents = e;
        r->capacity = capacity;
    }
    r->extents[r->n_extents++] = (struct extent){begin, end, gs_store_count(r->store)};
    return GS_OK;
}

/* Everything about one tensor except its name and place in the file. */
static int read_tensor(struct reader *r, struct gs_str name, struct gs_err *err)
{
    uint64_t dim[4] = {1, 1, 1, 1}, bytes;
    uint32_t n_dims = gs_cursor_u32(&r->c);

    if (n_dims > 4)
        return gs_fail(err, GS_E_FORMAT, "%" PRIu32 " dimensions, the limit is 4", n_dims);
    for (uint32_t i = 0; i < n_dims; i++)
        dim[i] = gs_cursor_u64(&r->c);
    uint32_t type = gs_cursor_u32(&r->c);
    uint64_t offset = gs_cursor_u64(&r->c);
    int rc = gs_cursor_check(&r->c, "tensor infos", err);
    if (rc)
        return rc;
    if (!gs_type_info(type))
        return gs_fail(err, GS_E_UNSUPPORTED, "type %" PRIu32 " is not supported (%s)", type,
                       foreign_type(type));
    n_dims = GS_MAX(n_dims, 1);
    rc = gs_tensor_bytes(type, n_dims, dim, &bytes, err);
    if (!rc)
        rc = add_extent(r, offset, bytes, err);
    if (rc)
        return rc;
    /* The data's start is known only after the last tensor info: offsets are relative. */
    struct gs_source source = {.map = r->map, .offset = offset, .bytes = bytes};
    return gs_store_add(r->store, name, type, n_dims, dim, &source, err);
}

static int read_tensors(struct reader *r, struct gs_err *err)
{
    char place[NAME_SHOWN + 16];

    for (uint64_t i = 0; i < r->n_tensors; i++) {
        uint64_t at = r->c.pos;
        struct gs_str name = read_str(&r->c);
        int rc = gs_cursor_check(&r->c, "tensor infos", err);
        if (rc)
            return rc;
        if (!name.size || memchr(name.data, 0, name.size))
            return gs_fail_at(err, GS_E_FORMAT, at,
                              "tensor %" PRIu64 " has %s", i,
                              name.size ? "a NUL byte in its name" : "no name");
        rc = read_tensor(r, name, err);
        if (rc) {
            snprintf(place, sizeof place, "tensor %.*s", shown(name), name.data);
            return gs_err_prefix(err, rc, place);
        }
    }
    return GS_OK;
}

static int compare_extents(const void *a, const void *b)
{
    const struct extent *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->tensor < y->tensor ? -1 : 1;
}

/* Extents lie in the file and apart from each other. */
static int check_extents(struct reader *r, struct gs_err *err)
{
    uint64_t end = r->data;

    if (r->n_extents)
        qsort(r->extents, r->n_extents, sizeof *r->extents, compare_extents);
    for (size_t i = 0; i < r->n_extents; i++) {
        const struct extent *e = r->extents + i;
        if (i && e->begin < e[-1].end)
            return gs_fail(err, GS_E_FORMAT, "tensors %s and %s overlap",
                           gs_store_tensor(r->store, e[-1].tensor)->name,
                           gs_store_tensor(r->store, e->tensor)->name);
        if (!gs_add_ok(r->data, e->end, &end))
            return gs_fail(err, GS_E_FORMAT, "tensor %s: offset overflows",
                           gs_store_tensor(r->store, e->tensor)->name);
    }
    if (r->n_extents && end > r->map->size)
        return gs_fail_at(err, GS_E_FORMAT, r->map->size,
                          "truncated: the tensors need %" PRIu64 " bytes, the file has %" PRIu64,
                          end, r->map->size);
    /* Whatever else follows the data is nobody's business, but a second header means that
     * someone joined the shards of a set: the rest of the model would be missing. */
    uint64_t next = end;
    if (!gs_align_ok(end, r->alignment, &next) || next > r->map->size - GS_MIN(r->map->size, 4))
        return GS_OK;
    if (!memcmp(r->map->data + end, "GGUF", 4) || !memcmp(r->map->data + next, "GGUF", 4))
        return gs_fail_at(err, GS_E_FORMAT, end,
                          "a second GGUF file follows: shards must not be joined with cat; "
                          "keep them apart and open the first");
    return GS_OK;
}

int gs_gguf_read(const struct gs_map *map, struct gs_meta *meta, struct gs_store *store,
                 struct gs_err *err)
{
    struct reader r = {.c = gs_cursor_make(map->data, map->size), .map = map, .meta = meta,
                       .store = store};
    size_t first = gs_store_count(store);

    int rc = read_header(&r, err);
    if (!rc)
        rc = read_pairs(&r, err);
    if (!rc)
        rc = read_alignment(&r, err);
    if (!rc)
        rc = read_tensors(&r, err);
    if (!rc && !gs_align_ok(r.c.pos, r.alignment, &r.data))
        rc = gs_fail(err, GS_E_FORMAT, "the data offset overflows");
    if (!rc)
        rc = check_extents(&r, err);
    if (!rc)
        gs_store_shift(store, first, r.data);
    gs_free(&r.extents);
    return rc ? gs_err_prefix(err, rc, map->path) : GS_OK;
}
