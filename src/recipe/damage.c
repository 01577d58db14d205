/* SPDX-License-Identifier: MIT
 * One pass over a few sequences of the calibration set, block by block, the source's weights
 * everywhere. Where a block is probed, each of its matrices in turn is rounded, the model runs
 * over one sequence, and its predictions are compared with the source's. */
#include "recipe/damage.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "linalg/gram.h"
#include "recipe/predictions.h"
#include "round/block.h"

#define SEQUENCES 4             /* for second moments */
#define POSITIONS 128           /* whose predictions are compared */
#define LOGITS_MAX ((size_t)1 << 24)
#define PROBES 6                /* blocks with forward passes */
#define ROWS 24                 /* of a matrix that are rounded to each type */

struct measuring {
    struct gs_work *work;
    struct gs_damage *out;
    size_t sequences;
    struct gs_predictions predictions;
    float *x, *norm;            /* (sequences · ctx, C); (ctx, C) */
    double *row_mass;           /* (V) Σ_t p (1 − p) over the positions' number */
    double *h[GS_INPUT_HEAD + 1];
    const struct gs_block_weights *block;
    double *sensitivity;        /* (n_items); 0 = not probed */
    int rc;
    struct gs_err *err;
};

void gs_damage_clear(struct gs_damage *damage)
{
    gs_free(&damage->of);
}

/* Types that are worth a place: not those for models trained so. */
static void list_types(struct gs_damage *out)
{
    static const enum gs_type special[] = {GS_TYPE_TQ1_0, GS_TYPE_TQ2_0, GS_TYPE_Q1_0,
                                           GS_TYPE_Q2_0, GS_TYPE_NVFP4};

    for (size_t i = 0; gs_format_at(i); i++) {
        bool wanted = true;
        for (size_t k = 0; k < GS_COUNT(special); k++)
            wanted = wanted && gs_format_at(i)->type != special[k];
        if (wanted)
            out->types[out->n_types++] = gs_format_at(i)->type;
    }
}

/* ---- errors of a matrix ------------------------------------------------------------------- */

/* Rounds w (rows, n) with H; loss and energy of it. dst takes the codes, or is NULL. */
static int try_type(struct measuring *m, enum gs_type type, const float *w, size_t rows,
                    size_t n, double *h, uint8_t *dst, struct gs_block_result *out)
{
    const struct gs_format *f = gs_format_find(type);
    struct gs_block_round job = {.format = f, .h = h, .rows = rows, .cols = n, .w_stride = n};
    uint64_t row_bytes = n / f->block * gs_type_info(type)->bytes;
    uint8_t *own = dst ? NULL : gs_alloc(rows, row_bytes);
    double *damping = gs_alloc(n, sizeof *damping);
    struct gs_ldl ldl = {0};
    int rc;

    job.dst = dst ? dst : own;
    job.ldl = &ldl;
    job.w = gs_alloc(rows * n, sizeof *job.w);
    job.damping = damping;
    if (!job.w || !job.dst || !damping) {
        rc = gs_fail_nomem(m->err, "measuring damage");
        goto out;
    }
    memcpy(job.w, w, rows * n * sizeof *w);
    rc = h ? gs_work_damped_ldl(m->work, h, n, f->points->dim, damping, &ldl, m->err)
           : gs_ldl_create_diagonal(NULL, n, f->points->dim, 0, &ldl, m->err);
    if (!rc)
        rc = gs_block_round(&job, m->work->team, out, m->err);
out:
    gs_ldl_clear(&ldl);
    gs_free(&damping);
    gs_free(&job.w);
    gs_free(&own);
    return rc;
}

/* ρ of every type that fits, from some rows: evenly spaced, or the first of `order`. */
static int measure_types(struct measuring *m, size_t index, double *h, const uint32_t *order)
{
    const struct gs_plan_item *item = &m->work->plan.items[index];
    size_t rows = GS_MIN(item->rows, (size_t)ROWS), n = item->cols;
    float *some = gs_alloc(rows * n, sizeof *some);
    int rc = some ? GS_OK : gs_fail_nomem(m->err, "measuring damage");

    for (size_t r = 0; !rc && r < rows; r++)
        rc = gs_work_decode(m->work, item, order ? order[r] : r * item->rows / rows, 1,
                            some + r * n, m->err);
    for (size_t k = 0; !rc && k < m->out->n_types; k++) {
        double *of = &m->out->of[index * m->out->n_types + k];
        struct gs_block_result result;
        *of = INFINITY;
        if (n % gs_type_info(m->out->types[k])->block)
            continue;
        rc = try_type(m, m->out->types[k], some, rows, n, h, NULL, &result);
        *of = result.energy > 0 ? GS_MAX(result.loss, 0) / result.energy : 0;
        if (order && h) /* the head: loss itself, a row */
            *of = GS_MAX(result.loss, 0) / (double)rows;
    }
    gs_free(&some);
    return rc;
}

/* The divergence of the model with this matrix alone rounded, over its ρ. */
static int probe(struct measuring *m, size_t index, double *h)
{
    struct gs_work *work = m->work;
    const struct gs_plan_item *item = &work->plan.items[index];
    enum gs_type type = item->cols % 256 ? GS_TYPE_Q4_0 : GS_TYPE_Q3_K;
    uint64_t row_bytes = item->cols / gs_type_info(type)->block * gs_type_info(type)->bytes;
    struct gs_block_weights *block = &work->lm->blocks[item->il], saved = *block;
    uint8_t *dst = gs_alloc(item->rows, row_bytes);
    float *w = gs_alloc(item->rows * item->cols, sizeof *w);
    struct gs_block_result result;
    int rc = dst && w ? GS_OK : gs_fail_nomem(m->err, "measuring damage");

    if (!rc && !(rc = gs_work_decode(work, item, 0, item->rows, w, m->err)) &&
        !(rc = try_type(m, type, w, item->rows, item->cols, h, dst, &result))) {
        *gs_work_field(block, item) = (struct gs_matrix){
            .data = dst, .type = type, .rows = item->rows, .cols = item->cols,
            .row_bytes = row_bytes};
        gs_block_split(&work->lm->config, block);
        rc = gs_predictions_take(&m->predictions, m->err);
        *block = saved;
        double rho = result.energy > 0 ? result.loss / result.energy : 0;
        m->sensitivity[index] = rho > 0 ? gs_predictions_divergence(&m->predictions) / rho
                                        : GS_DIVERGENCE_LEAST;
    }
    gs_free(&dst);
    gs_free(&w);
    return rc;
}

/* ---- the pass ----------------------------------------------------------------------------- */

static void see(void *ctx, const struct gs_matrix *w, const float *x, size_t T)
{
    struct measuring *m = ctx;
    enum gs_plan_input input = gs_plan_first_input(m->block, w);

    if (!m->rc && input < GS_INPUT_BLOCK_COUNT && m->h[input])
        m->rc = gs_gram_add(m->work->team, x, T, w->cols, w->cols, m->h[input], m->err);
}

static int make_moments(struct measuring *m, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        const struct gs_plan_item *item = &m->work->plan.items[i];
        if (!item->stock || item->input == GS_INPUT_EMBD || m->h[item->input])
            continue;
        m->h[item->input] = gs_alloc(item->cols * item->cols, sizeof(double));
        if (!m->h[item->input])
            return gs_fail_nomem(m->err, "second moments");
    }
    return GS_OK;
}

static void finish_moments(struct measuring *m, size_t first, size_t end)
{
    size_t seen = 0;

    for (size_t i = first; i < end; i++) {
        const struct gs_plan_item *item = &m->work->plan.items[i];
        if (!item->stock || item->input == GS_INPUT_EMBD || seen >> item->input & 1)
            continue;
        gs_gram_finish(m->h[item->input], item->cols,
                       1 / (double)(m->sequences * m->work->calib.ctx));
        seen |= (size_t)1 << item->input;
    }
}

static int tell(const struct measuring *m, uint32_t il)
{
    const struct gs_quantize_options *o = m->work->options;

    if (o->progress && o->progress(o->progress_ctx, "blocks measured", il,
                                   m->work->lm->config.n_layer))
        return gs_fail(m->err, GS_E_STOPPED, "measuring was stopped");
    return GS_OK;
}

static int measure_block(struct measuring *m, uint32_t il, size_t first, size_t end)
{
    struct gs_work *work = m->work;
    size_t floats = work->calib.ctx * work->lm->config.n_embd;
    uint32_t n_layer = work->lm->config.n_layer, step = GS_MAX(n_layer / PROBES, 1u);
    bool probed = il % step == step / 2 || il == 0 || il + 1 == n_layer;
    int rc = make_moments(m, first, end);

    m->block = &work->lm->blocks[il];
    gs_decoder_tap(work->decoder, see, m);
    for (size_t s = 0; !rc && s < m->sequences; s++) {
        gs_decoder_block(work->decoder, il, m->block, GS_BLOCK_WHOLE, m->x + s * floats,
                         work->calib.ctx);
        rc = m->rc;
    }
    gs_decoder_tap(work->decoder, NULL, NULL);
    finish_moments(m, first, end);
    for (size_t i = first; !rc && i < end; i++) {
        const struct gs_plan_item *item = &work->plan.items[i];
        if (item->stock && !(rc = measure_types(m, i, m->h[item->input], NULL)) && probed)
            rc = probe(m, i, m->h[item->input]);
    }
    for (size_t i = 0; i < GS_COUNT(m->h); i++)
        gs_free(&m->h[i]);
    return rc ? rc : tell(m, il + 1);
}

/* ---- embedding and head ------------------------------------------------------------------- */

/* Rows of the head drawn by their mass: those whose errors are seen. */
static void draw_rows(const struct measuring *m, uint32_t *order)
{
    size_t V = m->work->lm->config.n_vocab;
    struct gs_rng rng;
    double total = 0;

    for (size_t v = 0; v < V; v++)
        total += m->row_mass[v];
    gs_rng_init(&rng, 1, 0);
    for (size_t r = 0; r < ROWS; r++) {
        double left = total * gs_rng_f64(&rng);
        size_t v = 0;
        while (v + 1 < V && (left -= m->row_mass[v]) > 0)
            v++;
        order[r] = (uint32_t)v;
    }
}

/* What relative noise on the embeddings does, over its power. */
static int probe_embedding(struct measuring *m, double *out)
{
    static const float noise = 0.05f;
    struct gs_work *work = m->work;
    size_t ctx = work->calib.ctx, C = work->lm->config.n_embd;
    struct gs_rng rng;
    int rc = gs_decoder_embed(work->decoder, work->calib.tokens, ctx, m->norm, m->err);

    gs_rng_init(&rng, 2, 0);
    for (size_t t = 0; t < ctx; t++) {
        float *x = m->norm + t * C, sum = 0;
        for (size_t i = 0; i < C; i++)
            sum += x[i] * x[i];
        float scale = noise * sqrtf(sum / (float)C);
        for (size_t i = 0; i < C; i++)
            x[i] += scale * (float)gs_rng_normal(&rng);
    }
    for (uint32_t il = 0; !rc && il < work->lm->config.n_layer; il++)
        gs_decoder_block(work->decoder, il, &work->lm->blocks[il], GS_BLOCK_WHOLE, m->norm, ctx);
    if (!rc) {
        gs_decoder_final_norm(work->decoder, m->norm, ctx, m->norm);
        gs_decoder_head(work->decoder, m->norm + (ctx - m->predictions.positions) * C,
                        m->predictions.positions, m->predictions.logits);
        gs_predictions_normalize(&m->predictions);
        *out = gs_predictions_divergence(&m->predictions) / ((double)noise * (double)noise);
    }
    return rc;
}

static int measure_head(struct measuring *m, size_t first, size_t end)
{
    struct gs_work *work = m->work;
    size_t ctx = work->calib.ctx, C = work->lm->config.n_embd, types = m->out->n_types;
    bool tied = work->lm->model.output.data == work->lm->model.token_embd.data;
    uint32_t order[ROWS];
    double embedding = 0, mass = 0;
    int rc = probe_embedding(m, &embedding);

    if (!rc)
        rc = make_moments(m, first, end);
    for (size_t s = 0; !rc && m->h[GS_INPUT_HEAD] && s < m->sequences; s++) {
        gs_decoder_final_norm(work->decoder, m->x + s * ctx * C, ctx, m->norm);
        rc = gs_gram_add(work->team, m->norm, ctx, C, C, m->h[GS_INPUT_HEAD], m->err);
    }
    finish_moments(m, first, end);
    draw_rows(m, order);
    for (size_t v = 0; v < work->lm->config.n_vocab; v++)
        mass += m->row_mass[v];
    double *plain = gs_alloc(types, sizeof *plain);
    if (!plain && !rc)
        rc = gs_fail_nomem(m->err, "measuring damage");
    for (size_t i = first; !rc && i < end; i++) {
        const struct gs_plan_item *item = &work->plan.items[i];
        double *of = m->out->of + i * types;
        if (!item->stock)
            continue;
        if (!(rc = measure_types(m, i, NULL, order))) {
            memcpy(plain, of, types * sizeof *of);
            if (item->input == GS_INPUT_HEAD)
                rc = measure_types(m, i, m->h[GS_INPUT_HEAD], order);
        }
        for (size_t k = 0; !rc && k < types; k++) {
            double lookup = embedding * plain[k];
            of[k] = item->input == GS_INPUT_EMBD ? lookup
                    : 0.5 * mass * of[k] + (tied ? lookup : 0);
        }
    }
    gs_free(&plain);
    gs_free(&m->h[GS_INPUT_HEAD]);
    return rc;
}

/* ---- all ---------------------------------------------------------------------------------- */

/* The sensitivity of item `index`: its own, or between those of the same role around it. */
static double interpolate(const struct measuring *m, size_t index)
{
    const struct gs_plan *plan = &m->work->plan;
    const struct gs_plan_item *item = &plan->items[index], *below = NULL, *above = NULL;

    for (size_t i = 0; i < plan->n_items; i++) {
        const struct gs_plan_item *other = &plan->items[i];
        if (!m->sensitivity[i] || other->field != item->field)
            continue;
        if (other->il <= item->il && (!below || other->il > below->il))
            below = other;
        if (other->il >= item->il && (!above || other->il < above->il))
            above = other;
    }
    if (!below)
        below = above;
    if (!above)
        above = below;
    if (!below)
        return 1;
    double low = log(m->sensitivity[below - plan->items]);
    double high = log(m->sensitivity[above - plan->items]);
    double part = above->il > below->il
                      ? (double)(item->il - below->il) / (double)(above->il - below->il) : 0;
    return exp(low + part * (high - low));
}

static int prepare(struct measuring *m)
{
    struct gs_work *work = m->work;
    size_t ctx = work->calib.ctx, C = work->lm->config.n_embd, V = work->lm->config.n_vocab;
    int rc = GS_OK;

    m->sequences = GS_MIN(work->calib.sequences, (size_t)SEQUENCES);
    m->x = gs_alloc(m->sequences * ctx * C, sizeof *m->x);
    m->norm = gs_alloc(ctx * C, sizeof *m->norm);
    m->row_mass = gs_alloc(V, sizeof *m->row_mass);
    m->sensitivity = gs_alloc(work->plan.n_items, sizeof *m->sensitivity);
    m->out->of = gs_alloc(work->plan.n_items * m->out->n_types, sizeof *m->out->of);
    if (!m->x || !m->norm || !m->row_mass || !m->sensitivity || !m->out->of)
        return gs_fail_nomem(m->err, "measuring damage");
    rc = gs_predictions_create(work, POSITIONS, LOGITS_MAX, &m->predictions, m->err);
    for (size_t i = 0; !rc && i < m->predictions.positions * V; i++) {
        double p = exp((double)m->predictions.ref[i]);
        m->row_mass[i % V] += p * (1 - p) / (double)m->predictions.positions;
    }
    for (size_t s = 0; !rc && s < m->sequences; s++)
        rc = gs_decoder_embed(work->decoder, work->calib.tokens + s * ctx, ctx,
                              m->x + s * ctx * C, m->err);
    return rc;
}

int gs_damage_measure(struct gs_work *work, struct gs_damage *out, struct gs_err *err)
{
    struct measuring m = {.work = work, .out = out, .err = err};
    const struct gs_plan *plan = &work->plan;
    uint32_t n_layer = work->lm->config.n_layer;
    int rc;

    *out = (struct gs_damage){.n_types = 0};
    list_types(out);
    rc = prepare(&m);
    for (size_t first = 0, end; !rc && first < plan->n_items; first = end) {
        uint32_t il = plan->items[first].il;
        for (end = first; end < plan->n_items && plan->items[end].il == il;)
            end++;
        rc = il < n_layer ? measure_block(&m, il, first, end) : measure_head(&m, first, end);
    }
    for (size_t i = 0; !rc && i < plan->n_items && plan->items[i].il < n_layer; i++) {
        double sensitivity = plan->items[i].stock ? interpolate(&m, i) : 0;
        for (size_t k = 0; plan->items[i].stock && k < out->n_types; k++)
            out->of[i * out->n_types + k] *= sensitivity;
    }
    for (size_t i = 0; i < GS_COUNT(m.h); i++)
        gs_free(&m.h[i]);
    gs_free(&m.x);
    gs_free(&m.norm);
    gs_predictions_clear(&m.predictions);
    gs_free(&m.row_mass);
    gs_free(&m.sensitivity);
    if (rc)
        gs_damage_clear(out);
    return rc;
}
