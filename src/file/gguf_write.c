/* SPDX-License-Identifier: MIT
 * Writing GGUF version 3 (the layout is drawn in gguf.h).
 *
 * The rules are ggml's own reader's, the strictest there is: names of 1 to 63 bytes, no
 * duplicates, whole blocks in a row, no nested arrays, strings and arrays of at most 2^30,
 * data without gaps in listing order, every tensor padded, the last one included. The
 * alignment is always 32, and the result is one file, so general.alignment and split.* of a
 * source are left out. */
#include "file/gguf.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/bytes.h"
#include "core/half.h"
#include "core/hash.h"
#include "file/gguf_read.h"
#include "file/out.h"

#define NAME_MAX_BYTES 63u
#define KEY_MAX_BYTES 65535u
#define COUNT_MAX (UINT64_C(1) << 30)

struct gs_gguf_writer {
    struct gs_out *out;
    char *path;
    uint64_t *bytes; /* of each tensor */
    size_t n_tensors;
    size_t index;    /* the tensor being written */
    uint64_t done;   /* its bytes written */
};

/* ---- the header, built in memory ------------------------------------------------------ */

struct sink {
    uint8_t *data;
    size_t size, capacity;
    bool failed; /* sticky: out of memory */
};

static void put(struct sink *s, const void *data, size_t n)
{
    if (s->failed)
        return;
    if (n > s->capacity - s->size) {
        size_t capacity = GS_MAX(2 * s->capacity, s->size + n + 4096);
        uint8_t *p = gs_realloc(s->data, s->size, capacity);
        if (!p) {
            s->failed = true;
            return;
        }
        s->data = p;
        s->capacity = capacity;
    }
    if (n)
        memcpy(s->data + s->size, data, n);
    s->size += n;
}

/* The low n bytes of u, little-endian. */
static void put_uint(struct sink *s, uint64_t u, size_t n)
{
    uint8_t b[8];

    gs_put_u64(u, b);
    put(s, b, n);
}

static void put_str(struct sink *s, struct gs_str str)
{
    put_uint(s, str.size, 8);
    put(s, str.data, str.size);
}

static uint64_t f64_bits(double f)
{
    uint64_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static int put_array(struct sink *s, const char *key, const struct gs_array *a,
                     struct gs_err *err)
{
    if (a->count > COUNT_MAX)
        return gs_fail(err, GS_E_ARG, "metadata key %s: %" PRIu64 " elements, the limit is %"
                       PRIu64, key, a->count, COUNT_MAX);
    put_uint(s, a->type, 4);
    put_uint(s, a->count, 8);
    if (a->type != GS_VALUE_STRING) {
        put(s, a->data, a->count * gs_value_bytes(a->type));
        return GS_OK;
    }
    for (uint64_t i = 0; i < a->count; i++) {
        struct gs_str str = gs_array_str(a, i);
        if (str.size > COUNT_MAX)
            return gs_fail(err, GS_E_ARG, "metadata key %s: string %" PRIu64 " is too long",
                           key, i);
        put_str(s, str);
    }
    return GS_OK;
}

static int put_value(struct sink *s, const char *key, const struct gs_value *v,
                     struct gs_err *err)
{
    put_uint(s, v->type, 4);
    switch (v->type) {
    case GS_VALUE_STRING:
        if (v->as.s.size > COUNT_MAX)
            return gs_fail(err, GS_E_ARG, "metadata key %s: the string is too long", key);
        put_str(s, v->as.s);
        break;
    case GS_VALUE_ARRAY: return put_array(s, key, &v->as.a, err);
    case GS_VALUE_F32: put_uint(s, gs_f32_bits((float)v->as.f), 4); break;
    case GS_VALUE_F64: put_uint(s, f64_bits(v->as.f), 8); break;
    case GS_VALUE_I8: case GS_VALUE_I16: case GS_VALUE_I32: case GS_VALUE_I64:
        put_uint(s, (uint64_t)v->as.i, gs_value_bytes(v->type));
        break;
    default: put_uint(s, v->as.u, gs_value_bytes(v->type)); break;
    }
    return GS_OK;
}

/* Keys that describe the source's layout, not the model. */
static bool is_layout_key(const char *key)
{
    return !strcmp(key, "general.alignment") || !strncmp(key, "split.", 6);
}

static int put_pairs(struct sink *s, const struct gs_meta *meta, struct gs_err *err)
{
    for (size_t i = 0; i < gs_meta_count(meta); i++) {
        const char *key = gs_meta_key(meta, i);
        size_t n = strlen(key);
        if (is_layout_key(key))
            continue;
        if (!n || n > KEY_MAX_BYTES)
            return gs_fail(err, GS_E_ARG, "metadata key %zu has %zu bytes, allowed are 1 to %u",
                           i, n, KEY_MAX_BYTES);
        put_str(s, (struct gs_str){key, n});
        int rc = put_value(s, key, gs_meta_value(meta, i), err);
        if (rc)
            return rc;
    }
    return GS_OK;
}

static int check_tensor(const struct gs_tensor *t, uint64_t *bytes, struct gs_err *err)
{
    size_t n = strlen(t->name);

    if (!n || n > NAME_MAX_BYTES)
        return gs_fail(err, GS_E_ARG, "its name has %zu bytes, allowed are 1 to %u", n,
                       NAME_MAX_BYTES);
    if (!t->n_dims || t->n_dims > 4)
        return gs_fail(err, GS_E_ARG, "%" PRIu32 " dimensions, allowed are 1 to 4", t->n_dims);
    return gs_tensor_bytes(t->type, t->n_dims, t->dim, bytes, err);
}

/* Infos of all tensors; *data_bytes is where the last one's padding ends. */
static int put_tensors(struct sink *s, const struct gs_tensor *tensors, size_t n,
                       uint64_t *bytes, uint64_t *data_bytes, struct gs_err *err)
{
    uint64_t offset = 0;

    for (size_t i = 0; i < n; i++) {
        const struct gs_tensor *t = tensors + i;
        uint64_t end;
        int rc = check_tensor(t, &bytes[i], err);
        if (!rc && (!gs_add_ok(offset, bytes[i], &end) ||
                    !gs_align_ok(end, GS_GGUF_ALIGNMENT, &end)))
            rc = gs_fail(err, GS_E_ARG, "its offset overflows");
        if (rc) {
            char place[160];
            snprintf(place, sizeof place, "tensor %.140s", t->name);
            return gs_err_prefix(err, rc, place);
        }
        put_str(s, (struct gs_str){t->name, strlen(t->name)});
        put_uint(s, t->n_dims, 4);
        for (uint32_t d = 0; d < t->n_dims; d++)
            put_uint(s, t->dim[d], 8);
        put_uint(s, t->type, 4);
        put_uint(s, offset, 8);
        offset = end;
    }
    *data_bytes = offset;
    return GS_OK;
}

/* Linear in the number of tensors, as a caller's names may be a hostile file's. */
static int check_unique(const struct gs_tensor *tensors, size_t n, struct gs_err *err)
{
    size_t slots = 64;
    while (slots < 2 * n)
        slots *= 2;
    size_t *table = gs_alloc(slots, sizeof *table); /* index + 1, 0 = free */
    if (!table)
        return gs_fail_nomem(err, "tensor names");
    int rc = GS_OK;
    for (size_t i = 0; !rc && i < n; i++) {
        const char *name = tensors[i].name;
        size_t at = gs_hash(name, strlen(name)) & (slots - 1);
        for (; table[at]; at = (at + 1) & (slots - 1))
            if (!strcmp(tensors[table[at] - 1].name, name))
                break;
        if (table[at])
            rc = gs_fail(err, GS_E_ARG, "tensor %s: a second tensor of this name", name);
        table[at] = i + 1;
    }
    gs_free(&table);
    return rc;
}

static void pad(struct sink *s)
{
    static const uint8_t zeros[GS_GGUF_ALIGNMENT];

    put(s, zeros, -s->size % GS_GGUF_ALIGNMENT);
}

static int build_header(struct sink *s, const struct gs_meta *meta,
                        const struct gs_tensor *tensors, size_t n_tensors, uint64_t *bytes,
                        uint64_t *data_bytes, struct gs_err *err)
{
    uint64_t pairs = 0; /* the count comes before the pairs */

    for (size_t i = 0; i < gs_meta_count(meta); i++)
        pairs += !is_layout_key(gs_meta_key(meta, i));
    put(s, "GGUF", 4);
    put_uint(s, 3, 4);
    put_uint(s, n_tensors, 8);
    put_uint(s, pairs, 8);
    int rc = put_pairs(s, meta, err);
    if (!rc)
        rc = put_tensors(s, tensors, n_tensors, bytes, data_bytes, err);
    pad(s);
    if (!rc && s->failed)
        rc = gs_fail_nomem(err, "the header");
    return rc;
}

int gs_gguf_size(const struct gs_meta *meta, const struct gs_tensor *tensors, size_t n_tensors,
                 uint64_t *bytes, struct gs_err *err)
{
    struct sink header = {.data = NULL};
    uint64_t data_bytes = 0, *each = gs_alloc(n_tensors, sizeof *each);

    if (!each)
        return gs_fail_nomem(err, "the header");
    int rc = build_header(&header, meta, tensors, n_tensors, each, &data_bytes, err);
    *bytes = header.size + data_bytes;
    gs_free(&header.data);
    gs_free(&each);
    return rc;
}

/* ---- the file ---------------------------------------------------------------------------- */

int gs_gguf_create(const char *path, bool overwrite, const struct gs_meta *meta,
                   const struct gs_tensor *tensors, size_t n_tensors,
                   struct gs_gguf_writer **out, struct gs_err *err)
{
    struct sink header = {.data = NULL};
    uint64_t data_bytes = 0;
    struct gs_gguf_writer *w = gs_alloc(1, sizeof *w);
    int rc;

    *out = NULL;
    if (!w || !(w->bytes = gs_alloc(n_tensors, sizeof *w->bytes)) ||
        !(w->path = gs_strndup(path, strlen(path)))) {
        rc = gs_fail_nomem(err, path);
        goto out;
    }
    w->n_tensors = n_tensors;
    rc = check_unique(tensors, n_tensors, err);
    if (!rc)
        rc = build_header(&header, meta, tensors, n_tensors, w->bytes, &data_bytes, err);
    if (rc) {
        rc = gs_err_prefix(err, rc, path);
        goto out;
    }
    rc = gs_out_create(path, overwrite, header.size + data_bytes, &w->out, err);
    if (!rc)
        rc = gs_out_write(w->out, header.data, header.size, err);
out:
    gs_free(&header.data);
    if (rc && w)
        gs_gguf_abort(&w);
    *out = w;
    return rc;
}

int gs_gguf_write(struct gs_gguf_writer *w, size_t index, const void *data, uint64_t n,
                  struct gs_err *err)
{
    static const uint8_t zeros[GS_GGUF_ALIGNMENT];

    assert(index == w->index && index < w->n_tensors && n <= w->bytes[index] - w->done);
    int rc = gs_out_write(w->out, data, n, err);
    w->done += n;
    if (rc || w->done < w->bytes[index])
        return rc;
    w->index++;
    w->done = 0;
    return gs_out_write(w->out, zeros, -gs_out_size(w->out) % GS_GGUF_ALIGNMENT, err);
}

int gs_gguf_commit(struct gs_gguf_writer **w, uint64_t *bytes, struct gs_err *err)
{
    struct gs_gguf_writer *f = *w;
    int rc = GS_OK;

    if (f->index != f->n_tensors)
        rc = gs_fail(err, GS_E_ARG, "%s: only %zu of %zu tensors were written", f->path,
                     f->index, f->n_tensors);
    if (!rc && bytes)
        *bytes = gs_out_size(f->out);
    if (!rc)
        rc = gs_out_commit(&f->out, err);
    gs_gguf_abort(w);
    return rc;
}

void gs_gguf_abort(struct gs_gguf_writer **w)
{
    if (!*w)
        return;
    gs_out_abort(&(*w)->out);
    gs_free(&(*w)->path);
    gs_free(&(*w)->bytes);
    gs_free(w);
}
