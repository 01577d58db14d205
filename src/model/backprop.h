/* SPDX-License-Identifier: MIT
 * A whole model in training: loss and gradients of a batch of B texts of T tokens.
 *
 *   forwards    x₀ = embedding, x₁ … x_L the blocks' outputs, then the head in chunks of rows
 *   backwards   head → blocks L-1 … 0 → embedding
 *
 * Memory: gradients as large as the weights, x₀ … x_L, and what a block's backward reads.
 * With `recompute` the latter is there once and each block runs forwards again when its turn
 * comes (a third more work, Chen et al., arXiv:1604.06174); else it is kept for every block.
 * Logits exist for a chunk of rows at a time. All memory is taken in gs_backprop_create. */
#ifndef GS_MODEL_BACKPROP_H
#define GS_MODEL_BACKPROP_H

#include "model/params.h"

struct gs_backprop;

enum gs_recompute { GS_RECOMPUTE_AUTO, GS_RECOMPUTE_NEVER, GS_RECOMPUTE_ALWAYS };

struct gs_backprop_options {
    uint32_t texts, ctx;      /* B and T */
    enum gs_recompute recompute; /* AUTO: if keeping would take more than 4 GiB */
    bool no_grads;            /* for measuring only: no gradients, one set of activations */
    bool teacher;             /* room for gs_backprop_divergence */
    struct gs_team *team;
};

/* params is borrowed; its values may change between calls. */
int gs_backprop_create(const struct gs_params *params,
                       const struct gs_backprop_options *options, struct gs_backprop **out,
                       struct gs_err *err) GS_MUST_USE;
void gs_backprop_destroy(struct gs_backprop **bp);

/* Tokens and targets (B, T); targets below 0 do not count. Adds `weight` times the gradient
 * of Σ −log p(target) to the gradients; *loss is the unweighted sum. Ids must be in the
 * vocabulary. */
void gs_backprop_loss(struct gs_backprop *bp, const int32_t *tokens, const int32_t *target,
                      float weight, double *loss);

/* Only the loss. */
void gs_backprop_measure(struct gs_backprop *bp, const int32_t *tokens, const int32_t *target,
                         double *loss);

/* The teacher's logits (rows, V) of rows first … of the batch into out. */
typedef void (*gs_teacher_fn)(void *ctx, size_t first, size_t rows, float *out);

/* As gs_backprop_loss with Σ KL(teacher ‖ student), over the teacher's `top` tokens (0: all). */
void gs_backprop_divergence(struct gs_backprop *bp, const int32_t *tokens,
                            gs_teacher_fn teacher, void *ctx, size_t top, float weight,
                            double *loss);

/* Only Σ KL. */
void gs_backprop_measure_divergence(struct gs_backprop *bp, const int32_t *tokens,
                                    gs_teacher_fn teacher, void *ctx, double *loss);

/* Hidden states of a batch, then logits of `rows` of them into out (rows, V): a teacher is a
 * gs_backprop too. */
void gs_backprop_forward(struct gs_backprop *bp, const int32_t *tokens);
void gs_backprop_logits(struct gs_backprop *bp, size_t first, size_t rows, float *out);

/* What the head reads, (B·T, C), as the last forward left it. May be kept and put back: a teacher
 * that sees a batch again needs no forward. */
float *gs_backprop_final(struct gs_backprop *bp);

/* Piece by piece, for tuning a block at a time: N = B·T rows. embed: what block 0 reads; block:
 * y (N, C) from x, kept for a backward that follows at once; block_backward: dx from G of y to
 * that of x, the block's gradients are added. */
void gs_backprop_embed(struct gs_backprop *bp, const int32_t *tokens, float *x);
void gs_backprop_block(struct gs_backprop *bp, uint32_t il, const float *x, float *y);
void gs_backprop_block_backward(struct gs_backprop *bp, uint32_t il, float *dx);

/* Layout of params. */
float *gs_backprop_grads(struct gs_backprop *bp);

/* Bytes of gradients and saved activations. */
uint64_t gs_backprop_bytes(const struct gs_backprop *bp);

#endif
