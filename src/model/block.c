/* SPDX-License-Identifier: MIT
 * One transformer block, in the order of arch.h:
 *
 *   x ─┬─ norm ─ q, k, v ─ (q/k norm) ─ rope ─ attention ─ Wo ─ (norm) ─ + ─ mid
 *      └─────────────────────────────────────────────────────────────────┘
 *   mid ─┬─ norm ─ FFN ─ (norm) ─ + ─►
 *        └────────────────────────┘
 *
 * With a parallel residual the FFN reads norm(x) of the block's input and both are added. */
#include <assert.h>

#include "model/layers.h"

static void attention_branch(const struct gs_run *run, const struct gs_config *c, uint32_t il,
                             const struct gs_block_weights *w, const struct gs_kv *kv,
                             size_t first, size_t T, const struct gs_activations *act)
{
    enum gs_norm_kind norm = c->arch->norm;
    bool windowed = gs_config_is_windowed(c, il);
    const float *table = windowed ? act->rope_local : act->rope;
    const struct gs_attention a = {.heads = c->n_head, .window = windowed ? c->window : 0,
                                   .scale = c->attn_scale, .softcap = c->attn_softcap};
    const struct gs_product qkv[] = {{&w->attn_q, w->attn_q_b, act->q},
                                     {&w->attn_k, w->attn_k_b, act->k},
                                     {&w->attn_v, w->attn_v_b, act->v}};

    const struct gs_norm before = {norm, w->attn_norm, w->attn_norm_b, c->norm_eps, act->norm};

    gs_normed_linears_forward(run, &before, qkv, GS_COUNT(qkv), act->x, T);
    if (w->attn_q_norm)
        gs_norm_forward(run, norm, act->q, T * c->n_head, c->head_k, w->attn_q_norm, NULL,
                        c->norm_eps, act->q);
    if (w->attn_k_norm)
        gs_norm_forward(run, norm, act->k, T * c->n_head_kv, c->head_k, w->attn_k_norm, NULL,
                        c->norm_eps, act->k);
    if (c->arch->rope != GS_ROPE_NONE) {
        size_t n_freq = c->rope_dims / 2;
        gs_rope_forward(run, c->arch->rope, table, n_freq, T, c->n_head, c->head_k, act->q);
        gs_rope_forward(run, c->arch->rope, table, n_freq, T, c->n_head_kv, c->head_k, act->k);
    }
    gs_kv_store(run, kv, act->k, act->v, first, T);
    gs_attention_forward(run, &a, kv, act->q, first, T, act->att);
    gs_linear_forward(run, &w->attn_output, w->attn_output_b, act->att, T, act->branch);
    if (w->attn_post_norm)
        gs_norm_forward(run, norm, act->branch, T, c->n_embd, w->attn_post_norm, NULL,
                        c->norm_eps, act->branch);
}

/* Reads norm(act->x), or act->norm if norm is NULL. */
static void ffn_branch(const struct gs_run *run, const struct gs_config *c,
                       const struct gs_block_weights *w, const struct gs_norm *norm, size_t T,
                       const struct gs_activations *act)
{
    gs_ffn_forward(run, c->arch->act, w, norm, norm ? act->x : act->norm, T, act->hidden,
                   act->hidden_up, act->branch);
    if (w->ffn_post_norm)
        gs_norm_forward(run, c->arch->norm, act->branch, T, c->n_embd, w->ffn_post_norm, NULL,
                        c->norm_eps, act->branch);
}

void gs_block_forward(const struct gs_run *run, const struct gs_config *c, uint32_t il,
                      const struct gs_block_weights *w, const struct gs_kv *kv, size_t first,
                      size_t T, enum gs_block_part part, const struct gs_activations *act)
{
    size_t n = T * c->n_embd;

    assert(part == GS_BLOCK_WHOLE || !c->parallel_residual);
    if (part & GS_BLOCK_ATTENTION) {
        attention_branch(run, c, il, w, kv, first, T, act);
        if (!c->parallel_residual)
            gs_add_forward(run, act->branch, act->x, n);
    }
    if (part & GS_BLOCK_FFN) {
        const struct gs_norm norm = {c->arch->norm, w->ffn_norm, w->ffn_norm_b, c->norm_eps,
                                     act->norm};
        if (c->parallel_residual) { /* x changes before the norm is read */
            gs_norm_forward(run, norm.kind, act->x, T, c->n_embd, norm.weight, norm.bias,
                            norm.eps, act->norm);
            gs_add_forward(run, act->branch, act->x, n);
        }
        ffn_branch(run, c, w, c->parallel_residual ? NULL : &norm, T, act);
        gs_add_forward(run, act->branch, act->x, n);
    }
}
