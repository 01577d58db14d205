/* SPDX-License-Identifier: MIT
 * One block's tensors in f32 and what folding does to them. All matrices are reached through
 * the fields of struct gs_block_weights, so fused ones are changed through views of their rows. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "recipe/fold.h"
#include "recipe/recode.h"

#define NAME_BYTES 80

static const struct field {
    const char *tail;
    size_t offset; /* in struct gs_block_weights */
    bool matrix;
} fields[] = {
#define M(field, name, in, out) {name, offsetof(struct gs_block_weights, field), true},
#define V(field, name, n) {name, offsetof(struct gs_block_weights, field), false},
#define GS_BLOCK_TENSORS
#include "model/weights.def"
#undef GS_BLOCK_TENSORS
#undef M
#undef V
};

/* "ffn_up.weight" is one matrix or two in one, and the model knows which. */
static bool is_bound(const struct gs_lm *lm, uint32_t il, const struct field *f)
{
    bool fused = lm->blocks[il].ffn_gate_up.data != NULL;

    if (f->offset == offsetof(struct gs_block_weights, ffn_gate_up))
        return fused;
    return !fused || f->offset != offsetof(struct gs_block_weights, ffn_up);
}

static int load(const struct gs_fold *fold, const struct field *f, const struct gs_tensor *t,
                struct gs_fold_block *b, struct gs_err *err)
{
    struct gs_fold_tensor *own = &b->tensors[b->n];
    void *at = (char *)&b->w + f->offset;

    own->source = t;
    own->data = gs_alloc(t->dim[0] * t->dim[1], sizeof *own->data);
    if (!own->data)
        return gs_fail_nomem(err, t->name);
    b->n++;
    if (f->matrix)
        *(struct gs_matrix *)at = (struct gs_matrix){
            .data = own->data, .type = GS_TYPE_F32, .rows = t->dim[1], .cols = t->dim[0],
            .row_bytes = t->dim[0] * sizeof *own->data};
    else
        *(const float **)at = own->data;
    return gs_decode_rows(fold->lm->store, fold->options.team, t, 0, t->dim[1], own->data, err);
}

int gs_fold_load(const struct gs_fold *fold, uint32_t il, struct gs_fold_block *b,
                 struct gs_err *err)
{
    char name[NAME_BYTES];
    int rc = GS_OK;

    memset(b, 0, sizeof *b);
    b->il = il;
    for (size_t i = 0; !rc && i < GS_COUNT(fields); i++) {
        snprintf(name, sizeof name, "blk.%" PRIu32 ".%s", il, fields[i].tail);
        const struct gs_tensor *t = gs_store_find(fold->lm->store, name);
        if (t && is_bound(fold->lm, il, &fields[i]))
            rc = load(fold, &fields[i], t, b, err);
    }
    gs_block_split(&fold->lm->config, &b->w);
    if (rc)
        gs_fold_unload(b);
    return rc;
}

void gs_fold_unload(struct gs_fold_block *b)
{
    for (size_t i = 0; i < b->n; i++)
        gs_free(&b->tensors[i].data);
    b->n = 0;
}

/* ---- the residual stream ------------------------------------------------------------------ */

static float *floats(const void *data)
{
    return gs_unconst(data);
}

/* W ← W diag(γ) R. */
static int rotate_reader(const struct gs_fold *fold, const struct gs_matrix *m,
                         const float *gamma, struct gs_err *err)
{
    float *w = floats(m->data);

    for (size_t r = 0; r < m->rows; r++)
        for (size_t c = 0; c < m->cols; c++)
            w[r * m->cols + c] *= gamma[c];
    return gs_transform_rows(fold->residual, GS_TRANSFORM_DUAL, fold->options.team, w, m->rows,
                             m->cols, err);
}

/* W ← Rᵀ W, and what is added with it. */
static int rotate_writer(const struct gs_fold *fold, const struct gs_matrix *m,
                         const float *bias, struct gs_err *err)
{
    struct gs_team *team = fold->options.team;
    int rc = gs_transform_columns(fold->residual, GS_TRANSFORM_FORWARD, team, floats(m->data),
                                  m->cols, m->cols, err);

    return rc || !bias ? rc
                       : gs_transform_rows(fold->residual, GS_TRANSFORM_FORWARD, team,
                                           floats(bias), 1, m->rows, err);
}

int gs_fold_rotate_residual(const struct gs_fold *fold, struct gs_fold_block *b,
                            struct gs_err *err)
{
    struct gs_block_weights *w = &b->w;
    const struct {
        const struct gs_matrix *m;
        const float *gamma;
    } readers[] = {{&w->attn_q, w->attn_norm}, {&w->attn_k, w->attn_norm},
                   {&w->attn_v, w->attn_norm}, {&w->ffn_gate, w->ffn_norm},
                   {&w->ffn_up, w->ffn_norm}};
    int rc = GS_OK;

    for (size_t i = 0; !rc && i < GS_COUNT(readers); i++)
        if (readers[i].m->data)
            rc = rotate_reader(fold, readers[i].m, readers[i].gamma, err);
    if (!rc && !(rc = rotate_writer(fold, &w->attn_output, w->attn_output_b, err)))
        rc = rotate_writer(fold, &w->ffn_down, w->ffn_down_b, err);
    for (size_t c = 0; c < fold->lm->config.n_embd; c++)
        floats(w->attn_norm)[c] = floats(w->ffn_norm)[c] = 1;
    return rc;
}

/* ---- values ------------------------------------------------------------------------------- */

/* P of key/value head g; signs of its own. */
static int make_head(const struct gs_fold *fold, uint32_t il, uint32_t g,
                     struct gs_transform **out, struct gs_err *err)
{
    const struct gs_config *c = &fold->lm->config;
    const struct gs_transform_fit fit = {.seed = fold->options.seed,
                                         .stream = 1 + (uint64_t)il * c->n_head_kv + g};

    return gs_transform_create(gs_transform_find("hadamard"), c->head_v, &fit, out, err);
}

static int rotate_head(const struct gs_fold *fold, struct gs_fold_block *b, uint32_t g,
                       bool back, struct gs_err *err)
{
    const struct gs_config *c = &fold->lm->config;
    struct gs_team *team = fold->options.team;
    const struct gs_matrix *v = &b->w.attn_v, *o = &b->w.attn_output;
    uint32_t group = c->n_head / c->n_head_kv;
    enum gs_transform_op in = back ? GS_TRANSFORM_INVERSE : GS_TRANSFORM_FORWARD;
    enum gs_transform_op out = back ? GS_TRANSFORM_DUAL_INVERSE : GS_TRANSFORM_DUAL;
    struct gs_transform *t = NULL;
    int rc = make_head(fold, b->il, g, &t, err);

    if (!rc)
        rc = gs_transform_columns(t, in, team, floats(v->data) + g * c->head_v * v->cols,
                                  v->cols, v->cols, err);
    if (!rc && b->w.attn_v_b)
        rc = gs_transform_rows(t, in, team, floats(b->w.attn_v_b) + g * c->head_v, 1, c->head_v,
                               err);
    for (uint32_t h = g * group; !rc && h < (g + 1) * group; h++)
        rc = gs_transform_rows(t, out, team, floats(o->data) + h * c->head_v, o->rows, o->cols,
                               err);
    gs_transform_destroy(&t);
    return rc;
}

int gs_fold_rotate_values(const struct gs_fold *fold, struct gs_fold_block *b, bool back,
                          struct gs_err *err)
{
    int rc = GS_OK;

    for (uint32_t g = 0; !rc && g < fold->lm->config.n_head_kv; g++)
        rc = rotate_head(fold, b, g, back, err);
    return rc;
}

/* Rows of h by P: H Pᵀ. */
static int rotate_rows(const struct gs_fold *fold, uint32_t il, double *h, double *work,
                       struct gs_err *err)
{
    const struct gs_config *c = &fold->lm->config;
    uint32_t group = c->n_head / c->n_head_kv;
    size_t n = (size_t)c->n_head * c->head_v;
    int rc = GS_OK;

    for (uint32_t g = 0; !rc && g < c->n_head_kv; g++) {
        struct gs_transform *t = NULL;
        if ((rc = make_head(fold, il, g, &t, err)))
            break;
        for (size_t i = 0; i < n; i++)
            for (uint32_t head = g * group; head < (g + 1) * group; head++)
                gs_transform_kind_of(t)->apply_f64(t, GS_TRANSFORM_FORWARD,
                                                   h + i * n + head * c->head_v, work);
        gs_transform_destroy(&t);
    }
    return rc;
}

static void transpose(double *h, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++) {
            double swap = h[i * n + j];
            h[i * n + j] = h[j * n + i];
            h[j * n + i] = swap;
        }
}

int gs_fold_rotate_moments(const struct gs_fold *fold, uint32_t il, double *h,
                           struct gs_err *err)
{
    const struct gs_config *c = &fold->lm->config;
    size_t n = (size_t)c->n_head * c->head_v;
    struct gs_transform *t = NULL;
    double *work = NULL;
    int rc = make_head(fold, il, 0, &t, err);

    if (!rc && !(work = gs_alloc(gs_transform_work_bytes(t), 1)))
        rc = gs_fail_nomem(err, "second moments");
    gs_transform_destroy(&t);
    if (!rc)
        rc = rotate_rows(fold, il, h, work, err);
    transpose(h, n);
    if (!rc)
        rc = rotate_rows(fold, il, h, work, err);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            h[i * n + j] = h[j * n + i] = 0.5 * (h[i * n + j] + h[j * n + i]);
    gs_free(&work);
    return rc;
}

/* ---- scales ------------------------------------------------------------------------------- */

static void divide(const float *x, const float *s, size_t n)
{
    for (size_t i = 0; x && i < n; i++)
        floats(x)[i] /= s[i];
}

static void divide_rows(const struct gs_matrix *m, const float *s)
{
    float *w = floats(m->data);

    for (size_t r = 0; r < m->rows; r++)
        for (size_t c = 0; c < m->cols; c++)
            w[r * m->cols + c] /= s[r];
}

static void multiply_columns(const struct gs_matrix *m, const float *s)
{
    float *w = floats(m->data);

    for (size_t r = 0; w && r < m->rows; r++)
        for (size_t c = 0; c < m->cols; c++)
            w[r * m->cols + c] *= s[c];
}

static void scale_attn_norm(const struct gs_fold *fold, struct gs_block_weights *w,
                            const float *s)
{
    divide(w->attn_norm, s, fold->lm->config.n_embd);
    divide(w->attn_norm_b, s, fold->lm->config.n_embd);
    multiply_columns(&w->attn_q, s);
    multiply_columns(&w->attn_k, s);
    multiply_columns(&w->attn_v, s);
}

static void scale_values(const struct gs_fold *fold, struct gs_block_weights *w, const float *s)
{
    const struct gs_matrix *o = &w->attn_output;
    float *data = floats(o->data);

    divide_rows(&w->attn_v, s);
    divide(w->attn_v_b, s, w->attn_v.rows);
    for (size_t r = 0; r < o->rows; r++)
        for (size_t c = 0; c < o->cols; c++)
            data[r * o->cols + c] *= s[gs_fold_value_of(&fold->lm->config, c)];
}

static void scale_ffn_norm(const struct gs_fold *fold, struct gs_block_weights *w,
                           const float *s)
{
    divide(w->ffn_norm, s, fold->lm->config.n_embd);
    divide(w->ffn_norm_b, s, fold->lm->config.n_embd);
    multiply_columns(&w->ffn_gate, s);
    multiply_columns(&w->ffn_up, s);
}

static void scale_ffn(const struct gs_fold *fold GS_UNUSED, struct gs_block_weights *w,
                      const float *s)
{
    divide_rows(&w->ffn_up, s);
    divide(w->ffn_up_b, s, w->ffn_up.rows);
    multiply_columns(&w->ffn_down, s);
}

void gs_fold_scale_block(const struct gs_fold *fold, struct gs_fold_block *b,
                         enum gs_fold_scale which, const float *s)
{
    static void (*const scale[GS_SCALE_COUNT])(const struct gs_fold *,
                                               struct gs_block_weights *, const float *) = {
        [GS_SCALE_ATTN_NORM] = scale_attn_norm, [GS_SCALE_VALUES] = scale_values,
        [GS_SCALE_FFN_NORM] = scale_ffn_norm, [GS_SCALE_FFN] = scale_ffn};

    scale[which](fold, &b->w, s);
}
