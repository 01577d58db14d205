/* SPDX-License-Identifier: MIT
 * A transformer block in training: the forward of block.c that keeps what the backward
 * reads, and the way back.
 *
 *   x ─┬─ norm ─ q, k, v ─ (q/k norm) ─ rope ─ attention ─ Wo ─ (norm) ─ + ─ mid
 *      └─────────────────────────────────────────────────────────────────┘
 *   mid ─┬─ norm ─ FFN ─ (norm) ─ + ─►
 *        └────────────────────────┘
 *
 * Backwards the gradient of the residual stream stays in dx: each branch takes its G from it
 * and adds its own part. With a parallel residual both branches read G of the output, and
 * mid is x. */
#include "model/backward.h"

#include <assert.h>
#include <string.h>

/* ---- room -------------------------------------------------------------------------------- */

struct part {
    float **field;
    uint64_t floats;
};

/* Lays parts one after another, each on a cache line; base NULL: only counts. */
static size_t place_parts(const struct part *parts, size_t n, float *base)
{
    size_t used = 0;

    for (size_t i = 0; i < n; i++) {
        if (base && parts[i].floats)
            *parts[i].field = base + used;
        used += (parts[i].floats + 15) / 16 * 16;
    }
    return used;
}

/* Whether some block of such a model has q/k norms, or post-norms. */
static bool may_have(const struct gs_config *c, uint64_t bits)
{
    return (c->arch->need | c->arch->may) & bits;
}

static size_t lay_saved(const struct gs_config *c, size_t N, float *base, struct gs_saved *s)
{
    uint64_t q = N * c->n_head * c->head_k, k = N * c->n_head_kv * c->head_k;
    uint64_t v = N * c->n_head_kv * c->head_v, C = N * c->n_embd, F = N * c->n_ff;
    bool qk_norm = may_have(c, GS_BIT(attn_q_norm) | GS_BIT(attn_k_norm));
    const struct part parts[] = {
        {&s->x, C}, {&s->norm, C}, {&s->q, q}, {&s->k, k}, {&s->v, v},
        {&s->q_raw, qk_norm ? q : 0}, {&s->k_raw, qk_norm ? k : 0},
        {&s->soft, 2 * N * c->n_head}, {&s->att, N * c->n_head * c->head_v},
        {&s->att_out, may_have(c, GS_BIT(attn_post_norm)) ? C : 0},
        {&s->mid, c->parallel_residual ? 0 : C}, {&s->ffn_norm, C}, {&s->gate, F},
        {&s->up, c->arch->gated || may_have(c, GS_BIT(ffn_gate_up)) ? F : 0}, {&s->hidden, F},
        {&s->ffn_out, may_have(c, GS_BIT(ffn_post_norm)) ? C : 0},
    };

    return place_parts(parts, GS_COUNT(parts), base);
}

static size_t lay_between(const struct gs_config *c, size_t N, float *base,
                          struct gs_between *b)
{
    uint64_t C = N * c->n_embd, F = N * c->n_ff;
    const struct part parts[] = {
        {&b->norm, C}, {&b->branch, C}, {&b->kept, c->parallel_residual ? C : 0},
        {&b->q, N * c->n_head * c->head_k}, {&b->k, N * c->n_head_kv * c->head_k},
        {&b->v, N * c->n_head_kv * c->head_v}, {&b->att, N * c->n_head * c->head_v},
        {&b->hidden, F}, {&b->up, F},
    };

    return place_parts(parts, GS_COUNT(parts), base);
}

size_t gs_saved_floats(const struct gs_config *config, size_t N)
{
    struct gs_saved s;

    return lay_saved(config, N, NULL, &s);
}

size_t gs_between_floats(const struct gs_config *config, size_t N)
{
    struct gs_between b;

    return lay_between(config, N, NULL, &b);
}

void gs_saved_place(const struct gs_config *config, size_t N, float *base,
                    struct gs_saved *out)
{
    *out = (struct gs_saved){0};
    lay_saved(config, N, base, out);
    if (config->parallel_residual)
        out->mid = out->x;
}

void gs_between_place(const struct gs_config *config, size_t N, float *base,
                      struct gs_between *out)
{
    *out = (struct gs_between){0};
    lay_between(config, N, base, out);
}

static struct gs_heads heads_of(const struct gs_config *c)
{
    return (struct gs_heads){.H = c->n_head, .G = c->n_head_kv, .D = c->head_k,
                             .Dv = c->head_v};
}

size_t gs_pass_scratch(const struct gs_config *c, size_t T)
{
    struct gs_heads heads = heads_of(c);

    return gs_attention_train_scratch(&heads, T, c->attn_softcap != 0);
}

static struct gs_attention attention_of(const struct gs_config *c, uint32_t il)
{
    return (struct gs_attention){.heads = c->n_head,
                                 .window = gs_config_is_windowed(c, il) ? c->window : 0,
                                 .scale = c->attn_scale, .softcap = c->attn_softcap};
}

/* ---- forwards ------------------------------------------------------------------------------ */

/* RoPE of every text, or its transpose. */
static void rotate(const struct gs_pass *pass, const struct gs_config *c, const float *rope,
                   bool back, size_t heads, float *x)
{
    size_t step = pass->T * heads * c->head_k;

    for (size_t i = 0; c->arch->rope != GS_ROPE_NONE && i < pass->B; i++)
        (back ? gs_rope_backward : gs_rope_forward)(&pass->run, c->arch->rope, rope,
                                                    c->rope_dims / 2, pass->T, heads,
                                                    c->head_k, x + i * step);
}

/* Queries or keys: product, norm, rotation. */
static void project(const struct gs_pass *pass, const struct gs_config *c,
                    const struct gs_matrix *w, const float *bias, const float *norm,
                    const float *rope, const float *x, size_t heads, float *raw, float *out)
{
    size_t N = pass->B * pass->T;

    gs_linear_train(pass, w, bias, x, N, norm ? raw : out);
    if (norm)
        gs_norm_forward(&pass->run, c->arch->norm, raw, N * heads, c->head_k, norm, NULL,
                        c->norm_eps, out);
    rotate(pass, c, rope, false, heads, out);
}

/* out (N, C) = in + branch, where the branch goes through its post-norm if there is one;
 * `raw` is where its values before that stay. */
static void join(const struct gs_pass *pass, const struct gs_config *c, const float *in,
                 const float *post_norm, const float *raw, float *branch, float *out)
{
    size_t N = pass->B * pass->T, n = N * c->n_embd;

    if (post_norm)
        gs_norm_forward(&pass->run, c->arch->norm, raw, N, c->n_embd, post_norm, NULL,
                        c->norm_eps, branch);
    if (out != in)
        memcpy(out, in, n * sizeof *out);
    gs_add_forward(&pass->run, branch, out, n);
}

static void attend(const struct gs_pass *pass, const struct gs_config *c, uint32_t il,
                   const struct gs_block_weights *w, const float *rope, struct gs_saved *s,
                   float *branch)
{
    size_t N = pass->B * pass->T;
    struct gs_attention a = attention_of(c, il);
    struct gs_heads heads = heads_of(c);

    gs_norm_forward(&pass->run, c->arch->norm, s->x, N, c->n_embd, w->attn_norm,
                    w->attn_norm_b, c->norm_eps, s->norm);
    project(pass, c, &w->attn_q, w->attn_q_b, w->attn_q_norm, rope, s->norm, c->n_head,
            s->q_raw, s->q);
    project(pass, c, &w->attn_k, w->attn_k_b, w->attn_k_norm, rope, s->norm, c->n_head_kv,
            s->k_raw, s->k);
    gs_linear_train(pass, &w->attn_v, w->attn_v_b, s->norm, N, s->v);
    gs_attention_train(pass, &a, &heads, s->q, s->k, s->v, s->att, s->soft);
    gs_linear_train(pass, &w->attn_output, w->attn_output_b, s->att, N,
                    w->attn_post_norm ? s->att_out : branch);
}

static void feed_forward(const struct gs_pass *pass, const struct gs_config *c,
                         const struct gs_block_weights *w, struct gs_saved *s, float *branch)
{
    size_t N = pass->B * pass->T;
    bool gated = w->ffn_gate.data;

    gs_norm_forward(&pass->run, c->arch->norm, s->mid, N, c->n_embd, w->ffn_norm,
                    w->ffn_norm_b, c->norm_eps, s->ffn_norm);
    if (gated)
        gs_linear_train(pass, &w->ffn_gate, w->ffn_gate_b, s->ffn_norm, N, s->gate);
    gs_linear_train(pass, &w->ffn_up, w->ffn_up_b, s->ffn_norm, N, gated ? s->up : s->gate);
    memcpy(s->hidden, s->gate, N * c->n_ff * sizeof *s->hidden);
    gs_activation_forward(&pass->run, c->arch->act, gated ? s->up : NULL, s->hidden,
                          N * c->n_ff);
    gs_linear_train(pass, &w->ffn_down, w->ffn_down_b, s->hidden, N,
                    w->ffn_post_norm ? s->ffn_out : branch);
}

void gs_block_train(const struct gs_pass *pass, const struct gs_config *c, uint32_t il,
                    const struct gs_block_weights *w, const float *rope, struct gs_saved *s,
                    float *branch, float *y)
{
    size_t N = pass->B * pass->T, n = N * c->n_embd;

    attend(pass, c, il, w, rope, s, branch);
    if (c->parallel_residual) {
        join(pass, c, s->x, w->attn_post_norm, s->att_out, branch, y);
        feed_forward(pass, c, w, s, branch);
        gs_add_forward(&pass->run, branch, y, n);
        return;
    }
    join(pass, c, s->x, w->attn_post_norm, s->att_out, branch, s->mid);
    feed_forward(pass, c, w, s, branch);
    join(pass, c, s->mid, w->ffn_post_norm, s->ffn_out, branch, y);
}

/* ---- backwards ----------------------------------------------------------------------------- */

/* dx += gradient through the FFN branch of `G` (N, C). */
static void feed_forward_backward(const struct gs_pass *pass, const struct gs_config *c,
                                  const struct gs_block_weights *w, const struct gs_saved *s,
                                  const struct gs_between *b, const float *G, float *dx,
                                  struct gs_block_grads *g)
{
    size_t N = pass->B * pass->T;
    bool gated = w->ffn_gate.data;

    if (w->ffn_post_norm) {
        gs_norm_backward(pass, c->arch->norm, s->ffn_out, N, c->n_embd, w->ffn_post_norm,
                         c->norm_eps, G, false, b->branch, g->ffn_post_norm, NULL);
        G = b->branch;
    }
    gs_linear_backward(pass, &w->ffn_down, s->hidden, G, N, false, b->hidden, g->ffn_down,
                       g->ffn_down_b);
    gs_activation_backward(pass, c->arch->act, s->gate, gated ? s->up : NULL, N * c->n_ff,
                           b->hidden, b->up);
    if (gated) {
        gs_linear_backward(pass, &w->ffn_gate, s->ffn_norm, b->hidden, N, false, b->norm,
                           g->ffn_gate, g->ffn_gate_b);
        gs_linear_backward(pass, &w->ffn_up, s->ffn_norm, b->up, N, true, b->norm, g->ffn_up,
                           g->ffn_up_b);
    } else {
        gs_linear_backward(pass, &w->ffn_up, s->ffn_norm, b->hidden, N, false, b->norm,
                           g->ffn_up, g->ffn_up_b);
    }
    gs_norm_backward(pass, c->arch->norm, s->mid, N, c->n_embd, w->ffn_norm, c->norm_eps,
                     b->norm, true, dx, g->ffn_norm, g->ffn_norm_b);
}

/* G (N, heads, D) of rotated queries or keys becomes that of the product, and goes on to the
 * block's norm. */
static void project_backward(const struct gs_pass *pass, const struct gs_config *c,
                             const struct gs_matrix *w, const float *norm, const float *rope,
                             const float *raw, const float *x, size_t heads, bool add,
                             float *G, float *dx, float *dw, float *db, float *dnorm)
{
    size_t N = pass->B * pass->T;

    rotate(pass, c, rope, true, heads, G);
    if (norm)
        gs_norm_backward(pass, c->arch->norm, raw, N * heads, c->head_k, norm, c->norm_eps, G,
                         false, G, dnorm, NULL);
    gs_linear_backward(pass, w, x, G, N, add, dx, dw, db);
}

static void attend_backward(const struct gs_pass *pass, const struct gs_config *c, uint32_t il,
                            const struct gs_block_weights *w, const float *rope,
                            const struct gs_saved *s, const struct gs_between *b,
                            const float *G, float *dx, struct gs_block_grads *g)
{
    size_t N = pass->B * pass->T;
    struct gs_attention a = attention_of(c, il);
    struct gs_heads heads = heads_of(c);

    if (w->attn_post_norm) {
        gs_norm_backward(pass, c->arch->norm, s->att_out, N, c->n_embd, w->attn_post_norm,
                         c->norm_eps, G, false, b->branch, g->attn_post_norm, NULL);
        G = b->branch;
    }
    gs_linear_backward(pass, &w->attn_output, s->att, G, N, false, b->att, g->attn_output,
                       g->attn_output_b);
    gs_attention_backward(pass, &a, &heads, s->q, s->k, s->v, s->att, s->soft, b->att, b->q,
                          b->k, b->v);
    project_backward(pass, c, &w->attn_q, w->attn_q_norm, rope, s->q_raw, s->norm, c->n_head,
                     false, b->q, b->norm, g->attn_q, g->attn_q_b, g->attn_q_norm);
    project_backward(pass, c, &w->attn_k, w->attn_k_norm, rope, s->k_raw, s->norm,
                     c->n_head_kv, true, b->k, b->norm, g->attn_k, g->attn_k_b,
                     g->attn_k_norm);
    gs_linear_backward(pass, &w->attn_v, s->norm, b->v, N, true, b->norm, g->attn_v,
                       g->attn_v_b);
    gs_norm_backward(pass, c->arch->norm, s->x, N, c->n_embd, w->attn_norm, c->norm_eps,
                     b->norm, true, dx, g->attn_norm, g->attn_norm_b);
}

void gs_block_backward(const struct gs_pass *pass, const struct gs_config *c, uint32_t il,
                       const struct gs_block_weights *w, const float *rope,
                       const struct gs_saved *s, const struct gs_between *b, float *dx,
                       struct gs_block_grads *grads)
{
    const float *G = dx;

    if (c->parallel_residual) {
        memcpy(b->kept, dx, pass->B * pass->T * c->n_embd * sizeof *dx);
        G = b->kept;
    }
    feed_forward_backward(pass, c, w, s, b, G, dx, grads);
    attend_backward(pass, c, il, w, rope, s, b, G, dx, grads);
}
