/* SPDX-License-Identifier: MIT
 * One block: second moments, rounding, and the states moved on.
 *
 *   states ──block (source weights), tapped──▶ H of each distinct input        thrown away
 *   each input:   T_in = Hadamard · diag(signs / t),  t from diag(H) and ‖W_:i‖
 *                 H ← T_in H T_inᵀ = L D Lᵀ − σI
 *   each matrix:  W ← T_out W T_in⁻¹, rounded with L, scales refitted, to the journal
 *   states ──block (rounded weights)──▶ states                               the next input
 *
 * The second forward reads the weights back from the journal, as running the file will, so a
 * resumed run sees the same numbers. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/cursor.h"
#include "core/half.h"
#include "core/log.h"
#include "linalg/gram.h"
#include "recipe/work.h"

/* Matrices of one block that are rounded. */
#define BLOCK_ITEMS_MAX 8

/* One distinct input of the matrices in work. */
struct input {
    double *h; /* (n, n), NULL: not gathered */
    size_t n;
};

/* Where the tap puts what it sees. */
struct gather {
    const struct gs_work *work;
    const struct gs_block_weights *w;
    struct input *inputs; /* by enum gs_plan_input */
    int rc;
    struct gs_err *err;
};

uint64_t gs_work_payload_bytes(const struct gs_plan_item *item)
{
    return item->codes_bytes + gs_plan_scale_bytes(item) + gs_plan_factor_bytes(item) +
           GS_ROUNDED_BYTES;
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

/* ---- second moments ----------------------------------------------------------------------- */

static void gather_input(void *ctx, const struct gs_matrix *w, const float *x, size_t T)
{
    struct gather *g = ctx;
    const struct gs_block_weights *b = g->w;
    const struct gs_matrix *const first_of[GS_INPUT_BLOCK_COUNT] = {
        [GS_INPUT_ATTN] = &b->attn_q, [GS_INPUT_ATTN_OUTPUT] = &b->attn_output,
        [GS_INPUT_FFN] = &b->ffn_up, [GS_INPUT_FFN_DOWN] = &b->ffn_down};

    for (size_t i = 0; i < GS_COUNT(first_of); i++)
        if (!g->rc && w == first_of[i] && g->inputs[i].h)
            g->rc = gs_gram_add(g->work->team, x, T, w->cols, w->cols, g->inputs[i].h, g->err);
}

static int gather_block(struct gs_work *work, uint32_t il, struct input *inputs,
                        struct gs_err *err)
{
    const struct gs_block_weights *w = &work->lm->blocks[il];
    struct gather g = {.work = work, .w = w, .inputs = inputs, .err = err};
    size_t ctx = work->calib.ctx, floats = ctx * work->lm->config.n_embd;
    int rc = GS_OK;

    gs_decoder_tap(work->decoder, gather_input, &g);
    for (size_t s = 0; !rc && s < work->calib.sequences; s++) {
        memcpy(work->x, work->states.data + s * floats, floats * sizeof *work->x);
        gs_decoder_block(work->decoder, il, w, work->x, ctx);
        rc = g.rc ? g.rc : gs_work_progress(work, err);
    }
    gs_decoder_tap(work->decoder, NULL, NULL);
    return rc;
}

static int gather_head(struct gs_work *work, struct input *input, struct gs_err *err)
{
    size_t ctx = work->calib.ctx, C = work->lm->config.n_embd;
    int rc = GS_OK;

    for (size_t s = 0; !rc && s < work->calib.sequences; s++) {
        gs_decoder_final_norm(work->decoder, work->states.data + s * ctx * C, ctx, work->x);
        rc = gs_gram_add(work->team, work->x, ctx, C, C, input->h, err);
    }
    return rc;
}

/* Zeroed matrices for the inputs of unfinished items, then the sums over the set. */
static int gather_inputs(struct gs_work *work, uint32_t il, size_t first, size_t end,
                         struct input *inputs, struct gs_err *err)
{
    bool block = il < work->lm->config.n_layer, any = false;
    double tokens = (double)(work->calib.sequences * work->calib.ctx);
    int rc = GS_OK;

    for (size_t i = first; i < end && work->uses_h; i++) {
        const struct gs_plan_item *item = &work->plan.items[i];
        struct input *in = &inputs[item->input];
        if (!gs_plan_is_rounded(item) || item->input == GS_INPUT_EMBD || in->h ||
            gs_journal_bytes(work->journal, i))
            continue;
        in->n = item->cols;
        in->h = gs_alloc(in->n * in->n, sizeof *in->h);
        if (!in->h)
            return gs_fail_nomem(err, item->source->name);
        any = true;
    }
    if (any)
        rc = block ? gather_block(work, il, inputs, err)
                   : gather_head(work, &inputs[GS_INPUT_HEAD], err);
    for (size_t i = 0; !rc && i <= GS_INPUT_EMBD; i++)
        if (inputs[i].h)
            gs_gram_finish(inputs[i].h, inputs[i].n, 1 / tokens);
    return rc;
}

/* ---- rounding ----------------------------------------------------------------------------- */

struct decode_job {
    const struct gs_tensor *t;
    const uint8_t *data;
    uint64_t row_bytes;
    float *w;
};

static void decode_rows(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct decode_job *job = ctx;
    size_t cols = job->t->dim[0];

    for (size_t r = begin; r < end; r++)
        gs_kernels()->decode[job->t->type](job->data + r * job->row_bytes, job->w + r * cols,
                                           cols);
}

int gs_work_decode(const struct gs_work *work, const struct gs_plan_item *item, float **out,
                   struct gs_err *err)
{
    struct decode_job job = {.t = item->source};
    const void *data;
    int rc;

    if ((rc = gs_store_data(work->store, item->source, &data, err)) ||
        (rc = gs_type_row_bytes(item->source->type, item->cols, &job.row_bytes, err)))
        return rc;
    job.data = data;
    job.w = *out = gs_alloc(item->rows * item->cols, sizeof **out);
    if (!job.w)
        return gs_fail_nomem(err, item->source->name);
    gs_team_run(work->team, item->rows, 16, decode_rows, &job);
    for (size_t i = 0; i < item->rows * item->cols; i++)
        if (!isfinite(job.w[i]))
            return gs_fail(err, GS_E_FORMAT, "%s: tensor %s: row %zu, column %zu is %s",
                           item->source->file, item->source->name, i / item->cols,
                           i % item->cols, isnan(job.w[i]) ? "NaN" : "infinite");
    return GS_OK;
}

/* Σ_r W_ri² over all matrices that read the input of items[first]. */
static int column_squares(const struct gs_work *work, size_t first, size_t end, double *squares,
                          struct gs_err *err)
{
    const struct gs_plan_item *items = work->plan.items;
    int rc = GS_OK;

    for (size_t i = first; !rc && i < end; i++) {
        float *w = NULL;
        if (!items[i].native || items[i].input != items[first].input)
            continue;
        rc = gs_work_decode(work, &items[i], &w, err);
        size_t cols = items[i].cols;
        for (size_t r = 0; !rc && r < items[i].rows; r++)
            for (size_t c = 0; c < cols; c++)
                squares[c] += (double)w[r * cols + c] * (double)w[r * cols + c];
        gs_free(&w);
    }
    return rc;
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

/* The transform of the input that items[first] reads, the rescale folded in. */
static int make_transform(const struct gs_work *work, size_t first, size_t end,
                          const double *diagonal_h, struct gs_transform **out,
                          struct gs_err *err)
{
    const struct gs_plan_item *item = &work->plan.items[first];
    size_t n = item->cols;
    struct gs_transform_fit fit = {.seed = work->recipe.seed, .stream = item->in_stream};
    struct gs_transform *diagonal = NULL;
    double *sums = NULL;
    int rc = gs_transform_create(gs_transform_find(work->recipe.transform_in), n, &fit, out,
                                 err);

    if (rc || !item->factor)
        return rc;
    sums = gs_alloc(n, sizeof *sums);
    if (!sums)
        return gs_fail_nomem(err, item->source->name);
    fit.h_diagonal = diagonal_h;
    fit.w_squares = sums;
    if ((rc = column_squares(work, first, end, sums, err)) == 0 &&
        (rc = gs_transform_create(gs_transform_find("diagonal"), n, &fit, &diagonal, err)) == 0)
        rc = gs_transform_fold(*out, diagonal, err);
    gs_transform_destroy(&diagonal);
    gs_free(&sums);
    return rc;
}

/* Transform and factor of the input that items[first] reads: from second moments, from their
 * diagonal alone, or with neither. */
static int make_ldl(struct gs_work *work, size_t first, size_t end, struct input *in,
                    struct gs_transform **transform, struct gs_ldl *ldl, struct gs_err *err)
{
    size_t block = work->plan.grid->block_cols, n = work->plan.items[first].cols;
    double damping = work->recipe.damping, *diagonal = gs_alloc(n, sizeof *diagonal);
    int rc = diagonal ? GS_OK : gs_fail_nomem(err, "second moments");

    for (size_t i = 0; !rc && in->h && i < n; i++)
        diagonal[i] = in->h[i * n + i];
    if (!rc && work->imatrix.diagonal)
        rc = gs_work_diagonal(work, first, end, diagonal, err);
    if (!rc)
        rc = make_transform(work, first, end, diagonal, transform, err);
    if (!rc && in->h) {
        if (!(rc = gs_transform_hessian(*transform, work->team, in->h, err)))
            rc = gs_ldl_create(work->team, in->h, n, block, damping, ldl, err);
    } else if (!rc) {
        gs_transform_hessian_diagonal(*transform, diagonal);
        rc = gs_ldl_create_diagonal(work->imatrix.diagonal ? diagonal : NULL, n, block, damping,
                                    ldl, err);
    }
    gs_free(&diagonal);
    return rc;
}

static void put_f16(uint8_t *p, float v)
{
    uint16_t h = gs_f32_to_f16(v);

    p[0] = (uint8_t)h;
    p[1] = (uint8_t)(h >> 8);
}

/* Codes are in the payload already; the rest of it. */
static void put_rest(const struct gs_plan_item *item, const float *scales,
                     const struct gs_transform *in, const struct gs_round_result *result,
                     uint8_t *payload)
{
    uint8_t *p = payload + item->codes_bytes;

    for (size_t r = 0; r < item->rows; r++, p += 2)
        put_f16(p, scales[r] / result->scale_unit);
    for (size_t c = 0; item->factor && c < item->cols; c++, p += 2)
        put_f16(p, gs_transform_factor(in)[c]);
    gs_work_put_rounded(&(struct gs_rounded){.loss = result->loss, .energy = result->energy,
                                             .unit = result->scale_unit}, p);
}

static int round_item(struct gs_work *work, size_t index, const struct gs_transform *in,
                      const struct gs_ldl *ldl, struct gs_err *err)
{
    const struct gs_plan_item *item = &work->plan.items[index];
    const struct gs_transform_fit fit = {.seed = work->recipe.seed, .stream = item->out_stream};
    size_t bytes = (size_t)gs_work_payload_bytes(item);
    uint8_t *payload = gs_alloc(bytes, 1);
    struct gs_transform *out = NULL;
    struct gs_round_result result;
    struct gs_round job = {.ldl = ldl, .rows = item->rows, .cols = item->cols,
                           .w_stride = item->cols, .codes = payload,
                           .codes_stride = item->codes_stride, .refit = work->recipe.refit,
                           .f16_scales = true};
    int rc;

    job.scales = gs_alloc(item->rows, sizeof *job.scales);
    if (!payload || !job.scales) {
        rc = gs_fail_nomem(err, item->source->name);
        goto out;
    }
    if ((rc = gs_work_codec(work, item->rate, &job.codec, err)) ||
        (rc = gs_work_decode(work, item, &job.w, err)) ||
        (rc = gs_transform_rows(in, GS_TRANSFORM_DUAL, work->team, job.w, item->rows,
                                item->cols, err)))
        goto out;
    if (item->mixes_rows &&
        ((rc = gs_transform_create(gs_transform_find(work->recipe.transform_out), item->rows,
                                   &fit, &out, err)) ||
         (rc = gs_transform_columns(out, GS_TRANSFORM_FORWARD, work->team, job.w, item->cols,
                                    item->cols, err))))
        goto out;
    rc = gs_round_matrix(work->rounder, &job, work->team, &result, err);
    if (rc)
        goto out;
    put_rest(item, job.scales, in, &result, payload);
    rc = gs_journal_add(work->journal, index, payload, bytes, err);
out:
    gs_transform_destroy(&out);
    gs_free(&job.w);
    gs_free(&job.scales);
    gs_free(&payload);
    return rc;
}

/* All unfinished items that read the input of items[first]. */
static int round_input(struct gs_work *work, size_t first, size_t end, struct input *in,
                       struct gs_err *err)
{
    const struct gs_plan_item *items = work->plan.items;
    struct gs_transform *transform = NULL;
    struct gs_ldl ldl = {0};
    int rc;

    if (items[first].stock) {
        rc = gs_work_round_stock(work, first, end, in->h, err);
        gs_free(&in->h);
        return rc;
    }
    rc = make_ldl(work, first, end, in, &transform, &ldl, err);

    if (rc)
        rc = gs_err_prefix(err, rc, items[first].source->name);
    for (size_t i = first; !rc && i < end; i++) {
        if (!items[i].native || items[i].input != items[first].input ||
            gs_journal_bytes(work->journal, i))
            continue;
        if (!(rc = round_item(work, i, transform, &ldl, err)))
            work->done += items[i].rows * items[i].cols;
        else if (rc != GS_E_STOPPED && err && !strstr(err->msg, items[i].source->name))
            rc = gs_err_prefix(err, rc, items[i].source->name);
        if (!rc)
            rc = gs_work_progress(work, err);
    }
    gs_ldl_clear(&ldl);
    gs_transform_destroy(&transform);
    gs_free(&in->h);
    return rc;
}

/* ---- the rounded block -------------------------------------------------------------------- */

/* A matrix as the finished file will hold it. */
struct built {
    struct gs_native native;
    uint8_t *payload;
    float *sides; /* scales (rows), factor (cols) */
    struct gs_transform *in, *out;
};

static void built_clear(struct built *b)
{
    gs_transform_destroy(&b->in);
    gs_transform_destroy(&b->out);
    gs_free(&b->payload);
    gs_free(&b->sides);
}

static int build(struct gs_work *work, size_t index, struct built *b, struct gs_err *err)
{
    const struct gs_plan_item *item = &work->plan.items[index];
    const struct gs_transform_kind *in = gs_transform_find(work->recipe.transform_in);
    const struct gs_transform_kind *out =
        gs_transform_find(item->mixes_rows ? work->recipe.transform_out : "none");
    struct gs_transform_fit fit = {.seed = work->recipe.seed, .stream = item->in_stream};
    uint64_t bytes = gs_work_payload_bytes(item);
    struct gs_rounded rounded;
    int rc = gs_work_rounded(work, index, &rounded, err);

    if (item->stock) {
        b->payload = gs_alloc(item->codes_bytes, 1);
        return rc || b->payload
                   ? rc ? rc : gs_journal_get(work->journal, index, 0, b->payload,
                                              item->codes_bytes, err)
                   : gs_fail_nomem(err, item->source->name);
    }
    b->payload = gs_alloc(bytes, 1);
    b->sides = gs_alloc(item->rows + item->cols, sizeof *b->sides);
    if (!rc && (!b->payload || !b->sides))
        rc = gs_fail_nomem(err, item->source->name);
    if (rc || (rc = gs_journal_get(work->journal, index, 0, b->payload, bytes, err)))
        return rc;
    const uint8_t *p = b->payload + item->codes_bytes;
    for (size_t i = 0; i < item->rows; i++, p += 2)
        b->sides[i] = rounded.unit * gs_f16_to_f32(gs_load_u16(p));
    for (size_t i = 0; item->factor && i < item->cols; i++, p += 2)
        b->sides[item->rows + i] = gs_f16_to_f32(gs_load_u16(p));
    rc = item->factor ? gs_transform_load(in, item->cols, b->sides + item->rows, &b->in, err)
                      : gs_transform_create(in, item->cols, &fit, &b->in, err);
    fit.stream = item->out_stream;
    if (!rc)
        rc = gs_transform_create(out, item->rows, &fit, &b->out, err);
    b->native = (struct gs_native){.in = b->in, .out = b->out, .codes = b->payload,
                                   .codes_stride = item->codes_stride, .rows = item->rows,
                                   .cols = item->cols, .scales = b->sides};
    return rc ? rc : gs_work_codec(work, item->rate, &b->native.codec, err);
}

/* The field that holds the matrix: a fused up projection has one of its own. */
static struct gs_matrix *field_of(struct gs_block_weights *w, const struct gs_plan_item *item)
{
    if (item->fused && item->field == offsetof(struct gs_block_weights, ffn_up))
        return &w->ffn_gate_up;
    return (struct gs_matrix *)(void *)((char *)w + item->field);
}

static int advance(struct gs_work *work, uint32_t il, size_t first, size_t end,
                   struct gs_err *err)
{
    struct gs_block_weights w = work->lm->blocks[il];
    struct built built[BLOCK_ITEMS_MAX] = {{.payload = NULL}};
    size_t ctx = work->calib.ctx, floats = ctx * work->lm->config.n_embd, n = 0;
    int rc = GS_OK;

    for (size_t i = first; !rc && i < end; i++) {
        const struct gs_plan_item *item = &work->plan.items[i];
        if (!gs_plan_is_rounded(item))
            continue;
        rc = build(work, i, &built[n], err);
        *field_of(&w, item) = (struct gs_matrix){
            .data = built[n].payload, .type = item->native ? GS_TYPE_I8 : item->type,
            .rows = item->rows, .cols = item->cols,
            .row_bytes = item->native ? 0 : item->codes_stride,
            .native = item->native ? &built[n].native : NULL};
        n++;
    }
    gs_block_split(&work->lm->config, &w);
    for (size_t s = 0; !rc && s < work->calib.sequences; s++) {
        gs_decoder_block(work->decoder, il, &w, work->states.data + s * floats, ctx);
        rc = gs_work_progress(work, err);
    }
    for (size_t i = 0; i < n; i++)
        built_clear(&built[i]);
    return rc;
}

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

int gs_work_layer(struct gs_work *work, uint32_t il, size_t first, size_t end,
                  struct gs_err *err)
{
    struct input inputs[GS_INPUT_EMBD + 1] = {{.h = NULL}};
    const struct gs_plan_item *items = work->plan.items;
    int rc = gather_inputs(work, il, first, end, inputs, err);

    for (size_t i = first, seen = 0; !rc && i < end; i++) {
        if (!gs_plan_is_rounded(&items[i]) || seen >> items[i].input & 1)
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
    for (size_t i = 0; i < GS_COUNT(inputs); i++)
        gs_free(&inputs[i].h);
    if (!rc)
        rc = tell(work, il, first, end, err);
    if (!rc && work->uses_h && il < work->lm->config.n_layer)
        rc = advance(work, il, first, end, err);
    for (size_t i = first; !rc && i < end && il < work->lm->config.n_layer; i++)
        gs_store_release(work->store, items[i].source);
    return rc;
}
