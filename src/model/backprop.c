/* SPDX-License-Identifier: MIT */
#include "model/backprop.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "core/alloc.h"

#define KEEP_BYTES ((uint64_t)4 << 30)
/* Logits of a chunk: about 96 MiB, because every chunk packs the output matrix twice and adds
 * to all of its gradient; and rows enough for the products to be efficient. */
#define CHUNK_FLOATS ((size_t)24 << 20)
#define CHUNK_ROWS ((size_t)64)
#define PRODUCT_FLOATS ((size_t)4 << 20)
#define ALIGN_FLOATS 16u
#define TOKENS_MAX ((uint64_t)1 << 30) /* so that sizes fit 64 bits */

struct gs_backprop {
    const struct gs_params *params;
    struct gs_pass pass;
    size_t N, chunk;
    bool recompute, no_grads, has_teacher;
    float *memory, *grads;
    uint64_t bytes;
    struct gs_model_grads model_grads;
    struct gs_block_grads *block_grads;
    struct gs_saved *saved; /* n_layer of them, or one */
    float **x;              /* (N, C): x[il] is the input of block il, x[n_layer] the output */
    struct gs_between between;
    float *branch, *final, *dx; /* (N, C) */
    float *logits;              /* (chunk, V) */
    float *capped, *teacher;    /* the same; with a soft cap, with a teacher */
    double *losses;             /* (chunk) */
    double *freq, *freq_local, freq_scale, freq_local_scale;
    float *rope, *rope_local;
};

/* ---- memory --------------------------------------------------------------------------------- */

struct layout {
    float *base; /* NULL: only counts */
    uint64_t used;
    bool overflow;
};

static float *take(struct layout *l, uint64_t rows, uint64_t cols)
{
    uint64_t n, at = l->used;

    if (!gs_mul_ok(rows, cols, &n) || !gs_align_ok(n, ALIGN_FLOATS, &n) ||
        !gs_add_ok(l->used, n, &l->used)) {
        l->overflow = true;
        l->used = at;
    }
    return l->base ? l->base + at : NULL;
}

static void lay_out(struct gs_backprop *bp, struct layout *l)
{
    const struct gs_config *c = &bp->params->lm->config;
    uint64_t N = bp->N, C = c->n_embd, n_freq = c->rope_dims / 2;
    uint32_t sets = bp->recompute ? 1 : c->n_layer;

    bp->grads = take(l, bp->no_grads ? 0 : bp->params->floats, 1);
    for (uint32_t i = 0; i < sets; i++) {
        float *base = take(l, gs_saved_floats(c, N), 1);
        if (base)
            gs_saved_place(c, N, base, &bp->saved[i]);
    }
    for (uint32_t il = 0; il <= c->n_layer; il++) {
        /* Kept sets hold their block's input; measuring needs two in turn. */
        if (!bp->recompute && il < c->n_layer)
            bp->x[il] = bp->saved[il].x;
        else if (bp->no_grads && il >= 2)
            bp->x[il] = bp->x[il - 2];
        else
            bp->x[il] = take(l, N, C);
    }
    float *between = take(l, bp->no_grads ? 0 : gs_between_floats(c, N), 1);
    if (between)
        gs_between_place(c, N, between, &bp->between);
    bp->branch = take(l, N, C);
    bp->final = take(l, N, C);
    bp->dx = take(l, bp->no_grads ? 0 : N, C);
    bp->logits = take(l, bp->chunk, c->n_vocab);
    bp->capped = take(l, c->logit_softcap != 0 ? bp->chunk : 0, c->n_vocab);
    bp->teacher = take(l, bp->has_teacher ? bp->chunk : 0, c->n_vocab);
    bp->losses = (void *)take(l, bp->chunk, 2);
    bp->freq = (void *)take(l, n_freq, 2);
    bp->freq_local = (void *)take(l, n_freq, 2);
    bp->rope = take(l, bp->pass.T, 2 * n_freq);
    bp->rope_local = take(l, bp->pass.T, 2 * n_freq);
    bp->pass.stats = take(l, 2 * N, c->n_head);
    bp->pass.run.scratch = take(l, (uint64_t)gs_team_size(bp->pass.run.team),
                                bp->pass.run.scratch_size);
}

static void set_rope(struct gs_backprop *bp)
{
    const struct gs_config *c = &bp->params->lm->config;
    const struct gs_model_weights *m = &bp->params->model;
    uint32_t T = (uint32_t)bp->pass.T;

    if (!c->rope_dims)
        return;
    bp->pass.run.k = gs_kernels();
    bp->freq_scale = gs_rope_frequencies(c, m, false, T, bp->freq);
    bp->freq_local_scale = gs_rope_frequencies(c, m, true, T, bp->freq_local);
    gs_rope_angles(&bp->pass.run, bp->freq, c->rope_dims / 2, bp->freq_scale, 0, T, bp->rope);
    gs_rope_angles(&bp->pass.run, bp->freq_local, c->rope_dims / 2, bp->freq_local_scale, 0, T,
                   bp->rope_local);
}

static int check_options(const struct gs_params *p, const struct gs_backprop_options *o,
                         struct gs_err *err)
{
    if (!o->texts || !o->ctx)
        return gs_fail(err, GS_E_ARG, "a batch needs at least one text of one token");
    if ((uint64_t)o->texts * o->ctx > TOKENS_MAX)
        return gs_fail(err, GS_E_ARG, "%u texts of %u tokens are more than a pass can take",
                       o->texts, o->ctx);
    if (p->model.position_embd.data && o->ctx > p->lm->config.n_ctx_train)
        return gs_fail(err, GS_E_ARG, "a context of %u is more than the %u positions that the "
                       "model knows", o->ctx, p->lm->config.n_ctx_train);
    return GS_OK;
}

/* Everything behind the struct itself. */
static int take_memory(struct gs_backprop *bp, enum gs_recompute recompute, struct gs_err *err)
{
    const struct gs_config *c = &bp->params->lm->config;
    struct layout count = {0}, place = {0};
    uint64_t kept;

    bp->block_grads = gs_alloc(c->n_layer, sizeof *bp->block_grads);
    bp->saved = gs_alloc(c->n_layer, sizeof *bp->saved);
    bp->x = gs_alloc((size_t)c->n_layer + 1, sizeof *bp->x);
    if (!bp->block_grads || !bp->saved || !bp->x)
        return gs_fail_nomem(err, "activations");
    bp->recompute = bp->no_grads || recompute == GS_RECOMPUTE_ALWAYS ||
                    (recompute == GS_RECOMPUTE_AUTO &&
                     (!gs_mul_ok(gs_saved_floats(c, bp->N), c->n_layer * sizeof(float), &kept) ||
                      kept > KEEP_BYTES));
    lay_out(bp, &count);
    if (!count.overflow)
        bp->memory = place.base = gs_alloc(count.used, sizeof *bp->memory);
    if (!bp->memory)
        return gs_fail(err, GS_E_NOMEM, "out of memory for training with %zu tokens at a time "
                       "(%llu MiB)", bp->N, (unsigned long long)(count.used >> 18));
    bp->bytes = count.used * sizeof *bp->memory;
    lay_out(bp, &place);
    return gs_mul_space_create(bp->pass.run.team, PRODUCT_FLOATS, &bp->pass.space, err);
}

int gs_backprop_create(const struct gs_params *params,
                       const struct gs_backprop_options *o, struct gs_backprop **out,
                       struct gs_err *err)
{
    const struct gs_config *c = &params->lm->config;
    int rc;

    *out = NULL;
    if ((rc = check_options(params, o, err)))
        return rc;
    struct gs_backprop *bp = gs_alloc(1, sizeof *bp);
    if (!bp)
        return gs_fail_nomem(err, "training");
    bp->params = params;
    bp->pass.B = o->texts;
    bp->pass.T = o->ctx;
    bp->N = bp->pass.B * bp->pass.T;
    bp->no_grads = o->no_grads;
    bp->has_teacher = o->teacher;
    bp->pass.run.team = o->team;
    bp->pass.run.scratch_size = (gs_pass_scratch(c, bp->pass.T) + 15) / 16 * 16;
    bp->chunk = GS_MIN(bp->N, GS_MAX(CHUNK_FLOATS / c->n_vocab, CHUNK_ROWS));
    if ((rc = take_memory(bp, o->recompute, err))) {
        gs_backprop_destroy(&bp);
        return rc;
    }
    set_rope(bp);
    if (!bp->no_grads)
        gs_params_grads(params, bp->grads, &bp->model_grads, bp->block_grads);
    *out = bp;
    return GS_OK;
}

void gs_backprop_destroy(struct gs_backprop **bpp)
{
    struct gs_backprop *bp = *bpp;

    if (!bp)
        return;
    gs_mul_space_destroy(&bp->pass.space);
    gs_free(&bp->memory);
    gs_free(&bp->x);
    gs_free(&bp->saved);
    gs_free(&bp->block_grads);
    gs_free(bpp);
}

float *gs_backprop_grads(struct gs_backprop *bp)
{
    return bp->grads;
}

uint64_t gs_backprop_bytes(const struct gs_backprop *bp)
{
    return bp->bytes;
}

/* ---- forwards ------------------------------------------------------------------------------- */

static const float *rope_of(const struct gs_backprop *bp, uint32_t il)
{
    return gs_config_is_windowed(&bp->params->lm->config, il) ? bp->rope_local : bp->rope;
}

static struct gs_saved *saved_of(struct gs_backprop *bp, uint32_t il)
{
    struct gs_saved *s = &bp->saved[bp->recompute ? 0 : il];

    s->x = bp->x[il];
    if (bp->params->lm->config.parallel_residual)
        s->mid = s->x;
    return s;
}

void gs_backprop_embed(struct gs_backprop *bp, const int32_t *tokens, float *x)
{
    const struct gs_config *c = &bp->params->lm->config;
    const struct gs_model_weights *m = &bp->params->model;
    const struct gs_pass *pass = &bp->pass;

    bp->pass.run.k = gs_kernels();
    gs_embedding_forward(&pass->run, &m->token_embd, tokens, bp->N, c->embd_scale, x);
    for (size_t b = 0; m->position_embd.data && b < pass->B; b++)
        gs_position_forward(&pass->run, &m->position_embd, 0, pass->T,
                            x + b * pass->T * c->n_embd);
}

void gs_backprop_block(struct gs_backprop *bp, uint32_t il, const float *x, float *y)
{
    struct gs_saved *s = saved_of(bp, il);

    bp->pass.run.k = gs_kernels();
    memcpy(s->x, x, bp->N * bp->params->lm->config.n_embd * sizeof *x);
    gs_block_train(&bp->pass, &bp->params->lm->config, il, &bp->params->blocks[il],
                   rope_of(bp, il), s, bp->branch, y);
}

void gs_backprop_block_backward(struct gs_backprop *bp, uint32_t il, float *dx)
{
    assert(!bp->no_grads);
    gs_block_backward(&bp->pass, &bp->params->lm->config, il, &bp->params->blocks[il],
                      rope_of(bp, il), saved_of(bp, il), &bp->between, dx,
                      &bp->block_grads[il]);
}

void gs_backprop_forward(struct gs_backprop *bp, const int32_t *tokens)
{
    const struct gs_config *c = &bp->params->lm->config;
    const struct gs_model_weights *m = &bp->params->model;
    const struct gs_pass *pass = &bp->pass;

    gs_backprop_embed(bp, tokens, bp->x[0]);
    for (uint32_t il = 0; il < c->n_layer; il++)
        gs_block_train(pass, c, il, &bp->params->blocks[il], rope_of(bp, il), saved_of(bp, il),
                       bp->branch, bp->x[il + 1]);
    gs_norm_forward(&pass->run, c->arch->norm, bp->x[c->n_layer], bp->N, c->n_embd,
                    m->output_norm, m->output_norm_b, c->norm_eps, bp->final);
}

void gs_backprop_logits(struct gs_backprop *bp, size_t first, size_t rows, float *out)
{
    const struct gs_config *c = &bp->params->lm->config;
    const struct gs_model_weights *m = &bp->params->model;

    assert(first + rows <= bp->N);
    gs_linear_train(&bp->pass, &m->output, m->output_b, bp->final + first * c->n_embd, rows,
                    out);
    if (c->logit_softcap != 0)
        gs_softcap_forward(&bp->pass.run, c->logit_softcap, out, rows * c->n_vocab);
}

float *gs_backprop_final(struct gs_backprop *bp)
{
    return bp->final;
}

/* ---- backwards ------------------------------------------------------------------------------ */

/* bp->logits hold G of rows first …; its gradients go to the output matrix and to dx. */
static void head_backward(struct gs_backprop *bp, size_t first, size_t rows)
{
    const struct gs_config *c = &bp->params->lm->config;
    size_t at = first * c->n_embd;

    gs_linear_backward(&bp->pass, &bp->params->model.output, bp->final + at, bp->logits, rows,
                       false, bp->dx + at, bp->model_grads.output, bp->model_grads.output_b);
}

/* bp->dx holds G of the final norm's output. */
static void backward(struct gs_backprop *bp, const int32_t *tokens)
{
    const struct gs_config *c = &bp->params->lm->config;
    const struct gs_model_weights *m = &bp->params->model;
    struct gs_model_grads *g = &bp->model_grads;

    gs_norm_backward(&bp->pass, c->arch->norm, bp->x[c->n_layer], bp->N, c->n_embd,
                     m->output_norm, c->norm_eps, bp->dx, false, bp->dx, g->output_norm,
                     g->output_norm_b);
    for (uint32_t il = c->n_layer; il-- > 0;) {
        const struct gs_block_weights *w = &bp->params->blocks[il];
        struct gs_saved *s = saved_of(bp, il);
        if (bp->recompute && il + 1 < c->n_layer)
            gs_block_train(&bp->pass, c, il, w, rope_of(bp, il), s, bp->branch,
                           bp->final); /* its output is known; final is free */
        gs_block_backward(&bp->pass, c, il, w, rope_of(bp, il), s, &bp->between, bp->dx,
                          &bp->block_grads[il]);
    }
    if (g->token_embd)
        gs_embedding_backward(&bp->pass, tokens, bp->N, c->embd_scale, bp->dx, c->n_embd,
                              g->token_embd);
    if (g->position_embd)
        gs_position_backward(&bp->pass, bp->dx, c->n_embd, g->position_embd);
}

static double sum_losses(const struct gs_backprop *bp, size_t rows)
{
    double sum = 0;

    for (size_t r = 0; r < rows; r++)
        sum += bp->losses[r];
    return sum;
}

/* What turns a chunk of logits into gradients; rows first … of the batch. */
struct goal {
    const int32_t *target;
    gs_teacher_fn teacher;
    void *ctx;
    size_t top;
    float weight;
};

static void differentiate_loss(struct gs_backprop *bp, const struct goal *goal, size_t first,
                               size_t rows)
{
    size_t V = bp->params->lm->config.n_vocab;

    if (goal->teacher) {
        goal->teacher(goal->ctx, first, rows, bp->teacher);
        gs_kl_divergence(&bp->pass, bp->logits, bp->teacher, rows, V, goal->top, goal->weight,
                         bp->losses);
    } else {
        gs_cross_entropy(&bp->pass, bp->logits, goal->target + first, rows, V, goal->weight,
                         bp->losses);
    }
}

/* Forwards, the loss and, with gradients, backwards. */
static double run(struct gs_backprop *bp, const int32_t *tokens, const struct goal *goal,
                  bool grads)
{
    const struct gs_config *c = &bp->params->lm->config;
    bool capped = c->logit_softcap != 0;
    double loss = 0;

    gs_backprop_forward(bp, tokens);
    for (size_t first = 0; first < bp->N; first += bp->chunk) {
        size_t rows = GS_MIN(bp->chunk, bp->N - first), n = rows * c->n_vocab;
        gs_backprop_logits(bp, first, rows, bp->logits);
        if (capped)
            memcpy(bp->capped, bp->logits, n * sizeof *bp->logits);
        differentiate_loss(bp, goal, first, rows);
        loss += sum_losses(bp, rows);
        if (capped && grads)
            gs_softcap_backward(&bp->pass, c->logit_softcap, bp->capped, n, bp->logits);
        if (grads)
            head_backward(bp, first, rows);
    }
    if (grads)
        backward(bp, tokens);
    return loss;
}

void gs_backprop_loss(struct gs_backprop *bp, const int32_t *tokens, const int32_t *target,
                      float weight, double *loss)
{
    struct goal goal = {.target = target, .weight = weight};

    assert(!bp->no_grads);
    *loss = run(bp, tokens, &goal, true);
}

void gs_backprop_measure(struct gs_backprop *bp, const int32_t *tokens, const int32_t *target,
                         double *loss)
{
    struct goal goal = {.target = target, .weight = 0};

    *loss = run(bp, tokens, &goal, false);
}

void gs_backprop_divergence(struct gs_backprop *bp, const int32_t *tokens,
                            gs_teacher_fn teacher, void *ctx, size_t top, float weight,
                            double *loss)
{
    struct goal goal = {.teacher = teacher, .ctx = ctx, .top = top, .weight = weight};

    assert(bp->has_teacher && !bp->no_grads);
    *loss = run(bp, tokens, &goal, true);
}

void gs_backprop_measure_divergence(struct gs_backprop *bp, const int32_t *tokens,
                                    gs_teacher_fn teacher, void *ctx, double *loss)
{
    struct goal goal = {.teacher = teacher, .ctx = ctx};

    assert(bp->has_teacher);
    *loss = run(bp, tokens, &goal, false);
}
