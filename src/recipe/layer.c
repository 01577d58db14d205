/* SPDX-License-Identifier: MIT
 * One block: each half rounded, and the states moved on.
 *
 *   states ──half (source weights), tapped──▶ H of each distinct input         thrown away
 *   each input:   T_in = Hadamard · diag(signs / t),  t from diag(H) and ‖W_:i‖
 *                 H ← T_in H T_inᵀ = L D Lᵀ − σI
 *   each matrix:  W ← T_out W T_in⁻¹, rounded with L, scales refitted, to the journal
 *   states ──half (rounded weights)──▶ states                                the next input
 *
 * The halves are attention and FFN, so that the FFN is fitted to what the rounded attention
 * gives it. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/clock.h"
#include "core/cursor.h"
#include "core/half.h"
#include "core/log.h"
#include "linalg/gram.h"
#include "recipe/recode.h"
#include "recipe/work.h"

uint64_t gs_work_payload_bytes(const struct gs_plan_item *item)
{
    return item->codes_bytes + gs_plan_scale_bytes(item) + gs_plan_factor_bytes(item) +
           gs_plan_bias_bytes(item) + gs_plan_losses_bytes(item) + GS_ROUNDED_BYTES;
}

int gs_work_rounded(const struct gs_work *work, size_t item, struct gs_rounded *out,
                    struct gs_err *err)
{
    uint8_t p[GS_ROUNDED_BYTES];
    uint64_t bytes = gs_work_payload_bytes(&work->plan.items[item]);

    if (gs_journal_bytes(work->journal, item) != bytes)
        return gs_fail(err, GS_E_FORMAT, "%s: the record of tensor %s has the wrong size",
                       gs_journal_path(work->journal), work->plan.items[item].source->name);
    int rc = gs_journal_get(work->journal, item, bytes - sizeof p, p, sizeof p, err);
    *out = (struct gs_rounded){.loss = gs_load_f64(p), .energy = gs_load_f64(p + 8),
                               .unit = gs_load_f32(p + 16)};
    return rc;
}

void gs_work_put_rounded(const struct gs_rounded *rounded, uint8_t *p)
{
    const double sums[2] = {rounded->loss, rounded->energy};
    uint32_t unit = gs_f32_bits(rounded->unit);
    uint64_t bits[2];

    memcpy(bits, sums, sizeof bits);
    for (int i = 0; i < 16; i++)
        p[i] = (uint8_t)(bits[i / 8] >> i % 8 * 8);
    for (int i = 0; i < 4; i++)
        p[16 + i] = (uint8_t)(unit >> i * 8);
}

/* ---- halves of a block -------------------------------------------------------------------- */

bool gs_input_in_part(enum gs_plan_input input, enum gs_block_part part)
{
    bool attention = input == GS_INPUT_ATTN || input == GS_INPUT_ATTN_OUTPUT;

    return input >= GS_INPUT_BLOCK_COUNT || part == GS_BLOCK_WHOLE ||
           attention == (part == GS_BLOCK_ATTENTION);
}

/* ---- rounding ----------------------------------------------------------------------------- */

/* What matrices with the same input share. */
struct shared {
    struct gs_moments *moments;
    struct gs_transform *transform;
    struct gs_ldl ldl;
};

/* So many weights are held at a time where rows are rounded apart. */
#define STRIP_FLOATS ((size_t)4 << 20)
#define STRIP_ROWS (2 * GS_NATIVE_ROWS) /* what block types are rounded by (round/block.h) */

size_t gs_work_strip_rows(const struct gs_plan_item *item)
{
    size_t rows = STRIP_FLOATS / item->cols / STRIP_ROWS * STRIP_ROWS;

    if (item->mixes_rows)
        return item->rows;
    return GS_MIN(item->rows, GS_MAX(rows, STRIP_ROWS));
}

int gs_work_decode(const struct gs_work *work, const struct gs_plan_item *item, size_t first,
                   size_t rows, float *w, struct gs_err *err)
{
    return gs_decode_rows(work->store, work->team, item->source, first, rows, w, err);
}

/* An importance matrix's diagonal for the input that items[first] reads: that of any of its
 * matrices. Ones where there is none, which only the model's own matrices may lack. */
int gs_work_diagonal(const struct gs_work *work, size_t first, size_t end, double *h,
                     struct gs_err *err)
{
    const struct gs_plan_item *items = work->plan.items;
    const double *found = NULL;

    for (size_t i = first; !found && i < end; i++)
        if (items[i].input == items[first].input && gs_plan_is_rounded(&items[i]))
            found = work->imatrix.diagonal[items[i].source - gs_store_tensor(work->store, 0)];
    if (!found && items[first].input < GS_INPUT_HEAD)
        return gs_fail(err, GS_E_FORMAT, "the importance matrix has no entry for it");
    for (size_t i = 0; i < items[first].cols; i++)
        h[i] = found ? found[i] : 1;
    return GS_OK;
}

/* Transform and factor of the input that items[first] reads: from second moments, from their
 * diagonal alone, or with neither. */
static int make_ldl(struct gs_work *work, size_t first, size_t end, struct shared *shared,
                    struct gs_err *err)
{
    struct gs_moments *in = shared->moments;
    size_t block = work->plan.grid->block_cols, n = work->plan.items[first].cols;
    size_t tokens = work->calib.sequences * work->calib.ctx;
    double damping = in->h ? gs_recipe_damping(work->recipe.damping, n, tokens) : GS_DAMPING;
    double *diagonal = gs_alloc(n, sizeof *diagonal);
    int rc = diagonal ? GS_OK : gs_fail_nomem(err, "second moments");

    for (size_t i = 0; !rc && in->h && i < n; i++)
        diagonal[i] = in->h[i * n + i];
    if (!rc && work->imatrix.diagonal)
        rc = gs_work_diagonal(work, first, end, diagonal, err);
    if (!rc)
        rc = gs_work_transform(work, first, end, diagonal, in->most, &shared->transform, err);
    if (!rc && in->h) {
        if (!(rc = gs_transform_hessian(shared->transform, work->team, in->h, err)))
            rc = gs_ldl_create(work->team, in->h, n, block, damping, &shared->ldl,
                               err);
    } else if (!rc) {
        rc = gs_transform_hessian_diagonal(shared->transform, diagonal, err);
        if (!rc)
            rc = gs_ldl_create_diagonal(work->imatrix.diagonal ? diagonal : NULL, n, block,
                                        damping, &shared->ldl, err);
    }
    gs_free(&diagonal);
    return rc;
}

/* Codes are in the payload already; the rest of it. */
static void put_rest(const struct gs_plan_item *item, const float *scales,
                     const struct gs_transform *in, const struct gs_round_result *result,
                     uint8_t *payload)
{
    uint8_t *p = payload + item->codes_bytes;

    for (size_t r = 0; r < item->rows; r++, p += 2)
        gs_put_f16(scales[r] / result->scale_unit, p);
    for (size_t c = 0; item->factor && c < item->cols; c++, p += 2)
        gs_put_f16(gs_transform_factor(in)[c], p);
    gs_work_put_rounded(&(struct gs_rounded){.loss = result->loss, .energy = result->energy,
                                             .unit = result->scale_unit}, p);
}

/* The weights to be rounded, rows first … of the item, in the basis they are rounded in. */
static int get_weights(struct gs_work *work, const struct gs_plan_item *item,
                       const struct shared *shared, const struct gs_transform *out, size_t first,
                       size_t rows, float *w, struct gs_err *err)
{
    int rc = gs_work_decode(work, item, first, rows, w, err);

    if (!rc)
        rc = gs_transform_rows(shared->transform, GS_TRANSFORM_DUAL, work->team, w, rows,
                               item->cols, err);
    if (!rc && out)
        rc = gs_transform_columns(out, GS_TRANSFORM_FORWARD, work->team, w, item->cols,
                                  item->cols, err);
    return rc;
}

/* Strip after strip; out: sums over all of them and the largest unit of their scales. */
static int round_strips(struct gs_work *work, const struct gs_plan_item *item,
                        const struct shared *shared, const struct gs_transform *out_transform,
                        float *scales, uint8_t *codes, struct gs_round_result *out,
                        struct gs_err *err)
{
    size_t strip = gs_work_strip_rows(item);
    float *w = gs_alloc(strip * item->cols, sizeof *w);
    struct gs_round job = {.ldl = &shared->ldl, .cols = item->cols, .w = w,
                           .w_stride = item->cols, .codes_stride = item->codes_stride,
                           .refit = work->recipe.refit, .f16_scales = true};
    int rc = w ? gs_work_codec(work, item->rate, &job.codec, err)
               : gs_fail_nomem(err, item->source->name);

    *out = (struct gs_round_result){0};
    for (size_t first = 0; !rc && first < item->rows; first += strip) {
        struct gs_round_result one;
        job.rows = GS_MIN(strip, item->rows - first);
        job.scales = scales + first;
        job.codes = codes + first / GS_NATIVE_ROWS * item->codes_stride;
        if ((rc = get_weights(work, item, shared, out_transform, first, job.rows, w, err)) ||
            (rc = gs_round_matrix(work->rounder, &job, work->team, &one, err)))
            break;
        out->loss += one.loss;
        out->energy += one.energy;
        out->scale_unit = GS_MAX(out->scale_unit, one.scale_unit);
        rc = gs_work_progress(work, err);
    }
    gs_free(&w);
    return rc;
}

static int round_item(struct gs_work *work, size_t index, void *ctx, struct gs_err *err)
{
    const struct shared *shared = ctx;
    const struct gs_plan_item *item = &work->plan.items[index];
    const struct gs_transform_fit fit = {.seed = work->recipe.seed, .stream = item->out_stream};
    size_t bytes = (size_t)gs_work_payload_bytes(item);
    uint8_t *payload = gs_alloc(bytes, 1);
    float *scales = gs_alloc(item->rows, sizeof *scales);
    struct gs_transform *out = NULL;
    struct gs_round_result result;
    int rc = payload && scales ? GS_OK : gs_fail_nomem(err, item->source->name);

    if (!rc && item->mixes_rows)
        rc = gs_transform_create(gs_transform_find(work->recipe.transform_out), item->rows, &fit,
                                 &out, err);
    if (!rc && !(rc = round_strips(work, item, shared, out, scales, payload, &result, err))) {
        put_rest(item, scales, shared->transform, &result, payload);
        rc = gs_journal_add(work->journal, index, payload, bytes, err);
    }
    gs_transform_destroy(&out);
    gs_free(&scales);
    gs_free(&payload);
    return rc;
}

int gs_work_each(struct gs_work *work, size_t first, size_t end, gs_work_item_fn fn,
                 void *ctx, struct gs_err *err)
{
    const struct gs_plan_item *items = work->plan.items;
    int rc = GS_OK;

    for (size_t i = first; !rc && i < end; i++) {
        if (!gs_plan_is_rounded(&items[i]) || items[i].input != items[first].input ||
            gs_journal_bytes(work->journal, i))
            continue;
        if (!(rc = fn(work, i, ctx, err)))
            work->done += items[i].rows * items[i].cols;
        else if (rc != GS_E_STOPPED && err && !strstr(err->msg, items[i].source->name))
            rc = gs_err_prefix(err, rc, items[i].source->name);
        if (!rc)
            rc = gs_work_progress(work, err);
    }
    return rc;
}

/* All unfinished items that read the input of items[first]. */
static int round_input(struct gs_work *work, size_t first, size_t end, struct gs_moments *in,
                       struct gs_err *err)
{
    const struct gs_plan_item *items = work->plan.items;
    struct shared shared = {.moments = in};
    int rc;

    if (items[first].stock || items[first].part) {
        rc = items[first].part ? gs_work_round_parts(work, first, end, in, err)
                               : gs_work_round_stock(work, first, end, in->h, err);
        gs_free(&in->h);
        return rc;
    }
    rc = make_ldl(work, first, end, &shared, err);
    if (rc)
        rc = gs_err_prefix(err, rc, items[first].source->name);
    else
        rc = gs_work_each(work, first, end, round_item, &shared, err);
    gs_ldl_clear(&shared.ldl);
    gs_transform_destroy(&shared.transform);
    gs_free(&in->h);
    return rc;
}

/* ---- one block ---------------------------------------------------------------------------- */

/* Adds up the errors of what is finished and tells them. */
static int tell(struct gs_work *work, uint32_t il, size_t first, size_t end,
                struct gs_err *err)
{
    uint32_t n_layer = work->lm->config.n_layer;
    double loss = 0, energy = 0;
    int rc = GS_OK;

    for (size_t i = first; !rc && i < end; i++) {
        struct gs_rounded r;
        if (!gs_plan_is_rounded(&work->plan.items[i]))
            continue;
        rc = gs_work_rounded(work, i, &r, err);
        loss += r.loss;
        energy += r.energy;
    }
    double share = energy > 0 ? loss / energy : 0;
    if (il < n_layer) {
        work->loss += loss;
        work->energy += energy;
        gs_log(GS_LOG_INFO, "block %" PRIu32 " of %" PRIu32 ": relative error %.4g", il + 1,
               n_layer, share);
    } else {
        gs_log(GS_LOG_INFO, "embedding and head: relative error %.4g", share);
    }
    return rc;
}

/* One half: everything that is unfinished rounded, the states moved on. */
static int do_part(struct gs_work *work, uint32_t il, enum gs_block_part part, size_t first,
                   size_t end, struct gs_err *err)
{
    struct gs_moments inputs[GS_INPUT_EMBD + 1] = {{.h = NULL}};
    const struct gs_plan_item *items = work->plan.items;
    int rc = work->uses_h ? gs_moments_gather(work, il, part, first, end, inputs, err) : GS_OK;

    double start = gs_cpu_seconds();
    for (size_t i = first, seen = 0; !rc && i < end; i++) {
        if (!gs_plan_is_rounded(&items[i]) || seen >> items[i].input & 1 ||
            !gs_input_in_part(items[i].input, part))
            continue;
        bool all_done = true;
        for (size_t j = i; j < end; j++)
            all_done = all_done && (!gs_plan_is_rounded(&items[j]) ||
                                    items[j].input != items[i].input ||
                                    gs_journal_bytes(work->journal, j));
        seen |= (size_t)1 << items[i].input;
        if (!all_done)
            rc = round_input(work, i, end, &inputs[items[i].input], err);
    }
    work->seconds.rounding += gs_cpu_seconds() - start;
    for (size_t i = 0; i < GS_COUNT(inputs); i++) {
        gs_free(&inputs[i].h);
        gs_free(&inputs[i].mean);
        gs_free(&inputs[i].most);
    }
    if (!rc && work->uses_h && il < work->lm->config.n_layer)
        rc = gs_work_advance(work, il, part, first, end, err);
    return rc;
}

int gs_work_layer(struct gs_work *work, uint32_t il, size_t first, size_t end,
                  struct gs_err *err)
{
    bool whole = il == work->lm->config.n_layer || work->lm->config.parallel_residual ||
                 !work->uses_h;
    int rc = do_part(work, il, whole ? GS_BLOCK_WHOLE : GS_BLOCK_ATTENTION, first, end, err);

    if (!rc && !whole)
        rc = do_part(work, il, GS_BLOCK_FFN, first, end, err);
    if (!rc)
        rc = tell(work, il, first, end, err);
    for (size_t i = first; !rc && i < end && il < work->lm->config.n_layer; i++)
        gs_store_release(work->store, work->plan.items[i].source);
    return rc;
}
