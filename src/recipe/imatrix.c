/* SPDX-License-Identifier: MIT */
#include "recipe/imatrix.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/cursor.h"
#include "core/hash.h"
#include "file/map.h"

#define NAME_BYTES 160
#define GGUF_TAIL ".in_sum2"

/* What a file says of one matrix. */
struct entry {
    const char *name;
    uint64_t cols, experts; /* experts 0: the file does not tell them apart */
    const uint8_t *values;  /* (experts, cols) f32: sums of squares */
    const uint8_t *counts;  /* (experts) f32: how many were summed; NULL: one number for all */
    float count;
};

static float count_of(const struct entry *e, uint64_t expert)
{
    return e->counts ? gs_load_f32(e->counts + 4 * expert) : e->count;
}

/* Sums to means, (experts, cols) one expert after another. */
static int fill(const struct entry *e, uint64_t cols, uint64_t experts, const char *path,
                double *diagonal, struct gs_err *err)
{
    for (uint64_t i = 0; i < experts * cols; i++) {
        double sum = (double)gs_load_f32(e->values + 4 * i);
        double count = (double)count_of(e, i / cols);
        if (!(sum >= 0) || !isfinite(sum))
            return gs_fail(err, GS_E_FORMAT, "%s: %s: value %" PRIu64 " is %g", path, e->name, i,
                           sum);
        if (!(count >= 0) || !isfinite(count))
            return gs_fail(err, GS_E_FORMAT, "%s: %s: count %" PRIu64 " is %g", path, e->name,
                           i / cols, count);
        diagonal[i] = count > 0 ? sum / count : 1;
    }
    return GS_OK;
}

static int take(struct gs_imatrix *m, const struct gs_store *model, const char *path,
                const struct entry *e, struct gs_err *err)
{
    const struct gs_tensor *t = gs_store_find(model, e->name);

    if (!t || t->n_dims < 2 || t->dim[3] != 1)
        return GS_OK;
    uint64_t experts = t->dim[2], n = t->dim[0] * experts;
    if (e->experts ? e->cols != t->dim[0] || e->experts != experts : e->cols != n)
        return gs_fail(err, GS_E_FORMAT, "%s: %s has %" PRIu64 " values, the matrix has %" PRIu64
                       " columns%s", path, e->name, e->cols * GS_MAX(e->experts, 1u), t->dim[0],
                       experts > 1 ? " for each expert" : "");
    if (experts == 1 && count_of(e, 0) == 0)
        return GS_OK; /* no token came by */
    double *diagonal = gs_arena_alloc(&m->arena, n, sizeof *diagonal);
    if (!diagonal)
        return gs_fail_nomem(err, path);
    int rc = fill(e, t->dim[0], experts, path, diagonal, err);
    if (rc)
        return rc;
    size_t index = (size_t)(t - gs_store_tensor(model, 0));
    m->found += m->diagonal[index] == NULL;
    m->diagonal[index] = diagonal;
    return GS_OK;
}

/* Points the entry's counts at NAME.counts, if the file has it. */
static int find_counts(struct gs_store *store, const char *path, struct entry *e,
                       struct gs_err *err)
{
    char name[NAME_BYTES + 8];
    const void *data;

    snprintf(name, sizeof name, "%s.counts", e->name);
    const struct gs_tensor *t = gs_store_find(store, name);
    if (!t)
        return GS_OK;
    if (t->type != GS_TYPE_F32 || t->bytes != 4 * e->experts)
        return gs_fail(err, GS_E_FORMAT, "%s: tensor %s: expected %" PRIu64 " numbers of type "
                       "F32", path, name, e->experts);
    int rc = gs_store_data(store, t, &data, err);
    e->counts = data;
    return rc;
}

static int read_gguf(struct gs_imatrix *m, const struct gs_store *model, const char *path,
                     struct gs_err *err)
{
    struct gs_store *store;
    char name[NAME_BYTES];
    int rc = gs_store_open(path, &store, err);

    if (rc)
        return rc;
    for (size_t i = 0; !rc && i < gs_store_count(store); i++) {
        const struct gs_tensor *t = gs_store_tensor(store, i);
        size_t n = strlen(t->name), tail = strlen(GGUF_TAIL);
        const void *data;
        if (n <= tail || n - tail >= sizeof name || strcmp(t->name + n - tail, GGUF_TAIL) ||
            t->type != GS_TYPE_F32 || t->dim[2] != 1 || t->dim[3] != 1)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)(n - tail), t->name);
        struct entry e = {.name = name, .cols = t->dim[0], .experts = t->dim[1], .count = 1};
        if ((rc = gs_store_data(store, t, &data, err)) ||
            (rc = find_counts(store, path, &e, err)))
            break;
        e.values = data;
        rc = take(m, model, path, &e, err);
    }
    gs_store_close(&store);
    return rc;
}

static int read_legacy(struct gs_imatrix *m, const struct gs_store *model,
                       const struct gs_map *map, struct gs_err *err)
{
    struct gs_cursor c = gs_cursor_make(map->data, map->size);
    uint32_t entries = gs_cursor_u32(&c);
    int rc = GS_OK;

    for (uint32_t i = 0; !rc && i < entries && !c.failed; i++) {
        char name[NAME_BYTES];
        uint32_t size = gs_cursor_u32(&c);
        const uint8_t *text = gs_cursor_bytes(&c, size);
        uint32_t calls = gs_cursor_u32(&c);
        uint64_t n = gs_cursor_u32(&c);
        const uint8_t *values = gs_cursor_bytes(&c, 4 * n);
        if (c.failed || !size || size >= sizeof name || memchr(text, 0, size))
            rc = gs_fail(err, GS_E_FORMAT, "%s: entry %" PRIu32 " of %" PRIu32 " is broken: is "
                         "this an imatrix?", map->path, i, entries);
        if (rc)
            break;
        memcpy(name, text, size);
        name[size] = 0;
        /* Sums of an expert were put on the number of calls by whoever wrote them. */
        const struct entry e = {.name = name, .cols = n, .values = values,
                                .count = (float)GS_MAX(calls, 1u)};
        rc = take(m, model, map->path, &e, err);
    }
    return rc;
}

int gs_imatrix_open(const char *path, const struct gs_store *model, struct gs_imatrix *out,
                    struct gs_err *err)
{
    struct gs_map *map = NULL;
    int rc = gs_map_open(path, &map, err);

    *out = (struct gs_imatrix){.diagonal = NULL};
    if (rc)
        return rc;
    out->hash = gs_fingerprint(0, map->data, map->size);
    out->diagonal = gs_alloc(gs_store_count(model), sizeof *out->diagonal);
    if (!out->diagonal)
        rc = gs_fail_nomem(err, path);
    else if (map->size >= 4 && !memcmp(map->data, "GGUF", 4))
        rc = read_gguf(out, model, path, err);
    else
        rc = read_legacy(out, model, map, err);
    gs_map_close(&map);
    if (!rc && !out->found)
        rc = gs_fail(err, GS_E_FORMAT, "%s: has no entry for any matrix of the model", path);
    if (rc)
        gs_imatrix_clear(out);
    return rc;
}

void gs_imatrix_clear(struct gs_imatrix *m)
{
    gs_free(&m->diagonal);
    gs_arena_clear(&m->arena);
}
