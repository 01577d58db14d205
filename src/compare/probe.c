/* SPDX-License-Identifier: MIT */
#include "compare/probe.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compare/kernel_share.h"
#include "core/alloc.h"
#include "core/rng.h"
#include "recipe/plan.h"

/* Floats of outputs at a time: an output matrix has as many rows as the vocabulary. */
#define OUTPUT_FLOATS ((size_t)1 << 22)

/* Matrices of a block and the input that they read. Fused ones are views of their rows. */
static const struct linear {
    const char *kind;
    enum gs_plan_input input;
    size_t field;
} linears[] = {
#define AT(field) offsetof(struct gs_block_weights, field)
    {"attn_q", GS_INPUT_ATTN, AT(attn_q)},
    {"attn_k", GS_INPUT_ATTN, AT(attn_k)},
    {"attn_v", GS_INPUT_ATTN, AT(attn_v)},
    {"attn_output", GS_INPUT_ATTN_OUTPUT, AT(attn_output)},
    {"ffn_gate", GS_INPUT_FFN, AT(ffn_gate)},
    {"ffn_up", GS_INPUT_FFN, AT(ffn_up)},
    {"ffn_down", GS_INPUT_FFN_DOWN, AT(ffn_down)},
#undef AT
};

struct sketch {
    float *rows; /* (GS_PROBE_ROWS, cols); NULL: nothing was shown */
    float *columns; /* (cols): room of the share */
    size_t cols;
    uint64_t tokens;
    struct gs_kernel_share share;
};

struct gs_probe {
    const struct gs_lm *source;
    struct sketch *inputs; /* (n_layer, GS_INPUT_BLOCK_COUNT), then the head's */
};

static const struct gs_matrix *field_of(const struct gs_block_weights *b, const struct linear *l)
{
    return (const void *)((const char *)b + l->field);
}

static struct sketch *sketch_of(const struct gs_probe *p, uint32_t il, enum gs_plan_input input)
{
    return &p->inputs[(size_t)il * GS_INPUT_BLOCK_COUNT + input];
}

static struct sketch *head_of(const struct gs_probe *p)
{
    return sketch_of(p, p->source->config.n_layer, 0);
}

static int prepare(struct sketch *s, const struct gs_matrix *w, struct gs_err *err)
{
    if (!w->data || s->rows)
        return GS_OK;
    s->cols = w->cols;
    s->rows = gs_alloc(GS_PROBE_ROWS, w->cols * sizeof *s->rows);
    s->columns = gs_alloc(w->cols, sizeof *s->columns);
    return s->rows && s->columns ? GS_OK : gs_fail_nomem(err, "inputs of matrices");
}

int gs_probe_create(const struct gs_lm *source, struct gs_probe **out, struct gs_err *err)
{
    uint32_t n_layer = source->config.n_layer;
    struct gs_probe *p = gs_alloc(1, sizeof *p);
    int rc = GS_OK;

    *out = NULL;
    if (!p)
        return gs_fail_nomem(err, "inputs of matrices");
    p->source = source;
    p->inputs = gs_alloc((size_t)n_layer * GS_INPUT_BLOCK_COUNT + 1, sizeof *p->inputs);
    if (!p->inputs)
        rc = gs_fail_nomem(err, "inputs of matrices");
    for (uint32_t il = 0; il < n_layer; il++)
        for (size_t i = 0; !rc && i < GS_COUNT(linears); i++)
            rc = prepare(sketch_of(p, il, linears[i].input),
                         field_of(&source->blocks[il], &linears[i]), err);
    if (!rc)
        rc = prepare(head_of(p), &source->model.output, err);
    if (rc)
        gs_probe_destroy(&p);
    *out = p;
    return rc;
}

void gs_probe_destroy(struct gs_probe **pp)
{
    struct gs_probe *p = *pp;

    if (!p)
        return;
    size_t n = (size_t)p->source->config.n_layer * GS_INPUT_BLOCK_COUNT + 1;
    for (size_t i = 0; p->inputs && i < n; i++)
        gs_free(&p->inputs[i].rows), gs_free(&p->inputs[i].columns);
    gs_free(&p->inputs);
    gs_free(pp);
}

/* Row and sign of a token depend on its number alone: the same for all inputs. */
static void add(struct sketch *s, const float *x, size_t T)
{
    gs_kernel_share_add(&s->share, x, T, s->cols, s->columns);
    for (size_t t = 0; t < T; t++, x += s->cols) {
        struct gs_rng rng;
        gs_rng_init(&rng, s->tokens++, 0);
        uint64_t bits = gs_rng_u64(&rng);
        float *row = s->rows + bits % GS_PROBE_ROWS * s->cols;
        float sign = bits >> 63 ? -1.0f : 1.0f;
        for (size_t c = 0; c < s->cols; c++)
            row[c] += sign * x[c];
    }
}

void gs_probe_tap(void *ctx, const struct gs_matrix *w, const float *x, size_t T)
{
    struct gs_probe *p = ctx;
    const struct gs_block_weights *blocks = p->source->blocks;
    size_t il = (size_t)((const char *)w - (const char *)blocks) / sizeof *blocks;

    assert(il < p->source->config.n_layer);
    enum gs_plan_input input = gs_plan_first_input(&blocks[il], w);
    if (input < GS_INPUT_BLOCK_COUNT)
        add(sketch_of(p, (uint32_t)il, input), x, T);
}

void gs_probe_head(struct gs_probe *p, const float *x, size_t n)
{
    add(head_of(p), x, n);
}

/* ---- the list ----------------------------------------------------------------------------- */

static int add_matrix(struct gs_comparison *c, const char *name, size_t kind, uint32_t il,
                      bool head, struct gs_err *err)
{
    struct gs_compared_matrix *m = &c->matrices[c->n_matrices++];

    *m = (struct gs_compared_matrix){.kind = kind, .block = il, .head = head};
    m->name = gs_arena_strndup(&c->arena, name, strlen(name));
    return m->name ? GS_OK : gs_fail_nomem(err, "names");
}

int gs_probe_list(const struct gs_probe *p, struct gs_comparison *c, struct gs_err *err)
{
    uint32_t n_layer = p->source->config.n_layer;
    char name[64];
    int rc = GS_OK;

    c->n_blocks = n_layer;
    c->matrices = gs_arena_alloc(&c->arena, (size_t)n_layer * GS_COUNT(linears) + 1,
                                 sizeof *c->matrices);
    c->kinds = gs_arena_alloc(&c->arena, GS_COUNT(linears), sizeof *c->kinds);
    if (!c->matrices || !c->kinds)
        return gs_fail_nomem(err, "names");
    for (size_t i = 0; i < GS_COUNT(linears); i++) {
        size_t before = c->n_matrices;
        for (uint32_t il = 0; !rc && il < n_layer; il++) {
            if (!field_of(&p->source->blocks[il], &linears[i])->data)
                continue;
            snprintf(name, sizeof name, "blk.%u.%s", (unsigned)il, linears[i].kind);
            rc = add_matrix(c, name, c->n_kinds, il, false, err);
        }
        if (c->n_matrices > before)
            c->kinds[c->n_kinds++] = linears[i].kind;
    }
    return rc ? rc : add_matrix(c, "output", 0, n_layer, true, err);
}

void gs_probe_shares(const struct gs_probe *p, struct gs_comparison *c)
{
    for (size_t i = 0; i < c->n_matrices; i++) {
        struct gs_compared_matrix *m = &c->matrices[i];
        enum gs_plan_input input = 0;
        for (size_t l = 0; !m->head && l < GS_COUNT(linears); l++)
            if (!strcmp(linears[l].kind, c->kinds[m->kind]))
                input = linears[l].input;
        const struct gs_kernel_share *share =
            m->head ? &head_of(p)->share : &sketch_of(p, m->block, input)->share;
        m->lost_by_token = (double)share->token / (double)share->entries;
        m->lost_crosswise = (double)share->cross / (double)share->entries;
    }
}

/* ---- measuring ---------------------------------------------------------------------------- */

struct measuring {
    struct gs_run run;
    float *y, *want; /* (OUTPUT_FLOATS) or one token of the widest output */
    size_t floats;
    double energy, loss; /* of one matrix */
};

static size_t widest(const struct gs_lm *lm)
{
    const struct gs_config *c = &lm->config;

    return GS_MAX(GS_MAX((size_t)c->n_embd, c->n_ff),
                  (size_t)c->n_head * GS_MAX(c->head_k, c->head_v));
}

static int measuring_init(struct measuring *m, const struct gs_lm *lm, struct gs_team *team,
                          struct gs_err *err)
{
    struct gs_run *run = &m->run;

    run->team = team;
    run->k = gs_kernels();
    run->scratch_size = (gs_linear_scratch(widest(lm)) + 15) / 16 * 16;
    run->scratch = gs_alloc((size_t)gs_team_size(team), run->scratch_size * sizeof(float));
    run->mixed = gs_alloc(GS_PROBE_ROWS, widest(lm) * sizeof(float));
    m->floats = GS_MAX(OUTPUT_FLOATS, (size_t)lm->config.n_vocab);
    m->y = gs_alloc(m->floats, sizeof *m->y);
    m->want = gs_alloc(m->floats, sizeof *m->want);
    return run->scratch && run->mixed && m->y && m->want ? GS_OK
                                                         : gs_fail_nomem(err, "layer errors");
}

static void measuring_clear(struct measuring *m)
{
    gs_free(&m->run.scratch);
    gs_free(&m->run.mixed);
    gs_free(&m->y);
    gs_free(&m->want);
}

static double measure(struct measuring *m, const struct gs_matrix *source,
                      const struct gs_matrix *w, const struct sketch *s)
{
    m->energy = m->loss = 0;
    if (!source->data || !w->data || w->rows != source->rows || w->cols != source->cols ||
        s->cols != w->cols || source->rows > m->floats)
        return NAN;
    size_t piece = GS_MIN(m->floats / source->rows, GS_PROBE_ROWS);
    for (size_t t = 0; t < GS_PROBE_ROWS; t += piece) {
        size_t n = GS_MIN(piece, GS_PROBE_ROWS - t);
        gs_linear_forward(&m->run, source, NULL, s->rows + t * s->cols, n, m->want);
        gs_linear_forward(&m->run, w, NULL, s->rows + t * s->cols, n, m->y);
        for (size_t i = 0; i < n * source->rows; i++) {
            double want = (double)m->want[i], error = (double)m->y[i] - want;
            m->energy += want * want;
            m->loss += error * error;
        }
    }
    return m->energy > 0 ? m->loss / m->energy : NAN;
}

int gs_probe_measure(const struct gs_probe *p, const struct gs_lm *model, struct gs_team *team,
                     double *errors, double *total, struct gs_err *err)
{
    const struct gs_lm *source = p->source;
    struct measuring m = {.floats = 0};
    double loss = 0, energy = 0;
    size_t n = 0;
    int rc = measuring_init(&m, source, team, err);

    if (!rc && model->config.n_layer != source->config.n_layer)
        rc = gs_fail(err, GS_E_FORMAT, "%s: %u blocks, its source has %u",
                     gs_store_path(model->store), (unsigned)model->config.n_layer,
                     (unsigned)source->config.n_layer);
    for (size_t i = 0; !rc && i < GS_COUNT(linears); i++)
        for (uint32_t il = 0; il < source->config.n_layer; il++) {
            const struct gs_matrix *w = field_of(&source->blocks[il], &linears[i]);
            if (!w->data)
                continue;
            errors[n++] = measure(&m, w, field_of(&model->blocks[il], &linears[i]),
                                  sketch_of(p, il, linears[i].input));
            loss += m.loss;
            energy += m.energy;
        }
    if (!rc)
        errors[n++] = measure(&m, &source->model.output, &model->model.output, head_of(p));
    *total = energy > 0 ? loss / energy : NAN;
    measuring_clear(&m);
    return rc;
}
