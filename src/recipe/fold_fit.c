/* SPDX-License-Identifier: MIT
 * What is worth folding: one pass over the calibration set with the source's weights.
 *
 *   each block:  states ──block, tapped──▶ H of its four inputs, and the next states
 *                rotate-values:  errors of values and outputs with P and without it
 *                each input's scales:  β by the errors of some rows, accepted by others
 *
 * An error is ρ = tr(E H Eᵀ) / tr(W H Wᵀ) of rows rounded to the matrix's type with feedback;
 * those of several matrices are compared by the sums of their logarithms, because no one knows
 * yet what each does to the model. rotate-residual changes every block: with `auto` it is tried
 * in a few of them first. */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "linalg/gram.h"
#include "recipe/fold.h"
#include "recipe/moments.h"
#include "recipe/work.h"
#include "round/block.h"

#define TOKENS 4096         /* of the calibration set that are enough to decide */
#define ROWS 32             /* of a matrix that are rounded to choose; twice as many others to
                               accept what was chosen */
#define LEAST_GAIN 0.01     /* of ln error, a matrix: less is noise */
#define SCALE_MAX 64.0      /* of a channel, over their geometric mean, and its inverse */
#define LEAST_ERROR 1e-12
#define DEAD 1e-9           /* D or σ² over their mean: nothing passes here */
#define PROBES 6            /* blocks in which rotate-residual is tried */

/* Rows that are rounded: for choosing, or for accepting what was chosen. Polish makes up for a
 * part of what scales bring, so the latter are rounded with it. */
enum rows { ROWS_CHOOSE, ROWS_ACCEPT };

struct consumer {
    const struct gs_matrix *m;
    const struct gs_format *format;
};

/* An input and the matrices that read it. What is known of it is for x / s. */
struct site {
    size_t n;
    double *h;                         /* (n, n) borrowed */
    double *damping, *s, *squares;     /* (n), (n), (n): σ², at s = 1 */
    double *ratio;                     /* (n) */
    struct gs_ldl ldl[2];              /* for codes of 1 and of 8 weights */
    bool made[2];
    struct consumer consumers[3];
    size_t n_consumers;
};

struct fitting {
    struct gs_fold *fold;
    struct gs_moments inputs[GS_INPUT_BLOCK_COUNT];
    size_t sequences, ctx;
    float *x, *rotated; /* (sequences · ctx, C) states; those in the basis of R, for trials */
    struct gs_err *err;
};

/* ---- sites -------------------------------------------------------------------------------- */

/* The format of the tensor that m is, or is a part of; NULL: none. */
static const struct gs_format *format_of(const struct fitting *f, const struct gs_fold_block *b,
                                         const struct gs_matrix *m)
{
    const struct gs_tensor *first = gs_store_tensor(f->fold->lm->store, 0);
    const float *data = m->data;

    for (size_t i = 0; data && i < b->n; i++) {
        const struct gs_fold_tensor *t = &b->tensors[i];
        int type = f->fold->options.types[t->source - first];
        if (data >= t->data && data < t->data + t->source->dim[0] * t->source->dim[1])
            return type < 0 ? NULL : gs_format_find((enum gs_type)type);
    }
    return NULL;
}

static void site_clear(struct site *s)
{
    for (size_t i = 0; i < GS_COUNT(s->ldl); i++)
        gs_ldl_clear(&s->ldl[i]);
    gs_free(&s->damping);
    gs_free(&s->s);
    gs_free(&s->squares);
    gs_free(&s->ratio);
}

/* Matrices that are not rounded to blocks do not count. h is borrowed. */
static int site_init(struct fitting *f, const struct gs_fold_block *b, double *h, size_t n,
                     const struct gs_matrix *const *m, size_t count, struct site *s)
{
    *s = (struct site){.n = n, .h = h, .damping = gs_alloc(n, sizeof *s->damping),
                       .s = gs_alloc(n, sizeof *s->s),
                       .squares = gs_alloc(n, sizeof *s->squares),
                       .ratio = gs_alloc(n, sizeof *s->ratio)};
    if (!s->damping || !s->s || !s->squares || !s->ratio) {
        site_clear(s);
        return gs_fail_nomem(f->err, "folding");
    }
    for (size_t i = 0; i < count; i++) {
        const struct gs_format *format = format_of(f, b, m[i]);
        const float *w = m[i]->data;
        if (!format)
            continue;
        s->consumers[s->n_consumers++] = (struct consumer){m[i], format};
        for (size_t at = 0; at < m[i]->rows * n; at++)
            s->squares[at % n] += (double)w[at] * (double)w[at];
    }
    for (size_t i = 0; i < n; i++)
        s->s[i] = 1;
    return GS_OK;
}

static int site_ldl(struct fitting *f, struct site *s, unsigned dim, const struct gs_ldl **out)
{
    size_t i = dim > 1;
    int rc = GS_OK;

    if (!s->made[i])
        rc = gs_damped_ldl(f->fold->options.team,
                           gs_recipe_damping(f->fold->options.damping, s->n,
                                             f->sequences * f->ctx),
                           s->h, s->n, dim, s->damping, &s->ldl[i], f->err);
    s->made[i] = rc == GS_OK;
    *out = &s->ldl[i];
    return rc;
}

/* x / s becomes x / (s r): H_ij / (r_i r_j), L_ij r_j / r_i, D_ij / (r_i r_j). */
static void rescale(struct site *s, const double *r)
{
    size_t n = s->n;

    for (size_t i = 0; i < n; i++) {
        s->damping[i] /= r[i] * r[i];
        for (size_t j = 0; j < n; j++)
            s->h[i * n + j] /= r[i] * r[j];
    }
    for (size_t k = 0; k < GS_COUNT(s->ldl); k++) {
        struct gs_ldl *ldl = &s->ldl[k];
        for (size_t i = 0; s->made[k] && i < n; i++) {
            size_t block = i / ldl->block * ldl->block;
            for (size_t j = 0; j < i; j++)
                ldl->lower[j / GS_PANEL_F32 * GS_PANEL_F32 * n + i * GS_PANEL_F32 +
                           j % GS_PANEL_F32] *= (float)(r[j] / r[i]);
            for (size_t j = block; j < GS_MIN(block + ldl->block, n); j++)
                ldl->d[i * GS_LDL_BLOCK + j - block] /= r[i] * r[j];
        }
    }
}

/* scale (n); NULL: ones. */
static void set_scale(struct site *s, const double *scale)
{
    for (size_t i = 0; i < s->n; i++)
        s->ratio[i] = (scale ? scale[i] : 1) / s->s[i];
    rescale(s, s->ratio);
    for (size_t i = 0; i < s->n; i++) /* without what multiplying rounds */
        s->s[i] = scale ? scale[i] : 1;
}

/* ---- errors ------------------------------------------------------------------------------- */

/* Some rows of W diag(s), evenly spaced: every third is for choosing. */
static size_t gather_rows(const struct site *s, const struct gs_matrix *m, enum rows which,
                          float *w)
{
    size_t all = GS_MIN(m->rows, (size_t)3 * ROWS), n = s->n, count = 0;
    const float *data = m->data;

    for (size_t i = 0; i < all; i++) {
        size_t row = i * m->rows / all;
        if ((i % 3 == 0) != (which == ROWS_CHOOSE))
            continue;
        for (size_t c = 0; c < n; c++)
            w[count * n + c] = data[row * n + c] * (float)s->s[c];
        count++;
    }
    return count;
}

/* ln ρ of some rows of one matrix. */
static int consumer_error(struct fitting *f, struct site *s, const struct consumer *c,
                          enum rows which, double *out)
{
    size_t n = s->n, row_bytes = n / c->format->block * gs_type_info(c->format->type)->bytes;
    struct gs_block_round job = {.format = c->format, .h = s->h, .damping = s->damping,
                                 .cols = n, .w_stride = n,
                                 .sweeps = which == ROWS_CHOOSE ? 0 : GS_BLOCK_SWEEPS};
    struct gs_block_result result;
    uint8_t *dst = gs_alloc(2 * ROWS, row_bytes);
    int rc = GS_OK;

    *out = 0;
    job.w = gs_alloc(2 * ROWS * n, sizeof *job.w);
    job.dst = dst;
    if (!job.w || !dst)
        rc = gs_fail_nomem(f->err, "folding");
    if (!rc && (job.rows = gather_rows(s, c->m, which, job.w)) != 0 &&
        !(rc = site_ldl(f, s, c->format->points->dim, &job.ldl)) &&
        !(rc = gs_block_round(&job, f->fold->options.team, &result, f->err)))
        *out = log(GS_MAX(result.energy > 0 ? result.loss / result.energy : 0, LEAST_ERROR));
    gs_free(&job.w);
    gs_free(&dst);
    return rc;
}

static int site_error(struct fitting *f, struct site *s, enum rows which, double *out)
{
    int rc = GS_OK;

    *out = 0;
    for (size_t i = 0; !rc && i < s->n_consumers; i++) {
        double one;
        rc = consumer_error(f, s, &s->consumers[i], which, &one);
        *out += one;
    }
    return rc;
}

/* ---- scales ------------------------------------------------------------------------------- */

/* ln (D / σ²) of each scale, less its mean, into `log_ratio`; 0 where nothing passes. Channels
 * that share a scale by `values` (NULL: each has its own) are added up. */
static int find_ratios(struct fitting *f, const struct site *s, const struct gs_config *values,
                       size_t n_scales, double *log_ratio)
{
    const struct gs_ldl *ldl = &s->ldl[s->made[0] ? 0 : 1];
    double *sums = gs_alloc(2 * n_scales, sizeof *sums), *d = sums, *squares = sums + n_scales;
    double mean_d = 0, mean_squares = 0, mean = 0, live = 0;

    if (!sums)
        return gs_fail_nomem(f->err, "folding");
    for (size_t i = 0; i < s->n; i++) {
        size_t k = values ? gs_fold_value_of(values, i) : i;
        double di = ldl->d[i * GS_LDL_BLOCK + i % ldl->block];
        d[k] += di;
        squares[k] += s->squares[i];
        mean_d += di / (double)n_scales;
        mean_squares += s->squares[i] / (double)n_scales;
    }
    for (size_t k = 0; k < n_scales; k++) {
        bool dead = !(d[k] > DEAD * mean_d && squares[k] > DEAD * mean_squares);
        log_ratio[k] = dead ? NAN : log(d[k] / squares[k]);
        mean += dead ? 0 : log_ratio[k];
        live += !dead;
    }
    for (size_t k = 0; k < n_scales; k++)
        log_ratio[k] = isnan(log_ratio[k]) ? 0 : log_ratio[k] - mean / live;
    gs_free(&sums);
    return GS_OK;
}

static double scale_of(double log_ratio, double beta)
{
    double most = log(SCALE_MAX);

    return (double)(float)exp(GS_MIN(GS_MAX(beta * log_ratio, -most), most));
}

/* Result of a search for scales. */
struct found {
    bool on;
    double error, gain; /* ln, sums over the consumers; with the scales */
    float *scale;       /* (n_scales) in the fold's arena; NULL if not on */
};

/* Scales for what the site's matrices read, if `wanted`. */
static int search(struct fitting *f, struct site *s, bool wanted,
                  const struct gs_config *values, struct found *out)
{
    static const double betas[] = {0.125, 0.25, 0.375};
    size_t n = s->n;
    size_t n_scales = values ? (size_t)values->n_head_kv * values->head_v : n;
    double choose, accept = 0, best = 0, *log_ratio = NULL, *scale = NULL;

    *out = (struct found){.scale = NULL};
    int rc = site_error(f, s, ROWS_ACCEPT, &out->error);
    if (rc || !wanted || !s->n_consumers)
        return rc;
    log_ratio = gs_alloc(n_scales, sizeof *log_ratio);
    scale = gs_alloc(n, sizeof *scale);
    rc = log_ratio && scale ? GS_OK : gs_fail_nomem(f->err, "folding");
    if (!rc && !(rc = site_error(f, s, ROWS_CHOOSE, &choose)))
        rc = find_ratios(f, s, values, n_scales, log_ratio);
    for (size_t b = 0; !rc && b < GS_COUNT(betas); b++) {
        double error;
        for (size_t i = 0; i < n; i++)
            scale[i] = scale_of(log_ratio[values ? gs_fold_value_of(values, i) : i], betas[b]);
        set_scale(s, scale);
        if (!(rc = site_error(f, s, ROWS_CHOOSE, &error)) && error < choose) {
            choose = error;
            best = betas[b];
        }
    }
    for (size_t i = 0; !rc && i < n; i++)
        scale[i] = scale_of(log_ratio[values ? gs_fold_value_of(values, i) : i], best);
    if (!rc) {
        set_scale(s, scale);
        rc = site_error(f, s, ROWS_ACCEPT, &accept);
    }
    out->gain = rc ? 0 : out->error - accept;
    if (!rc && out->gain > LEAST_GAIN * (double)s->n_consumers) {
        out->on = true;
        out->error = accept;
        out->scale = gs_arena_alloc(&f->fold->arena, n_scales, sizeof *out->scale);
        if (!out->scale)
            rc = gs_fail_nomem(f->err, "folding");
        for (size_t k = 0; !rc && k < n_scales; k++)
            out->scale[k] = (float)scale_of(log_ratio[k], best);
    }
    gs_free(&log_ratio);
    gs_free(&scale);
    return rc;
}

/* ---- a block ------------------------------------------------------------------------------ */

/* What is being found out: layer and outcomes are those of the fold, or of a trial. */
struct result {
    struct gs_fold_layer *layer;
    struct gs_fold_outcome *outcomes; /* (GS_FOLD_COUNT) */
    double error;                     /* Σ ln ρ over the block's matrices */
    size_t matrices;
};

static bool wants(const struct fitting *f, enum gs_fold_id id)
{
    return f->fold->wanted >> id & 1;
}

static void count(struct gs_fold_outcome *o, bool on, double gain, size_t matrices)
{
    o->sites++;
    o->on += on;
    o->log_gain += on ? gain : 0;
    o->log_tried += gain;
    o->matrices += matrices;
}

/* The scales of one input, into the layer and the outcome of `id`. */
static int fit_scale(struct fitting *f, struct gs_fold_block *b, enum gs_fold_id id,
                     enum gs_fold_scale which, enum gs_plan_input input,
                     const struct gs_matrix *const *m, size_t n_matrices, struct result *out)
{
    struct gs_moments *in = &f->inputs[input];
    struct found found;
    struct site s;
    int rc = site_init(f, b, in->h, in->n, m, n_matrices, &s);

    if (rc)
        return rc;
    if (!(rc = search(f, &s, wants(f, id), NULL, &found))) {
        out->layer->scale[which] = found.scale;
        out->error += found.error;
        out->matrices += s.n_consumers;
        if (wants(f, id) && s.n_consumers)
            count(&out->outcomes[id], found.on, found.gain, s.n_consumers);
    }
    site_clear(&s);
    return rc;
}

/* Errors of values and of outputs as they are now; scales for the latter. */
static int try_values(struct fitting *f, struct gs_fold_block *b, struct found *out,
                      double *values, size_t *matrices)
{
    const struct gs_matrix *v = &b->w.attn_v, *o = &b->w.attn_output;
    struct gs_moments *in = f->inputs;
    struct site s;
    int rc = site_init(f, b, in[GS_INPUT_ATTN].h, in[GS_INPUT_ATTN].n, &v, 1, &s);

    if (rc)
        return rc;
    rc = site_error(f, &s, ROWS_ACCEPT, values);
    *matrices = s.n_consumers;
    site_clear(&s);
    if (rc || (rc = site_init(f, b, in[GS_INPUT_ATTN_OUTPUT].h, in[GS_INPUT_ATTN_OUTPUT].n, &o, 1,
                              &s)))
        return rc;
    *matrices += s.n_consumers;
    rc = search(f, &s, wants(f, GS_FOLD_SCALE_VALUES), &f->fold->lm->config, out);
    set_scale(&s, NULL); /* H is read again */
    site_clear(&s);
    return rc;
}

/* P or not, and the scales of the values in that basis. */
static int fit_values(struct fitting *f, struct gs_fold_block *b, struct result *out)
{
    struct found plain, rotated;
    double v_plain, v_rotated, gain;
    size_t matrices;
    int rc = try_values(f, b, &plain, &v_plain, &matrices);

    out->layer->rotate_values = wants(f, GS_FOLD_ROTATE_VALUES) && f->fold->by_name;
    if (!rc && wants(f, GS_FOLD_ROTATE_VALUES) && matrices) {
        if ((rc = gs_fold_rotate_values(f->fold, b, false, f->err)) ||
            (rc = gs_fold_rotate_moments(f->fold, b->il, f->inputs[GS_INPUT_ATTN_OUTPUT].h,
                                         f->err)) ||
            (rc = try_values(f, b, &rotated, &v_rotated, &matrices)))
            return rc;
        gain = v_plain + plain.error - v_rotated - rotated.error;
        if (gain > LEAST_GAIN * (double)matrices)
            out->layer->rotate_values = true;
        count(&out->outcomes[GS_FOLD_ROTATE_VALUES], out->layer->rotate_values, gain, matrices);
        if (out->layer->rotate_values)
            plain = rotated;
        else
            rc = gs_fold_rotate_values(f->fold, b, true, f->err);
    }
    if (rc)
        return rc;
    out->layer->scale[GS_SCALE_VALUES] = plain.scale;
    out->error += plain.error;
    out->matrices += matrices > 1;
    if (wants(f, GS_FOLD_SCALE_VALUES) && matrices)
        count(&out->outcomes[GS_FOLD_SCALE_VALUES], plain.on, plain.gain, 1);
    return GS_OK;
}

static int fit_block(struct fitting *f, struct gs_fold_block *b, struct result *out)
{
    const struct gs_block_weights *w = &b->w;
    const struct gs_matrix *const qkv[] = {&w->attn_q, &w->attn_k, &w->attn_v};
    const struct gs_matrix *const ffn[] = {&w->ffn_gate, &w->ffn_up}, *const down = &w->ffn_down;
    int rc = fit_values(f, b, out);

    if (!rc)
        rc = fit_scale(f, b, GS_FOLD_SCALE_NORMS, GS_SCALE_ATTN_NORM, GS_INPUT_ATTN, qkv, 3, out);
    if (!rc)
        rc = fit_scale(f, b, GS_FOLD_SCALE_NORMS, GS_SCALE_FFN_NORM, GS_INPUT_FFN, ffn, 2, out);
    if (!rc)
        rc = fit_scale(f, b, GS_FOLD_SCALE_FFN, GS_SCALE_FFN, GS_INPUT_FFN_DOWN, &down, 1, out);
    return rc;
}

/* ---- the pass ----------------------------------------------------------------------------- */

/* The states x through the block, moments of its inputs on the way. */
static int gather(struct fitting *f, const struct gs_fold_block *b, float *x)
{
    const struct gs_config *c = &f->fold->lm->config;
    const size_t n[] = {[GS_INPUT_ATTN] = c->n_embd,
                        [GS_INPUT_ATTN_OUTPUT] = (size_t)c->n_head * c->head_v,
                        [GS_INPUT_FFN] = c->n_embd, [GS_INPUT_FFN_DOWN] = c->n_ff};
    struct gs_moments_tap tap = {.team = f->fold->options.team, .w = &b->w, .inputs = f->inputs,
                                 .err = f->err};
    struct gs_decoder *decoder = f->fold->options.decoder;

    for (size_t i = 0; i < GS_COUNT(f->inputs); i++) {
        f->inputs[i].n = n[i];
        gs_free(&f->inputs[i].h);
        if (!(f->inputs[i].h = gs_alloc(n[i] * n[i], sizeof(double))))
            return gs_fail_nomem(f->err, "second moments");
    }
    gs_decoder_tap(decoder, gs_moments_see, &tap);
    for (size_t s = 0; !tap.rc && s < f->sequences; s++)
        gs_decoder_block(decoder, b->il, &b->w, GS_BLOCK_WHOLE, x + s * f->ctx * c->n_embd,
                         f->ctx);
    gs_decoder_tap(decoder, NULL, NULL);
    for (size_t i = 0; !tap.rc && i < GS_COUNT(f->inputs); i++)
        gs_gram_finish(f->inputs[i].h, n[i], 1 / (double)(f->sequences * f->ctx));
    return tap.rc;
}

/* Decides for block il in the basis of R, or not, and moves x on. */
static int do_block(struct fitting *f, uint32_t il, bool residual, float *x, struct result *out)
{
    struct gs_fold_block b;
    int rc = gs_fold_load(f->fold, il, &b, f->err);

    if (!rc && residual)
        rc = gs_fold_rotate_residual(f->fold, &b, f->err);
    if (!rc && !(rc = gather(f, &b, x)))
        rc = fit_block(f, &b, out);
    gs_fold_unload(&b);
    return rc;
}

static int embed(struct fitting *f)
{
    const struct gs_fold_options *o = &f->fold->options;
    size_t C = f->fold->lm->config.n_embd;
    int rc = GS_OK;

    for (size_t s = 0; !rc && s < f->sequences; s++)
        rc = gs_decoder_embed(o->decoder, o->calib->tokens + s * f->ctx, f->ctx,
                              f->x + s * f->ctx * C, f->err);
    return rc;
}

static int rotate(struct fitting *f, float *x)
{
    size_t C = f->fold->lm->config.n_embd;

    return gs_transform_rows(f->fold->residual, GS_TRANSFORM_FORWARD, f->fold->options.team, x,
                             f->sequences * f->ctx, C, f->err);
}

static int tell(const struct fitting *f, uint32_t il)
{
    const struct gs_fold_options *o = &f->fold->options;

    if (o->progress && o->progress(o->progress_ctx, "blocks folded", il,
                                   f->fold->lm->config.n_layer))
        return gs_fail(f->err, GS_E_STOPPED, "folding was stopped");
    return GS_OK;
}

/* One block with and without R: both errors, every other slot at its best. */
static int try_residual(struct fitting *f, uint32_t il, double errors[2], size_t *matrices)
{
    size_t floats = f->sequences * f->ctx * f->fold->lm->config.n_embd;
    struct gs_fold_outcome ignored[GS_FOLD_COUNT] = {{.on = 0}};
    int rc = GS_OK;

    memcpy(f->rotated, f->x, floats * sizeof *f->x);
    rc = rotate(f, f->rotated);
    for (int r = 1; !rc && r >= 0; r--) {
        struct gs_fold_layer layer = {.rotate_values = false};
        struct result out = {.layer = &layer, .outcomes = ignored};
        rc = do_block(f, il, r, r ? f->rotated : f->x, &out);
        errors[r] += out.error;
        *matrices += r ? 0 : out.matrices;
    }
    return rc;
}

static int decide_residual(struct fitting *f)
{
    struct gs_fold *fold = f->fold;
    struct gs_fold_outcome *o = &fold->outcomes[GS_FOLD_ROTATE_RESIDUAL];
    uint32_t n_layer = fold->lm->config.n_layer, step = GS_MAX(n_layer / PROBES, 1u);
    double errors[2] = {0, 0};
    int rc = embed(f);

    for (uint32_t il = 0; !rc && il < n_layer; il++) {
        if (il % step == step / 2)
            rc = try_residual(f, il, errors, &o->matrices);
        else
            for (size_t s = 0; s < f->sequences; s++)
                gs_decoder_block(fold->options.decoder, il, &fold->lm->blocks[il],
                                 GS_BLOCK_WHOLE, f->x + s * f->ctx * fold->lm->config.n_embd,
                                 f->ctx);
        if (!rc)
            rc = tell(f, il);
    }
    if (rc)
        return rc;
    double gain = errors[0] - errors[1];
    count(o, fold->by_name || gain > LEAST_GAIN * (double)o->matrices, gain, 0);
    if (!o->on) {
        fold->wanted &= ~(1u << GS_FOLD_ROTATE_RESIDUAL);
        gs_transform_destroy(&fold->residual);
    }
    return GS_OK;
}

int gs_fold_fit(struct gs_fold *fold, struct gs_err *err)
{
    const struct gs_calib *calib = fold->options.calib;
    struct fitting f = {.fold = fold, .ctx = calib->ctx, .err = err};
    size_t most = GS_MAX((size_t)TOKENS / calib->ctx, 1u), C = fold->lm->config.n_embd;
    int rc = GS_OK;

    f.sequences = GS_MIN(calib->sequences, most);
    f.x = gs_alloc(f.sequences * f.ctx * C, sizeof *f.x);
    if (fold->residual)
        f.rotated = gs_alloc(f.sequences * f.ctx * C, sizeof *f.rotated);
    if (!f.x || (fold->residual && !f.rotated))
        rc = gs_fail_nomem(err, "hidden states");
    if (!rc && fold->residual)
        rc = decide_residual(&f);
    gs_free(&f.rotated);
    if (!rc && !(rc = embed(&f)) && fold->residual)
        rc = rotate(&f, f.x);
    for (uint32_t il = 0; !rc && il < fold->lm->config.n_layer; il++) {
        struct result out = {.layer = &fold->layers[il], .outcomes = fold->outcomes};
        if (!(rc = do_block(&f, il, fold->residual != NULL, f.x, &out)))
            rc = tell(&f, il + 1);
    }
    for (size_t i = 0; i < GS_COUNT(f.inputs); i++)
        gs_free(&f.inputs[i].h);
    gs_free(&f.x);
    return rc;
}
