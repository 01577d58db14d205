/* SPDX-License-Identifier: MIT
 * Folding as a step of quantizing: between the calibration set and the plan, the source is
 * replaced by the folded model, so that everything after it, calibration included, sees that. */
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <strings.h>
#include <sys/statvfs.h>

#include "core/alloc.h"
#include "grid/format.h"
#include "recipe/fold.h"
#include "recipe/work.h"

/* The k-quant whose bits are nearest to the budget: what errors are measured with where types
 * are not chosen yet. */
static enum gs_type nearest_type(const struct gs_work *work)
{
    static const enum gs_type types[] = {GS_TYPE_Q2_K, GS_TYPE_Q3_K, GS_TYPE_Q4_K, GS_TYPE_Q5_K,
                                         GS_TYPE_Q6_K, GS_TYPE_Q8_0};
    const struct gs_quantize_options *o = work->options;
    double weights = 0, bits = o->bpw, least = INFINITY;
    enum gs_type best = types[0];

    for (size_t i = 0; i < gs_store_count(work->store); i++) {
        const uint64_t *dim = gs_store_tensor(work->store, i)->dim;
        weights += (double)dim[0] * (double)dim[1] * (double)dim[2];
    }
    if (o->size)
        bits = 8 * (double)o->size / weights;
    for (size_t i = 0; i < GS_COUNT(types); i++) {
        const struct gs_type_info *t = gs_type_info(types[i]);
        double far = fabs(8.0 * t->bytes / t->block - bits);
        if (far < least) {
            least = far;
            best = types[i];
        }
    }
    return best;
}

/* By tensor of the store. */
static int *find_types(const struct gs_work *work)
{
    size_t n = gs_store_count(work->store);
    int *types = gs_alloc(n, sizeof *types);

    for (size_t i = 0; types && i < n; i++) {
        const struct gs_tensor *t = gs_store_tensor(work->store, i);
        enum gs_type type = work->plan.items ? GS_TYPE_COUNT
                                             : gs_mix_fallback(nearest_type(work), t->dim[0]);
        types[i] = t->n_dims == 2 && gs_format_find(type) ? (int)type : -1;
    }
    for (size_t i = 0; types && i < work->plan.n_items; i++) {
        const struct gs_plan_item *item = &work->plan.items[i];
        types[item->source - gs_store_tensor(work->store, 0)] = item->stock ? (int)item->type : -1;
    }
    return types;
}

/* Room beside dst for the folded model, about: its blocks in f32. Said before it is fitted. */
static int check_room(const struct gs_work *work, const char *dst, struct gs_err *err)
{
    const char *slash = strrchr(dst, '/');
    char *folder = slash ? gs_strndup(dst, (size_t)(slash - dst) + 1) : gs_strndup(".", 1);
    uint64_t bytes = 0;
    struct statvfs fs;

    if (!folder)
        return gs_fail_nomem(err, dst);
    int rc = statvfs(folder, &fs);
    gs_free(&folder);
    for (size_t i = 0; i < gs_store_count(work->store); i++) {
        const struct gs_tensor *t = gs_store_tensor(work->store, i);
        if (!strncmp(t->name, "blk.", 4))
            bytes += t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3] * sizeof(float);
    }
    uint64_t room = rc ? UINT64_MAX : (uint64_t)fs.f_bavail * fs.f_frsize;
    return room >= bytes ? GS_OK
                         : gs_fail(err, GS_E_IO, "%s: the folded model needs %" PRIu64 " bytes "
                                   "beside it, the disk has room for %" PRIu64 " (--fold none "
                                   "needs none)", dst, bytes, room);
}

/* The folded model in place of the source. */
static int replace(struct gs_work *work, const char *dst, struct gs_err *err)
{
    struct gs_store *folded;
    struct gs_lm *lm;
    int rc = gs_fold_open(work->fold, dst, &folded, NULL, err);

    if (rc)
        return rc;
    work->source = work->store;
    work->source_lm = work->lm;
    work->store = folded;
    work->lm = NULL;
    if (!(rc = gs_lm_open(folded, &lm, err)))
        work->lm = lm;
    if (rc || !work->decoder)
        return rc;
    gs_decoder_destroy(&work->decoder);
    return gs_work_decoder(work, err);
}

int gs_work_fold(struct gs_work *work, const char *list, const char *dst, bool need_model,
                 struct gs_err *err)
{
    const struct gs_quantize_options *o = work->options;
    struct gs_fold_options options = {.list = list, .seed = work->recipe.seed,
                                      .damping = work->recipe.damping, .team = work->team,
                                      .progress = o->progress, .progress_ctx = o->progress_ctx};
    int *types = find_types(work), rc = types ? GS_OK : gs_fail_nomem(err, "folding");

    if (!rc && need_model)
        rc = check_room(work, dst, err);
    if (work->uses_h) {
        options.calib = &work->calib;
        options.decoder = work->decoder;
        options.types = types;
    }
    if (!rc)
        rc = gs_fold_create(work->lm, &options, &work->fold, err);
    gs_free(&types);
    if (!rc && work->fold->on && !(rc = gs_fold_size(work->fold, &work->fold_bytes, err)) &&
        (need_model || work->fold->on >> GS_FOLD_UNTIE & 1))
        rc = replace(work, dst, err);
    return rc;
}
