/* SPDX-License-Identifier: MIT
 * A model's weights as parameters: every row of weights.def whose tensor the model has.
 *
 * Fused projections are one parameter; q, k, v, gate and up are then views of its rows, in
 * the weights as in the gradients. An output matrix that is the embedding has no parameter
 * and no gradient of its own: both uses add to one. */
#include "model/params.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"

#define ALIGN_FLOATS 16u
#define NAME_MAX_BYTES 80
#define FROZEN (GS_BIT(rope_freqs) | GS_BIT(rope_long) | GS_BIT(rope_short))

/* A row of weights.def and where its field lies. */
struct row {
    const char *name;
    size_t weight, grad;
    bool matrix;
};

static const struct row rows[GS_SLOT_COUNT] = {
#define M(field, name, in, out) \
    [GS_SLOT_##field] = {name, offsetof(struct WEIGHTS, field), offsetof(struct GRADS, field), \
                         true},
#define V(field, name, n) \
    [GS_SLOT_##field] = {name, offsetof(struct WEIGHTS, field), offsetof(struct GRADS, field), \
                         false},
#define GS_MODEL_TENSORS
#define WEIGHTS gs_model_weights
#define GRADS gs_model_grads
#include "model/weights.def"
#undef GS_MODEL_TENSORS
#undef WEIGHTS
#undef GRADS
#define GS_BLOCK_TENSORS
#define WEIGHTS gs_block_weights
#define GRADS gs_block_grads
#include "model/weights.def"
#undef GS_BLOCK_TENSORS
#undef WEIGHTS
#undef GRADS
#undef M
#undef V
};

static const struct gs_matrix *matrix_at(const void *weights, int slot)
{
    return (const void *)((const char *)weights + rows[slot].weight);
}

static const float **vector_at(void *weights, int slot)
{
    return (void *)((char *)weights + rows[slot].weight);
}

/* ---- which there are ---------------------------------------------------------------------- */

/* Adds the parameter of one slot if the model has its tensor. Of two slots of one name
 * (fused or single up projection) only one has the tensor's shape. */
static int add_slot(struct gs_params *p, bool open, int slot, const char *prefix,
                    uint32_t layer, struct gs_err *err)
{
    const void *weights = slot < GS_SLOT_MODEL_COUNT ? (const void *)&p->lm->model
                                                     : &p->lm->blocks[layer];
    char name[NAME_MAX_BYTES];

    snprintf(name, sizeof name, "%s%s", prefix, rows[slot].name);
    const struct gs_tensor *t = gs_store_find(p->lm->store, name);
    if (!t || FROZEN >> slot & 1)
        return GS_OK;
    const struct gs_matrix *w = rows[slot].matrix ? matrix_at(weights, slot) : NULL;
    if (w) {
        if (w->native && !open)
            return gs_fail(err, GS_E_UNSUPPORTED,
                           "%s: tensor %s: a native matrix has codes, which cannot be trained",
                           t->file, t->name);
        if (!w->data || (!w->native && w->rows != t->dim[1]))
            return GS_OK;
    }
    struct gs_param *param = &p->list[p->n];
    *param = (struct gs_param){.offset = p->floats, .rows = w ? w->rows : 1,
                               .cols = w ? w->cols : t->dim[0], .matrix = rows[slot].matrix,
                               .slot = slot, .layer = layer};
    param->count = param->rows * param->cols;
    param->name = gs_arena_strndup(&p->names, name, strlen(name));
    if (!param->name)
        return gs_fail_nomem(err, "names of parameters");
    p->floats += (param->count + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    p->weights += param->count;
    p->n++;
    return GS_OK;
}

static int list_parameters(struct gs_params *p, bool open, struct gs_err *err)
{
    char prefix[24] = "";
    int rc = GS_OK;

    for (int slot = 0; !rc && slot < GS_SLOT_MODEL_COUNT; slot++)
        rc = add_slot(p, open, slot, prefix, 0, err);
    for (uint32_t il = 0; !rc && il < p->lm->config.n_layer; il++) {
        snprintf(prefix, sizeof prefix, "blk.%" PRIu32 ".", il);
        for (int slot = GS_SLOT_MODEL_COUNT + 1; !rc && slot < GS_SLOT_COUNT; slot++)
            rc = add_slot(p, open, slot, prefix, il, err);
    }
    return rc;
}

/* ---- weights -------------------------------------------------------------------------------- */

struct decode {
    const struct gs_matrix *w;
    float *out;
};

static void decode_rows(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct decode *d = ctx;
    const struct gs_matrix *w = d->w;

    for (size_t r = begin; r < end; r++)
        gs_kernels()->decode[w->type]((const char *)w->data + r * w->row_bytes,
                                      d->out + r * w->cols, w->cols);
}

/* Copies the values and points the field of the new weights at them. */
static void bind(struct gs_params *p, const struct gs_param *param, struct gs_team *team)
{
    bool model = param->slot < GS_SLOT_MODEL_COUNT;
    void *from = model ? (void *)&p->lm->model : &p->lm->blocks[param->layer];
    void *to = model ? (void *)&p->model : &p->blocks[param->layer];
    float *values = p->values + param->offset;

    if (param->matrix) {
        struct decode d = {.w = matrix_at(from, param->slot), .out = values};
        if (!d.w->native)
            gs_team_run(team, param->rows, GS_MAX(65536 / param->cols, 1u), decode_rows, &d);
        struct gs_matrix *w = (void *)((char *)to + rows[param->slot].weight);
        *w = (struct gs_matrix){.data = values, .type = GS_TYPE_F32, .rows = param->rows,
                                .cols = param->cols, .row_bytes = param->cols * sizeof(float)};
    } else {
        memcpy(values, *vector_at(from, param->slot), param->count * sizeof *values);
        *vector_at(to, param->slot) = values;
    }
}

static int create(struct gs_lm *lm, bool open, struct gs_team *team, struct gs_params **out,
                  struct gs_err *err)
{
    struct gs_params *p = gs_alloc(1, sizeof *p);
    int rc;

    *out = NULL;
    if (!p)
        return gs_fail_nomem(err, "parameters");
    p->lm = lm;
    p->list = gs_alloc(gs_store_count(lm->store), sizeof *p->list);
    p->blocks = gs_alloc(lm->config.n_layer, sizeof *p->blocks);
    rc = p->list && p->blocks ? list_parameters(p, open, err)
                              : gs_fail_nomem(err, "the list of parameters");
    if (!rc && !(p->values = gs_alloc(p->floats, sizeof *p->values)))
        rc = gs_fail_nomem(err, "weights");
    if (rc) {
        gs_params_destroy(&p);
        return rc;
    }
    for (size_t i = 0; i < p->n; i++)
        bind(p, &p->list[i], team);
    for (uint32_t il = 0; il < lm->config.n_layer; il++)
        gs_block_split(&lm->config, &p->blocks[il]);
    if (!p->model.output.data)
        p->model.output = p->model.token_embd;
    p->model.rope_freqs = lm->model.rope_freqs;
    p->model.rope_long = lm->model.rope_long;
    p->model.rope_short = lm->model.rope_short;
    *out = p;
    return GS_OK;
}

int gs_params_create(struct gs_lm *lm, struct gs_team *team, struct gs_params **out,
                     struct gs_err *err)
{
    return create(lm, false, team, out, err);
}

int gs_params_create_open(struct gs_lm *lm, struct gs_team *team, struct gs_params **out,
                          struct gs_err *err)
{
    return create(lm, true, team, out, err);
}

void gs_params_destroy(struct gs_params **pp)
{
    if (!*pp)
        return;
    gs_arena_clear(&(*pp)->names);
    gs_free(&(*pp)->values);
    gs_free(&(*pp)->blocks);
    gs_free(&(*pp)->list);
    gs_free(pp);
}

const struct gs_param *gs_params_find(const struct gs_params *p, const char *name)
{
    for (size_t i = 0; i < p->n; i++)
        if (!strcmp(p->list[i].name, name))
            return &p->list[i];
    return NULL;
}

/* ---- gradients ------------------------------------------------------------------------------ */

/* Rows of fused gradients, as gs_block_split for weights. */
static void split_grads(const struct gs_config *c, struct gs_block_grads *g)
{
    size_t q = (size_t)c->n_head * c->head_k, k = (size_t)c->n_head_kv * c->head_k;

    if (g->attn_qkv) {
        g->attn_q = g->attn_qkv;
        g->attn_k = g->attn_qkv + q * c->n_embd;
        g->attn_v = g->attn_qkv + (q + k) * c->n_embd;
    }
    if (g->attn_qkv_b) {
        g->attn_q_b = g->attn_qkv_b;
        g->attn_k_b = g->attn_qkv_b + q;
        g->attn_v_b = g->attn_qkv_b + q + k;
    }
    if (g->ffn_gate_up) {
        g->ffn_gate = g->ffn_gate_up;
        g->ffn_up = g->ffn_gate_up + (size_t)c->n_ff * c->n_embd;
    }
}

void gs_params_grads(const struct gs_params *p, float *base, struct gs_model_grads *model,
                     struct gs_block_grads *blocks)
{
    *model = (struct gs_model_grads){0};
    for (uint32_t il = 0; il < p->lm->config.n_layer; il++)
        blocks[il] = (struct gs_block_grads){0};
    for (size_t i = 0; i < p->n; i++) {
        const struct gs_param *param = &p->list[i];
        void *to = param->slot < GS_SLOT_MODEL_COUNT ? (void *)model : &blocks[param->layer];
        float **field = (void *)((char *)to + rows[param->slot].grad);
        *field = base + param->offset;
    }
    for (uint32_t il = 0; il < p->lm->config.n_layer; il++)
        split_grads(&p->lm->config, &blocks[il]);
    if (!model->output)
        model->output = model->token_embd;
}
