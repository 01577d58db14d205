/* SPDX-License-Identifier: MIT
 * The sizes and constants of a transformer, read from GGUF metadata and checked. */
#ifndef GS_MODEL_CONFIG_H
#define GS_MODEL_CONFIG_H

#include "core/meta.h"

struct gs_arch; /* model/arch.h: one description per architecture */

/* Where the file has factors per frequency (tensors rope_freqs, rope_factors_long/short), they
 * divide the frequencies whatever the scaling. */
enum gs_rope_scaling { GS_ROPE_UNSCALED, GS_ROPE_LINEAR, GS_ROPE_YARN, GS_ROPE_LONGROPE };

/* Dimensions keep these letters in comments: T tokens of a batch, S positions in the cache,
 * C = n_embd, V = n_vocab, F = n_ff, H heads, G key/value heads, D = head size. */
struct gs_config {
    const struct gs_arch *arch;
    uint32_t n_vocab, n_ctx_train, n_embd, n_layer, n_ff, n_head, n_head_kv;
    uint32_t head_k, head_v;  /* D of queries and keys; of values */
    float norm_eps;
    float embd_scale;         /* 1, or √C for gemma */
    float attn_scale;         /* on q·k */
    float logit_softcap, attn_softcap; /* 0 = none */
    uint32_t rope_dims;       /* rotated dimensions of a head; the rest passes */
    float rope_base;
    float rope_base_local;    /* windowed layers: this base and no scaling; 0 = as the others */
    enum gs_rope_scaling rope_scaling;
    float rope_factor, rope_attn_factor, rope_beta_fast, rope_beta_slow;
    uint32_t rope_ctx_orig;
    uint32_t window;          /* sliding window in positions; 0 = none */
    uint32_t window_pattern;  /* every window_pattern-th layer sees all; 0 = none does */
    bool parallel_residual;   /* attention and FFN both read, and add to, the block's input */
};

/* `where` names the file in messages. GS_E_UNSUPPORTED for an architecture not in the list. */
int gs_config_read(const struct gs_meta *meta, const char *where, struct gs_config *out,
                   struct gs_err *err) GS_MUST_USE;

/* True if layer `il` attends to a sliding window only. */
bool gs_config_is_windowed(const struct gs_config *config, uint32_t il);

#endif
