/* SPDX-License-Identifier: MIT
 * All trainable weights of a model as f32, in one block of memory with a list of names.
 *
 *   values   | token_embd.weight | output_norm.weight | blk.0.attn_norm.weight | …
 *
 * Gradients, moments of an optimizer and checkpoints have the same layout: a parameter is
 * `count` floats at `offset` of any of them. What a file has but training leaves alone
 * (factors of RoPE) stays with the model that the weights came from. */
#ifndef GS_MODEL_PARAMS_H
#define GS_MODEL_PARAMS_H

#include "model/backward.h"

struct gs_param {
    const char *name;     /* of the tensor */
    size_t offset, count; /* in floats; offsets are multiples of 16 */
    size_t rows, cols;    /* rows 1: a vector */
    bool matrix;
    int slot;             /* enum gs_tensor_slot */
    uint32_t layer;       /* of a block's tensor */
};

struct gs_params {
    struct gs_lm *lm; /* borrowed; must outlive this */
    size_t n, floats; /* parameters; floats of a layout, padding included */
    uint64_t weights; /* without padding */
    struct gs_param *list;
    float *values;
    struct gs_model_weights model; /* bound to values */
    struct gs_block_weights *blocks;
    struct gs_arena names;
};

/* Decodes the weights of a model. GS_E_UNSUPPORTED for native matrices, whose codes are no
 * floats. */
int gs_params_create(struct gs_lm *lm, struct gs_team *team, struct gs_params **out,
                     struct gs_err *err) GS_MUST_USE;
/* The same with native matrices among the parameters, as zeros: who tunes what they are made
 * of fills them in. */
int gs_params_create_open(struct gs_lm *lm, struct gs_team *team, struct gs_params **out,
                          struct gs_err *err) GS_MUST_USE;
void gs_params_destroy(struct gs_params **params);

/* Points the fields of gradients (and of one block's) into a buffer of params->floats. */
void gs_params_grads(const struct gs_params *params, float *base,
                     struct gs_model_grads *model, struct gs_block_grads *blocks);

/* NULL if there is none of that name. */
const struct gs_param *gs_params_find(const struct gs_params *params, const char *name);

#endif
