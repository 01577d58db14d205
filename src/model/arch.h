/* SPDX-License-Identifier: MIT
 * What tells one transformer architecture from another, as data.
 *
 * Every supported architecture is the same sequence of layers (block.c) with a few choices:
 *
 *   x = embedding[token] (· √C) (+ position)
 *   each block:   a = attention(rope(qk_norm(q, k)), v)  over  norm(x)
 *                 x = x + post_norm(a·Wo)
 *                 x = x + post_norm(ffn(norm(x)))       parallel: of the same x as attention
 *   logits = norm(x)·Wᵀ
 *
 * A choice that a tensor's presence already makes (biases, q/k norms, post-norms, fused
 * projections, tied output) is not repeated here: a layer runs if its weight is there, and
 * the masks say which weights must and may be. Adding a relative is adding one entry. */
#ifndef GS_MODEL_ARCH_H
#define GS_MODEL_ARCH_H

#include "core/attr.h"

enum gs_norm_kind { GS_NORM_RMS, GS_NORM_LAYER };

/* Which dimensions of a head form a rotated pair: none, (2i, 2i+1), (i, i + rope_dims/2). */
enum gs_rope_kind { GS_ROPE_NONE, GS_ROPE_INTERLEAVED, GS_ROPE_HALVES };

/* Functions of the kernel table. */
enum gs_activation { GS_ACT_SILU, GS_ACT_GELU_TANH, GS_ACT_GELU_ERF };

/* Layers that attention.sliding_window applies to. */
enum gs_window_kind {
    GS_WINDOW_UNUSED,  /* none: the key is ignored */
    GS_WINDOW_ALL,     /* every layer */
    GS_WINDOW_PATTERN  /* all but every window_pattern-th */
};

/* Bits of the tensor masks: GS_BIT_attn_q and so on, model and block tensors apart. */
enum gs_tensor_slot {
#define M(field, name, in, out) GS_SLOT_##field,
#define V(field, name, n) GS_SLOT_##field,
#define GS_MODEL_TENSORS
#include "model/weights.def"
#undef GS_MODEL_TENSORS
    GS_SLOT_MODEL_COUNT,
#define GS_BLOCK_TENSORS
#include "model/weights.def"
#undef GS_BLOCK_TENSORS
#undef M
#undef V
    GS_SLOT_COUNT
};

#define GS_BIT(field) ((uint64_t)1 << GS_SLOT_##field)

struct gs_arch {
    const char *name; /* general.architecture */
    enum gs_norm_kind norm;
    enum gs_rope_kind rope;
    enum gs_activation act;
    bool gated;            /* down(act(gate) ⊙ up), else down(act(up)) */
    bool scale_embd;       /* embeddings times √C */
    bool parallel;         /* has the key use_parallel_residual */
    bool rope_whole_head;  /* rope.dimension_count must be the head size */
    enum gs_window_kind window;
    uint32_t window_pattern;  /* default of the key */
    float rope_base_local;    /* windowed layers rotate with this base, unscaled; 0 = alike */
    uint32_t attn_scale_layers; /* a model of so many layers scales q·k by √(H/C), not √(1/D) */
    uint64_t need, may;       /* GS_BIT masks of tensors */
};

/* NULL if unknown. */
const struct gs_arch *gs_arch_find(const char *name, size_t n);
/* NULL at the end of the list. */
const struct gs_arch *gs_arch_at(size_t index);

#endif
