/* SPDX-License-Identifier: MIT
 * What is taken over was fitted to the inputs of its own run: where types before it changed,
 * these differ a little from what it will see now. That is the price of not doing it again.
 *
 * Errors of such matrices come from the old file's list; with next to no weight in sums, since
 * the energies that they are relative to are not in it. */
#include "recipe/reuse.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/hash.h"
#include "file/map.h"
#include "recipe/fold.h"

#define WEIGHT 1e-30

static int check_source(const struct gs_work *work, const struct gs_store *old,
                        struct gs_err *err)
{
    struct gs_str hash = {NULL, 0};
    char want[20];
    int rc = gs_meta_get_str(gs_store_meta(old), "gosset.source.hash", &hash, err);

    snprintf(want, sizeof want, "%016" PRIx64, work->source_hash);
    if (rc < 0)
        return rc;
    if (rc == 0 || !gs_str_equal(hash, want))
        return gs_fail(err, GS_E_ARG, "%s: was not made from this model", gs_store_path(old));
    uint64_t fold = work->fold ? work->fold->hash : 0;
    snprintf(want, sizeof want, "%016" PRIx64, fold);
    if ((rc = gs_meta_get_str(gs_store_meta(old), "gosset.fold.hash", &hash, err)) < 0)
        return rc;
    if (rc ? !gs_str_equal(hash, want) : fold != 0)
        return gs_fail(err, GS_E_ARG, "%s: other transforms are folded into its weights (--fold "
                       "none makes files without any)", gs_store_path(old));
    return GS_OK;
}

/* The relative error that the old file tells for a name; 0 if none. */
static double old_error(const struct gs_store *old, const char *name)
{
    struct gs_array names, errors;

    if (gs_meta_get_array(gs_store_meta(old), "gosset.round.tensors", GS_VALUE_STRING, &names,
                          NULL) != 1 ||
        gs_meta_get_array(gs_store_meta(old), "gosset.round.errors", GS_VALUE_F64, &errors,
                          NULL) != 1)
        return 0;
    for (uint64_t i = 0; i < names.count && i < errors.count; i++)
        if (gs_str_equal(gs_array_str(&names, i), name))
            return gs_array_float(&errors, i);
    return 0;
}

static int take(struct gs_work *work, struct gs_store *old, size_t index,
                const struct gs_tensor *t, struct gs_err *err)
{
    const struct gs_plan_item *item = &work->plan.items[index];
    size_t bytes = (size_t)gs_work_payload_bytes(item);
    uint8_t *payload = gs_alloc(bytes, 1);
    const void *data;
    int rc = payload ? gs_store_data(old, t, &data, err) : gs_fail_nomem(err, t->name);

    if (!rc) {
        const struct gs_rounded rounded = {.loss = WEIGHT * old_error(old, t->name),
                                           .energy = WEIGHT, .unit = 1};
        memcpy(payload, data, item->codes_bytes);
        gs_work_put_rounded(&rounded, payload + item->codes_bytes);
        rc = gs_journal_add(work->journal, index, payload, bytes, err);
    }
    gs_free(&payload);
    return rc;
}

int gs_reuse_hash(const char *path, uint64_t *out, struct gs_err *err)
{
    struct gs_map *map = NULL;
    int rc = gs_map_open(path, &map, err);

    if (!rc)
        *out = gs_fingerprint(0, map->data, map->size);
    gs_map_close(&map);
    return rc;
}

int gs_reuse(struct gs_work *work, const char *path, size_t *reused, struct gs_err *err)
{
    struct gs_store *old = NULL;
    int rc = gs_store_open(path, &old, err);

    *reused = 0;
    if (!rc)
        rc = check_source(work, old, err);
    for (size_t i = 0; !rc && i < work->plan.n_items; i++) {
        const struct gs_plan_item *item = &work->plan.items[i];
        const struct gs_tensor *t = item->stock ? gs_store_find(old, item->source->name) : NULL;
        if (!t || t->type != item->type || t->n_dims != item->source->n_dims ||
            memcmp(t->dim, item->source->dim, sizeof t->dim) || t->bytes != item->codes_bytes ||
            gs_journal_bytes(work->journal, i))
            continue;
        rc = take(work, old, i, t, err);
        *reused += rc == GS_OK;
    }
    gs_store_close(&old);
    return rc;
}
