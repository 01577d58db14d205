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

/* n values of the matrix `name`. */
static int take(struct gs_imatrix *m, const struct gs_store *model, const char *path,
                const char *name, const uint8_t *values, uint64_t n, struct gs_err *err)
{
    const struct gs_tensor *t = gs_store_find(model, name);

    if (!t || t->n_dims != 2)
        return GS_OK;
    if (t->dim[0] != n)
        return gs_fail(err, GS_E_FORMAT, "%s: %s has %" PRIu64 " values, the matrix has %" PRIu64
                       " columns", path, name, n, t->dim[0]);
    double *diagonal = gs_arena_alloc(&m->arena, n, sizeof *diagonal);
    if (!diagonal)
        return gs_fail_nomem(err, path);
    for (uint64_t i = 0; i < n; i++) {
        diagonal[i] = (double)gs_load_f32(values + 4 * i);
        if (!(diagonal[i] >= 0) || !isfinite(diagonal[i]))
            return gs_fail(err, GS_E_FORMAT, "%s: %s: value %" PRIu64 " is %g", path, name, i,
                           diagonal[i]);
    }
    size_t index = (size_t)(t - gs_store_tensor(model, 0));
    m->found += m->diagonal[index] == NULL;
    m->diagonal[index] = diagonal;
    return GS_OK;
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
            t->type != GS_TYPE_F32 || t->dim[1] != 1 || t->dim[2] != 1 || t->dim[3] != 1)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)(n - tail), t->name);
        if (!(rc = gs_store_data(store, t, &data, err)))
            rc = take(m, model, path, name, data, t->dim[0], err);
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
        gs_cursor_u32(&c);
        uint64_t n = gs_cursor_u32(&c);
        const uint8_t *values = gs_cursor_bytes(&c, 4 * n);
        if (c.failed || !size || size >= sizeof name || memchr(text, 0, size))
            rc = gs_fail(err, GS_E_FORMAT, "%s: entry %" PRIu32 " of %" PRIu32 " is broken: is "
                         "this an imatrix?", map->path, i, entries);
        if (rc)
            break;
        memcpy(name, text, size);
        name[size] = 0;
        rc = take(m, model, map->path, name, values, n, err);
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
